"""The points of a sweep: a grid of values, or random draws that depend on a seed and an index.

A draw is a function of (seed, axis, index) alone, so any point can be recomputed without those
before it: an interrupted sweep continues where it stopped, and a kept point is kept as its index.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Any

import numpy as np

from effcalc.base.errors import InputError, one_line
from effcalc.base.num import round_pixels
from effcalc.base.units import (
    format_count,
    int_text,
    parse_image_size,
    parse_number,
    parse_values,
)
from effcalc.network.arch import Arch
from effcalc.scaling.request import ScalingRequest
from effcalc.scaling.scale import ALPHA, BETA, GAMMA, Scaling, by_phi, by_ratios, growth_rule

Array = Any

MOST_VALUES = 1_000_000  # of one axis, which is held in memory
MOST_SETTINGS = 1000  # combinations of knobs, each an architecture of its own
MOST_POINTS = 1 << 53

AXES = ("depth", "width", "side", "phi", "alpha", "beta", "gamma", "knobs")
"""Every axis has random numbers of its own, by its place in this list."""


@dataclass(frozen=True, eq=False)
class Axis:
    """Values in order, or, where there are none, every number from `low` to `high`."""

    name: str
    values: Sequence[Any]
    low: float = math.nan
    high: float = math.nan

    @property
    def listed(self) -> bool:
        """Whether the axis has a list of values."""
        return len(self.values) > 0

    @cached_property
    def array(self) -> Array:
        """The listed numbers."""
        return np.array(self.values, np.float64)

    @property
    def ends(self) -> tuple[Any, Any]:
        """The least and the largest value."""
        return (min(self.values), max(self.values)) if self.listed else (self.low, self.high)


@dataclass(frozen=True, eq=False)
class Space:
    """The points of a sweep: `settings` of knobs x axes, as a grid or drawn `random` times.

    `axes` are depth, width and side, or phi, alpha, beta and gamma. The values of `side` are
    resolutions where `sizes` is false, and otherwise image sizes (height, width).
    """

    settings: tuple[dict[str, str], ...]
    axes: tuple[Axis, ...]
    sizes: bool
    random: int | None
    seed: int

    @property
    def compound(self) -> bool:
        """Whether points are scaled by φ."""
        return self.axes[0].name == "phi"

    @property
    def length(self) -> int:
        """How many points there are."""
        if self.random is not None:
            return self.random
        return math.prod(len(axis.values) for axis in self.axes) * len(self.settings)


def space(request: ScalingRequest, random: int | None = None, seed: int = 0) -> Space:
    """Read the axes of a sweep: every combination of the values, or `random` of them.

    Raises `InputError`.
    """
    drawn = random is not None
    bases = (request.alpha, request.beta, request.gamma)
    axes: tuple[Axis, ...]
    if request.phi is not None or any(b is not None for b in bases):
        if any(r is not None for r in request.ratios):
            raise InputError(
                "`phi` with its bases, and `depth`, `width`, `resolution` or `image_size`, "
                "exclude each other; give one of the two"
            )
        axes = (
            _axis("phi", request.phi, 1, drawn),
            _axis("alpha", request.alpha, ALPHA, drawn),
            _axis("beta", request.beta, BETA, drawn),
            _axis("gamma", request.gamma, GAMMA, drawn),
        )
    else:
        if request.resolution is not None and request.image_size is not None:
            raise InputError("`resolution` and `image_size` say the same thing; give one of them")
        side = (
            _axis("side", request.resolution, 1.0, drawn, "`resolution`")
            if request.image_size is None
            else Axis("side", _sizes(request.image_size))
        )
        depth, width = (_axis(n, getattr(request, n), 1.0, drawn) for n in ("depth", "width"))
        axes = (depth, width, side)
    result = Space(_settings(request.knobs), axes, request.image_size is not None, random, seed)
    if result.length > MOST_POINTS:
        raise InputError(f"a sweep has at most 2^53 points, not {format_count(result.length)}")
    return result


def _axis(name: str, text: str | None, default: float, drawn: bool, option: str = "") -> Axis:
    option = option or f"--{name}"
    if text is None:
        return Axis(name, [default])
    ends = text.split(":")
    if drawn and len(ends) == 2 and "," not in text:
        low, high = (parse_number(end, option) for end in ends)
        if high < low:
            raise InputError(f"{option}: the range {one_line(text, 60)!r} runs backwards")
        return Axis(name, (), low, high)
    values = parse_values(text, option)
    _check_count(len(values), option)
    return Axis(name, list(values))


def _check_count(count: int, option: str) -> None:
    if count > MOST_VALUES:
        raise InputError(
            f"{option}: has {format_count(count)} values; at most {MOST_VALUES:,} are held"
        )


def _sizes(text: str) -> list[tuple[int, int]]:
    """Read image sizes: `224,320x480` and ranges of square ones, `128:512:32`."""
    sizes: list[tuple[int, int]] = []
    for item in text.split(","):
        if ":" not in item:
            sizes.append(parse_image_size(item, "`image_size`"))
            continue
        values = parse_values(item, "`image_size`")
        _check_count(len(sizes) + len(values), "`image_size`")
        for value in values:
            if not isinstance(value, int) or value < 1:
                raise InputError(f"`image_size`: {value} is not a whole number of pixels above 0")
            sizes.append((value, value))
    return sizes


def _settings(knobs: Sequence[str]) -> tuple[dict[str, str], ...]:
    """Read knobs, `key=a,b,c` and `key=1:4`, and return all combinations."""
    values: dict[str, list[str]] = {}
    for pair in knobs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip() or not text.strip():
            raise InputError(
                f"`knobs`: {one_line(repr(pair))} is not KEY=VALUES, such as sr=0.125,0.25"
            )
        if ":" in text:
            numbers = parse_values(text, f"`knobs` {key.strip()}")
            _check_count(len(numbers), f"`knobs` {key.strip()}")
            listed = [int_text(v) if isinstance(v, int) else repr(v) for v in numbers]
        else:
            listed = [item.strip() for item in text.split(",")]
        values[key.strip()] = listed
    count = math.prod(map(len, values.values()))
    if count > MOST_SETTINGS:
        raise InputError(f"`knobs`: {count:,} combinations; at most {MOST_SETTINGS:,} are swept")
    return tuple(dict(zip(values, c, strict=True)) for c in product(*values.values()))


# --- points ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Points:
    """Some points as arrays of one length: which setting, d, w, r, pixels, and theory.

    `given` holds the values of φ and its bases, and `places` the position of a value in the
    list of its axis, both by the axis's name.
    """

    setting: Array
    depth: Array
    width: Array
    resolution: Array
    height: Array
    wide: Array
    theory: Array
    given: dict[str, list[Any]]
    places: dict[str, Array]

    def __len__(self) -> int:
        return len(self.depth)


def whole(values: Sequence[int]) -> Array:
    """Return ints as an int64 array, or as Python's own where one may not fit."""
    fits = max(values, default=0) < 1 << 62
    return np.array(values, np.int64 if fits else object)


