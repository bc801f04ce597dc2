"""Measured roofs of a device, and which of them bounds a layer (Williams et al. 2009, Roofline).

A layer that computes F operations and moves B bytes takes at least F / peak and B / bandwidth.
The bandwidth is that of the layer's working set: what stays in a cache moves faster than memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from effcalc.base.units import Value
from effcalc.network.network import OperatorCall
from effcalc.network.ops import cost
from effcalc.output.table import Table

ABOVE = 1.05  # a layer this far over its roof is flagged; less is noise of the roof itself
OVERHEAD = 0.5  # share of a layer's time between operators from which that is what bounds it

COMPUTE, OVERHEAD_NAME, MEMORY = "compute", "overhead", "memory"


class Level(NamedTuple):
    """A cache by its name and the bytes of all of it that the threads have, or the memory."""

    name: str
    size: float


class Point(NamedTuple):
    """One measured point of a sweep: a product (`flops`), or moving bytes at a working set."""

    what: str
    shape: str
    dtype: str | None
    layout: str | None
    working_set: int
    seconds: float
    flops: int
    moved: int


@dataclass(frozen=True)
class Roofs:
    """What a device was measured to do at most.

    `flops` is the peak in FLOP/s (2 for a multiply-accumulate); `bandwidth` has a pair of working
    set in bytes and bytes per second for each size measured, ascending.
    """

    flops: float
    bandwidth: tuple[tuple[int, float], ...]
    levels: tuple[Level, ...]

    def bandwidth_of(self, working_set: float) -> float:
        """Bytes per second at most: the best that was measured at this working set or a larger one.

        Small sets are measured slower than they are, since calling an operator takes its time.
        """
        larger = [rate for size, rate in self.bandwidth if size >= working_set]
        return max(larger) if larger else self.bandwidth[-1][1]

    def level_of(self, working_set: float) -> str:
        """The smallest cache that holds a working set, or memory."""
        fitting = (level.name for level in self.levels if level.size >= working_set)
        return next(fitting, MEMORY)

    def ceilings(self) -> Ceilings:
        """The roofs as they are drawn: one bandwidth for each cache, and the memory's."""
        rates, below = [], 0.0
        for level in self.levels:
            # The best of a working set that the level before does not hold.
            rates.append((level.name, self.bandwidth_of(below + 1)))
            below = level.size
        return Ceilings(self.flops, (*rates, (MEMORY, self.bandwidth[-1][1])))


@dataclass(frozen=True)
class Ceilings:
    """Roofs as they are drawn and saved: the peak in FLOP/s, and bytes per second by level."""

    flops: float
    bandwidths: tuple[tuple[str, float], ...]

    def saved(self) -> dict[str, Value]:
        """Return the entries of a saved profile's environment."""
        rates = " ".join(f"{level}:{rate!r}" for level, rate in self.bandwidths)
        return {"roof_flops": self.flops, "roof_bandwidths": rates}


def saved_ceilings(environment: Mapping[str, Value] | None) -> Ceilings | None:
    """Read `Ceilings.saved` from a file's environment; None where it has none, or no numbers."""
    where = environment or {}
    flops, rates = where.get("roof_flops"), []
    for part in str(where.get("roof_bandwidths", "")).split():
        level, _, rate = part.partition(":")
        with suppress(ValueError):
            value = float(rate)
            if 0 < value < float("inf"):
                rates.append((level, value))
    if not isinstance(flops, int | float) or not flops > 0 or not rates:
        return None
    return Ceilings(float(flops), tuple(rates))


class Verdict(NamedTuple):
    """Which roof bounds a row, and the share of what that roof allows that is reached."""

    bound: str
    efficiency: float


def verdict(
    calls: Iterable[OperatorCall], time: float, between: float, roofs: Roofs
) -> Verdict | None:
    """Judge the operator calls of one row, that took `time`, `between` of it between operators.

    Each call takes at least the longer of its two bounds; the row is bound by whatever these
    sums consist of most. None where nothing is computed or moved.
    """
    bounds: dict[str, float] = {}
    for call in calls:
        c = cost(call)
        # What is overwritten in place is in the cache once, though it is read and written.
        working = c.moved_bytes - (c.written_bytes if call.memory == "inplace" else 0)
        computing = c.flops / roofs.flops
        moving = c.moved_bytes / roofs.bandwidth_of(working)
        name = COMPUTE if computing >= moving else roofs.level_of(working)
        bounds[name] = bounds.get(name, 0.0) + max(computing, moving) * call.count
    least = sum(bounds.values())
    if not least or time <= 0:
        return None
    bound = max(bounds, key=lambda name: bounds[name])
    if between > OVERHEAD * time:
        bound = OVERHEAD_NAME
    return Verdict(bound, least / time)


def why_above(dtype: str, device: str, bound: str) -> str:
    """Likely causes for a layer that is faster than its roof."""
    causes = ["its operands were still in a faster cache"]
    if bound == COMPUTE:
        causes = ["Winograd or another algorithm with fewer multiplications"]
        if device == "cuda" and dtype in ("fp32", "tf32"):
            causes.append("TF32")
        causes.append("a shape that suits the kernel better than any of the sweep")
    return ", ".join(causes)


def roofs_from(table: Table, dtype: str, layout: str) -> Roofs | None:
    """Read the roofs for a numeric format and layout from a table of `effcalc device`."""
    flops = [
        float(row["flops_rate"])  # type: ignore[arg-type]
        for row in table.rows
        if row.get("flops_rate") and row.get("dtype") == dtype
        and row.get("layout") in (None, layout)
    ]  # fmt: skip
    bandwidth = {
        int(row["working_set"]): float(row["bandwidth"])  # type: ignore[arg-type]
        for row in table.rows
        if row.get("bandwidth") and row.get("working_set")
    }
    if not flops or not bandwidth:
        return None
    levels = tuple(
        Level(name, float(size))
        for name, _, size in (
            part.partition(":") for part in str((table.environment or {}).get("caches", "")).split()
        )
        if size.isdecimal()
    )
    return Roofs(max(flops), tuple(sorted(bandwidth.items())), levels)
