"""Personal data: finding it in a text, and texts with placeholders in its place.

    hints.py        what a text must hold to be searched: one compiled pass for all of it
    finder.py       what a finder is; context words; overlaps
    contact.py      e-mail addresses, telephone numbers
    network.py      IP addresses
    documents.py    identity cards, passports, licence plates
    banking.py      payment cards, IBANs
    addresses.py    postal addresses
    credentials.py  keys, tokens, passwords
    names.py        names of people, where they are asked for
    mask.py         the one function that every prompt and every export goes through

It stands below the model client and the exports, which call it: nothing above them can forget to. One more
kind is a finder in one of these files, or a new one, and its place in ``finder.ORDER`` and
``mask.FINDERS``; raise ``mask.VERSION`` when what is found changes. No value is ever stored, only its kind
and place. The judge that measures records is ``hydata.curation.privacy``.
"""

from hydata.privacy.finder import Found, Kind
from hydata.privacy.mask import (
    KINDS,
    FindSettings,
    PrivacySettings,
    anonymized,
    find,
    find_in_arguments,
    masked,
    masked_frame,
    masked_messages,
    replaced,
    restored,
)

__all__ = [
    "KINDS",
    "FindSettings",
    "Found",
    "Kind",
    "PrivacySettings",
    "anonymized",
    "find",
    "find_in_arguments",
    "masked",
    "masked_frame",
    "masked_messages",
    "replaced",
    "restored",
]
