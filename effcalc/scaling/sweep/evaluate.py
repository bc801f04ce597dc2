"""Figures of points, computed in the fastest way for their number.

- a box of a grid: one matrix product, [costs over (w, image)] x [repeats over d];
- many points anywhere: rounding leaves few distinct widths, repeats and sizes, so costs are
  computed once for each class of them and looked up;
- other points: costs of each, on arrays; Python's ints where int64 might overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from effcalc.base.errors import InputError
from effcalc.base.num import round_pixels
from effcalc.network.arch import (
    Rounding,
    Size,
    Stage,
    build_network,
    repeats_at,
    rounding,
)
from effcalc.scaling.sweep.tables import (
    FEW,
    PEAK,
    SAFE,
    Job,
    counts,
    is_safe,
    one,
    stages,
)

Array = Any

MOST_CELLS = 1 << 22
"""Combinations of a class of depth, of width and of image whose figures are held: 32 MB each."""


# --- any points --------------------------------------------------------------------------------


def direct(job: Job, depth: Array, width: Array, size: tuple[Array, Array]) -> dict[str, Array]:
    """Figures of points given as arrays of one length: int64, or Python ints where that might
    overflow.
    """
    height, wide = size
    if len(depth) > FEW:
        corner = (float(depth.max()), float(width.max()), (int(height.max()), int(wide.max())))
        if is_safe(job.arch, job.head, *corner):
            return _direct(job, depth, width, (_int64(height), _int64(wide)))
        with np.errstate(over="ignore"):
            cost = depth * (width * width) * height.astype(np.float64) * wide.astype(np.float64)
        order = np.argsort(cost, kind="stable")
        halves = np.array_split(order, 2)
        parts = [direct(job, depth[h], width[h], (height[h], wide[h])) for h in halves]
        return {key: merge([part[key] for part in parts], halves) for key in job.wanted}
    rows = [
        one(job.arch, job.head, d, w, (h, x), job.reasons)
        for d, w, h, x in zip(
            depth.tolist(), width.tolist(), height.tolist(), wide.tolist(), strict=True
        )
    ]
    return {key: _ints([row[key] for row in rows]) for key in job.wanted}


def _direct(job: Job, depth: Array, width: Array, size: tuple[Array, Array]) -> dict[str, Array]:
    """`direct` where int64 is certain not to overflow."""
    deepest = float(depth.max())
    costs = job.tables(deepest, width, size)
    blocks = counts(job.arch, job.head, depth, costs.stages)
    figures = {}
    for key in job.sums():
        total = blocks[:, 0] * costs.sums[key][0]
        for i, further in enumerate(costs.sums[key][1:], start=1):
            total += blocks[:, i] * further
        figures[key] = total
    if PEAK in job.wanted:
        figures[PEAK] = np.empty(len(depth), np.int64)
        repeating = _repeating(blocks)
        for value in np.unique(repeating).tolist():
            here = np.flatnonzero(repeating == value)
            deep = float(depth[here[0]])
            figures[PEAK][here] = job.peaks(deep, width[here], (size[0][here], size[1][here]))
    return figures


def _repeating(blocks: Array) -> Array:
    """How many stages repeat at each depth, which says which ones: more do as d grows."""
    return (blocks[:, 1:] > 0).sum(axis=1)


def _peaks(
    job: Job, depths: Array, blocks: Array, widths: Array, size: tuple[Array, Array]
) -> tuple[list[Array], Array]:
    """Peaks over (width, image) for each set of stages that repeat, and the set of each depth."""
    _, first, which = np.unique(_repeating(blocks), return_index=True, return_inverse=True)
    pairs = (widths[:, None], (size[0][None], size[1][None]))
    return [job.peaks(float(depths[i]), *pairs) for i in first], which


def merge(parts: Sequence[Array], places: Sequence[Array]) -> Array:
    """Put parts of a column in their places."""
    kind = object if any(p.dtype == object for p in parts) else np.int64
    out = np.empty(sum(map(len, parts)), kind)
    for part, place in zip(parts, places, strict=True):
        out[place] = part
    return out


def _ints(values: list[int]) -> Array:
    return np.array(values, np.int64 if max(values, default=0) < SAFE else object)


def _int64(values: Array) -> Array:
    return values.astype(np.int64, copy=False)


# --- classes -----------------------------------------------------------------------------------


def bounds(key: Callable[[Array], Array], low: float, high: float, most: int) -> Array | None:
    """Return the least number of each class of [low, high]; numbers of a class have equal keys.

    `key` is whole-numbered and never falls. Each bound is found to the last bit, by bisection on
    the patterns of the floats, which are ordered as the positive numbers are. None where keys
    differ by more than `most`.
    """
    first, last = (int(v) for v in key(np.array([low, high])))
    if last - first > most:
        return None
    wanted = np.arange(first + 1, last + 1)
    under = np.full(len(wanted), low).view(np.int64)
    over = np.full(len(wanted), high).view(np.int64)
    while (over - under > 1).any():
        middle = under + (over - under) // 2
        reached = key(middle.view(np.float64)) >= wanted
        over = np.where(reached, middle, over)
        under = np.where(reached, under, middle)
    return np.unique(np.concatenate([[low], over.view(np.float64)]))


def width_bounds(job: Job, low: float, high: float, most: int) -> Array | None:
    """Bounds of the widths that round to the same channels in every layer.

    Each rounded channel count never falls as w grows, so two widths with one sum of them have
    them all in common. Exactly 1, where the table's own channels stand, is a class of its own.
    """
    requests: set[tuple[str, int, int]] = set()

    def recording(stage: Stage, width: float, keep: float) -> Rounding:
        rounded = rounding(stage, width, keep)

        def record(channels: int, groups: int = 1) -> Any:
            requests.add((stage.name, channels, groups))
            return rounded(channels, groups)

        return record

    by_name = {stage.name: stage for stage in job.arch.stages}
    for width in (low, high):
        size = Size(1.0, width, job.arch.image_size)
        before = set(requests)
        try:
            build_network(job.arch, size, job.head, recording)
        except InputError:
            return None
    if requests != before and low != high:
        return None  # a block that asks for other channels as w grows has no classes
    rules = {
        (by_name[n].min_width, by_name[n].divisor, c, g): n
        for n, c, g in requests
        if by_name[n].channel_scales
    }

    def key(width: Array) -> Array:
        total = np.zeros(len(width), np.int64)
        for (_, _, channels, groups), name in rules.items():
            total += rounding(by_name[name], width, job.arch.keep)(channels, groups)
        return total

    after = np.nextafter(1.0, 2.0)
    ends = [(low, min(high, np.nextafter(1.0, 0.0))), (1.0, 1.0), (max(low, after), high)]
    parts = []
    for a, b in ends:
        if low <= a <= b <= high:
            part = bounds(key, a, b, most)
            if part is None:
                return None
            parts.append(part)
    return np.concatenate(parts)


def depth_bounds(job: Job, low: float, high: float, most: int) -> Array | None:
    """Bounds of the depths with the same repeats of every stage."""
    repeats = {s.repeats: s for s in stages(job.arch, job.head) if s.repeats and s.repeat_scales}

    def key(depth: Array) -> Array:
        total = np.zeros(len(depth), np.int64)
        for stage in repeats.values():
            total += repeats_at(stage, depth)
        return total

    return bounds(key, low, high, most)


def side_bounds(job: Job, low: float, high: float, most: int) -> Array | None:
    """Bounds of the resolutions that come to the same pixels."""
    return bounds(
        lambda r: sum(round_pixels(side, r) for side in job.arch.image_size), low, high, most
    )


class Steps:
    """Says which class numbers are of, by the bounds of the classes.

    A table has, for each of many equal parts of the range, the class at its beginning; the few
    bounds within a part are compared one by one. The part of a number never falls as the number
    grows, rounded as it is, so bounds of earlier parts are below it and of later ones above.
    """

    def __init__(self, bounds: Array) -> None:
        """Take the least number of each class, in order."""
        self.bounds = bounds
        self.parts = min(1 << 16, 32 * len(bounds))
        width = float(bounds[-1] - bounds[0])
        scale = (self.parts - 1) / width if width else 0.0
        self.scale = scale if math.isfinite(scale) else 0.0
        held = np.bincount(self._part(bounds[1:]), minlength=self.parts)
        self.first = np.concatenate([[0], np.cumsum(held)[:-1]])
        self.most = int(held.max())
        self.after = np.append(bounds[1:], np.inf)

    def _part(self, values: Array) -> Array:
        part = np.minimum((values - self.bounds[0]) * self.scale, self.parts - 1)
        return part.astype(np.int64)

    def of(self, values: Array) -> Array:
        """Class of each value; none is below the first bound."""
        classes = self.first[self._part(values)]
        for _ in range(self.most):
            classes += values >= self.after[classes]
        return classes


class Classes:
    """Figures of all classes of depth, width and image in some ranges, to look points up in."""

    def __init__(self, job: Job, depths: Array, widths: Array, size: tuple[Array, Array]) -> None:
        """Take the least depth and width of each class, and the pixels of each class of image."""
        height, wide = size
        costs = job.tables(float(depths[-1]), widths[:, None], (height[None], wide[None]))
        blocks = counts(job.arch, job.head, depths, costs.stages)
        self.figures = {}
        for key in job.sums():
            parts = np.broadcast_arrays(*costs.sums[key])
            self.figures[key] = np.tensordot(blocks, np.stack(parts), 1)
        if PEAK in job.wanted:
            peaks, which = _peaks(job, depths, blocks, widths, size)
            self.figures[PEAK] = np.stack(np.broadcast_arrays(*peaks))[which]

    def look_up(self, depth: Array, width: Array, side: Array) -> dict[str, Array]:
        """Figures of points, given the class of each one's depth, width and image."""
        figures = {}
        for key, table in self.figures.items():
            cell = _cell(table.shape[1:], width, side)
            figures[key] = table.reshape(-1)[depth * table[0].size + cell]
        return figures


