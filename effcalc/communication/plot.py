"""Scaling efficiency against the number of workers, a line for each strategy or algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effcalc.base.errors import InputError
from effcalc.output.plots.marks import (
    DASHES,
    SHAPES,
    chart_of,
    drawable,
    log_scale,
    log_ticks,
    records,
    tooltips,
)
from effcalc.output.plots.style import Plot, PlotLook
from effcalc.output.table import Table

if TYPE_CHECKING:
    import altair as alt

_AXES = ("strategy", "algorithm", "dtype")
_TIP = ("workers", "efficiency", "exposed", "step", "sent")


def comm(table: Table, subtitle: str = "") -> Plot:
    """Draw the efficiencies of `comm_table` against workers.

    `subtitle` says over which links. A line stands for each strategy, algorithm and dtype of
    which there are several. Raises `InputError` where no compute time is known, where there is
    one number of workers alone, and for more lines than there are styles.
    """
    table = drawable(table, [*_AXES, *_TIP])
    rows = list(table.rows)
    if any(row["efficiency"] is None for row in rows):
        raise InputError(
            "an efficiency needs the compute time: `compute` 120ms, or `device` NAME `mfu` 40%"
        )
    if len({row["workers"] for row in rows}) < 2:
        raise InputError("`workers`: a plot is over several, such as 1,8,64,512 or 1:64")
    varied = [axis for axis in _AXES if len({row[axis] for row in rows}) > 1]
    names = list(dict.fromkeys(_name(row, varied) for row in rows))
    if len(names) > len(DASHES):
        raise InputError(f"a plot has at most {len(DASHES)} lines, and these are {len(names)}")
    return Plot(
        *("comm", f"{table.title}: scaling efficiency", (subtitle,) if subtitle else (), (table,)),
        lambda look: _draw(look, table, varied, names),
    )


def _name(row: Any, varied: list[str]) -> str:
    return ", ".join(str(row[axis]) for axis in varied) or str(row["strategy"])


def _draw(look: PlotLook, table: Table, varied: list[str], names: list[str]) -> alt.TopLevelMixin:
    import altair as alt

    points = [{**record, "line": _name(record, varied)} for record in records(table)]
    workers = [point["workers"] for point in points]
    ticks = sorted(set(workers)) if len(set(workers)) <= 14 else log_ticks(workers)
    x = alt.X(
        "workers:Q",
        title="workers",
        axis=alt.Axis(grid=False, format=",d", values=ticks),
        scale=log_scale(workers),
    )
    y = alt.Y("efficiency:Q", title="useful compute over time, %", scale=alt.Scale(domain=[0, 100]))
    legend = alt.Legend(symbolSize=110, columns=3) if len(names) > 1 else None
    colours = alt.Scale(domain=names, range=list(look.theme.series[: len(names)]))
    colour = alt.Color("line:N", scale=colours, legend=legend)
    dash = alt.StrokeDash(
        "line:N", scale=alt.Scale(domain=names, range=list(DASHES[: len(names)])), legend=None
    )
    shape = alt.Shape(
        "line:N", scale=alt.Scale(domain=names, range=list(SHAPES[: len(names)])), legend=None
    )
    line = chart_of(points).mark_line(strokeWidth=2)
    layers: list[Any] = [line.encode(x=x, y=y, color=colour, strokeDash=dash)]
    if len(set(workers)) <= 24:
        dots = chart_of(points).mark_point(filled=True, size=48, opacity=1)
        tip = tooltips(table, *varied, *_TIP)
        layers.append(dots.encode(x=x, y=y, color=colour, shape=shape, tooltip=tip))
    return alt.layer(*layers).properties(width=max(look.width - 110, 120), height=320)
