"""Personal data: finding it, and texts without it.

    finder.py       what a finder is; overlaps
    contact.py      e-mail addresses, telephone numbers
    network.py      IP addresses
    documents.py    identity cards, passports, licence plates
    banking.py      payment cards, IBANs
    addresses.py    postal addresses
    credentials.py  keys, tokens, passwords
    mask.py         the one function that every prompt and every export goes through
    judge.py        the judge ``privacy``, in the warehouse and alone on files

One more kind is a finder in one of these files, or a new one, and its place in ``finder.ORDER`` and
``mask.FINDERS``. Judges read raw texts; no value is ever stored, only its kind and place.
"""

from hydata.curation.privacy.finder import Found, Kind
from hydata.curation.privacy.judge import ALONE, STAGE
from hydata.curation.privacy.mask import KINDS, PrivacySettings, find, masked

__all__ = ["ALONE", "KINDS", "STAGE", "Found", "Kind", "PrivacySettings", "find", "masked"]
