"""E-mail addresses and telephone numbers.

Sources: RFC 5322 section 3.4.1 and RFC 5321 section 4.5.3 for addresses, without comments, quoted local parts
and literal domains; ITU-T E.164 for international numbers and its list of assigned country codes; the Chinese
numbering plan (mobile numbers 1[3-9] and nine more digits, area codes 0xx and 0xxx, 400 and 800 numbers); the
North American one (NANP). Numbers in other national forms are too like any other number to be taken without a
word that says so beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hydata.privacy.finder import DASHES, FOLDED, Finder, Place, digits, matches_at, near, starts, words
from hydata.privacy.hints import NUMBER, Has, Hint, Maybe

# --- e-mail ----------------------------------------------------------------------------------------------

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}+)"
_HOST = re.compile(rf"@(?:{_LABEL}\.){{1,8}}(?:[A-Za-z]{{2,24}}|xn--[a-z0-9]{{1,59}})(?![A-Za-z0-9])")
_LOCAL = re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9_][A-Za-z0-9._%+'-]{0,127}+(?<!\.)(?=@)")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+-"
_AT = re.compile(
    rf"[\[({{] ?at ?[\])}}] ?{_LABEL}(?: ?(?:\.|[\[({{] ?dot ?[\])}}]) ?[A-Za-z0-9-]{{1,63}}){{1,4}}",
    re.IGNORECASE,
)
_SPELLED = re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9_][A-Za-z0-9._%+-]{0,63}+ ?(?=[\[({])", re.IGNORECASE)
_WRITTEN = (_HOST, _LOCAL, 128, _LETTERS + "'")
_SPELLED_OUT = (_AT, _SPELLED, 65, f"{_LETTERS}{FOLDED[0]} ")
FORMS = (_WRITTEN, _SPELLED_OUT)
"""What stands behind the local part of an address and that part, its length and characters."""
_FILES = re.compile(r"\.(?:png|jpe?g|gif|svg|webp|ico|js|css|json|html?)$", re.IGNORECASE)
"""Ends of file names such as ``icon@2x.png``, none of which is a top-level domain."""
_USERINFO = re.compile(r"://[^\s/@]{1,200}$")


_SIGN = Hint(("@",))
_IN_BRACKETS = Hint(shapes=(("[({", Maybe(" "), "aA", "tT", Maybe(" "), "])}"),))


def find_emails(text: str, has: Has) -> Iterator[Place]:
    """Addresses; not the user and host of ``git@host:path``, nor what follows the password of a URL."""
    if has(_SIGN):
        for start, end in _ended_by(*_WRITTEN, text):
            address = text[start:end]
            if _FILES.search(address) or (address.startswith("git@") and text[end : end + 1] in (":", "/")):
                continue
            if text[start - 1 : start] == ":" and _USERINFO.search(text, max(0, start - 220), start):
                continue
            yield start, end
    if has(_IN_BRACKETS):
        yield from _ended_by(*_SPELLED_OUT, text)


def _ended_by(
    host: re.Pattern[str], local: re.Pattern[str], length: int, letters: str, text: str
) -> Iterator[Place]:
    """Each match of ``host`` with the first of ``local`` that ends where it begins, from the left and without
    overlaps. A local part has ``length`` characters at the most, of these ``letters``: what matches is looked
    for from its rarer end."""
    last = 0
    for match in host.finditer(text):
        before = text[max(last, match.start() - length) : match.start()]
        first = match.start() - len(before) + len(before.rstrip(letters))
        found = local.search(text, first, match.start() + 1)
        if found and found.end() == match.start():
            last = match.end()
            yield found.start(), last


EMAIL = Finder("email", find_emails, hints=(_SIGN, _IN_BRACKETS))


# --- telephone -------------------------------------------------------------------------------------------

_CODES = (
    "1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|21[12368]|22[0-9]|23[0-9]|24[0-9]|25[0-8]|26[0-9]|"
    "29[0178]|35[0-9]|37[0-9]|38[0-35-79]|42[0137]|50[0-9]|59[0-9]|67[0-9]|68[0-35-9]|69[0-2]|8[05]0|85[2356]|"
    "88[0126]|96[0-8]|97[0-7]|99[2-68]"
)
_GAP = rf"[ .(){DASHES}]"
_ANY_GAP = rf"[ .(){DASHES}/]"
"""Of a number with its country; others with a stroke are too like dates and fractions."""
_DASH = r"[‐-–-]"
_BETWEEN = rf"[ {DASHES}]"
_NOT_BEFORE = r"(?<![0-9A-Za-z_.+$€£¥￥#=-]"
_SIX = rf"(?=(?:{_ANY_GAP}{{0,3}}[0-9]){{5}})"
_SPOT = re.compile(rf"[+(0-9]{_NOT_BEFORE}[+(0-9]){_SIX}(?:(?<=[0-9])[0-9]++)?")
"""Where a number can start that has six digits."""
_SHAPED_SPOT = re.compile(
    rf"[+(0-9]{_NOT_BEFORE}[+(0-9])"
    rf"(?:(?<=\+)|(?<=\()(?=[0-9]{{3}})|(?<=[0-9])(?=[0-9]{{2}}|6|[.{DASHES}][2-9])"
    rf"|(?<=1)(?=[ .{DASHES}]?\([0-9]{{3}}\)))"
    rf"{_SIX}(?:(?<=[0-9])[0-9]++)?"
)
"""The same of the shapes, none of which is of single digits."""
_NO_TERM = r"(?:(?!\+)|(?<![0-9][ \n]))"
_START = rf"{_NOT_BEFORE}){_NO_TERM}"
"""No number goes on here, no sum of money, no term with its sign."""
_END = r"(?![0-9A-Za-z_]|[.,][0-9]|[%％元万亿]|-[0-9])"
_EXTENSION = r"(?:\s?(?:x|ext\.?\s?|转)[0-9]{1,6})?"
_SHAPES = re.compile(
    rf"{_START}(?:"
    # +CC and up to 15 digits in all
    rf"\+(?:{_CODES})(?:{_ANY_GAP}{{0,3}}[0-9]){{5,13}}{_EXTENSION}"
    # Chinese mobile
    rf"|(?:(?:00)?86{_BETWEEN}?)?1[3-9][0-9](?:[0-9]{{8}}|{_BETWEEN}[0-9]{{4}}{_BETWEEN}[0-9]{{4}})"
    # Chinese landline with area code and extension, service numbers
    rf"|(?:\(0[1-9][0-9]{{1,2}}\){_BETWEEN}?|0[1-9][0-9]{{1,2}}{_DASH})[2-9][0-9]{{2,3}}{_BETWEEN}?[0-9]{{4}}"
    rf"(?:{_DASH}[0-9]{{1,5}})?"
    rf"|[48]00{_BETWEEN}[0-9]{{3}}{_BETWEEN}?[0-9]{{4}}"
    # North American, and what is written like it
    rf"|(?:(?:001|1)[ .{DASHES}]?)?\([0-9]{{3}}\){_BETWEEN}?[0-9]{{3}}[ .{DASHES}][0-9]{{4}}{_EXTENSION}"
    rf"|(?:(?:001|1)[.{DASHES}])?[2-9][0-9]{{2}}([.{DASHES}])[0-9]{{3}}\1[0-9]{{4}}{_EXTENSION}"
    # 00 and a country code, in groups
    rf"|00(?:{_CODES})(?:{_BETWEEN}[0-9]{{2,5}}){{2,4}}"
    rf"){_END}"
)
_NEXT = re.compile(_SHAPES.pattern.replace(_NO_TERM, ""))
"""The same right behind a telephone number, which is no sum's first term."""
_ANY = re.compile(
    rf"{_START}(?:\+?\(?[0-9])(?:{_GAP}{{0,3}}[0-9]){{6,15}}(?:-[0-9]{{1,5}})?{_EXTENSION}(?![0-9A-Za-z_]|[.,][0-9]|[%％元万亿])"
)
_BEFORE = re.compile(
    r"(?<![a-z])(?=[tpmcfwhdlsrao])(?:(?:tele)?phones?(?![a-z])"
    r"|(?:tel|mob|ph|mobile|cell|fax|whatsapp|hotline|dial|landline|sms)(?![a-z])"
    r"|(?:call|calling|text|ring|reach|reached|contact|contacted|answering)(?: (?:me|us|him|"
    r"her|them|back))? (?:at|on|via|by)?"
    r"|(?:desk|office|work|home|registered):? ?$)"
    r"|(?=[c电手联热座传致拨短])(?:contact (?:number|no)"
    r"|电话|手机|联系方式|联系号码|热线|座机|传真|致电|拨打|短信)",
    re.IGNORECASE,
)
_AFTER = re.compile(r"[ \-](?:\(?)(?:office|fax|mobile|cell|home|work|desk)(?![a-z])", re.IGNORECASE)
_DATE = re.compile(
    r"\(?(?:1[5-9]|20)[0-9]{2} ?[-–] ?(?:1[5-9]|20)[0-9]{2}|(?:19|"
    r"20)[0-9]{2}([-/.])[0-9]{1,2}\1[0-9]{1,2}|[0-9]{1,2}([-/.])[0-9]{1,2}\2(?:19|20)[0-9]{2}"
)


_SAYS_SO = Hint(
    (
        *words("phone tel mob ph cell fax whatsapp hotline dial landline sms call text ring reach"),
        *words("contact answering desk office work home registered"),
        *words("电话 手机 联系方式 联系号码 热线 座机 传真 致电 拨打 短信"),
    ),
    (FOLDED,),
)


def find_phones(text: str, has: Has) -> Iterator[Place]:
    """Numbers whose form is a telephone's alone, and others beside a word that says so."""
    last = 0
    for start in starts(_SHAPED_SPOT, text):
        shapes = _NEXT if last and start == last + 1 else _SHAPES
        if start >= last and (match := shapes.match(text, start)):
            last = match.end()
            yield start, last
    if not has(_SAYS_SO):
        return
    for match in matches_at(starts(_SPOT, text), _ANY, text):
        start, end = match.span()
        if not (near(text, start, _BEFORE) or _AFTER.match(text, end)):
            continue
        if 7 <= len(digits(match[0])) <= 17 and not _DATE.match(match[0]):
            yield start, end


PHONE = Finder("phone", find_phones, hints=(NUMBER,), needs=(_SAYS_SO,))
