import itertools
import time
from collections import Counter
from random import Random

import pytest

from hydata.synthesis.answers import Answer, read_reference
from hydata.synthesis.equivalence import SECONDS, classes, equivalent

# What math-verify says of itself: its README and the cases of its tests, as answers rather than whole texts.
MATH_SAME = [
    (r"-5", r"-5"),
    (r"7425000", r"7,425,000"),
    (r"1000", r"1000.0"),
    (r"1000.0", r"1,000.0"),
    (r"0.4", r".4"),
    (r"1000.99", r"1,000.99"),
    (r"1000.99", r"$1,000.99$"),
    (r"1000.99", r"1,000.99€"),
    (r"1000.99", r"1,000.99m²"),
    (r"1000", r"1 000"),
    (r"1000.99", r"1000,99"),
    (r"1,22", r"1.22"),
    (r"0,111", r"0.111"),
    (r"10/9", r"\frac{10}{9}"),
    (r"-10/9", r"-\frac{10}{9}"),
    (r"[0,1)", r"[0,1)"),
    (r"1/3", r"\frac13"),
    (r"1", r"\frac3{3}"),
    (r"\sqrt{3}", r"\sqrt3"),
    (r"1/3", r"\cfrac{1}{3}"),
    (r"1/3", r"\dfrac{1}{3}"),
    (r"1/3", r"\tfrac{1}{3}"),
    (r"1/3", r"\left( \frac{1}{3} \right)"),
    (r"1/3", r"\frac{1}{3} \text{meters}"),
    (r"1/3", r"\frac{1}{3} \textbf{meters}"),
    (r"1/3", r"k = \frac{1}{3}"),
    (r"10", r"(9+1)"),
    (r"28\%", r"28 percent"),
    (r"28\%", r"28 pct"),
    (r"28\%", r"28 %"),
    (r"2-2p", r"2-2p"),
    (r"14{,}916", r"14916"),
    (r"12\text{ and }13", r"12, 13"),
    (r"(3, \frac{\pi}{2})", r"\left( 3, \frac{\pi}{2} \right)"),
    (r"\text{Evelyn}", r"Evelyn"),
    (r"90^\circ", r"90"),
    (r"15\mbox{ cm}^2", r"15"),
    (r"-2,1", r"-2, 1"),
    (r"204_5", r"204_5"),
    (r"(6,31,-1)", r"(6, 31, -1)"),
    (r"1 \pm \sqrt{19}", r"1 \pm \sqrt{19}"),
    (r"\{1\pm\sqrt{5},-2\}", r"\{-2, 1\pm\sqrt{5}\}"),
    (r"f(2) < f(1) < f(4)", r"f(2) < f(1) < f(4)"),
    (r"2 \sin b \cos a", r"2 \cos a \sin b"),
    (r"125", r"125\textnormal{ miles}"),
    (r"[-1, -\frac{1}{2}) \cup (0, 1)", r"[-1, -\tfrac12) \cup (0,1)"),
    (r"\sqrt{2}+\sqrt{5}", r"\sqrt 5+\sqrt 2"),
    (r"\frac{9}{4}\pi", r"\frac94\pi"),
    (r"x >= 5", r"x \geq 5"),
    (r"x < 3", r"x \lt 3"),
    (r"x \leq 2", r"x <= 2"),
    (r"x != 3", r"x \neq 3"),
    (r"x \leq 5", r"5 \geq x"),
    (r"x = 11", r"x = 5+5+1 = 7 =11"),
    (r"11", r"x=11"),
    (r"11", r"x\approx11"),
    (r"x < 1", r"-x > -1"),
    (r"x <= 1", r"-x >= -1"),
    (r"k=1", r"1"),
    (r"2x+4y-3=0", r"y=-\frac{1}{2}x+\frac{3}{4}"),
    (r"x^2/4 + y^2/3 = 1", r"x^2/16 + y^2/12 = 1/4"),
    (r"\begin{pmatrix}1 & 0 \\ 0 & 1\end{pmatrix}", r"\begin{bmatrix}1 & 0 \\ 0 & 1\end{bmatrix}"),
    (
        r"\begin{pmatrix}6 & 8 \\ 10 & 12\end{pmatrix}",
        r"\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix} + \begin{pmatrix}5 & 6 \\ 7 & 8\end{pmatrix}",
    ),
    (r"\frac{1}{12}", r"0.0833333333333333"),
    (r"(1,\frac{9}{2})", r"(1,4.5)"),
    (r"\frac{x+2}{7}", r"\frac{x}{7}+\frac{2}{7}"),
    (r"\tan^2(y)+1", r"\sec^2(y)"),
    (r"34x+45y-20z+100=0", r"-34x-45y+20z-100=0"),
    (
        r"\frac{\sqrt{\sqrt{11}+\sqrt{194}}}{15+2\sqrt{33}}",
        r"\frac{\sqrt{\sqrt{11}+\sqrt{194}}}{2\sqrt{33}+15}",
    ),
    (r"40/9", r"4 4/9"),
    (r"n=1, 2, 3", r"n=1, 2, 3"),
    (r"19, 46, and 82", r"19, 46, \text{ and } 82"),
    (r"1 - \frac{1}{\mathrm{e}}", r"1 - \frac{1}{\mathrm{e}}"),
    (r"\pm 2021", r"{-2021, 2021}"),
    (r"12:00", r"12:00"),
    (r"\frac{1}{3}", r"0.333333"),
    (r"(x+1)^2", r"x^2+2x+1"),
    (r"2^{10}", r"1024"),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}"),
    (r"1,2,3", r"3,2,1"),
    (r"\{1,2,3\}", r"\{3,2,1\}"),
]
MATH_DIFFERENT = [
    (r"[0,9)", r"[0,1)"),
    (r"(0,9)", r"[0,9)"),
    (r"1", r"-[0,1)"),
    (r"0.28", r"28"),
    (r"28/100", r"28"),
    (r"28", r"28/100"),
    (r"\frac{28}{100}", r"28"),
    (r"x > 5", r"x < 5"),
    (r"x \geq 5", r"x \leq 5"),
    (r"7 = 11a+c", r"11a+c"),
    (r"x < 1", r"x > -1"),
    (r"a +3z = 0", r"0"),
    (r"2x + z = 1", r"1"),
    (r"a^2 + b = 0", r"0"),
    (r"\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix}", r"\begin{pmatrix}1 & 2 \\ 3 & 5\end{pmatrix}"),
    (r"(a+5)(b+2)", r"(+5)(b+2)"),
    (r"2", r"\frac{1+\sqrt{5}}{2}"),
    (r"4", r"\frac{34}{16}+\frac{\sqrt{1358}}{16}"),
    (r"1\sqrt{19}", r"1"),
    (r"x+2n+1", r"x+1"),
    (r"4", r"4 4/9"),
    (r"n=2, 3, 4", r"n=1, 2, 3"),
    (r"D = (0, 1)", r"D = (0, 1.5)"),
    (r"19, 46, and 82", r"21, 36, and 82"),
    (r"1 - \frac{1}{\mathrm{e}}", r"1 + \frac{1}{\mathrm{e}}"),
    (r"\pm 2021", r"2021"),
    (r"12:00", r"1:00"),
    (r"\frac{1}{3}", r"0.33"),
    (r"1e3", r"1000"),
]
SAME = [
    (r"三分之二", r"2/3"),
    (r"百分之五十", r"50%"),
    (r"百分之五十", r"\frac12"),
    (r"3.5万", r"35000"),
    (r"三万五千", r"35000"),
    (r"1亿2000万", r"120000000"),
    (r"一亿二千万", r"120000000"),
    (r"十二个", r"12"),
    (r"12个苹果", r"12"),
    (r"两千零五", r"2005"),
    (r"二点五", r"2.5"),
    (r"一半", r"0.5"),
    (r"负三", r"-3"),
    (r"3公里", r"3000米"),
    (r"3公里", r"3 km"),
    (r"2.5小时", r"150分钟"),
    (r"5元", r"50角"),
    (r"对", r"正确"),
    (r"错误", r"不对"),
    (r"2023年5月1日", r"2023-05-01"),
    (r"二〇二三年五月一日", r"May 1, 2023"),
    (r"1 May 2023", r"2023年5月1号"),
    (r"5月1日", r"May 1st"),
    (r"2023年5月", r"May 2023"),
    (r"B", r"(B)"),
    (r"选B", r"B"),
    (r"北京。", r"北京"),
    (r"“北京”", r"北京"),
    (r"The Eiffel Tower", r"eiffel tower"),
    (r"Paris.", r"Paris"),
    (r"二又三分之一", r"7/3"),
    (r"一百二十三元", r"123元"),
    (r"15%", r"百分之十五"),
    (r"5 dollars", r"500 cents"),
    (r"18 dollars", r"18"),
]
DIFFERENT = [
    (r"5元", r"5角"),
    (r"对", r"错"),
    (r"2023年5月1日", r"2023年5月2日"),
    (r"B", r"C"),
    (r"Paris", r"London"),
    (r"0.6667", r"2/3"),
    (r"5 dollars", r"5 cents"),
]


