"""Postal addresses: of English form by the street's suffix or a box, of Chinese form by road and house
number.

Sources: USPS Publication 28, appendices B and C (directions, street suffixes) and section 28 (boxes); the
provinces of GB/T 2260 and the order of a Chinese address, from province to room. A street of another
language is found by the words for streets there, by a flat behind it, or beside a word for an address. What
is found in this way is a part of what there is (``docs/judges.md``). A place without a house number is no
address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hydata.privacy.finder import Finder, Place, alternatives, near, places, words
from hydata.privacy.hints import DIGIT, UPPER, Has, Hint, Maybe, span

# --- English and others ----------------------------------------------------------------------------------

_STREETS = frozenset(
    words(
        "Street St Avenue Ave Road Rd Lane Ln Drive Drives Dr Boulevard Blvd Terrace Ter Place Pl "
        "Parkway Pkwy Highway Hwy Square Sq Crescent Turnpike Way Ways Alley Trail Trl Trails "
        "Expressway Freeway Motorway Causeway Stravenue Throughway Trafficway Underpass Overpass "
        "Crossroad Crossroads Circle Circles Loop Mews Route Row Skyway Viaduct Courts Crossing "
        "Squares Streets Roads"
    )
)
"""Suffixes that are hardly ever anything but a street's."""
_PERHAPS = frozenset(
    words(
        "Annex Arcade Bayou Beach Bend Bluff Branch Bridge Brook Brooks Burg Bypass Camp Canyon Cape "
        "Center Centre Cliff Cliffs Close Club Common Corner Corners Course Court Cove Coves Creek "
        "Crest Curve Dale Dam Divide Estate Estates Extension Extensions Falls Ferry Field Fields "
        "Flat Flats Ford Fords Forest Forge Forges Fork Forks Fort Garden Gardens Gateway Glen Glens "
        "Green Greens Grove Groves Harbor Harbors Haven Heights Hill Hills Hollow Inlet Island "
        "Islands Isle Junction Junctions Key Keys Knoll Knolls Lake Lakes Land Landing Light Lights "
        "Loaf Lock Locks Lodge Mall Manor Manors Meadow Meadows Mill Mills Mission Mount Mountain "
        "Mountains Neck Orchard Oval Park Parks Parkways Pass Passage Path Pike Pine Pines Plain "
        "Plains Plaza Point Points Port Ports Prairie Radial Ramp Ranch Rapid Rapids Rest Ridge "
        "Ridges River Run Shoal Shoals Shore Shores Spring Springs Spur Spurs Station Stream Summit "
        "Trace Track Tunnel Union Unions Valley Valleys View Views Village Villages Ville Vista Walk "
        "Walks Wall Well Wells"
    )
)
"""Suffixes that are other things as well: they need a word for an address before them, or a flat or town
behind."""
_ABROAD = words(
    "straße strasse gasse weg platz allee vej gade "
    "vænget gatan vägen gata veien vegen katu "
    "polku straat laan dijk singel plein utca "
    "stræti kuja tänav stien"
)
_BEFORE_NAME = words(
    "Rua Avenida Av. Travessa Calle Paseo Via Viale Corso Piazza Rue Chemin Quai ul. Ul. al. ulica "
    "Vicolo Largo"
)

_EDGE = r"(?<![0-9A-Za-z_.,$€£¥#/-])"
_WORD = r"(?:[A-ZÀ-Þ][A-Za-zÀ-ɏ'’.-]{0,30}+|[0-9]{1,3}(?:st|nd|rd|th)(?![a-z])|(?:de|da|do|del|la|of|the) )"
_RUN = re.compile(
    rf"[0-9]{_EDGE[:-1]}[0-9])[0-9]{{0,5}}[A-Z]?(?:-[0-9]{{1,4}})? ({_WORD}(?: {_WORD}){{0,6}}+)"
)
_UNIT = (
    r"(?:,?[ \n]{0,3}(?:Apt|Apartment|Suite|Ste|Unit|Room|Rm|Floor|Fl|Flat|Building|"
    r"Bldg)\.? {0,2}#?[0-9A-Z]{1,6}(?![a-z0-9])|"
    r",? ?#[0-9]{1,5}(?![0-9]))"
)
_TOWN = (
    r"(?:[ ,\n]{1,4}[A-ZÀ-Þ][A-Za-zÀ-ɏ'’.-]{1,30}+(?: [A-Za-zÀ-ɏ'’.-]{1,30}+){0,3}?){1,3}?"
    r"[ ,\n]{1,4}(?!(?:1[5-9]|20)[0-9]{2}(?![0-9]))[0-9]{4,6}(?:-[0-9]{3,4})?(?![0-9])"
)
_TAIL = re.compile(
    rf"\.?(?: (?:[NS][EW]?|[EW]|North|South|East|West|(?:North|South)(?:east|"
    rf"west))\.?(?![A-Za-z]))?({_UNIT})?({_TOWN})?"
)
_NUMBERED = re.compile(
    rf"(?=[0-9A-ZÀ-Þdlot]){_EDGE}"
    rf"([0-9]{{1,6}} )?({_WORD}(?: (?:de|da|do|dos|del|della|di|van|der|la) {_WORD}|"
    rf" {_WORD}){{0,4}}),? ([0-9]{{1,5}}[A-Za-z]?)(?![0-9A-Za-z]|[.,:/-][0-9])"
    rf"({_UNIT})?({_TOWN})?"
)
_BOX = re.compile(
    r"(?<![A-Za-z])(?:P\.? ?O\.? ?Box|Post Office Box) [0-9]{1,7}(?![0-9])"
    r"|(?<![A-Za-z])(?:PSC|CMR|Unit) [0-9]{1,5},? Box [0-9]{1,5}(?:,?\s(?:APO|FPO|DPO),? (?:AA|AE|"
    r"AP) [0-9]{5})?",
    re.IGNORECASE,
)
_BEFORE = re.compile(
    r"address|(?<![a-z])(?:reside|resides|residing|residence|live|lives|lived|living|located|situated|"
    r"office is|drops you off|home is) ?"
    r"(?:at|on|in)?(?![a-z])|(?<![a-z])(?:ship|deliver|mail|moved?)(?:ed)? (?:it )?to(?![a-z])|headquarters",
    re.IGNORECASE,
)
_SUFFIX = re.compile(r"[A-Za-z]+")


