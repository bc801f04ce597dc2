"""Tables about what scaled networks cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, NamedTuple

from effcalc.base.errors import one_of
from effcalc.base.units import Unit, Value, format_change
from effcalc.network.arch import Arch
from effcalc.network.network import Network, OperatorCall
from effcalc.output.table import Column, Row, Table
from effcalc.scaling.figures import PER, BreakdownRow, breakdown
from effcalc.scaling.request import Many
from effcalc.scaling.scale import Scaled


class Figure(NamedTuple):
    """A column and how its value is read off a `Scaled` or a `BreakdownRow`."""

    key: str
    title: str
    unit: Unit
    help: str
    value: Callable[[Any], Value]

    def column(self, shown: Iterable[str]) -> Column:
        """The column; people see it without asking where `shown` has its key."""
        return Column(self.key, self.title, self.unit, self.help, self.key in shown)


def pixels(size: tuple[int, int]) -> str:
    """Write an image size as `--image-size` reads it: one side, or height x width."""
    height, width = size
    return str(height) if height == width else f"{height}x{width}"


def label_of(scaled: Scaled) -> str:
    """Say which scaling a row is about."""
    scaling = scaled.scaling
    if scaling.variant:
        return scaling.variant.upper()
    if scaling.phi is not None:
        return f"φ = {scaling.phi:g}"
    return f"d {scaling.depth:g}, w {scaling.width:g}, {pixels(scaling.image_size)} px"


def _difference(scaled: Scaled) -> float | None:
    return None if scaled.nearest is None else (scaled.nearest[1] - 1) * 100


def _nearest(scaled: Scaled) -> str | None:
    """The nearest released variant, and how far this network's MACs are from its."""
    difference = _difference(scaled)
    if scaled.nearest is None or difference is None:
        return None
    if scaled.is_released:
        return f"is {scaled.nearest[0]}"
    if not isfinite(difference):
        return f"{scaled.nearest[0]} +∞"
    return f"{scaled.nearest[0]} {format_change(difference, 3 if abs(difference) < 10 else 2)}"


SCALING = (
    Figure("phi", "φ", "number", "compound coefficient", lambda s: s.scaling.phi),
    Figure("depth", "d", "number", "depth: repeats of a stage", lambda s: s.scaling.depth),
    Figure("width", "w", "number", "width: channels", lambda s: s.scaling.width),
    Figure("resolution", "r", "number", "resolution: a side", lambda s: s.scaling.resolution),
    Figure("pixels", "px", "text", "image side(s)", lambda s: pixels(s.scaling.image_size)),
)
"""Which scaling a row is about."""

BASES = (
    Column("alpha", "α", "number", "base of the depth"),
    Column("beta", "β", "number", "base of the width"),
    Column("gamma", "γ", "number", "base of the resolution"),
)
"""The bases of compound scaling, where they differ from row to row."""

COSTS = (
    Figure("params", "params", "count", "parameters, a shared one once", lambda s: s.params),
    Figure("macs", "MACs", "count", "multiply-accumulates, one image", lambda s: s.macs),
    Figure("flops", "FLOPs", "count", "2 × MACs", lambda s: s.flops),
    Figure("weight_bytes", "weights", "bytes", "parameters, float32", lambda s: s.weight_bytes),
    Figure("buffer_bytes", "buffers", "bytes", "running statistics", lambda s: s.buffer_bytes),
    Figure(
        *("activation_bytes", "activations", "bytes", "all results, in-place ones once"),
        lambda s: s.activation_bytes,
    ),
    Figure(
        *("peak_activation_bytes", "peak act.", "bytes", "most alive at once, one image"),
        lambda s: s.peak_activation_bytes,
    ),
    Figure(
        *("gradient_bytes", "sent/step", "bytes", "by each worker, ring all-reduce"),
        lambda s: s.gradient_bytes,
    ),
)
"""What a network costs."""

GROWTH = (
    Figure("theory", "theory", "ratio", "(α·β²·γ²)^φ, or d·w²·r²", lambda s: s.scaling.theory),
    Figure("growth", "growth", "ratio", "of MACs, in fact", lambda s: s.growth),
)
"""How MACs should grow by the rule, and how they do."""

NEAREST = (
    Figure("nearest", "nearest", "text", "released variant by MACs", _nearest),
    Figure("nearest_name", "nearest", "text", "its name", lambda s: s.nearest and s.nearest[0]),
    Figure("nearest_difference", "vs nearest", "change", "of MACs", _difference),
)
"""Which released variant has about the same cost."""

_RECORD = {f.key for f in (*SCALING, *COSTS, *GROWTH)} | {"nearest"}
_ROWS = {"phi", "depth", "width", "pixels", "params", "macs", "theory", "growth", "nearest"}


