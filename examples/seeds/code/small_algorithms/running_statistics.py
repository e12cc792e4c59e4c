"""流式计算均值和方差：数据只看一遍，内存占用是常数。

直接套用公式“平方的均值减去均值的平方”有一个陷阱：当数据的均值很大而波动很小时，两个几乎相等的大数
相减，有效数字会大量丢失，甚至得到负的方差。Welford 在 1962 年提出的递推公式避免了这个问题：它只累加
“每个数与当前均值之差”，这些差值本身很小，所以舍入误差也小。

设已有 n 个数，均值为 m，离差平方和为 s。加入新数 x 之后：

    delta = x - m
    m'    = m + delta / (n + 1)
    s'    = s + delta * (x - m')

两段数据的统计量还可以合并，因此能把一个大文件切成几块并行处理，最后再汇总。
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class RunningStatistics:
    """一段数据的个数、均值和离差平方和。对象不可变，加入数据会返回新的对象。

    >>> stats = RunningStatistics().extend([2, 4, 4, 4, 5, 5, 7, 9])
    >>> stats.count, stats.mean, stats.variance(), stats.deviation()
    (8, 5.0, 4.0, 2.0)

    均值很大时结果依然准确，而朴素公式对这四个数算出的方差是负数：

    >>> RunningStatistics().extend([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16]).variance(sample=True)
    30.0
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0  # 离差平方和，即各数与均值之差的平方的总和

    def add(self, value: float) -> "RunningStatistics":
        """加入一个数。"""
        count = self.count + 1
        delta = value - self.mean
        mean = self.mean + delta / count
        return RunningStatistics(count, mean, self.squares + delta * (value - mean))

    def extend(self, values: Iterable[float]) -> "RunningStatistics":
        """依次加入多个数。"""
        result = self
        for value in values:
            result = result.add(value)
        return result

    def merge(self, other: "RunningStatistics") -> "RunningStatistics":
        """合并两段互不重叠的数据，结果与从头计算一致（舍入误差除外）。

        >>> left = RunningStatistics().extend([2, 4, 4, 4])
        >>> right = RunningStatistics().extend([5, 5, 7, 9])
        >>> left.merge(right).variance()
        4.0
        """
        count = self.count + other.count
        if count == 0:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * other.count / count
        # 总的离差平方和 = 两段各自的离差平方和 + 两段均值不同所带来的部分
        squares = self.squares + other.squares + delta**2 * self.count * other.count / count
        return RunningStatistics(count, mean, squares)

    def variance(self, sample: bool = False) -> float:
        """方差。``sample`` 为真时除以 n - 1（样本方差，无偏估计），否则除以 n（总体方差）。"""
        divisor = self.count - 1 if sample else self.count
        if divisor < 1:
            raise ValueError(f"只有 {self.count} 个数，无法计算方差")
        return self.squares / divisor

    def deviation(self, sample: bool = False) -> float:
        """标准差，即方差的平方根，单位与数据相同。"""
        return math.sqrt(self.variance(sample))


if __name__ == "__main__":
    import doctest

    doctest.testmod()
