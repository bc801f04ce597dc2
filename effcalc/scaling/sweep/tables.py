"""Figures of many scalings of one architecture, by the same code that computes one.

A network's figures are linear in the repeats of its stages: a constant part, plus for each stage
the cost of one further block times the number of them. So the cost of depth d, width w and an
image is a product: [repeats over d] x [costs over (w, image)]. The costs are those of a network
built with arrays for its width and image (`effcalc.base.num`). Only the peak of the activations is
not a sum: it depends on which stages repeat at all, and is looked up by that.

int64 is used where a bound shows that nothing reaches 2^57; elsewhere Python's own ints are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from effcalc.base.errors import InputError
from effcalc.base.num import Split
from effcalc.network.arch import Arch, Size, build_network, repeats_at
from effcalc.network.liveness import activations, allocated
from effcalc.network.network import Network, OperatorCall
from effcalc.network.ops import OPS
from effcalc.scaling import figures

Array = Any  # numpy's own generic types say nothing that matters here

PEAK = "peak_activation_bytes"
WEIGHTS = {
    "params": "params",
    "weight_bytes": "weight_bytes",
    "trainable_bytes": "gradient_bytes",
    "buffer_bytes": "buffer_bytes",
}
"""Figures of `effcalc.scaling.figures.Weights`, by the names they have here."""
FIGURES = (*WEIGHTS, "macs", "flops", "activation_bytes", PEAK)
"""What is computed of a network."""

SAFE = 1 << 57
"""Figures of the largest scaling that int64 is trusted with: 64 times below where it wraps.

A smaller network may have up to a few layers more than the largest (a projection, a sum), and
every intermediate product is at most a figure.
"""
EXACT = 1 << 53
"""Whole numbers below this are exact as float64, and so are their sums."""
FEW = 8  # up to this many points are faster one by one than as arrays
CANNOT = -1
"""Takes the place of every figure of a scaling that cannot be built."""


class Reasons:
    """Why scalings could not be built: the first reason, for the user."""

    def __init__(self) -> None:
        """Start with none."""
        self.first = ""

    def add(self, reason: str) -> None:
        """Keep the first reason."""
        self.first = self.first or reason


@dataclass(frozen=True, slots=True)
class Tables:
    """Costs over (w, image): for each figure one array for each of `1, *stages`.

    A figure at depth d is the first array plus each further one times the blocks of its stage
    beyond the first. The peak has one array alone, for depths at which the same stages repeat.
    """

    stages: tuple[str, ...]
    sums: dict[str, list[Array]]


@dataclass(frozen=True, slots=True)
class Job:
    """An architecture, with or without its head, which figures are wanted, and why some fail."""

    arch: Arch
    head: bool
    wanted: tuple[str, ...]
    reasons: Reasons

    def tables(self, depth: float, width: Array, size: tuple[Array, Array]) -> Tables:
        """Sums over (w, image) where stages repeat as at `depth`; see `tables`."""
        return tables(self, depth, width, size, self.sums())

    def peaks(self, depth: float, width: Array, size: tuple[Array, Array]) -> Array:
        """Peak of the activations over (w, image) where stages repeat as at `depth`."""
        return tables(self, depth, width, size, (PEAK,)).sums[PEAK][0]

    def sums(self) -> tuple[str, ...]:
        """The wanted figures that are linear in the repeats."""
        return tuple(key for key in self.wanted if key != PEAK)


def tables(
    job: Job, depth: float, width: Array, size: tuple[Array, Array], wanted: Sequence[str]
) -> Tables:
    """Compute costs over arrays of w, and of pixels (height, width), that broadcast together.

    `depth` decides which stages repeat. All arrays have as many axes as each other, at most two.
    Points that cannot be built get `CANNOT` in the first array and 0 in the others, and a reason.
    """
    repeated = tuple(s.name for s in stages(job.arch, job.head) if repeats_at(s, depth) > 1)
    lengths = {key: 1 if key == PEAK else len(repeated) + 1 for key in wanted}

    def evaluate(w: Array, h: Array, x: Array) -> list[Array]:
        """Return the arrays of all figures in a row."""
        try:
            net = build_network(job.arch, Size(depth, w, (h, x)), job.head)
        except InputError as error:
            job.reasons.add(str(error))
            sums = {key: [CANNOT] + [0] * (n - 1) for key, n in lengths.items()}
        else:
            sums = _sums(net, repeated, [key for key in wanted if key != PEAK])
            if PEAK in wanted:
                sums[PEAK] = [activations(net).peak]
        return _arrays([a for key in wanted for a in sums[key]], w.ndim)

    rows = iter(_evaluate_split(evaluate, (width, *size)))
    return Tables(repeated, {key: list(islice(rows, n)) for key, n in lengths.items()})


def stages(arch: Arch, head: bool) -> list[Any]:
    """The stages that are built."""
    return [stage for stage in arch.stages if head or not stage.head]


def _arrays(values: Sequence[Any], ndim: int) -> list[Array]:
    """Give single numbers the axes of an array."""
    return [np.asarray(v, np.int64).reshape(np.shape(v) or (1,) * ndim) for v in values]


def _sums(net: Network, repeated: Sequence[str], keys: Sequence[str]) -> dict[str, list[Any]]:
    """Sum each figure over the layers that do not repeat, and over one further block per stage."""
    calls = tuple(replace(call, count=1) if _further(call) else call for call in net.calls)
    memory = allocated(replace(net, calls=calls)) if "activation_bytes" in keys else calls
    groups: dict[str, list[tuple[OperatorCall, Any]]] = {name: [] for name in ("", *repeated)}
    for call, size in zip(calls, memory, strict=True):
        groups[call.stage if _further(call) else ""].append((call, size))
    seen: set[str] = set()
    sums: dict[str, list[Any]] = {key: [] for key in keys}
    for members in groups.values():
        group = [call for call, _ in members]
        weights = figures.weights(group, seen)
        macs: Any = sum(OPS[call.op].macs(call) * call.count for call in group)
        for key in keys:
            if key in WEIGHTS:
                value = getattr(weights, WEIGHTS[key])
            elif key == "macs":
                value = macs
            elif key == "flops":
                value = 2 * macs + sum(
                    OPS[call.op].flops_other(call) * call.count for call in group
                )
            else:
                value = sum(size for _, size in members)
            sums[key].append(value)
    return sums


def _further(call: OperatorCall) -> bool:
    """Whether a layer represents a stage's blocks after the first one."""
    return call.block == f"{call.stage}.1"


