"""Solve the linear assignment problem: exact, and fast if few rows compete for the same column."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Float32

Float64 = NDArray[np.float64]
Rows = NDArray[np.intp]


def assign(gain: Float64 | Float32, least: float) -> tuple[Rows, Rows]:
    """Pair rows with columns, each at most once, so that the sum of gains is greatest.

    gain: (N, M). least: the smallest gain of a pair, > 0. Returns the rows and the columns of the pairs.
    If no two rows have the same best column, these are the solution; otherwise rows are inserted one by one
    (_Assignment).
    """
    best = gain.argmax(axis=1)
    top = gain[np.arange(len(gain)), best]
    rows = np.flatnonzero(top >= least)
    best_column = best[rows]
    if np.bincount(best_column, minlength=1).max() <= 1:
        return rows, best_column
    costs: list[list[tuple[int, float]]] = [[] for _ in range(len(gain))]
    allowed = np.nonzero(gain >= least)
    for row, column, value in zip(*(part.tolist() for part in (*allowed, gain[allowed]))):
        costs[row].append((column, -value))
    assignment = _Assignment(costs, -top.astype(np.float64))
    for row, column in zip(rows.tolist(), best_column.tolist()):
        assignment.insert(row, column)
    pairs = np.array(sorted(assignment.column_of.items()), np.intp)
    return pairs[:, 0], pairs[:, 1]


class _Assignment:
    """A minimum-cost assignment, extended row by row along shortest augmenting paths (Jonker and Volgenant 1987).

    A row may stay unassigned, at cost 0. Rows have few candidates: lists are faster than arrays here.
    """

    def __init__(self, costs: list[list[tuple[int, float]]], row_prices: Float64) -> None:
        self._costs = costs
        self._row_price: list[float] = row_prices.tolist()
        self._column_price: dict[int, float] = {}
        self._row_of: dict[int, int] = {}  # column -> row
        self.column_of: dict[int, int] = {}  # row -> column

    def insert(self, row: int, best: int) -> None:
        """Add a row. best: its cheapest column, which it gets directly if that is unassigned and has no price."""
        if best not in self._row_of and best not in self._column_price:
            self._row_of[best], self.column_of[row] = row, best
        else:
            self._augment(row)

    def _augment(self, row: int) -> None:
        reached: dict[int, float] = {}  # column -> length of the shortest path to it
        via: dict[int, int] = {}  # column -> the row before it on that path
        closed: dict[int, float] = {}  # columns whose shortest path is final
        visited = [row]
        at, length = row, 0.0
        leave, leave_cost = row, -self._row_price[row]  # the visited row to leave unassigned, if the path ends here
        while True:
            for column, cost in self._costs[at]:
                path = length + cost - self._row_price[at] - self._column_price.get(column, 0.0)
                if column not in closed and path < reached.get(column, math.inf):
                    reached[column], via[column] = path, at
            nearest = min(reached, key=reached.__getitem__, default=-1)
            if nearest < 0 or reached[nearest] >= leave_cost:
                nearest, length = -1, leave_cost
                break
            length = reached[nearest]
            if nearest not in self._row_of:
                break
            closed[nearest] = reached.pop(nearest)
            at = self._row_of[nearest]
            visited.append(at)
            if length - self._row_price[at] < leave_cost:
                leave, leave_cost = at, length - self._row_price[at]
        self._update_prices(row, visited, closed, length)
        self._reassign(row, nearest, leave, via)

    def _update_prices(self, row: int, visited: list[int], closed: dict[int, float], length: float) -> None:
        self._row_price[row] += length
        for other in visited[1:]:
            self._row_price[other] += length - closed[self.column_of[other]]
        for column, path in closed.items():
            self._column_price[column] = self._column_price.get(column, 0.0) - (length - path)

    def _reassign(self, row: int, column: int, leave: int, via: dict[int, int]) -> None:
        """Reassign the columns along the path. If it ends with a row that is left unassigned, start with its column."""
        if column < 0:
            if leave == row:
                return
            column = self.column_of.pop(leave)
        while True:
            at = via[column]
            self._row_of[column] = at
            before = self.column_of.get(at, -1)
            self.column_of[at] = column
            if at == row:
                return
            column = before
