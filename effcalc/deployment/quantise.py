"""Pruning by magnitude and clustering into a codebook, as in Deep Compression (NumPy).

Han et al. 2016, arXiv:1510.00149: weights under a threshold are dropped (section 2); those that
are left share the centroids of one-dimensional k-means for each tensor, which starts from
centroids at equal distances from the least to the largest weight (section 3.2, "linear"
initialisation). Training again after each step is the user's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from effcalc.deployment.sizes import Storage, kept_of

Floats: TypeAlias = npt.NDArray[np.float32]
Bytes: TypeAlias = npt.NDArray[np.uint8]

ROUNDS = 100  # of k-means at most; most tensors settle before


@dataclass(frozen=True, slots=True)
class Quantised:
    """A tensor as codes into a codebook.

    Dense: `codes` has a number of a centroid for each weight, and `distances` is None. Pruned:
    there is an entry for each kept weight and padding zero, `codes` being 0 for padding and
    otherwise 1 + the centroid's number, and `distances` the distance from the entry before, less 1.
    """

    weights: int
    centroids: Floats
    codes: Bytes
    distances: Bytes | None

    def restored(self) -> Floats:
        """The flat tensor that the codes stand for."""
        if self.distances is None:
            return self.centroids[self.codes]
        return scattered(self.weights, self.centroids, self.codes, self.distances)


def scattered(weights: int, centroids: Floats, codes: Bytes, distances: Bytes) -> Floats:
    """Put entries at their places among `weights` zeros; raise `ValueError` past the end."""
    flat = np.zeros(weights, np.float32)
    if len(codes):
        places = np.cumsum(distances, dtype=np.int64) + np.arange(len(codes))
        if places[-1] >= weights:
            raise ValueError("entries pass the end of their tensor")
        flat[places] = np.concatenate(([np.float32(0)], centroids))[codes]
    return flat


def quantise(weights: Floats, storage: Storage) -> Quantised:
    """Prune a flat tensor to a density, and cluster what is kept; the same each time."""
    size = 1 << storage.bits
    if storage.density == 1:
        centroids = cluster(weights, size)
        return Quantised(len(weights), centroids, _nearest(weights, centroids), None)
    places = np.flatnonzero(largest(weights, kept_of(len(weights), storage.density)))
    kept = weights[places]
    centroids = cluster(kept, size - 1)
    gaps = np.diff(places, prepend=-1) - 1
    padding = gaps >> storage.index_bits
    ends = np.cumsum(padding + 1) - 1
    entries = int(ends[-1]) + 1 if len(ends) else 0
    reach = 1 << storage.index_bits
    distances = np.full(entries, reach - 1, np.uint8)
    distances[ends] = gaps & (reach - 1)
    codes = np.zeros(entries, np.uint8)
    codes[ends] = _nearest(kept, centroids) + 1
    return Quantised(len(weights), centroids, codes, distances)


def largest(weights: Floats, kept: int) -> npt.NDArray[np.bool_]:
    """Which weights are the `kept` largest in magnitude: of equal ones the first, and no zero."""
    size = np.abs(weights)
    if kept <= 0:
        return np.zeros(len(weights), np.bool_)
    limit = np.partition(size, len(size) - kept)[len(size) - kept]
    mask: npt.NDArray[np.bool_] = size > limit
    level = np.flatnonzero(size == limit)[: kept - int(mask.sum())]
    mask[level] = limit > 0
    return mask


def cluster(weights: Floats, count: int) -> Floats:
    """Centroids of k-means from a linear start, rising; fewer than `count` where some stay empty.

    Weights of at most `count` different values are their own centroids. A round is done on the
    sorted weights and their running sums, so it costs no more than finding the borders.
    """
    ordered = np.sort(weights)
    if not len(ordered):
        return ordered
    change = np.flatnonzero(np.diff(ordered))
    if len(change) < count:
        return ordered[np.concatenate(([0], change + 1))]
    sums = np.concatenate(([0.0], np.cumsum(ordered, dtype=np.float64)))
    centroids: npt.NDArray[Any] = np.linspace(ordered[0], ordered[-1], count, dtype=np.float64)
    for _ in range(ROUNDS):
        borders = np.searchsorted(ordered, _middles(centroids))
        edges = np.concatenate(([0], borders, [len(ordered)]))
        members = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(members, 1)
        moved = np.where(members > 0, means, centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    rounded = np.unique(centroids.astype(np.float32))
    borders = np.searchsorted(ordered, _middles(rounded))
    return rounded[np.diff(np.concatenate(([0], borders, [len(ordered)]))) > 0]


def _middles(centroids: npt.NDArray[Any]) -> Floats:
    """Borders between centroids, each the least float32 that is not below the exact middle.

    A float32 weight is at or above the one where it is at or above the other, and comparing
    float32 alone spares a copy of the tensor.
    """
    wide = centroids.astype(np.float64)
    exact = (wide[1:] + wide[:-1]) / 2
    near = exact.astype(np.float32)
    return np.where(near < exact, np.nextafter(near, np.float32(np.inf)), near)


def _nearest(weights: Floats, centroids: Floats) -> Bytes:
    """Number of each weight's nearest centroid; on a border the upper one."""
    return np.searchsorted(_middles(centroids), weights, side="right").astype(np.uint8)
