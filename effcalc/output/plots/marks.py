"""What the kinds of plots are made from: a table's rows as a chart's data, axes, marks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from effcalc.base.errors import InputError
from effcalc.base.units import Unit, Value, format_value
from effcalc.base.units.writing import SI
from effcalc.output.plots.style import Theme
from effcalc.output.table import Table, take

if TYPE_CHECKING:
    import altair as alt

    Layers: TypeAlias = "alt.LayerChart | alt.FacetChart"  # as altair types `alt.layer`

ROW_LIMIT = 5_000
"""Rows of one table that a plot draws at most."""


SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [1, 3])
"""Beside the colours of a theme, so that series differ in grey too."""


def drawable(table: Table, keys: Iterable[str]) -> Table:
    """Return a table with its rows read and the columns `keys` alone: what a plot is made of."""
    known = {column.key: column for column in table.columns}
    columns = tuple(known[key] for key in keys)
    rows = take(table.rows, ROW_LIMIT, "a plot")
    chosen = tuple({column.key: row.get(column.key) for column in columns} for row in rows)
    return replace(table, columns=columns, rows=chosen)


def records(table: Table) -> list[dict[str, Any]]:
    """Return the rows as the data of a chart: numbers as floats, and as text under `KEY_text`.

    The texts are those that the table shows, for labels and tooltips.
    """
    rows = []
    for row in table.rows:
        record: dict[str, Any] = {}
        for column in table.columns:
            value = row.get(column.key)
            record[column.key] = _number(value)
            record[f"{column.key}_text"] = format_value(value, column.unit)
        rows.append(record)
    return rows


def _number(value: Value) -> str | float | None:
    if value is None or isinstance(value, str):
        return value
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InputError("a plot holds figures up to 10^308, and one of these is beyond")
    return number


def chart_of(rows: Sequence[dict[str, Any]]) -> alt.Chart:
    """Return an empty chart over some records."""
    import altair as alt

    return alt.Chart(alt.InlineData(values=list(rows)))


def tooltips(table: Table, *keys: str) -> list[alt.Tooltip]:
    """Return the tooltip of a mark: those columns under their titles, as the table writes them."""
    import altair as alt

    known = {column.key: column for column in table.columns}
    return [alt.Tooltip(f"{key}_text:N", title=known[key].title) for key in keys]


class Scale(NamedTuple):
    """How an axis is read: its title, with the unit, and the labels' expression."""

    title: str
    labels: str


def axis(what: str, unit: Unit, values: Iterable[Value], noun: str = "") -> Scale:
    """Choose an axis's one unit by its largest value: "GMACs per image", "weights, MB".

    `what` names a figure. A count's prefix joins `noun`, "MACs": `axis("per image", "count",
    values, "MACs")`.
    """
    numbers = [abs(v) for v in values if isinstance(v, int | float)]
    largest = max(numbers, default=0)
    step = 0
    if unit in ("count", "bytes"):
        while largest >= 1000 ** (step + 1) and step < len(SI) - 1:
            step += 1
    labels = f"format(datum.value / 1e{3 * step}, '~g')" if step else "format(datum.value, '~g')"
    if unit == "bytes":
        return Scale(f"{what}, {SI[step]}B", labels)
    if unit == "count":
        spaced = "" if noun in ("MACs", "FLOPs") else " "
        return Scale(" ".join(f"{SI[step]}{spaced if step else ''}{noun} {what}".split()), labels)
    words = {"seconds": "s", "percent": "%", "change": "%", "pixels": "px"}
    return Scale(f"{what}, {words[unit]}" if unit in words else what, labels)


def log_ticks(values: Iterable[float]) -> list[float]:
    """Return where a logarithmic axis has its labels: few enough to read, and at least two.

    At 1, 2 and 5, at powers of ten alone where the range is wide, at even steps where it is small.
    """
    low, high = log_domain(values)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 4 else (1,)
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    within = [tick for tick in ticks if low <= tick <= high]
    if len(within) > 2:
        return within[:: 1 + len(within) // 12]
    step = 10.0 ** math.floor(math.log10((high - low) / 3))
    for even in (step * 5, step * 2, step):
        places = range(math.ceil(low / even), math.floor(high / even) + 1)
        if len(places) > 2:
            break
    return [even * place for place in places]


def log_domain(values: Iterable[float]) -> list[float]:
    """Return the ends of a logarithmic axis, with a little room around the values."""
    numbers = [value for value in values if value > 0]
    return [min(numbers) * 0.8, max(numbers) * 1.25]


def log_scale(values: Iterable[float]) -> alt.Scale:
    """Return a logarithmic scale over `log_domain`."""
    import altair as alt

    return alt.Scale(type="log", domain=log_domain(values), nice=False)


def labelled(chart: alt.Chart, theme: Theme, **mark: Any) -> Layers:
    """Return text marks that stay legible on lines: a halo lies behind them."""
    import altair as alt

    halo = chart.mark_text(stroke=theme.background, strokeWidth=4, **mark)
    return alt.layer(halo, chart.mark_text(**mark))


_PLACES: dict[str, tuple[str, int, int]] = {  # how the text is aligned, and how far it is moved
    "right": ("left", 9, 1),
    "left": ("right", -9, 1),
    "above left": ("right", -7, -9),
    "below right": ("left", 7, 11),
    "above": ("center", 0, -14),
    "below": ("center", 0, 15),
    "above right": ("left", 7, -9),
    "below left": ("right", -7, 11),
}


def place_labels(
    points: Sequence[tuple[float, float, str]], width: float, first: Sequence[str] = ()
) -> list[str]:
    """Choose where each point's label stands, beside the others and within the width.

    `points` are pixels from the left and from the top, with the text; a place is a key of
    `label_mark`. Places are tried in order, those in `first` before the others.
    """
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y, _ in points]
    places = []
    order = [*first, *(place for place in _PLACES if place not in first)]
    for x, y, text in points:
        boxes = {place: _box(x, y, text, place) for place in order}
        clashes = {
            place: sum(_overlap(box, other) for other in taken)
            + (10_000 if box[0] < 0 or box[2] > width else 0)
            for place, box in boxes.items()
        }
        place = min(order, key=lambda place: clashes[place])
        taken.append(boxes[place])
        places.append(place)
    return places


def label_mark(place: str) -> dict[str, Any]:
    """Return the properties of a text mark that stands there."""
    align, dx, dy = _PLACES[place]
    return {"align": align, "dx": dx, "dy": dy}


_Box: TypeAlias = tuple[float, float, float, float]


def _box(x: float, y: float, text: str, place: str) -> _Box:
    align, dx, dy = _PLACES[place]
    width = 6.4 * len(text)  # of 12-pixel text, about
    left = x + dx - {"left": 0.0, "center": width / 2, "right": width}[align]
    return left, y + dy - 7, left + width, y + dy + 7


def _overlap(a: _Box, b: _Box) -> float:
    across = min(a[2], b[2]) - max(a[0], b[0])
    down = min(a[3], b[3]) - max(a[1], b[1])
    return max(across, 0) * max(down, 0)
