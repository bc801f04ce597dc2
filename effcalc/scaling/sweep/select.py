"""Which points of a sweep are kept: the first in some order, or the Pareto front.

Both hold only the points that may still be kept, whatever the number of points seen. A point is
kept as its index, from which it is recomputed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from effcalc.base.errors import InputError, one_line, suggest
from effcalc.scaling.sweep.chunks import Chunk

Array = Any


@dataclass(frozen=True, slots=True)
class Order:
    """A column to sort by, the smallest first or, where `down`, the largest."""

    key: str
    down: bool = False

    def of(self, chunk: Chunk) -> Array:
        """The column of a chunk, so that smaller comes first; NaN where there is no figure."""
        values = chunk[self.key]
        return -values if self.down else values


def read_order(text: str, known: Sequence[str], option: str) -> Order:
    """Read `KEY`, or `-KEY` for largest first; raise `InputError` for an unknown column."""
    key = text.strip().removeprefix("-").strip()
    if key not in known:
        raise InputError(
            f"{option}: {one_line(key, 60)!r} is no column of numbers{suggest(key, known)}; "
            f"known: {', '.join(known)}"
        )
    return Order(key, text.strip().startswith("-"))


class Selection(Protocol):
    """Keeps some of the points that it is shown, by their indices."""

    @property
    def index(self) -> Array:
        """Indices of what is kept, in order."""

    def add(self, chunk: Chunk, places: Array) -> None:
        """Consider the points of a chunk at these places."""


class Top:
    """The first points by one column; of equal ones those seen first."""

    def __init__(self, count: int, order: Order) -> None:
        """Keep `count` points."""
        self.count, self.order = count, order
        self.index: Array = np.empty(0, np.int64)
        self._values: Array = np.empty(0, np.int64)

    def add(self, chunk: Chunk, places: Array) -> None:
        """Consider the points of a chunk at these places."""
        values = self.order.of(chunk)[places]
        good = values == values
        if len(self.index) == self.count:
            good &= values < self._values[-1]
        values = np.concatenate([self._values, values[good]])
        first = np.argsort(values, kind="stable")[: self.count]
        self._values = values[first]
        self.index = np.concatenate([self.index, chunk.index[places][good]])[first]


class Front:
    """The Pareto front: points that no other is as good as in every column and better in one.

    Of points that are equal in every column, the one seen first is kept.
    """

    def __init__(self, orders: Sequence[Order]) -> None:
        """Compare by these columns."""
        self.orders = orders
        self.index: Array = np.empty(0, np.int64)
        self._values: list[Array] = [np.empty(0, np.int64) for _ in orders]

    def add(self, chunk: Chunk, places: Array) -> None:
        """Consider the points of a chunk at these places."""
        values = [order.of(chunk)[places] for order in self.orders]
        good = np.logical_and.reduce([v == v for v in values])
        values = [v[good] for v in values]
        index = chunk.index[places][good]
        own = front(values)
        values = [
            np.concatenate([kept, v[own]]) for kept, v in zip(self._values, values, strict=True)
        ]
        index = np.concatenate([self.index, index[own]])
        best = front(values)
        self._values = [v[best] for v in values]
        self.index = index[best]


def front(values: Sequence[Array]) -> Array:
    """Return the places of the points that are on the front, ordered by the first column.

    In lexicographic order (equal points in the order given) no point is better than one before
    it in every column, so the first of those that remain is on the front and removes others.
    """
    order = np.lexsort(tuple(reversed([_ranks(v) for v in values])))
    if len(values) <= 2:
        last = values[-1][order]
        if len(last) == 0:
            return order
        best = np.minimum.accumulate(last)
        return order[np.concatenate([[True], last[1:] < best[:-1]]).astype(bool)]
    heads = []
    while len(order):
        head, order = order[0], order[1:]
        heads.append(head)
        better = np.logical_or.reduce([(v[order] < v[head]).astype(bool) for v in values])
        order = order[better]
    return np.array(heads, np.int64)


def _ranks(values: Array) -> Array:
    """Numbers in the same order: `lexsort` does not take Python ints."""
    return np.unique(values, return_inverse=True)[1] if values.dtype == object else values
