"""Layers of an acyclic graph: data flows from top to bottom, and edges that skip layers get lanes beside the nodes.

The scheme is Sugiyama's. 1. Every node stands one layer below the lowest of those that it reads. 2. A node that is read further
down has a lane through the layers between, one for all its readers. 3. Every layer is ordered so that few lines cross. 4. Places
from left to right are a linear program: lines are short and hence straight, above all those of the longest path.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import networkx
import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array

Point = tuple[Hashable, int]
"""A node and a layer: where the node stands if that is its layer, else where its lane passes."""

SWEEPS = 16
STRAIGHTNESS = {"longest": 64.0, "lane": 4.0, "other": 1.0}
"""How much a line matters by what it is; the longest path matters more than all lanes beside it."""


@dataclass(frozen=True)
class Layers:
    """A layered graph.

    Attributes:
        layer: of every node, 0 on top.
        points: nodes and lanes as a graph whose edges lead from one layer to the next.
        rows: points of every layer from left to right.
        x: centre of every point.
    """

    layer: dict[Hashable, int]
    points: networkx.DiGraph
    rows: list[list[Point]]
    x: dict[Point, float]

    def path(self, source: Hashable, target: Hashable) -> list[Point]:
        """The points of an edge: the source, its lane, the target."""
        first, last = self.layer[source], self.layer[target]
        return [*((source, level) for level in range(first, last)), (target, last)]

    def is_lane(self, point: Point) -> bool:
        """Whether a lane passes there."""
        return self.layer[point[0]] != point[1]


def layered(graph: networkx.DiGraph, node_width: float, lane_width: float) -> Layers:
    """Give every node a layer and a place in it.

    Args:
        graph: acyclic, without loops.
        node_width: what a node takes from left to right, with the room around it.
        lane_width: what a lane takes.

    Raises:
        networkx.NetworkXUnfeasible: the graph has a cycle.
    """
    layer = _layers(graph)
    points = networkx.DiGraph()
    # Nodes first and lanes last is the order that is kept wherever lines do not ask for another.
    points.add_nodes_from((node, layer[node]) for node in graph)
    layers = Layers(layer, points, [[] for _ in range(max(layer.values(), default=-1) + 1)], {})
    for source, target in graph.edges:
        networkx.add_path(points, layers.path(source, target))
    for point in points:
        layers.rows[point[1]].append(point)
    _order(layers)
    widths = {point: lane_width if layers.is_lane(point) else node_width for point in points}
    layers.x.update(_places(layers, widths, _straightness(graph, layers)))
    return layers


def _layers(graph: networkx.DiGraph) -> dict[Hashable, int]:
    layer = {node: index for index, nodes in enumerate(networkx.topological_generations(graph)) for node in nodes}
    for node in graph:
        # What reads nothing stands right above the first that reads it, not far away on top.
        if not graph.in_degree(node) and graph.out_degree(node):
            layer[node] = min(layer[reader] for reader in graph.successors(node)) - 1
    return layer


def _straightness(graph: networkx.DiGraph, layers: Layers) -> dict[tuple[Point, Point], float]:
    longest = set(itertools.pairwise(networkx.dag_longest_path(graph)))
    result = {}
    for upper, lower in layers.points.edges:
        kind = "longest" if (upper[0], lower[0]) in longest else "other"
        result[upper, lower] = STRAIGHTNESS["lane" if upper[0] == lower[0] else kind]
    return result


def _order(layers: Layers) -> None:
    """Sweep down and up, sorting every layer by the mean place of neighbours in the layer before; keep the best."""
    points, rows, count = layers.points, layers.rows, len(layers.rows)
    best, fewest = [list(row) for row in rows], _crossings(layers)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        for index in range(1, count) if down else range(count - 2, -1, -1):
            before = {point: place for place, point in enumerate(rows[index - 1 if down else index + 1])}
            here = {point: float(place) for place, point in enumerate(rows[index])}
            for point in rows[index]:
                neighbours = list(points.predecessors(point) if down else points.successors(point))
                if neighbours:
                    here[point] = sum(before[neighbour] for neighbour in neighbours) / len(neighbours)
            rows[index].sort(key=here.__getitem__)
        crossings = _crossings(layers)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    rows[:] = best


def _crossings(layers: Layers) -> int:
    total = 0
    for upper, lower in itertools.pairwise(layers.rows):
        below = {point: place for place, point in enumerate(lower)}
        ends = [(place, below[reader]) for place, point in enumerate(upper) for reader in layers.points.successors(point)]
        if len(ends) > 1:
            first, second = np.array(ends).T
            total += int(((first[:, None] < first) & (second[:, None] > second)).sum())
    return total


def _places(layers: Layers, widths: dict[Point, float], straightness: dict[tuple[Point, Point], float]) -> dict[Point, float]:
    """Minimise Σ weight · |x_upper - x_lower| where neighbours in a layer keep their distance."""
    index = {point: number for number, point in enumerate(layers.points)}
    edges = list(layers.points.edges)
    neighbours = [pair for row in layers.rows for pair in itertools.pairwise(row)]
    entries: list[tuple[int, int, float]] = []
    limits: list[float] = []

    def at_most(terms: Iterable[tuple[int, float]], limit: float) -> None:
        entries.extend((len(limits), column, factor) for column, factor in terms)
        limits.append(limit)

    for offset, (upper, lower) in enumerate(edges, len(index)):
        at_most([(index[upper], 1.0), (index[lower], -1.0), (offset, -1.0)], 0.0)
        at_most([(index[upper], -1.0), (index[lower], 1.0), (offset, -1.0)], 0.0)
    for left, right in neighbours:
        at_most([(index[left], 1.0), (index[right], -1.0)], -(widths[left] + widths[right]) / 2)
    # The little weight of the places themselves keeps everything together at the left.
    costs = [1e-3] * len(index) + [straightness[edge] for edge in edges]
    if not limits:
        return dict.fromkeys(index, 0.0)
    lines, columns, factors = zip(*entries, strict=True)
    matrix = coo_array((factors, (lines, columns)), shape=(len(limits), len(costs))).tocsr()
    solution = linprog(costs, A_ub=matrix, b_ub=limits, method="highs")
    return {point: round(float(solution.x[number]), 6) for point, number in index.items()}
