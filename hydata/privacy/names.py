"""Names of people: off unless asked for, since what finds them is neither complete nor exact.

Chinese names are words that jieba's tagger (``rjieba``, an optional package; its dictionary is in the wheel)
takes for a person's and that begin with one of the common surnames. English ones are told by a title or a
phrase before them alone: no package that was found brings a model for them with it, and the largest list of
names takes 22 seconds and 2 GB to load. Figures: ``docs/judges.md``.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator
from typing import Any

from hydata.errors import ConfigError
from hydata.privacy.finder import Finder, Place
from hydata.privacy.hints import UPPER, Has, Hint, span

_SURNAMES = frozenset(
    "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜戚谢邹喻柏窦章云苏潘葛奚范彭郎鲁韦昌马苗凤方俞任袁柳鲍史唐"
    "费廉岑薛雷贺倪汤滕殷罗毕郝邬安常乐于时傅皮卞齐康伍余卜顾孟平黄穆萧尹姚邵湛汪祁毛禹狄贝明臧计伏成戴谈宋茅庞熊纪舒屈项祝董梁杜"
    "阮蓝闵席季麻强贾路娄危江童颜郭梅盛林刁钟徐邱骆高夏蔡田樊胡凌霍虞万支柯管卢莫房裘缪解应宗丁宣贲邓郁单杭洪包诸左石崔吉龚程邢裴"
    "陆荣翁荀甄曲封储靳段富巫乌焦谷车侯班仰秋仲伊宫宁仇栾甘厉武符刘景詹束龙叶幸司黎薄印白怀蒲鄂赖卓屠蒙池乔闻党翟谭贡劳姬申扶冉宰桑"
    "桂牛寿边燕冀尚温别庄晏柴瞿阎充慕连茹习艾鱼容向古易慎廖庾衡步耿满匡文寇广欧利师巩聂晁敖冷辛阚简饶曾关相查荆游权盖益桓"
)
_HAN = re.compile("[\u4e00-\u9fff]{2,4}")
_ENGLISH = re.compile(
    r"(?:(?<![A-Za-z])(?:Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Madam)\.? |(?<![A-Za-z])(?:[Mm]y|[Hh]is|[Hh]er|"
    r"[Tt]he) (?:full )?name is |"
    r"(?<![A-Za-z])[Nn]ame: {0,4}|(?<![A-Za-z])(?:[Dd]ear|[Ss]incerely,|[Rr]egards,)\s)"
    r"([A-ZÀ-Þ][A-Za-zÀ-ɏ'’-]{1,24}(?: (?:[A-Z]\.|[A-ZÀ-Þ][A-Za-zÀ-ɏ'’-]{1,24})){0,3})"
)


def _tagger() -> Any:
    return importlib.import_module("rjieba")


def check_names() -> None:
    """Check that the package for names is there.

    Raises:
        ConfigError: it is not.
    """
    if importlib.util.find_spec("rjieba") is None:
        raise ConfigError('privacy.names = true needs the package rjieba: pip install "hydata[names]"')


def find_names(text: str, _: Has) -> Iterator[Place]:
    """Names, Chinese ones of two to four characters."""
    for match in _ENGLISH.finditer(text):
        yield match.span(1)
    if _HAN.search(text):
        place = 0
        for word, tag in _tagger().tag(text):
            if tag.startswith("nr") and word[0] in _SURNAMES and _HAN.fullmatch(word):
                yield place, place + len(word)
            place += len(word)


NAME = Finder("name", find_names, hints=(Hint(shapes=(2 * (span("\u4e00", "\u9fff"),), (UPPER,))),))
