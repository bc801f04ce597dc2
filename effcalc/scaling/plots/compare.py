"""Published accuracy against exact cost, network by network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from effcalc.base.errors import InputError, named, one_line
from effcalc.output.plots.marks import (
    SHAPES,
    axis,
    chart_of,
    drawable,
    label_mark,
    labelled,
    log_domain,
    log_ticks,
    place_labels,
    records,
    tooltips,
)
from effcalc.output.plots.style import Plot, PlotLook
from effcalc.output.table import Table

if TYPE_CHECKING:
    import altair as alt

FIGURES = {
    "macs": ("per image", "MACs"),
    "params": ("", "parameters"),
    "weight_bytes": ("weights", ""),
    "peak_activation_bytes": ("peak of activations, one image", ""),
    "gradient_bytes": ("sent by each worker per step", ""),
}
"""What the cost may be, by its column in the table, and how its axis says it."""

NETWORKS = (
    *("alexnet", "squeezenet-1.0", "squeezenet-1.0-simple-bypass"),
    *("mobilenet-v1", "mobilenet-v2", "mnasnet-a1"),
    *("resnet-50", "resnet-152"),
    *(f"efficientnet-b{i}" for i in range(8)),
)
"""What is drawn where no network is named: all have a published ImageNet top-1 accuracy, and were
trained on ImageNet alone."""


def compare(comparison: Table, figure: str = "macs") -> Plot:
    """Draw `compare_table`: top-1 accuracy as papers print it, against a cost.

    Networks of one architecture file are joined in order of cost. Those of which no accuracy is
    published are left out, and named. Raises `InputError` where none is left.
    """
    named(figure, FIGURES, "figure", "`figure`")
    table = drawable(comparison, ("network", "family", figure, "top1"))
    known = {row["network"] for row in table.rows if row["top1"] is not None}
    without = [str(row["network"]) for row in table.rows if row["network"] not in known]
    if not known:
        raise InputError(f"no accuracy is published for {', '.join(without)}")
    subtitle = ["top-1 accuracy as papers print it, none is computed; the cost is exact"]
    if without:
        subtitle.append(one_line(f"no accuracy is published for {', '.join(without)}", 110))
    return Plot(
        "compare",
        f"Accuracy against {'cost' if figure == 'macs' else _name(figure)}",
        tuple(subtitle),
        (table,),
        lambda look: _draw(look, table, figure),
    )


def _name(figure: str) -> str:
    what, noun = FIGURES[figure]
    return noun or what


def _draw(look: PlotLook, table: Table, figure: str) -> alt.TopLevelMixin:
    import altair as alt

    rows = [row for row in records(table) if row["top1"] is not None and row[figure]]
    rows.sort(key=lambda row: float(row[figure]))
    families = list(dict.fromkeys(row["family"] for row in records(table)))
    width, height = max(look.width - 90, 120), 380
    values = [row[figure] for row in rows]
    unit = next(column.unit for column in table.columns if column.key == figure)
    scale = axis(FIGURES[figure][0], unit, values, FIGURES[figure][1])
    colours = [look.theme.series[i % len(look.theme.series)] for i in range(len(families))]
    # The seventh family has the first's colour, and another shape.
    shapes = [SHAPES[(i + i // len(SHAPES)) % len(SHAPES)] for i in range(len(families))]
    x_domain = log_domain(values)
    accuracies = [row["top1"] for row in rows]
    y_domain = [min(accuracies) - 2, max(accuracies) + 2]
    x = alt.X(
        f"{figure}:Q",
        title=scale.title,
        scale=alt.Scale(type="log", domain=x_domain, nice=False),
        axis=alt.Axis(labelExpr=scale.labels, values=log_ticks(values), grid=False),
    )
    y = alt.Y(
        "top1:Q",
        title="ImageNet top-1, %",
        scale=alt.Scale(domain=y_domain, nice=False),
        axis=alt.Axis(tickCount=6),
    )
    for row in rows:
        row["label"] = _label(row["network"])
    spots = [_spot(row, figure, x_domain, y_domain, (width, height)) for row in rows]
    places = place_labels(spots, width, ("above left", "below right"))
    colour = alt.Color("family:N", legend=None, scale=alt.Scale(domain=families, range=colours))
    shape = alt.Shape("family:N", legend=None, scale=alt.Scale(domain=families, range=shapes))
    line = chart_of(rows).mark_line(strokeWidth=1.5, opacity=0.75)
    point = chart_of(rows).mark_point(filled=True, size=80, opacity=1)
    tip = tooltips(table, "network", figure, "top1")
    layers: list[Any] = [
        line.encode(x=x, y=y, color=colour),
        point.encode(x=x, y=y, color=colour, shape=shape, tooltip=tip),
    ]
    for place in dict.fromkeys(places):
        part = [row for row, own in zip(rows, places, strict=True) if own == place]
        text = chart_of(part).encode(x=x, y=y, text="label:N")
        layers.append(labelled(text, look.theme, **label_mark(place)))
    return alt.layer(*layers).properties(width=width, height=height)


def _spot(
    row: dict[str, Any],
    figure: str,
    x_domain: Sequence[float],
    y_domain: Sequence[float],
    size: tuple[float, float],
) -> tuple[float, float, str]:
    """Pixels from the left and from the top at which a network is drawn, and its label."""
    across = math.log(row[figure] / x_domain[0]) / math.log(x_domain[1] / x_domain[0])
    down = (y_domain[1] - row["top1"]) / (y_domain[1] - y_domain[0])
    return across * size[0], down * size[1], row["label"]


def _label(network: str) -> str:
    """Shorten what the axis of families repeats: "efficientnet-b3" is B3 beside its line."""
    family, _, variant = network.rpartition("-")
    return variant.upper() if family == "efficientnet" and variant != "b0" else network
