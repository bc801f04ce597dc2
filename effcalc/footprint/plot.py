"""What is alive while a step runs, by category, operator after operator."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from effcalc.base.errors import InputError
from effcalc.output.plots.marks import axis, chart_of, drawable, labelled, records
from effcalc.output.plots.style import Plot, PlotLook
from effcalc.output.table import Table

if TYPE_CHECKING:
    import altair as alt

STACK = {
    "params": "parameters, buffers",
    "optimizer": "optimizer state",
    "inputs": "images, labels",
    "gradients": "gradients",
    "saved": "kept for backward",
    "temporary": "temporary",
}
"""Layers of the stack from below, and what they are called; buffers lie with the parameters."""

PHASES = {"forward": "forward", "backward": "backward", "optimizer": "update"}


def memory(timeline: Table) -> Plot:
    """Draw a `timeline`: live bytes stacked by category, over the operators of a step.

    The peak is marked, and where the backward pass and the update begin. Raises `InputError`
    where nothing ran.
    """
    keys = ("moment", "layer", "phase", "repeat", *STACK, "buffers", "alive")
    table = drawable(timeline, keys)
    repeats = any(row["repeat"] for row in table.rows)
    if not table.rows:
        raise InputError("there is nothing to draw: no operator ran")
    return Plot(
        "memory",
        timeline.title,
        ("of many alike blocks the first, the second, the last but one and the last",)
        if repeats
        else ("bytes alive at the end of each operator",),
        (table,),
        lambda look: _draw(look, table),
    )


def _draw(look: PlotLook, table: Table) -> alt.TopLevelMixin:
    import altair as alt

    rows = records(table)
    peak = max(rows, key=lambda row: row["alive"])
    scale = axis("alive", "bytes", [row["alive"] for row in rows])
    areas = [
        {
            "moment": row["moment"],
            "bytes": row[key] + (row["buffers"] if key == "params" else 0),
            "category": name,
            "order": place,
        }
        for row in rows
        for place, (key, name) in enumerate(STACK.items())
    ]
    names = list(STACK.values())
    x = alt.X(
        "moment:Q",
        title="operators, in order",
        scale=alt.Scale(domain=[0, len(rows) - 1], nice=False),
        axis=alt.Axis(tickCount=6),
    )
    top = peak["alive"] * 1.12
    y = alt.Y(
        "bytes:Q",
        stack="zero",
        title=scale.title,
        scale=alt.Scale(domain=[0, top], nice=False),
        axis=alt.Axis(labelExpr=scale.labels),
    )
    stack = (
        chart_of(areas)
        .mark_area(interpolate="step-after", opacity=0.9)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "category:N",
                sort=names,
                scale=alt.Scale(domain=names, range=list(look.theme.series)),
                legend=alt.Legend(columns=3, symbolType="square"),
            ),
            order="order:Q",
        )
    )
    width = look.width - 80
    return alt.layer(stack, *_phases(look, rows, top), *_peak(look, peak, len(rows))).properties(
        width=width, height=300
    )


def _phases(look: PlotLook, rows: list[dict[str, Any]], top: float) -> list[Any]:
    """Rules where a phase begins, with its name; what is recomputed is part of backward."""
    import altair as alt

    starts: list[dict[str, Any]] = []
    for phase, run in groupby(rows[1:], lambda row: str(row["phase"]).replace("recompute", "")):
        first = next(run)
        if phase and (not starts or starts[-1]["name"] != PHASES[phase]):
            known = [start["name"] for start in starts]
            if PHASES[phase] not in known:
                starts.append({"at": first["moment"], "name": PHASES[phase], "top": top})
    base = chart_of(starts).encode(x=alt.X("at:Q"))
    text = base.encode(y=alt.Y("top:Q"), text="name:N")
    return [
        base.mark_rule(strokeDash=[4, 3], color=look.theme.muted),
        text.mark_text(align="left", dx=5, dy=8, color=look.theme.ink),
    ]


def _peak(look: PlotLook, peak: dict[str, Any], moments: int) -> list[Any]:
    """A point at the peak, with its size and layer."""
    import altair as alt

    left = peak["moment"] > moments * 0.6
    where = str(peak["layer"]) or "start"
    record = {
        "at": peak["moment"],
        "alive": peak["alive"],
        "text": f"{peak['alive_text']}, {where}",
    }
    base = chart_of([record]).encode(x=alt.X("at:Q"), y=alt.Y("alive:Q"))
    text = labelled(
        base.encode(text="text:N"),
        look.theme,
        align="right" if left else "left",
        dx=-8 if left else 8,
        dy=-9,
        color=look.theme.ink,
    )
    return [base.mark_point(filled=True, size=60, color=look.theme.ink, opacity=1), text]
