"""Keys, tokens and passwords.

Sources: the prefixes by which the services themselves make their keys recognisable (AWS, Alibaba Cloud,
Tencent Cloud, GitHub, GitLab, Slack, Google, Stripe, OpenAI and Anthropic, Hugging Face, npm, PyPI, SendGrid,
Telegram), RFC 7519 (JWT), RFC 7468 (PEM), RFC 3986 section 3.2.1 (a password in a URL), RFC 6750 (bearer
tokens). What is assigned to a name such as ``api_key`` is taken if it looks like a secret: no call, no
variable, no word.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

from hydata.privacy.finder import FOLDED, Finder, Place, places, words
from hydata.privacy.hints import Has, Hint

_EDGE = r"(?<![0-9A-Za-z_-])"
_PREFIXED = re.compile(
    rf"{_EDGE}(?:"
    r"(?:AKIA|ASIA|AROA|AIDA|ABIA|ACCA)[0-9A-Z]{16}(?![0-9A-Za-z])"
    r"|gh[pousr]_[0-9A-Za-z]{30,255}+|github_pat_[0-9A-Za-z_]{22,255}+"
    r"|gl(?:pat|dt|rt|cbt|ptt)-[0-9A-Za-z_-]{20,255}+"
    r"|xox[abeoprs]-[0-9A-Za-z-]{10,255}+|xapp-[0-9A-Za-z-]{10,255}+"
    r"|AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{20,512}+"
    r"|(?:sk|rk|pk|whsec)_(?:live_|test_)[0-9A-Za-z]{16,255}+"
    r"|sk-(?=[A-Za-z_-]{0,40}[0-9])[0-9A-Za-z_-]{20,255}+"
    r"|hf_[0-9A-Za-z]{30,64}+|npm_[0-9A-Za-z]{30,64}+|pypi-[0-9A-Za-z_-]{40,512}+"
    r"|LTAI(?=[A-Za-z]{0,27}[0-9])[0-9A-Za-z]{12,28}(?![0-9A-Za-z])|AKID[0-9A-Za-z]{32}(?![0-9A-Za-z])"
    r"|SG\.[0-9A-Za-z_-]{16,64}\.[0-9A-Za-z_-]{16,128}+"
    r"|[0-9]{8,10}:AA[0-9A-Za-z_-]{32,33}"
    r"|eyJ[0-9A-Za-z_-]{8,4096}+\.eyJ[0-9A-Za-z_-]{2,16384}+(?:\.[0-9A-Za-z_-]{0,4096}+)?"
    r")"
)
_URL = re.compile(r"(?<=://)[^\s/@:'\"<>\[\]{}$%]{0,128}+:[^\s/@'\"<>\[\]{}$]{1,256}+(?=@[0-9A-Za-z\[])")
_BEARER = re.compile(r"(?:[Bb]earer|[Bb]asic) +([0-9A-Za-z._~+/-]{16,4096}+={0,2})(?![0-9A-Za-z])")
# Not of the text in lower case, where İ is two characters and all after it is shifted.
_LAST = "eEgGhHiIİınNrRsSſtT"
_WORD_KEY = re.compile(rf"[kK\u212a](?i:ey)(?:(?<=[{_LAST}]...)|(?<=[{_LAST}][ _-]...))(?i:[ _-]?id)?")
"""Behind the last letter of one of the words that ``_WHOSE`` knows."""
_WHOSE = re.compile(
    r"(?:api|access|secret|private|auth|encryption|account|signing|client|master|aws|ssh)[ _-]?"
    r"(?:access[ _-]?)?\Z",
    re.IGNORECASE,
)
_LONGEST = len("encryption access ")
_WORD_SECRET = re.compile(
    r"[tTsSſpP密口令](?:(?<=[tT])(?i:oken)|(?<=[sSſ])(?i:ecret)|(?<=[pP])(?i:ass(?:wd|word|phrase)|wd)"
    r"|(?<=密)[码钥]|(?<=口)令|(?<=令)牌)"
)
_GIVEN = re.compile(r"[\"'`]?(?: ?[:=：] ?| is | are |是|为)[\"'`]?(?!\$)")
_VALUE = re.compile(r"[^\s\"'`,;，。；()<>{}\[\]]*+")
_READ = 128
"""Characters of a value that tell whether it is a secret."""
_DIGIT = re.compile(r"[0-9]")
_LETTER = re.compile(r"[A-Za-z]")
_WORDY = re.compile(r"[A-Za-z]++(?:[_./-][A-Za-z]++){0,16}[_./-]?[0-9]{0,2}")
# Within a word it is a part of what was drawn: AWS's own sample of a secret ends in EXAMPLEKEY.
_FILLER = re.compile(
    r"\*\*\*|xxx|(?<![0-9A-Za-z])example|example(?![0-9A-Za-z])|your|changeme|\.\.\.", re.IGNORECASE
)
_BEGIN = re.compile(r"-----BEGIN (?:[A-Z]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_STOP = re.compile(r"-----END (?:[A-Z]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_BODY = re.compile(r"[0-9A-Za-z+/=\s\\]{0,8192}+")


_SERVICES = Hint(
    (
        *words("akia asia aroa aida abia acca ghp_ gho_ ghu_ ghs_ ghr_ github_pat glpat- gldt- glrt- glcbt-"),
        *words("glptt- xox xapp- aiza ya29. _live_ _test_ sk- hf_ npm_ pypi- sg. :aa eyj ltai akid"),
    )
)
_LINK = Hint(("://",))
_CARRIED = Hint(("bearer", "basic "))
_KEY = Hint(("key",))
_CALLED_SECRET = Hint(words("token secret passw passphrase pwd 密码 口令 密钥 令牌"), (FOLDED,))
_BLOCK = Hint(("-----begin",))


def find_keys(text: str, has: Has) -> Iterator[Place]:
    """Keys by their prefix, blocks of private keys, passwords of URLs (with the user's name), and the
    values of what is called a key, token or password."""
    if has(_SERVICES):
        yield from places(_PREFIXED.finditer(text))
    if has(_LINK):
        yield from places(_URL.finditer(text))
    for match in _BEARER.finditer(text) if has(_CARRIED) else ():
        if _secret(match[1]):
            yield match.span(1)
    yield from _assigned(text, has)
    if has(_BLOCK):
        yield from _blocks(text)


def _assigned(text: str, has: Has) -> Iterator[Place]:
    """What is given to the name of a secret. Of names in a row each stands in the value of the one before, so
    that the end of a value is looked for once."""
    end = last = done = 0
    for name in _named(text, has):
        given = _GIVEN.match(text, name) if name >= done else None
        if not given:
            continue
        start = given.end()
        if start >= end and (value := _VALUE.match(text, start)):
            end = value.end()
            last = start + len(value[0].rstrip(".!?！？、:"))
        called = text.startswith("(", end)
        if start < last and not called and _secret(text[start : min(last, start + _READ)]):
            done = last
            yield start, last


def _named(text: str, has: Has) -> Iterator[int]:
    """Where the name of a secret ends."""
    if has(_KEY):
        for key in _WORD_KEY.finditer(text):
            if _WHOSE.search(text, max(0, key.start() - _LONGEST), key.start()):
                yield key.end()
    if has(_CALLED_SECRET):
        for secret in _WORD_SECRET.finditer(text):
            yield secret.end()


def _secret(value: str) -> bool:
    """Whether this is drawn or made up, and no word, number, name of a variable or placeholder."""
    if len(value) < 6 or not _DIGIT.search(value) or not _LETTER.search(value) or not value.isascii():
        return False
    return not _WORDY.fullmatch(value) and not _FILLER.search(value)


def _blocks(text: str) -> Iterator[Place]:
    """PEM blocks; one that is cut off ends with its last line of Base64."""
    stops = [match.end() for match in _STOP.finditer(text)] if "PRIVATE KEY" in text else []
    last = 0
    for match in _BEGIN.finditer(text):
        if match.start() < last:
            continue
        place = bisect_left(stops, match.end())
        if place < len(stops) and stops[place] - match.end() < 16_384:
            last = stops[place]
        else:
            body = _BODY.match(text, match.end())
            last = body.end() if body else match.end()
        yield match.start(), last


KEY = Finder("key", find_keys, hints=(_SERVICES, _LINK, _CARRIED, _KEY, _CALLED_SECRET, _BLOCK))