def row_of(figures: Sequence[Figure], item: Scaled | BreakdownRow) -> dict[str, Value]:
    """Return the figures of a network, or of a part of it, by their keys."""
    return {figure.key: figure.value(item) for figure in figures}


def scale_figures(arch: Arch) -> tuple[Figure, ...]:
    """What `effcalc scale` says of a network, in order."""
    return (*SCALING, *COSTS, *GROWTH, *(NEAREST if arch.variants else ()))


def scale_table(
    arch: Arch, rows: Sequence[Scaled] | Many[Scaled], title: str, workers: int
) -> Table:
    """One row for each scaling of one network; rows are computed as they are read.

    A single row has room for every figure; several show people what fits 80 columns.
    """
    figures = scale_figures(arch)
    several = not isinstance(rows, Sequence) or len(rows) > 1
    columns = tuple(f.column(_ROWS if several else _RECORD) for f in figures)
    records: Iterable[Row]
    if isinstance(rows, Sequence):
        records = [row_of(figures, row) for row in rows]
    else:  # computed as they are read, and counted: a format refuses too many before it starts
        records = Many(len(rows), lambda: (row_of(figures, row) for row in rows))
    notes = [] if several else [f"sent/step: by each of {workers} data-parallel workers"]
    if arch.variants:
        notes.append("nearest: the released variant closest by MACs; not the same network")
    if isinstance(rows, Sequence) and any((row.scaling.phi or 0) < 0 for row in rows):
        notes.append("a negative φ shrinks the network; the paper only grows it")
    if arch.rule:
        notes.append(f"scaling rule: {arch.rule}")
    chart = "effcalc.scaling.plots.scaling:scaling"
    return Table("scale", title, columns, records, tuple(notes), chart=chart)


PARTS = (
    Figure("output", "output", "text", "last result", lambda p: "x".join(map(str, p.output))),
    Figure("calls", "calls", "int", "operator calls", lambda p: p.calls),
    Figure("params", "params", "count", "parameters", lambda p: p.weights.params),
    Figure("macs", "MACs", "count", "multiply-accumulates", lambda p: p.cost.macs),
    Figure("flops", "FLOPs", "count", "2 × MACs + other arithmetic", lambda p: p.cost.flops),
    Figure(
        *("elementwise", "elementwise", "count", "results that are not of a product"),
        lambda p: p.cost.elementwise,
    ),
    Figure("flops_other", "other", "count", "other arithmetic", lambda p: p.cost.flops_other),
    Figure("weight_bytes", "weights", "bytes", "parameters", lambda p: p.weights.weight_bytes),
    Figure("buffer_bytes", "buffers", "bytes", "buffers", lambda p: p.weights.buffer_bytes),
    Figure("activation_bytes", "activations", "bytes", "allocated", lambda p: p.activation_bytes),
    Figure("read_bytes", "read", "bytes", "operands, once each", lambda p: p.cost.read_bytes),
    Figure("written_bytes", "written", "bytes", "results", lambda p: p.cost.written_bytes),
)
"""What a part of a network costs."""


def breakdown_table(
    network: Network, per: str, title: str, group: Callable[[OperatorCall], str] | None = None
) -> Table:
    """Split a network's cost by stage, block, layer or operator; rows sum to the total.

    `group` replaces the grouping that `per` names. Raises `InputError` for an unknown one.
    """
    parts = breakdown(network, group or PER[one_of(per, PER, "`per`")])
    figures = [f for f in PARTS if f.key != "output" or per != "op"]
    macs = sum(part.cost.macs for part in parts)
    columns = (
        Column("name", per, "text", "identical blocks share a row"),
        Column("op", "op", "text", "operator, where it is one alone", default=False),
        *(f.column({"output", "params", "macs", "activation_bytes"}) for f in figures),
        Column("share", "% MACs", "percent", "share of the MACs"),
    )
    rows: list[Row] = [
        {
            "name": part.name,
            "op": part.op,
            **row_of(figures, part),
            "share": _percent(part.cost.macs, macs),
        }
        for part in parts
    ]
    total: dict[str, Value] = {"name": "total", "share": _percent(macs, macs)}
    for figure in figures:
        if figure.key != "output":
            total[figure.key] = sum(figure.value(part) for part in parts)  # type: ignore[misc]
    chart = "effcalc.scaling.plots.stages:stages"
    return Table("breakdown", title, columns, rows, total=total, layout="rows", chart=chart)


def _percent(part: int, whole: int) -> float | None:
    # Whole numbers of any size: only the quotient must be small enough for a float.
    return part * 1_000_000 // whole / 10_000 if whole else None


def scaled_record(scaled: Scaled) -> Table:
    """The figures of one scaling as a record, which a notebook shows of it."""
    table = scale_table(scaled.arch, [scaled], scaled.title, scaled.workers)
    return replace(table, layout="record")
