"""Several networks beside each other, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from effcalc.base.units import Value
from effcalc.output.table import Column, Row, Table
from effcalc.scaling.published import accuracy
from effcalc.scaling.scale import Scaled, ratio
from effcalc.scaling.tables.scaling import COSTS, pixels


def compare_table(labels: Sequence[str], networks: Sequence[Scaled]) -> Table:
    """Several networks, each with its ratio to the first, and published accuracy where filed."""
    first = networks[0]
    columns = [Column("network", "network", "text", "the network and its scaling")]
    for figure in COSTS:
        columns.append(figure.column({"params", "macs", "gradient_bytes"}))
        over = Column(f"{figure.key}_ratio", "×", "relative", f"{figure.title} over the first's")
        columns.append(over._replace(default=figure.key in ("params", "macs")))
    columns += [
        Column("pixels", "px", "text", "image side(s)", default=False),
        Column("family", "family", "text", "architecture file", default=False),
        Column("top1", "top-1", "number", "published accuracy, %"),
        Column("top5", "top-5", "number", "published accuracy, %", default=False),
        Column("source", "source", "text", "of the accuracy", default=False),
    ]
    rows: list[Row] = []
    sources: dict[str, list[str]] = {}
    for label, scaled in zip(labels, networks, strict=True):
        row: dict[str, Value] = {"network": label, "pixels": pixels(scaled.scaling.image_size)}
        row["family"] = PurePath(scaled.arch.file).stem
        for figure in COSTS:
            mine, theirs = figure.value(scaled), figure.value(first)
            row[figure.key] = mine
            if isinstance(mine, int) and isinstance(theirs, int) and theirs:
                row[f"{figure.key}_ratio"] = ratio(mine, theirs)
        entry = accuracy(scaled)
        if entry is not None:
            source = f"{entry.table}{f' ({entry.note})' if entry.note else ''}"
            row |= {"top1": entry.top1, "top5": entry.top5, "source": source}
            sources.setdefault(source, []).append(label)
        rows.append(row)
    notes = [f"×: over {labels[0]}; sent/step: gradients of {first.workers} workers"]
    if sources:
        quoted = "; ".join(f"{source}: {', '.join(names)}" for source, names in sources.items())
        notes.append(f"accuracy in % as published, none is computed: {quoted}")
    return Table(
        "compare",
        " · ".join(labels),
        tuple(columns),
        rows,
        tuple(notes),
        layout="rows",
        chart="effcalc.scaling.plots.costs:costs",
    )
