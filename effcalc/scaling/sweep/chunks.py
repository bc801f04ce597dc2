"""A sweep as chunks of points in a fixed order, whose columns are computed when asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from effcalc.base.ring import ring_all_reduce
from effcalc.network.arch import Arch
from effcalc.scaling.scale import (
    base_macs,
    by_phi,
    by_ratios,
    nearest_variant,
    ratio,
    variant_macs,
)
from effcalc.scaling.sweep import evaluate
from effcalc.scaling.sweep.evaluate import MOST_CELLS, Classes, Slab, Steps
from effcalc.scaling.sweep.points import Points, Space, pixels, points_at, side_arrays
from effcalc.scaling.sweep.tables import CANNOT, EXACT, FEW, FIGURES, SAFE, Job, Reasons, largest

Array = Any

CHUNK = 1 << 17
"""Points of a chunk: held at once, and recomputed after an interruption."""
SLAB = 1 << 18
"""Pairs of a width and an image size of a grid whose costs are held at once."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """What is swept: points, and the architecture for each setting of knobs.

    `wanted` are the figures of `FIGURES` that will be asked for; `workers` is the number
    of data-parallel workers. `reasons` collects why points cannot be built.
    """

    space: Space
    archs: tuple[Arch, ...]
    head: bool = True
    workers: int = 8
    wanted: tuple[str, ...] = FIGURES
    reasons: Reasons = field(default_factory=Reasons)

    def __post_init__(self) -> None:
        """Refuse invalid values: the ends of every axis are tried."""
        self.corners()

    def job(self, setting: int) -> Job:
        """What is computed for one setting."""
        return Job(self.archs[setting], self.head, self.wanted, self.reasons)

    def corners(self) -> tuple[tuple[float, float], ...]:
        """Least and largest depth, width and resolution. Raises `InputError` for a bad value."""
        arch, space = self.archs[0], self.space
        ends = itertools.product(*(axis.ends for axis in space.axes))
        if space.compound:
            scalings = [by_phi(arch, *point) for point in ends]
        elif space.sizes:
            scalings = [by_ratios(arch, d, w, image_size=size) for d, w, size in ends]
        else:
            scalings = [by_ratios(arch, d, w, r) for d, w, r in ends]
        columns = (
            [s.depth for s in scalings],
            [s.width for s in scalings],
            [s.resolution for s in scalings],
        )
        return tuple((min(values), max(values)) for values in columns)

    def chunks(self, first: int = 0) -> Iterator[Chunk]:
        """Yield the chunks from number `first` on."""
        boxes = self.space.random is None and not self.space.compound
        return _boxes(self, first) if boxes else _lists(self, first)

    def chunk_at(self, index: Sequence[int]) -> Chunk:
        """Return a chunk of points by their indices."""
        return _list(self, np.array(index, np.int64), lambda setting: None)


class Chunk:
    """Some points in order; `chunk[key]` is an array with a value for each.

    Figures of points that cannot be built are `CANNOT`; `built` says which can.
    """

    def __init__(
        self, sweep: Sweep, index: Array, figures: dict[str, Array], points: Points | None = None
    ) -> None:
        """Take the indices of the points, their figures, and the points where they are known."""
        self.sweep = sweep
        self.index = index
        self._columns: dict[str, Array] = dict(figures)
        self._points = points

    def __len__(self) -> int:
        return len(self.index)

    @property
    def points(self) -> Points:
        """The points themselves."""
        if self._points is None:
            self._points = points_at(self.sweep.space, self.sweep.archs[0], self.index)
        return self._points

    @property
    def built(self) -> Array:
        """Which points can be built."""
        return self._columns[self.sweep.wanted[0]] != CANNOT

    def __getitem__(self, key: str) -> Array:
        if key not in self._columns:
            self._columns[key] = self._column(key)
        return self._columns[key]

    def _column(self, key: str) -> Array:
        points = self.points
        if key == "pixels":
            return points.height
        if key in ("depth", "width", "resolution", "height", "wide", "theory"):
            return getattr(points, key)
        if key in points.given:
            return np.array(points.given[key], object)
        if key == "gradient_bytes":
            share = ring_all_reduce(1, self.sweep.workers)
            size = self["trainable_bytes"]
            if int(size.max()) * share.numerator >= SAFE:
                size = size.astype(object)
            return -(-size * share.numerator // share.denominator)
        if key in ("growth", "nearest_name", "nearest_difference"):
            return self._comparison(key)
        values = [self._knob(setting, key) for setting in range(len(self.sweep.archs))]
        numbers = all(isinstance(v, int | float) for v in values)
        return np.array(values, None if numbers else object)[points.setting]

    def _knob(self, setting: int, key: str) -> Any:
        return self.sweep.archs[setting].settings[key]

    def _comparison(self, key: str) -> Array:
        """MACs relative to the unscaled network, or to the nearest released variant.

        NaN, or None for a name, where there is no such figure.
        """
        out = np.full(len(self), None if key == "nearest_name" else np.nan)
        for setting in np.unique(self.points.setting).tolist():
            here = np.flatnonzero((self.points.setting == setting) & (self["macs"] > 0))
            macs = self["macs"][here]
            arch = self.sweep.archs[setting]
            if key == "growth":
                base = base_macs(arch, self.sweep.head)
                if base:
                    out[here] = quotient(macs, np.full(len(here), base, _int_type(base)))
                continue
            released = variant_macs(arch) if self.sweep.head else {}
            if not released:
                continue
            names, steps = _nearest_steps(released)
            place = np.searchsorted(steps, macs, side="right")
            if key == "nearest_name":
                out[here] = np.array(names, object)[place]
            else:
                values = [released[name] for name in names]
                theirs = np.array(values, _int_type(max(values)))[place]
                out[here] = (quotient(macs, theirs) - 1) * 100
        return out


def _int_type(value: int) -> Any:
    return np.int64 if value < SAFE else object


def quotient(a: Array, b: Array) -> Array:
    """Divide whole numbers to the nearest float, as Python divides its ints."""
    small = a.dtype != object and b.dtype != object
    if len(a) == 0 or (small and int(a.max()) < EXACT and int(b.max()) < EXACT):
        return a / b  # both are exact as floats
    return np.array([ratio(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)])


def _nearest_steps(released: Any) -> tuple[list[str], list[int]]:
    """Variants in order of MACs, and the least MACs that are nearest to each but the first."""
    order = sorted(released, key=lambda name: released[name])
    names, steps = [order[0]], []
    for name in order[1:]:
        low, high = released[names[-1]], released[name]
        if low == high:
            continue  # of two alike, the one listed first
        while high - low > 1:
            middle = (low + high) // 2
            pair = {n: released[n] for n in released if n in (names[-1], name)}
            low, high = (low, middle) if nearest_variant(pair, middle) == name else (middle, high)
        names.append(name)
        steps.append(high)
    return names, steps


# --- grids of d, w and r -----------------------------------------------------------------------


class _Box(NamedTuple):
    """Part of a grid: widths and images of a slab, rows of its pairs, and depths."""

    setting: int
    widths: slice
    images: slice
    rows: slice
    depths: slice


def _box_list(settings: int, depths: int, widths: int, images: int) -> Iterator[_Box]:
    """Cut a grid into boxes of at most `CHUNK` points, each of points that follow one another."""
    for setting in range(settings):
        across = max(1, SLAB // images)
        for w in range(0, widths, across):
            for i in range(0, images, SLAB):
                wide = slice(w, min(w + across, widths))
                image = slice(i, min(i + SLAB, images))
                pairs = (wide.stop - wide.start) * (image.stop - image.start)
                step = max(1, CHUNK // depths)
                for row in range(0, pairs, step):
                    for d in range(0, depths, CHUNK):
                        rows = slice(row, min(row + step, pairs))
                        yield _Box(setting, wide, image, rows, slice(d, min(d + CHUNK, depths)))


def _boxes(sweep: Sweep, first: int) -> Iterator[Chunk]:
    depth_axis, width_axis, _ = sweep.space.axes
    depths, widths = depth_axis.array, width_axis.array
    _, height, wide = side_arrays(sweep.space, sweep.archs[0])
    lengths = (len(depths), len(widths), len(height))
    start = 0
    slab: Slab | None = None
    last: tuple[Any, ...] = ()
    for number, box in enumerate(_box_list(len(sweep.archs), *lengths)):
        count = (box.rows.stop - box.rows.start) * (box.depths.stop - box.depths.start)
        index = np.arange(start, start + count)
        start += count
        if number < first:
            continue
        if last != box[:3]:
            last = box[:3]
            size = (height[box.images], wide[box.images])
            slab = _slab(sweep.job(box.setting), depths, widths[box.widths], size)
        if slab is None:
            yield _list(sweep, index, lambda setting: None)
        else:
            figures = slab.box(box.rows, box.depths)
            yield Chunk(sweep, index, {key: a.reshape(-1) for key, a in figures.items()})


def _slab(job: Job, depths: Array, widths: Array, size: tuple[Array, Array]) -> Slab | None:
    """Tables of a slab; None where there are few points, or a figure may exceed int64."""
    if len(depths) * len(widths) * len(size[0]) <= FEW:
        return None
    tall, wide = (int(side.max()) for side in size)
    most = largest(job.arch, job.head, float(depths.max()), float(widths.max()), (tall, wide))
    if most >= SAFE:
        return None
    sizes = tuple(side.astype(np.int64, copy=False) for side in size)
    return Slab(job, depths, widths, sizes, exact=most < EXACT // 64)


# --- anything else -----------------------------------------------------------------------------


def _lists(sweep: Sweep, first: int) -> Iterator[Chunk]:
    length = sweep.space.length
    lookups: dict[int, _Lookup | None] = {}

    def lookup(setting: int) -> _Lookup | None:
        if setting not in lookups:
            lookups[setting] = _classes(sweep, setting) if len(sweep.archs) <= 16 else None
        return lookups[setting]

    for start in range(first * CHUNK, length, CHUNK):
        yield _list(sweep, np.arange(start, min(start + CHUNK, length)), lookup)


def _list(sweep: Sweep, index: Array, lookup: Callable[[int], _Lookup | None]) -> Chunk:
    """Compute points in any order, setting by setting."""
    points = points_at(sweep.space, sweep.archs[0], index)
    parts, places = [], []
    for setting in np.unique(points.setting).tolist():
        here = np.flatnonzero(points.setting == setting) if len(sweep.archs) > 1 else slice(None)
        classes = lookup(setting)
        if classes is None:
            size = (points.height[here], points.wide[here])
            figures = evaluate.direct(
                sweep.job(setting), points.depth[here], points.width[here], size
            )
        else:
            figures = classes.figures(points, here)
        parts.append(figures)
        places.append(here)
    if len(parts) == 1:
        return Chunk(sweep, index, parts[0], points)
    merged = {key: evaluate.merge([part[key] for part in parts], places) for key in sweep.wanted}
    return Chunk(sweep, index, merged, points)


class _Lookup(NamedTuple):
    """Figures of classes, and the class of each point."""

    depths: Steps
    widths: Steps
    sides: Steps | None  # None: image sizes are listed, and a point has the index of its own
    classes: Classes

    def figures(self, points: Points, here: Any) -> dict[str, Array]:
        """Look points up."""
        side = points.places["side"] if self.sides is None else points.resolution
        return self.classes.look_up(
            self.depths.of(points.depth[here]),
            self.widths.of(points.width[here]),
            side[here] if self.sides is None else self.sides.of(side[here]),
        )


def _classes(sweep: Sweep, setting: int) -> _Lookup | None:
    """Figures of all classes, where their tables are fewer cells than there are points."""
    job, space = sweep.job(setting), sweep.space
    arch = job.arch
    points = space.length // len(sweep.archs)
    most = min(MOST_CELLS, points)
    depth, width, side = sweep.corners()
    sides = None
    if space.sizes:
        _, height, wide = side_arrays(space, arch)
    else:
        sides = evaluate.side_bounds(job, *side, most)
        if sides is None:
            return None
        height, wide = (pixels(s, sides) for s in arch.image_size)
    corner = (depth[1], width[1], (int(height.max()), int(wide.max())))
    if height.dtype == object or largest(arch, job.head, *corner) >= SAFE:
        return None
    widths = evaluate.width_bounds(job, *width, most)
    depths = evaluate.depth_bounds(job, *depth, most)
    if widths is None or depths is None:
        return None
    tables = len(widths) * len(height)
    if tables > points or tables * len(depths) > MOST_CELLS:
        return None
    classes = Classes(job, depths, widths, (height, wide))
    steps = None if sides is None else Steps(sides)
    return _Lookup(Steps(depths), Steps(widths), steps, classes)
