"""Panels of horizontal bars: the same rows by several figures, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from effcalc.base.errors import InputError
from effcalc.output.plots.marks import chart_of, records, tooltips
from effcalc.output.plots.style import PlotLook
from effcalc.output.table import Table

if TYPE_CHECKING:
    import altair as alt

ROWS = 120
"""Rows that one picture shows at most."""


class Panel(NamedTuple):
    """One figure: a bar's length for each row, and the text at its end."""

    title: str
    subtitle: str
    lengths: Sequence[float]
    texts: Sequence[str]


def check_rows(count: int, instead: str) -> None:
    """Raise `InputError` for more rows than a picture can show; `instead` says what has fewer."""
    if count > ROWS:
        raise InputError(f"this has {count:,} rows and a plot shows at most {ROWS}; {instead}")


def bars(
    look: PlotLook, table: Table, name: str, panels: Sequence[Panel], *, one_scale: bool
) -> alt.TopLevelMixin:
    """Draw the rows of `table`, named by its column `name`; `one_scale` is for equal units."""
    import altair as alt

    rows = records(table)
    names = [str(row[name]) for row in rows]
    room = 6 * max(map(len, names), default=0) + 90
    width = max((look.width - room) / len(panels), 50)
    longest = max((length for panel in panels for length in panel.lengths), default=0.0)
    tip = tooltips(table, *(column.key for column in table.columns))
    charts = []
    for i, panel in enumerate(panels):
        most = longest if one_scale else max(panel.lengths, default=0.0)
        texts = max((7 * len(text) + 8 for text in panel.texts), default=0)
        # Room for the text at the end of the longest bar.
        end = (most or 1.0) * width / max(width - texts, width / 3)
        data = [
            row | {"length": length, "text": text, "order": at}
            for at, (row, length, text) in enumerate(
                zip(rows, panel.lengths, panel.texts, strict=True)
            )
        ]
        # Rows by their place, since two may have one name.
        shown = alt.Axis(
            labelExpr=f"{json.dumps(names, ensure_ascii=False)}[datum.value]",
            labelColor=look.theme.ink,
            labelLimit=400,
        )
        base = chart_of(data).encode(
            x=alt.X("length:Q", axis=None, scale=alt.Scale(domain=[0, end], nice=False)),
            y=alt.Y(
                "order:O",
                title=None,
                scale=alt.Scale(paddingInner=0.28, paddingOuter=0.15),
                axis=shown if i == 0 else None,
            ),
            tooltip=tip,
        )
        title = alt.Title(
            panel.title, subtitle=panel.subtitle, fontSize=13, offset=6, anchor="start"
        )
        charts.append(
            alt.layer(
                base.mark_bar(color=look.theme.bar),
                base.mark_text(align="left", dx=5).encode(text="text:N"),
            ).properties(width=width, height=alt.Step(24), title=title)
        )
    return alt.hconcat(*charts, spacing=24)
