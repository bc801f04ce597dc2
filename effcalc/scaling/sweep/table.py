"""Tables of sweeps: a row for each point, with the figures that `effcalc scale` has for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from effcalc.base.units import Value
from effcalc.network.arch import Arch
from effcalc.output.formats import Format
from effcalc.output.grid import TableLook
from effcalc.output.table import Column, Row, Table
from effcalc.scaling.tables.scaling import BASES, COSTS, GROWTH, NEAREST, SCALING, pixels

if TYPE_CHECKING:
    from effcalc.scaling.sweep.chunks import Chunk

ROWS_AT_ONCE = 4096  # points that are converted to Python values together

_SHOWN = ("depth", "width", "pixels", "params", "macs", "growth")

NUMBERS = (
    *("depth", "width", "resolution", "pixels", "params", "macs", "flops"),
    *("weight_bytes", "buffer_bytes", "activation_bytes", "peak_activation_bytes"),
    *("gradient_bytes", "theory", "growth", "nearest_difference"),
)
"""Columns to compare and order by; `pixels` is the height of the image there."""

_FIGURES = {
    "gradient_bytes": "trainable_bytes",
    "growth": "macs",
    "nearest_name": "macs",
    "nearest_difference": "macs",
}


def sweep_columns(arch: Arch, knobs: Sequence[str], compound: bool) -> tuple[Column, ...]:
    """Columns of a sweep: the knobs that it sets, the scaling, and what that costs."""
    figures = (*SCALING[1:], *COSTS, *GROWTH, *(NEAREST[1:] if arch.variants else ()))
    about = {knob.name: knob.help for knob in arch.knobs}
    return (
        *(Column(key, key, "number", about[key]) for key in knobs),
        *((SCALING[0].column({"phi"}), *BASES) if compound else ()),
        *(figure.column(_SHOWN) for figure in figures),
    )


def number_names(arch: Arch, knobs: Sequence[str], compound: bool) -> list[str]:
    """Names of the columns that hold numbers."""
    numeric = [k for k in knobs if not isinstance(arch.settings[k], str)]
    bases = ["phi", *(column.key for column in BASES)] if compound else []
    return [*NUMBERS[: None if arch.variants else -1], *bases, *numeric]


def figures_for(keys: Iterable[str]) -> tuple[str, ...]:
    """Figures of networks that these columns need; at least one."""
    from effcalc.scaling.sweep.tables import FIGURES

    wanted = {_FIGURES.get(key, key) for key in keys}
    return tuple(key for key in FIGURES if key in wanted) or ("params",)


def sweep_rows(chunk: Chunk, keys: Sequence[str], places: Any) -> Iterator[Row]:
    """Yield the rows of the points of a chunk at these places."""
    for start in range(0, len(places), ROWS_AT_ONCE):
        here = places[start : start + ROWS_AT_ONCE]
        columns = [_values(chunk, key, here) for key in keys]
        for values in zip(*columns, strict=True):
            yield dict(zip(keys, values, strict=True))


def row_text(table: Table, format: Format) -> Callable[[Chunk, Any, bool], Iterator[str]]:
    """Return a writer of the points of chunks in a format whose every line is a row."""
    keys = [column.key for column in table.columns]

    def write(chunk: Chunk, places: Any, first: bool) -> Iterator[str]:
        pieces = format.render(replace(table, rows=sweep_rows(chunk, keys, places)), TableLook())
        return islice(pieces, 0 if first else format.head, None)

    return write


def _values(chunk: Chunk, key: str, places: Any) -> list[Value]:
    if key == "pixels":
        sides = zip(chunk["height"][places].tolist(), chunk["wide"][places].tolist(), strict=True)
        return [pixels(size) for size in sides]
    values: list[Value] = chunk[key][places].tolist()
    if key in ("growth", "nearest_difference"):
        return [None if isinstance(v, float) and math.isnan(v) else v for v in values]
    return values
