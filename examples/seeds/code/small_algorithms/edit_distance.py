"""Edit distance between two sequences, and one alignment that reaches it.

The Levenshtein distance is the least number of insertions, deletions and substitutions of single
items that turn one sequence into the other. It is found by dynamic programming: ``cost[i][j]`` is the
distance between the first ``i`` items of the source and the first ``j`` items of the target. The last
item of the two prefixes is either deleted, inserted or matched, so each cell depends on three
neighbours only:

    cost[i][j] = min(cost[i-1][j] + 1,                      delete source[i-1]
                     cost[i][j-1] + 1,                      insert target[j-1]
                     cost[i-1][j-1] + (source != target))   keep or substitute

Time is proportional to the product of the two lengths. ``distance`` keeps two rows of the table;
``alignment`` needs all of it, because it walks back from the last cell to the first.
"""

from collections.abc import Sequence


def distance(source: Sequence[object], target: Sequence[object]) -> int:
    """Return the Levenshtein distance.

    >>> distance("kitten", "sitting")
    3
    >>> distance("", "abc")
    3
    >>> distance("the quick fox".split(), "the brown quick fox".split())
    1
    """
    if len(target) > len(source):  # the distance is symmetric: keep the row short
        source, target = target, source
    previous = list(range(len(target) + 1))
    for i, left in enumerate(source, start=1):
        current = [i]
        for j, right in enumerate(target, start=1):
            current.append(
                min(
                    previous[j] + 1,
                    current[j - 1] + 1,
                    previous[j - 1] + (left != right),
                )
            )
        previous = current
    return previous[-1]


def alignment(source: str, target: str, gap: str = "-") -> tuple[str, str]:
    """Return both strings padded with ``gap`` so that equal columns are matches.

    When several alignments cost the same, a match or substitution is preferred to a deletion, and
    a deletion to an insertion.

    >>> top, bottom = alignment("sunday", "saturday")
    >>> print(top, bottom, sep="\\n")
    s--unday
    saturday
    >>> sum(a != b for a, b in zip(top, bottom)) == distance("sunday", "saturday")
    True
    """
    cost = [[i + j if i * j == 0 else 0 for j in range(len(target) + 1)] for i in range(len(source) + 1)]
    for i, left in enumerate(source, start=1):
        for j, right in enumerate(target, start=1):
            cost[i][j] = min(cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (left != right))

    columns = []
    i, j = len(source), len(target)
    while i or j:
        if i and j and cost[i][j] == cost[i - 1][j - 1] + (source[i - 1] != target[j - 1]):
            i, j = i - 1, j - 1
            columns.append((source[i], target[j]))
        elif i and cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
            columns.append((source[i], gap))
        else:
            j -= 1
            columns.append((gap, target[j]))
    columns.reverse()
    return "".join(a for a, _ in columns), "".join(b for _, b in columns)


if __name__ == "__main__":
    import doctest

    doctest.testmod()