def read(text: str, percent: bool = False) -> Answer:
    answer = read_reference(text, "any", percent)
    assert answer is not None
    return answer


@pytest.mark.parametrize(("a", "b"), [*MATH_SAME, *SAME])
def test_equal_answers_are_one_class(a: str, b: str) -> None:
    assert equivalent(read(a), read(b))
    assert equivalent(read(b), read(a))


@pytest.mark.parametrize(("a", "b"), [*MATH_DIFFERENT, *DIFFERENT])
def test_different_answers_are_two(a: str, b: str) -> None:
    assert not equivalent(read(a), read(b))
    assert not equivalent(read(b), read(a))


def test_percent_is_a_matter_of_the_question() -> None:
    assert equivalent(read("28%", percent=True), read("28", percent=True))
    assert not equivalent(read("28%"), read("28"))


def test_classes_partition_the_votes_whatever_their_order() -> None:
    texts = [
        r"\frac{1}{2}",
        "0.5",
        "50%",
        "x+1",
        "1+x",
        "x",
        "3 km",
        "3000 m",
        "3",
        "北京",
        "Paris",
        "2/4",
        "(B)",
    ]
    answers = [*map(read, texts), None, None]
    reference = dict(zip(map(str, answers), classes(answers), strict=True))
    random = Random(5)
    for _ in range(10):
        random.shuffle(answers)
        found = classes(answers)
        assert {str(a): c for a, c in zip(answers, found, strict=True)} == reference
    assert all((answer is None) == (c is None) for answer, c in zip(answers, found, strict=True))
    sizes = Counter(c for c in found if c is not None)
    assert sorted(sizes) == list(range(len(sizes)))
    assert [sizes[c] for c in sorted(sizes)] == sorted(sizes.values(), reverse=True)
    assert sum(sizes.values()) == len(texts)