def _evaluate_split(evaluate: Callable[..., list[Array]], arrays: tuple[Array, ...]) -> list[Array]:
    """Evaluate arrays that broadcast together, splitting points that take different branches."""
    try:
        return evaluate(*arrays)
    except Split as split:
        axis, mask = _split_axis(np.asarray(split.mask))
    parts = []
    for side in (mask, ~mask):
        index = [slice(None)] * arrays[0].ndim
        index[axis] = side
        taken = tuple(a if a.shape[axis] == 1 else a[tuple(index)] for a in arrays)
        parts.append(_evaluate_split(evaluate, taken))
    return [_join(a, b, mask, axis) for a, b in zip(*parts, strict=True)]


def _split_axis(mask: Array) -> tuple[int, Array]:
    """Choose the axis to split along, and which of its entries go to the first part."""
    wide = [axis for axis, n in enumerate(mask.shape) if n > 1]
    if len(wide) == 1:
        return wide[0], mask.reshape(-1)
    like_first = (mask == mask[:1]).all(axis=1)
    return (1, mask[0]) if like_first.all() else (0, like_first)


def _join(a: Array, b: Array, mask: Array, axis: int) -> Array:
    """Put two parts together; other axes keep a length of 1 where both have it."""
    shape = list(np.broadcast_shapes(*(np.delete(x.shape, axis) for x in (a, b))))
    shape.insert(axis, len(mask))
    out = np.empty(shape, np.int64)
    index = [slice(None)] * out.ndim
    for part, side in ((a, mask), (b, ~mask)):
        index[axis] = side
        out[tuple(index)] = part
    return out


def counts(arch: Arch, head: bool, depth: Array, names: Sequence[str]) -> Array:
    """Return [1, further blocks of each named stage] for each depth: (n, 1 + stages)."""
    by_name = {stage.name: stage for stage in arch.stages}
    out = np.empty((len(depth), len(names) + 1), np.int64)
    out[:, 0] = 1
    for i, name in enumerate(names, start=1):
        out[:, i] = repeats_at(by_name[name], depth) - 1
    return out


def is_safe(arch: Arch, head: bool, depth: float, width: float, size: tuple[int, int]) -> bool:
    """Whether int64 holds every figure of scalings up to this one, by its figures as ints."""
    return largest(arch, head, depth, width, size) < SAFE


def largest(arch: Arch, head: bool, depth: float, width: float, size: tuple[int, int]) -> int:
    """The largest figure of one scaling, as an int of any size; `SAFE` if it cannot be built."""
    try:
        totals = figures.figures(build_network(arch, Size(depth, width, size), head))
    except InputError:
        return SAFE  # the largest should be the last to fail; points are looked at one by one
    return max(*totals.weights, *totals.cost, totals.activation_bytes, totals.peak_activation_bytes)


def one(
    arch: Arch, head: bool, depth: float, width: float, size: tuple[int, int], reasons: Reasons
) -> dict[str, int]:
    """All figures of one scaling, as Python ints."""
    try:
        net = build_network(arch, Size(depth, width, size), head)
    except InputError as error:
        reasons.add(str(error))
        return dict.fromkeys(FIGURES, CANNOT)
    totals = figures.figures(net)
    return {
        **{key: getattr(totals.weights, name) for key, name in WEIGHTS.items()},
        "macs": totals.cost.macs,
        "flops": totals.cost.flops,
        "activation_bytes": totals.activation_bytes,
        PEAK: totals.peak_activation_bytes,
    }
