"""Payment cards and bank accounts.

Sources: ISO/IEC 7812-1 (issuer prefixes, the Luhn check digit), ISO 13616 with the IBAN registry (length by
country, remainder 1 modulo 97 by ISO 7064). One random number in ten passes Luhn, so a card without a word
for it also needs an issuer's prefix with a length that the issuer uses; one in 97 passes an IBAN's check,
and its country and length are known as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hydata.privacy.finder import DASHES, Finder, Place, digits, matches_at, near, starts, words
from hydata.privacy.hints import NUMBER, Has

_GAP = rf"[ {DASHES}]"
_RUN = re.compile(rf"[0-9](?<![0-9][0-9])(?<![0-9]{_GAP}[0-9])(?:{_GAP}?[0-9]){{11,}}+")
_LONGEST = 19 + 18
"""Characters of a card of 19 digits in groups of one."""
_GROUPED = tuple(
    re.compile(rf"[1-9]{shape}(?![0-9])")
    for shape in (
        r"[0-9]{11,18}",
        *(
            rf"[0-9]{{3}}({_GAP})" + r"\1".join(f"[0-9]{{{size}}}" for size in sizes)
            for sizes in ((4, 4, 4, 3), (4, 4, 4), (6, 5), (6, 4), (4, 4, 3), (4, 4, 2), (4, 4, 1))
        ),
    )
)
"""How cards are printed, the longest first: groups in which one is known that does not end with its run."""
_PRINTED = re.compile(
    rf"[2-6](?<![0-9][2-6])[0-9]{{3}}(?=[0-9]{{8}}|{_GAP}(?:[0-9]{{4}}|[0-9]{{6}})(?:{_GAP}))"
)
"""Where one that an issuer gave may begin."""
_GOES_ON_BEFORE = re.compile(r"[0-9A-Za-z_.+$€£¥￥-]")
_GOES_ON_AFTER = re.compile(r"[0-9A-Za-z_]|\.[0-9]")
_ISSUERS = re.compile(
    r"4[0-9]{15}|4[0-9]{18}|(?:5[1-5]|2[2-7])[0-9]{14}|3[47][0-9]{13}|(?:30[0-5][0-9]|3[689][0-9]{2})[0-9]{10}|"
    r"35[0-9]{14}|6(?:011|4[4-9]|5)[0-9]{12,13}|62[0-9]{14,17}|(?:50|5[6-9]|6)[0-9]{15}"
)
"""Visa, Mastercard, American Express, Diners Club, JCB, Discover, UnionPay, Maestro and their lengths."""
_WORDS = re.compile(
    r"(?<![a-z])(?=[cvmad])(?:cards?|cc|visa|mastercard|amex|debit|account (?:number|no))(?![a-z])|"
    r"(?=[卡银信储借账帐])(?:卡号|银行卡|信用卡|储蓄卡|借记卡|账号|帐号|账户)",
    re.IGNORECASE,
)
_NOT = re.compile(r"id(?:entity|entification)? cards?(?![a-z])|身份证", re.IGNORECASE)


def luhn(number: str) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812-1, annex B)."""
    return (sum(map(int, number[::-2])) + sum(map(_DOUBLED.__getitem__, number[-2::-2]))) % 10 == 0


_DOUBLED = {str(digit): 2 * digit - 9 * (digit > 4) for digit in range(10)}


def find_bank_cards(text: str, _: Has) -> Iterator[Place]:
    """Numbers of 12 to 19 digits beside a word for a card; without one, only what is an issuer's and
    checks. Of several in a run of digits each is found, whatever stands behind it."""
    for run in _RUN.finditer(text):
        begin, end = run.span()
        done = 0
        for start in _starts(text, begin, end):
            if start < done or (start == begin and _GOES_ON_BEFORE.match(text, begin - 1, begin)):
                continue
            ends = [at for at in _ends(text, start, end) if at < end or not _GOES_ON_AFTER.match(text, end)]
            card = next((at for at in ends if _issued(digits(text[start:at]))), None)
            alone = bool(ends) and (start in (begin, done + 1) or ends[-1] == end)
            # Of a number that does not check a comma and digits may be the rest.
            decimal = bool(ends) and ends[-1] == end and _DECIMALS.match(text, end) is not None
            if card is None and alone and not decimal and _said(text, start):
                card = ends[-1]
            if card is not None:
                yield start, card
                done = card