def test_equivalence_is_transitive_inside_a_group() -> None:
    pool = [
        read(t) for t in ("1/3", "0.333333", "0.3333333", "1/2", r"\frac{2}{6}", "5 m", "5", "500 cm", "5 km")
    ]
    for three in itertools.combinations(pool, 3):
        found = classes(three)
        assert len(found) == 3
        for a, b in itertools.permutations(range(3), 2):
            if found[a] == found[b]:
                assert classes([three[a], three[b], three[a]])[0] is not None


HOSTILE = [
    "10^{10^{10}}",
    "9^{9^{9^{9}}}",
    "99999!!!!",
    "((((10^9)^9)^9)^9)!",
    r"\frac{" * 200 + "1" + "}{2}" * 200,
    "{" * 5_000,
    r"\sqrt{" * 60 + "2" + "}" * 60,
    r"\sum_{k=1}^{10^{9}} k^{k}",
    r"\int_0^1 x^{x^{x}} dx",
    r"\prod_{i=1}^{99999} \sum_{j=1}^{99999} i^j",
    "1" * 5_000,
    "\ud800 \x00 \ufffd",
    "(x+1)^{9999} (x+2)^{9999}",
    r"\def\a{\a\a}\a",
]


def test_hostile_formulas_end_and_are_equal_to_themselves_alone() -> None:
    answers = [Answer("math", text) for text in HOSTILE]
    started = time.process_time()
    found = classes([*answers, *answers, Answer("number", "7")])
    assert found[: len(HOSTILE)] == found[len(HOSTILE) : -1]
    assert len(set(found)) == len(HOSTILE) + 1
    assert time.process_time() - started < 60 * SECONDS