def _cell(shape: tuple[int, ...], width: Array, side: Array) -> Array:
    """Place in a table of (width, image, ...), either of which may have a length of 1."""
    if shape[1] == 1:
        return width * (shape[0] > 1)
    return side if shape[0] == 1 else width * shape[1] + side


# --- a box of a grid ---------------------------------------------------------------------------


class Slab:
    """Tables over widths x images, from which boxes of a grid are products with depths."""

    def __init__(
        self, job: Job, depths: Array, widths: Array, size: tuple[Array, Array], exact: bool
    ) -> None:
        """Take all depths of the grid, and the widths and image sizes of this slab of it.

        `exact`: no figure reaches 2^53, so that float64 products are exact.
        """
        self.job = job
        self.images = len(size[0])
        self.rows = len(widths) * self.images
        self.kind = np.float64 if exact else np.int64
        height, wide = size
        costs = job.tables(float(depths.max()), widths[:, None], (height[None], wide[None]))
        blocks = counts(job.arch, job.head, depths, costs.stages)
        self.sums = {
            key: np.stack(np.broadcast_arrays(*costs.sums[key]), -1).astype(self.kind)
            for key in job.sums()
        }
        self.blocks = np.ascontiguousarray(blocks.T.astype(self.kind))
        if PEAK in job.wanted:
            peaks, self.repeats = _peaks(job, depths, blocks, widths, size)
            self.peaks = np.stack([np.broadcast_to(p, (len(widths), self.images)) for p in peaks])

    def box(self, rows: slice, depths: slice) -> dict[str, Array]:
        """Figures of (width, image) pairs x depths, as int64 arrays of that shape."""
        figures = {}
        blocks = self.blocks[:, depths]
        width, image = np.divmod(np.arange(rows.start, rows.stop), self.images)
        for key, table in self.sums.items():
            costs = table.reshape(-1, table.shape[-1])
            if len(costs) == self.rows:
                figures[key] = _int64(costs[rows] @ blocks)
                continue
            # What does not depend on the image is computed once for each width.
            cells = _cell(table.shape, width, image)
            first, last = int(cells.min()), int(cells.max()) + 1
            figures[key] = _int64(costs[first:last] @ blocks)[cells - first]
        if PEAK in self.job.wanted:
            peaks = self.peaks.reshape(len(self.peaks), -1)[:, rows]
            figures[PEAK] = peaks.T[:, self.repeats[depths]]
        return figures