def _starts(text: str, begin: int, end: int) -> Iterator[int]:
    """Where a card can start in a run of digits: at its beginning, as one is printed, or behind a space where
    the rest of the run is no longer than a card."""
    last = max(begin, end - _LONGEST - 1)
    yield begin
    for printed in _PRINTED.finditer(text, begin + 1, end):
        if printed.start() >= last:
            break
        yield printed.start()
    for group in _GROUP.finditer(text, last, end):
        yield group.start()


def _ends(text: str, start: int, end: int) -> list[int]:
    """Where a card that starts here can end: as one is printed, or else with the run."""
    ends = [match.end() for shape in _GROUPED if (match := shape.match(text, start, end))]
    if end - start <= _LONGEST and text[start] != "0" and 12 <= len(digits(text[start:end])) <= 19:
        ends.append(end)
    return ends


def _issued(number: str) -> bool:
    """Whether it is an issuer's and checks."""
    return _ISSUERS.fullmatch(number) is not None and luhn(number) and len(set(number)) > 1


def _said(text: str, start: int) -> bool:
    """Whether a word for a card stands before."""
    return near(text, start, _WORDS, across=True) and not near(text, start, _NOT, 32)


_GROUP = re.compile(r"[1-9](?<![0-9][1-9])[0-9]{3}")
"""Rows of sums have shorter ones: 36 45 54 63 72 81 90 passes for a card."""
_DECIMALS = re.compile(r",[0-9]")
BANK_CARD = Finder("bank_card", find_bank_cards, hints=(NUMBER,))

_LENGTHS = {
    country: int(length)
    for country, length in (
        pair.split("=")
        for pair in words(
            "AD=24 AE=23 AL=28 AT=20 AZ=28 BA=20 BE=16 BG=22 BH=22 BI=27 BR=29 BY=28 CH=21 CR=22 "
            "CY=28 CZ=24 DE=22 DJ=27 DK=18 DO=28 EE=20 EG=29 ES=24 FI=18 FK=18 FO=18 FR=27 GB=22 "
            "GE=22 GI=23 GL=18 GR=27 GT=28 HN=28 HR=21 HU=28 IE=22 IL=23 IQ=23 IS=26 IT=27 JO=30 "
            "KW=30 KZ=20 LB=28 LC=32 LI=21 LT=20 LU=20 LV=21 LY=25 MC=27 MD=24 ME=22 MK=19 MN=20 "
            "MR=27 MT=31 MU=30 NI=28 NL=18 NO=15 OM=23 PK=24 PL=28 PS=29 PT=25 QA=29 RO=24 RS=22 "
            "RU=33 SA=24 SC=31 SD=18 SE=24 SI=19 SK=24 SM=27 SO=23 ST=25 SV=28 TL=23 TN=24 TR=26 "
            "UA=29 VA=22 VG=24 XK=20 YE=30"
        )
    )
}
_IBAN = re.compile(r"(?<![0-9A-Za-z_])[A-Za-z]{2}[0-9]{2}(?:[ -]?[0-9A-Za-z]){11,30}")
_CHECK = re.compile(r"[0-9](?<=[A-Za-z]{2}[0-9])(?<![0-9A-Za-z_][A-Za-z]{2}[0-9])(?=[0-9])")
"""The first digit behind a country."""
_GOES_ON = re.compile(r"[0-9A-Za-z_]")


def find_ibans(text: str, _: Has) -> Iterator[Place]:
    """Account numbers that check, in any case, with or without spaces."""
    for match in matches_at(starts(_CHECK, text, back=2), _IBAN, text):
        length = _LENGTHS.get(match[0][:2].upper())
        end = match.start()
        number = ""
        while end < match.end() and len(number) < (length or 0):
            number += text[end] if text[end] not in " -" else ""
            end += 1
        if len(number) == length and not _GOES_ON.match(text, end) and mod97(number.upper()):
            yield match.start(), end


def mod97(number: str) -> bool:
    """Whether letters and digits check as an IBAN does (ISO 7064, MOD 97-10)."""
    return int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1


IBAN = Finder("iban", find_ibans, hints=(NUMBER,))
