"""Cost against φ or against one ratio, beside the rule's line and the released variants."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from effcalc.base.errors import InputError, named
from effcalc.output.plots.marks import (
    DASHES,
    axis,
    chart_of,
    drawable,
    labelled,
    log_scale,
    log_ticks,
    records,
    tooltips,
)
from effcalc.output.plots.style import Plot, PlotLook
from effcalc.output.table import Table

if TYPE_CHECKING:
    import altair as alt

    from effcalc.output.plots.marks import Layers

FIGURES = {
    "macs": ("per image", "MACs"),
    "flops": ("per image", "FLOPs"),
    "params": ("", "parameters"),
    "weight_bytes": ("weights", ""),
    "activation_bytes": ("activations per image", ""),
    "peak_activation_bytes": ("peak of activations, one image", ""),
    "gradient_bytes": ("sent by each worker per step", ""),
}
"""What can be drawn, by its column in the table, and how its axis says it."""

AXES = {
    "phi": "compound coefficient φ",
    "depth": "depth d, times the base's",
    "width": "width w, times the base's",
    "resolution": "resolution r, times the base's",
}

_RULED = ("macs", "flops")  # the rule is about these


def scaling(
    curve: Table,
    released: Table | None = None,
    figure: str = "macs",
) -> Plot:
    """Draw one figure of `scale_table` against what is scaled.

    `released` holds the released variants. MACs and FLOPs stand beside
    the rule, (α·β²·γ²)^φ or d·w²·r² (Tan & Le 2019, equation 3), and 2^φ; below is what rounding
    to whole repeats, channels and pixels adds to the rule. The paper gives released variants no
    φ: they stand where the rule gives the d·w²·r² of their own coefficients.
    Raises `InputError` where nothing is scaled, or more than one thing.
    """
    named(figure, FIGURES, "figure", "`figure`")
    keys = [*AXES, "pixels", "theory", "growth", figure]
    curve = drawable(curve, keys)
    x = _scaled_axis(curve)
    tables = [curve]
    base = _growth_base(curve) if x == "phi" else 1.0
    if released is not None and base > 1:
        tables.append(_within(drawable(released, ["nearest_name", *keys]), curve, base))
    subtitle = []
    if len(tables) > 1 and tables[1].rows:
        subtitle.append("diamonds: released variants, at the φ whose rule gives their own d·w²·r²")
    return Plot(
        "scaling",
        f"{curve.title}: {'cost' if figure in _RULED else _name(figure)} against "
        f"{'φ' if x == 'phi' else x}",
        tuple(subtitle),
        tuple(tables),
        lambda look: _draw(look, tables, _marks(tables, x, figure, base)),
    )


def _name(figure: str) -> str:
    return " ".join(reversed([word for word in FIGURES[figure] if word]))


def _scaled_axis(curve: Table) -> str:
    rows = list(curve.rows)
    if all(row["phi"] is not None for row in rows):
        varied = ["phi"] if len({row["phi"] for row in rows}) > 1 else []
    else:
        varied = [key for key in AXES if len({row[key] for row in rows}) > 1]
    if len(varied) != 1:
        what = " and ".join(varied) or "nothing"
        raise InputError(
            f"this scales {what}; a plot is over one of φ, depth, width and resolution, "
            "such as `phi` 0:7 or `width` 0.5:2:0.25"
        )
    return varied[0]


def _growth_base(curve: Table) -> float:
    """What the rule multiplies MACs by for each 1 of φ: α·β²·γ²."""
    row = max(curve.rows, key=lambda row: abs(row["phi"]))  # type: ignore[arg-type]
    return float(row["theory"] ** (1 / row["phi"]))  # type: ignore[operator]


def _equivalent(row: Any, base: float) -> float:
    """The φ at which the rule gives a variant's own d·w²·r²."""
    return math.log(row["theory"]) / math.log(base)


def _within(released: Table, curve: Table, base: float) -> Table:
    """Keep the variants within the φ that are drawn."""
    phis = [row["phi"] for row in curve.rows]
    low, high = min(phis) - 0.05, max(phis) + 0.05  # type: ignore[type-var, operator]
    rows = [row for row in released.rows if low <= _equivalent(row, base) <= high]
    return replace(released, rows=tuple(rows))


class _Marks(NamedTuple):
    """What is drawn: the points of the curve, the released variants, and the lines by name."""

    x: str
    figure: str
    points: list[dict[str, Any]]
    variants: list[dict[str, Any]]
    lines: list[dict[str, Any]]
    names: list[str]


def _marks(tables: list[Table], x: str, figure: str, base: float) -> _Marks:
    points = records(tables[0])
    variants = records(tables[1]) if len(tables) > 1 else []
    for variant in variants:
        variant |= {x: _equivalent(variant, base), "label": str(variant["nearest_name"]).upper()}
    names = ["the network, exactly"]
    lines = [{**point, "line": names[0]} for point in points]
    if figure in _RULED and all(point["growth"] for point in points):
        for record in (*points, *variants):
            record["off"] = (record["growth"] / record["theory"] - 1) * 100
        unscaled = points[0][figure] / points[0]["growth"]
        rule = f"the rule, {base:.3g}^φ" if x == "phi" else "the rule, d·w²·r²"
        names.append(rule)
        lines += [{x: p[x], figure: unscaled * p["theory"], "line": rule} for p in points]
        if x == "phi":
            names.append("2^φ")
            lines += [{x: p[x], figure: unscaled * 2 ** p[x], "line": "2^φ"} for p in points]
    return _Marks(x, figure, points, variants, lines, names)