def points_at(space: Space, arch: Arch, index: Array) -> Points:
    """Return the points with these indices (ascending or not). `arch` has the image's base size."""
    places, drawn = _places(space, index)
    setting = places.pop("knobs")

    def values(axis: Axis) -> list[Any]:
        if axis.listed:
            return [axis.values[i] for i in places[axis.name].tolist()]
        return drawn[axis.name].tolist()  # type: ignore[no-any-return]

    if space.compound:
        given = {axis.name: values(axis) for axis in space.axes}
        each = [by_phi(arch, *point) for point in zip(*given.values(), strict=True)]
        return _of_scalings(each, setting, given)
    depth_axis, width_axis, side_axis = space.axes
    depth, width = (_floats(axis, places, drawn) for axis in (depth_axis, width_axis))
    if side_axis.listed:
        resolution, height, wide = (a[places["side"]] for a in side_arrays(space, arch))
    else:
        resolution = drawn["side"]
        height, wide = (pixels(side, resolution) for side in arch.image_size)
    theory = growth_rule(depth, width, resolution)
    return Points(setting, depth, width, resolution, height, wide, theory, {}, places)


def pixels(side: int, resolution: Array) -> Array:
    """Pixels of a side at each resolution."""
    if float(resolution.max()) * side < 1 << 62:
        return round_pixels(side, resolution)
    return whole([round_pixels(side, r) for r in resolution.tolist()])


@lru_cache(maxsize=2)
def side_arrays(space: Space, arch: Arch) -> tuple[Array, Array, Array]:
    """Resolution, height and width in pixels of each value of a listed side."""
    values = space.axes[2].values
    if space.sizes:
        scalings = [by_ratios(arch, image_size=size) for size in values]
    else:
        scalings = [by_ratios(arch, resolution=r) for r in values]
    height, wide = zip(*(s.image_size for s in scalings), strict=True)
    return np.array([s.resolution for s in scalings]), whole(height), whole(wide)


def _of_scalings(
    scalings: Sequence[Scaling], setting: Array, given: dict[str, list[Any]]
) -> Points:
    height, wide = zip(*(s.image_size for s in scalings), strict=True)
    return Points(
        setting=setting,
        depth=np.array([s.depth for s in scalings], np.float64),
        width=np.array([s.width for s in scalings], np.float64),
        resolution=np.array([s.resolution for s in scalings], np.float64),
        height=whole(height),
        wide=whole(wide),
        theory=np.array([s.theory for s in scalings], np.float64),
        given=given,
        places={},
    )


def _floats(axis: Axis, places: dict[str, Array], drawn: dict[str, Array]) -> Array:
    if axis.listed:
        return axis.array[places[axis.name]]
    return drawn[axis.name]


def _places(space: Space, index: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """For each listed axis the places of its values, and for each other the numbers drawn."""
    lengths = {"knobs": len(space.settings)} | {a.name: len(a.values) for a in space.axes}
    places: dict[str, Array] = {}
    drawn: dict[str, Array] = {}
    if space.random is None:
        rest = np.asarray(index, np.int64)
        # The last axis varies fastest; of a (d, w, r) grid, the depth.
        for name in reversed(grid_order(space)):
            rest, places[name] = np.divmod(rest, lengths[name])
        return places, drawn
    for name, length in lengths.items():
        if length == 1:
            places[name] = np.zeros(len(index), np.int64)
            continue
        u = uniform(space.seed, AXES.index(name), index)
        if length:
            places[name] = (u * length).astype(np.int64)
        else:
            axis = next(a for a in space.axes if a.name == name)
            drawn[name] = np.minimum(axis.low + u * (axis.high - axis.low), axis.high)
    return places, drawn


def grid_order(space: Space) -> tuple[str, ...]:
    """Axes of a grid, the one that varies fastest last."""
    if space.compound:
        return ("knobs", "phi", "alpha", "beta", "gamma")
    return ("knobs", "width", "side", "depth")


_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def uniform(seed: int, stream: int, index: Array) -> Array:
    """Return numbers of [0, 1), each a function of seed, stream and index alone.

    SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators",
    section 4): element `index` of the sequence that starts at a mix of seed and stream.
    """
    state = np.array([(seed & _MASK) ^ (seed >> 64)], np.uint64)
    start = _mix(_mix(state + np.uint64(_GOLDEN)) + np.uint64((stream + 1) * _GOLDEN & _MASK))
    z = _mix(start + (index.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(z: Array) -> Array:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
