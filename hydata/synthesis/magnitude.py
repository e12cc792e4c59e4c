"""How large a formula can become, by its structure alone, before anything evaluates it.

sympy works numbers out exactly: ``10^{10^{10}}``, ``9!!!`` and ``\\sum_{k=1}^{10^9}`` are short texts with no
end. ``too_large`` reads the LaTeX once, as sums of products of factors with powers and factorials, and bounds
two things: the decimal digits of the value, and the terms it has when it is multiplied out. Both are coarse
on purpose: a letter counts as 3, a sign or a division as if it made things larger, and what is not understood
as a factor of no size. What is refused here is still compared by its text.

It is no parser: what LaTeX means is math-verify's business. Nor can it know what simplifying costs, so the
worker keeps limits of its own (``equivalence``).
"""

from __future__ import annotations

import re
from math import comb, log10
from typing import NamedTuple

DIGITS = 10_000
"""A number of so many digits is worked out at once; ``3^{2023}`` has 966."""
TERMS = 1_000
"""``(x+1)^{99}`` has 100, ``(a+b+c+d)^{30}`` has 5,456."""
RANGE = 100
"""A sum or product over more values than these is not written out."""


class Size(NamedTuple):
    """``digits``: the value's decimal logarithm; ``terms``: its summands, multiplied out."""

    digits: float
    terms: int = 1


class _TooLargeError(Exception):
    pass


_TOKEN = re.compile(r"\\[A-Za-z]+|\d+(?:\.\d+)?|\*\*|\S")
_IGNORED = {r"\left", r"\right", r"\displaystyle", r"\limits"}
_NEXT = re.compile(r"[-+,;&=<>|]\Z|\\(?:pm|mp|cup|cap|le|ge|leq|geq|lt|gt|neq)\Z")
"""What stands between terms."""
_BINOMIAL = {r"\binom", r"\dbinom", r"\tbinom"}
_RANGED = {r"\sum", r"\prod"}
_POWER = {"^", "**"}
_UNBOUNDED = re.compile(
    r"\\(?:i{0,3}int|oint|lim)(?![A-Za-z])|\\(?:sum|prod)(?![A-Za-z]).*\\(?:sum|prod)(?![A-Za-z])", re.DOTALL
)
"""Integrals, limits and sums of sums: no structure says what they cost."""
_LEAST, _LETTER = Size(log10(2)), Size(log10(3))


def too_large(latex: str) -> bool:
    """Whether the value or the expansion of ``latex``, which is short, may be too large to work out."""
    if _UNBOUNDED.search(latex):
        return True
    tokens = [token for token in reversed(_TOKEN.findall(latex)) if token not in _IGNORED]
    try:
        while tokens:  # a bracket too many ends a sum early
            _sum(tokens)
    except (_TooLargeError, RecursionError):
        return True
    return False


def _sum(tokens: list[str]) -> Size:
    """Terms up to the bracket that closes, or the end; ``tokens`` is a stack."""
    digits: list[float] = []
    terms = 0
    product: Size | None = None
    while tokens and tokens[-1] not in ("}", ")", "]"):
        if _NEXT.match(tokens[-1]):
            tokens.pop()
            if product is not None:
                digits, terms, product = [*digits, product.digits], terms + product.terms, None
            continue
        factor = _factor(tokens)
        product = (
            factor
            if product is None
            else _checked(product.digits + factor.digits, product.terms * factor.terms)
        )
    if tokens:
        tokens.pop()
    last = product or Size(0)
    digits, terms = [*digits, last.digits], terms + last.terms
    largest = max(digits)
    return _checked(largest + log10(sum(10 ** (d - largest) for d in digits)), terms)


def _factor(tokens: list[str]) -> Size:
    """``a``, ``a^b``, ``a!``, ``a^b!``."""
    size = _power(tokens)
    while tokens and (tokens[-1] == "!" or tokens[-1] in _POWER):
        if tokens.pop() == "!":
            size = _checked(max(size.digits, 1) * _value(size), size.terms)
        else:
            size = _raised(size, _power(tokens))
    return size


def _power(tokens: list[str]) -> Size:
    size = _atom(tokens)
    while tokens and tokens[-1] == "_":
        tokens.pop()
        _atom(tokens)
    if tokens and tokens[-1] in _POWER:
        tokens.pop()
        return _raised(size, _power(tokens))
    return size


def _atom(tokens: list[str]) -> Size:
    token = tokens.pop() if tokens else ""
    if token in ("-", "+"):  # 2^-1
        return _atom(tokens)
    if token in ("{", "(", "["):
        return _sum(tokens)
    if token[:1].isdecimal():
        return Size(
            max(log10(float(token)), _LEAST.digits) if len(token) < 300 and float(token) else len(token)
        )
    if token in _BINOMIAL:
        above, below = _atom(tokens), _atom(tokens)
        return _checked(_LEAST.digits * max(_value(above), _value(below)), above.terms)
    if token in _RANGED:
        while tokens and (tokens[-1] == "_" or tokens[-1] in _POWER):
            tokens.pop()
            if _value(_atom(tokens)) > RANGE:
                raise _TooLargeError
        return _LETTER
    return _LETTER if token.isalpha() or len(token) > 1 else Size(0)


def _raised(base: Size, exponent: Size) -> Size:
    times = _value(exponent)
    expanded = comb(int(times) + base.terms - 1, base.terms - 1)
    return _checked(max(base.digits, _LEAST.digits) * times, expanded)


def _value(size: Size) -> float:
    return float(10 ** _checked(size.digits, 1, 9).digits)


def _checked(digits: float, terms: int, most: float = DIGITS) -> Size:
    if digits > most or terms > TERMS:
        raise _TooLargeError
    return Size(digits, terms)