def _streets(text: str) -> Iterator[Place]:
    """House number, words, a street's suffix; then flat and town."""
    for match in _RUN.finditer(text):
        words = list(_SUFFIX.finditer(text, *match.span(1)))
        for word in reversed(words[1:]):
            if word[0] not in _STREETS and word[0] not in _PERHAPS:
                continue
            tail = _TAIL.match(text, word.end())
            more = tail is not None and (tail[1] or tail[2])
            if word[0] in _STREETS or more or near(text, match.start(), _BEFORE):
                yield match.start(), tail.end() if tail and tail[0] != "." else word.end()
                break


def _abroad(text: str) -> Iterator[Place]:
    """A street's name before its number, or between two, as elsewhere."""
    for match in _NUMBERED.finditer(text):
        number, name, _, unit, town = match.groups()
        named = _NAMED.match(name) or name.lower().endswith(tuple(_ABROAD))
        if named or (number and (unit or town)) or (number and near(text, match.start(), _BEFORE)):
            yield match.span()


_NAMED = re.compile(rf"(?:{alternatives(_BEFORE_NAME)}) ")

# --- Chinese ---------------------------------------------------------------------------------------------

_PROVINCES = alternatives(
    words(
        "北京 天津 上海 重庆 河北 山西 辽宁 吉林 黑龙江 江苏 浙江 安徽 福建 江西 山东 "
        "河南 湖北 湖南 广东 海南 四川 贵州 云南 陕西 甘肃 青海 台湾 内蒙古 广西 西藏 "
        "宁夏 新疆 香港 澳门"
    )
)
_NUMERALS = "一二三四五六七八九十百"
_HOUSE = re.compile(
    r"(?:路|街|大道|道|巷|弄|胡同|里|村|屯|庄|镇|乡|段|园|苑|小区|社区|开发区|新区|湾|坊|桥|大厦|公寓|广场|花园)"
    rf"[东西南北中{_NUMERALS}]{{0,2}}段?(?:[A-Z]座)?(?:[0-9]{{1,6}}(?:[-之][0-9]{{1,4}})?|"
    rf"[{_NUMERALS}]{{1,5}}) ?(?:号(?!线)|弄|栋|幢|號|室)"
    r"(?:[\u4e00-\u9fff]{2,6}?(?:广场|大厦|公寓|小区|花园|中心|苑|园|城)(?=[0-9A-Z]))?"
    rf"(?:(?:附|之)?[0-9A-Za-z{_NUMERALS}-]{{0,5}}(?:号楼|号|栋|幢|座|楼|层|单元|室|房|院|弄)){{0,4}}(?:[0-9]{{3,4}}(?![0-9]))?"
)
_PROVINCE = re.compile(rf"(?:{_PROVINCES})(?=[\u4e00-\u9fff])")
_STOP = re.compile(
    r"[^\u4e00-\u9fff0-9]|[住在于址到至往为是从我他她你您和与的了]|位于|地址|寄往|来自|前往|家住"
)
_REACH = 32


def _chinese(text: str) -> Iterator[Place]:
    """From the province, or the first part that is named, to the house or room."""
    end = 0
    for match in _HOUSE.finditer(text):
        least = max(end, match.start() - _REACH)
        breaks = [stop.end() for stop in re.finditer(r"[^\u4e00-\u9fff0-9]", text[least : match.start()])]
        least += max(breaks, default=0)
        province = _PROVINCE.search(text, least, match.start() + 1)
        stops = [stop.end() for stop in _STOP.finditer(text, least, match.start())]
        start = province.start() if province else max(stops, default=least)
        end = match.end()
        if start < match.start():
            yield start, end


_BEFORE_WORD = Hint(
    shapes=(
        (DIGIT, Maybe(UPPER), " ", UPPER + span("À", "Þ")),
        *((DIGIT, Maybe(UPPER), " ", *word, " ") for word in words("de da do del la of the")),
        *(
            (DIGIT, Maybe(UPPER), " ", DIGIT, Maybe(DIGIT), Maybe(DIGIT), *end)
            for end in ("st", "nd", "rd", "th")
        ),
    )
)
_NAMED_STREET = Hint(
    tuple(f"{word}{end}" for word in _ABROAD for end in " ,"),
    tuple((*word, " ") for word in _BEFORE_NAME),
)
_BOX_NUMBER = Hint(shapes=(("bB", "oO", "xX", " ", DIGIT),))
_HOUSE_NUMBER = Hint(shapes=((DIGIT + _NUMERALS, Maybe(" "), "号弄栋幢號室"),))


def find_addresses(text: str, has: Has) -> Iterator[Place]:
    """Streets with a house number, post-office boxes, Chinese addresses down to the house."""
    yield from _streets(text)
    yield from _abroad(text)
    if has(_BOX_NUMBER):
        yield from places(_BOX.finditer(text))
    if has(_HOUSE_NUMBER):
        yield from _chinese(text)


ADDRESS = Finder(
    "address",
    find_addresses,
    hints=(_BEFORE_WORD, _NAMED_STREET, _BOX_NUMBER, _HOUSE_NUMBER),
)