def _draw(look: PlotLook, tables: list[Table], marks: _Marks) -> alt.TopLevelMixin:
    import altair as alt

    width = max(look.width - 110, 120)
    spans = [point[marks.x] for point in marks.points]
    whole = marks.x == "phi" and max(spans) - min(spans) >= 4
    x = alt.X(
        f"{marks.x}:Q",
        title=AXES[marks.x],
        axis=alt.Axis(grid=False, format="~g", tickMinStep=1 if whole else alt.Undefined),
        scale=alt.Scale(nice=False, zero=False, padding=30),
    )
    ruled = len(marks.names) > 1
    if not ruled:
        return _cost(look, tables, marks, x).properties(width=width, height=330)
    above = x.title(None)
    cost = _cost(look, tables, marks, above).properties(width=width, height=330)
    off = _rounding(look, tables, marks, x).properties(width=width, height=110)
    return alt.vconcat(cost, off, spacing=16)


def _cost(look: PlotLook, tables: list[Table], marks: _Marks, x: alt.X) -> Layers:
    """The figure itself, with the rule's lines."""
    import altair as alt

    figure, names, theme = marks.figure, marks.names, look.theme
    values = [record[figure] for record in (*marks.lines, *marks.variants)]
    unit = next(column.unit for column in tables[0].columns if column.key == figure)
    scale = axis(FIGURES[figure][0], unit, values, FIGURES[figure][1])
    log = min(values) > 0 and max(values) / min(values) > 8
    ticks = log_ticks(values) if log else alt.Undefined
    y = alt.Y(
        f"{figure}:Q",
        title=scale.title,
        axis=alt.Axis(labelExpr=scale.labels, minExtent=42, values=ticks),
        scale=log_scale(values) if log else alt.Scale(zero=False),
    )
    colours = alt.Scale(domain=names, range=list(theme.series[: len(names)]))
    dashes = alt.Scale(domain=names, range=list(DASHES[: len(names)]))
    legend = alt.Legend(symbolSize=600) if len(names) > 1 else None
    line = chart_of(marks.lines).mark_line(strokeWidth=2)
    line = line.encode(
        x=x,
        y=y,
        color=alt.Color("line:N", scale=colours, legend=legend),
        strokeDash=alt.StrokeDash("line:N", scale=dashes, legend=legend),
    )
    layers = [line, *_dots(look, tables, marks, x, y)]
    if marks.variants:
        label = chart_of(marks.variants).encode(x=x, y=y, text="label:N")
        return alt.layer(*layers, labelled(label, theme, dx=-8, dy=-9, align="right"))
    return alt.layer(*layers)


def _rounding(look: PlotLook, tables: list[Table], marks: _Marks, x: alt.X) -> Layers:
    """How far the network is from the rule."""
    import altair as alt

    colour = look.theme.series
    signed = alt.Axis(
        labelExpr="(datum.value > 0 ? '+' : '') + datum.value", tickCount=4, minExtent=42
    )
    y = alt.Y("off:Q", title="over the rule, %", axis=signed, scale=alt.Scale(zero=True))
    rule = chart_of([{"off": 0}]).mark_rule(color=colour[1], strokeDash=DASHES[1], strokeWidth=1.5)
    line = chart_of(marks.points).mark_line(color=colour[0], strokeWidth=1.5)
    dots = _dots(look, tables, marks, x, y)
    return alt.layer(rule.encode(y=y), line.encode(x=x, y=y), *dots)


def _dots(
    look: PlotLook, tables: list[Table], marks: _Marks, x: alt.X, y: alt.Y
) -> Iterator[alt.Chart]:
    """Mark the points, of many those at whole φ, and the released variants."""
    points = [p for p in marks.points if len(marks.points) <= 16 or p[marks.x] % 1 == 0]
    rates = ("theory", "growth") if len(marks.names) > 1 else ()
    scaling = ("phi", "depth", "width") if marks.x == "phi" else (marks.x,)
    chart = chart_of(points).mark_point(filled=True, size=44, color=look.theme.series[0], opacity=1)
    tip = tooltips(tables[0], *scaling, "pixels", marks.figure, *rates)
    yield chart.encode(x=x, y=y, tooltip=tip)
    if marks.variants:
        chart = chart_of(marks.variants).mark_point(
            shape="diamond",
            filled=True,
            size=110,
            color=look.theme.ink,
            stroke=look.theme.background,
            strokeWidth=1.5,
            opacity=1,
        )
        tip = tooltips(tables[1], "nearest_name", "depth", "width", "pixels", marks.figure, *rates)
        yield chart.encode(x=x, y=y, tooltip=tip)
