"""Addresses of the Internet Protocol: IPv4 (RFC 791) and IPv6 (RFC 4291), parsed by ``ipaddress``.

Four numbers with dots are a version or a section as often as an address, and names of C++ look like IPv6.
So loopback, unspecified, multicast and mask addresses, which are nobody's, are left out, and numbers that
are all below 10, or stand behind a word for a version, need a word for an address before them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from hydata.privacy.finder import Finder, Place, near
from hydata.privacy.hints import DIGIT, Has, Hint, Maybe

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_V4 = re.compile(rf"(?<![0-9A-Za-z_.-])(?:{_OCTET}\.){{3}}{_OCTET}(?![0-9A-Za-z_-]|\.[0-9A-Za-z])")
_V6 = re.compile(
    r"(?<![0-9A-Za-z_:.])(?=[0-9A-Fa-f:]{0,4}:)[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}"
    rf"(?::?{_OCTET}(?:\.{_OCTET}){{3}})?(?![0-9A-Za-z_:]|\.[0-9])"
)
_VERSION = re.compile(
    r"(?<![a-z])(?:v|ver|version|release|firmware|build|section|chapter|oid|driver)\.? ?[:：]?\s?$|"
    r"版本[号为是：: ]*$|[章节]$|[A-Za-z]/$",
    re.IGNORECASE,
)
_ADDRESS = re.compile(
    r"(?<![a-z])(?:ipv?4?|host|server|address|dns|ping|gateway|from)(?![a-z])|地址|服务器|网关|主机",
    re.IGNORECASE,
)


_OCTETS = (DIGIT, Maybe(DIGIT), Maybe(DIGIT), ".")
_FOUR = Hint(shapes=((DIGIT, ".", *2 * _OCTETS, DIGIT),))
_HEX = DIGIT + "ABCDEFabcdef"
_COLONS = Hint(("::",), ((":", *3 * (_HEX, *3 * (Maybe(_HEX),), ":")),))


def find_ips(text: str, has: Has) -> Iterator[Place]:
    """Addresses of hosts."""
    for match in _V4.finditer(text) if has(_FOUR) else ():
        octets = [int(octet) for octet in match[0].split(".")]
        if octets[0] in (0, 127) or octets[0] >= 224:
            continue
        small = all(octet < 10 for octet in octets)
        if small and not near(text, match.start(), _ADDRESS, 24):
            continue
        if near(text, match.start(), _VERSION, 16):
            continue
        yield match.span()
    for match in _V6.finditer(text) if has(_COLONS) else ():
        if _is_v6(match[0]):
            yield match.span()


def _is_v6(written: str) -> bool:
    first, _, rest = written.partition(":")
    if "::" in written and not (
        len(first) >= 3 and rest.strip(":") and any("0" <= c <= "9" for c in written)
    ):
        return False
    try:
        address = ipaddress.IPv6Address(written)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_multicast)


IP = Finder("ip", find_ips, hints=(_FOUR, _COLONS))
