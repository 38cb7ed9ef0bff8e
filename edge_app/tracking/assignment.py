"""The best pairing of rows with columns: exact, and cheap where hardly any compete. Pure numpy and lists."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Float32

Float64 = NDArray[np.float64]
Rows = NDArray[np.intp]


def assign(gain: Float64 | Float32, least: float) -> tuple[Rows, Rows]:
    """Pair rows with columns, each once at most, for the greatest sum of gains; pairs below `least` are forbidden.

    gain: (N, M), least > 0. Returns the rows and the columns of the pairs. Exact: where every row's best column is its
    alone, that is the answer already; rows that compete are inserted one by one (_Assignment).
    """
    best = gain.argmax(axis=1)
    top = gain[np.arange(len(gain)), best]
    rows = np.flatnonzero(top >= least)
    wanted = best[rows]
    if np.bincount(wanted, minlength=1).max() <= 1:
        return rows, wanted
    costs: list[list[tuple[int, float]]] = [[] for _ in range(len(gain))]
    allowed = np.nonzero(gain >= least)
    for row, column, value in zip(*(part.tolist() for part in (*allowed, gain[allowed]))):
        costs[row].append((column, -value))
    assignment = _Assignment(costs, -top.astype(np.float64))
    for row, column in zip(rows.tolist(), wanted.tolist()):
        assignment.insert(row, column)
    pairs = np.array(sorted(assignment.given.items()), np.intp)
    return pairs[:, 0], pairs[:, 1]


class _Assignment:
    """A cheapest assignment that grows row by row along shortest augmenting paths (Jonker and Volgenant 1987).

    Rows may stay without a column, at cost 0. Few candidates a row: lists beat arrays here.
    """

    def __init__(self, costs: list[list[tuple[int, float]]], row_prices: Float64) -> None:
        self._costs = costs
        self._row_price: list[float] = row_prices.tolist()
        self._column_price: dict[int, float] = {}
        self._taken: dict[int, int] = {}  # by which row a column is
        self.given: dict[int, int] = {}  # which column a row has

    def insert(self, row: int, best: int) -> None:
        """Add a row; `best` is its cheapest column, which it gets for nothing while that is free and unpriced."""
        if best not in self._taken and best not in self._column_price:
            self._taken[best], self.given[row] = row, best
        else:
            self._augment(row)

    def _augment(self, row: int) -> None:
        reached: dict[int, float] = {}  # the cheapest way to each column, and from which row
        via: dict[int, int] = {}
        closed: dict[int, float] = {}
        visited = [row]
        at, spent = row, 0.0
        leave, leave_cost = row, -self._row_price[row]  # the visited row that stays without, were this the end
        while True:
            for column, cost in self._costs[at]:
                way = spent + cost - self._row_price[at] - self._column_price.get(column, 0.0)
                if column not in closed and way < reached.get(column, math.inf):
                    reached[column], via[column] = way, at
            nearest = min(reached, key=reached.__getitem__, default=-1)
            if nearest < 0 or reached[nearest] >= leave_cost:
                nearest, spent = -1, leave_cost
                break
            spent = reached[nearest]
            if nearest not in self._taken:
                break
            closed[nearest] = reached.pop(nearest)
            at = self._taken[nearest]
            visited.append(at)
            if spent - self._row_price[at] < leave_cost:
                leave, leave_cost = at, spent - self._row_price[at]
        self._reprice(row, visited, closed, spent)
        self._shift(row, nearest, leave, via)

    def _reprice(self, row: int, visited: list[int], closed: dict[int, float], spent: float) -> None:
        self._row_price[row] += spent
        for other in visited[1:]:
            self._row_price[other] += spent - closed[self.given[other]]
        for column, way in closed.items():
            self._column_price[column] = self._column_price.get(column, 0.0) - (spent - way)

    def _shift(self, row: int, column: int, leave: int, via: dict[int, int]) -> None:
        """Hand the columns along the path; where it ends with a row that leaves, its column is the first to pass on."""
        if column < 0:
            if leave == row:
                return
            column = self.given.pop(leave)
        while True:
            at = via[column]
            self._taken[column] = at
            before = self.given.get(at, -1)
            self.given[at] = column
            if at == row:
                return
            column = before
