"""Shortest paths in a weighted directed graph by Dijkstra's algorithm.

The algorithm keeps a frontier of nodes with the best distance found so far, and repeatedly settles
the nearest one. Once a node is settled its distance is final, because any other way to it would have
to leave the settled part over a node that is at least as far away. That argument needs weights that
are not negative. A negative weight anywhere in the graph raises ``ValueError`` before the search
begins, since the search might stop without ever meeting the edge that makes its answer wrong.

``heapq`` cannot lower the key of an entry that is already in the heap. A node is therefore pushed
again whenever a shorter way to it turns up, and stale entries are skipped when they are popped. With
V nodes and E edges this takes O((V + E) log E) time.
"""

import heapq
from collections.abc import Hashable, Mapping
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)
Graph = Mapping[Node, Mapping[Node, float]]


def shortest_path(graph: Graph[Node], start: Node, goal: Node) -> tuple[float, list[Node]]:
    """Return the length of a shortest path from ``start`` to ``goal`` and its nodes.

    ``graph[a][b]`` is the weight of the edge from ``a`` to ``b``. A node without outgoing edges may be
    missing from the mapping. The length is infinite and the path empty when there is no way.

    >>> roads = {
    ...     "harbour": {"market": 4, "mill": 1},
    ...     "mill": {"market": 2, "castle": 7},
    ...     "market": {"castle": 3},
    ... }
    >>> shortest_path(roads, "harbour", "castle")
    (6, ['harbour', 'mill', 'market', 'castle'])
    >>> shortest_path(roads, "castle", "harbour")
    (inf, [])
    >>> shortest_path({"a": {"b": 2, "c": 1}, "b": {"c": -5}}, "a", "c")
    Traceback (most recent call last):
        ...
    ValueError: edge 'b' -> 'c' has the negative weight -5
    """
    for node, edges in graph.items():
        for neighbour, weight in edges.items():
            if weight < 0:
                raise ValueError(f"edge {node!r} -> {neighbour!r} has the negative weight {weight}")

    best: dict[Node, float] = {start: 0}
    came_from: dict[Node, Node] = {}
    settled: set[Node] = set()
    # The counter breaks ties, so that nodes themselves never need to be comparable.
    frontier: list[tuple[float, int, Node]] = [(0, 0, start)]
    pushes = 0

    while frontier:
        length, _, node = heapq.heappop(frontier)
        if node in settled:
            continue
        if node == goal:
            return length, _walk_back(came_from, goal)
        settled.add(node)
        for neighbour, weight in graph.get(node, {}).items():
            candidate = length + weight
            if neighbour not in best or candidate < best[neighbour]:
                best[neighbour] = candidate
                came_from[neighbour] = node
                pushes += 1
                heapq.heappush(frontier, (candidate, pushes, neighbour))
    return float("inf"), []


def _walk_back(came_from: Mapping[Node, Node], goal: Node) -> list[Node]:
    path = [goal]
    while path[-1] in came_from:
        path.append(came_from[path[-1]])
    return path[::-1]


if __name__ == "__main__":
    import doctest

    doctest.testmod()
