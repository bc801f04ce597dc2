"""Tables of predicted times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from effcalc.output.table import Column, Row, Table
from effcalc.prediction.predict import TimePrediction
from effcalc.prediction.work import Work

PER: dict[str, Callable[[Work], str]] = {"layer": lambda work: work.name, "class": lambda w: w.kind}
"""What `per` offers: where the time goes."""


def predict_table(title: str, rows: Iterable[tuple[str, TimePrediction]]) -> Table:
    """One row for each prediction; the text of a row says which scaling it is of, if several."""
    pairs = list(rows)
    columns = (
        Column("scaling", "scaling", "text", "of the network", any(text for text, _ in pairs)),
        Column(
            "device", "device", "text", "hardware file", _differ(p.device.name for _, p in pairs)
        ),
        Column("batch", "batch", "int", "images of one step", True),
        Column("setting", "setting", "text", "how it runs", False),
        Column("seconds", "time", "seconds", "of one step, predicted"),
        Column("images_per_second", "images/s", "number", "batch over time"),
        Column("low80", "80% from", "seconds", "4 of 5 unseen networks took no less and"),
        Column("high80", "to", "seconds", "no more"),
        Column("low90", "90% from", "seconds", "9 of 10 did", False),
        Column("high90", "to", "seconds", "as well", False),
        Column("basis", "basis", "text", "what the figure rests on"),
    )
    table_rows: list[Row] = [
        {
            "scaling": text,
            "device": p.device.name,
            "batch": p.batch,
            "setting": p.setting.name,
            "seconds": p.seconds,
            "images_per_second": p.images_per_second,
            **p.intervals,
            "basis": p.basis,
        }
        for text, p in pairs
    ]
    return Table("predict", title, columns, table_rows, _notes([p for _, p in pairs]))


def per_table(title: str, p: TimePrediction, per: str) -> Table:
    """Where the predicted time goes: a row for each layer or class of operators."""
    group = PER[per]
    seconds: dict[str, float] = {}
    macs: dict[str, float] = {}
    for work, part in p.parts:
        key = group(work)
        seconds[key] = seconds.get(key, 0.0) + part
        macs[key] = macs.get(key, 0) + work.macs * work.repeats
    columns = (
        Column(per, per, "text", "operators"),
        Column("seconds", "time", "seconds", "predicted"),
        Column("share", "% time", "number", "of the step"),
        Column("macs", "MACs", "count", "multiply-accumulates"),
    )
    order = sorted(seconds, key=lambda key: -seconds[key]) if per == "class" else list(seconds)
    rows: list[Row] = [
        {
            per: key,
            "seconds": seconds[key],
            "share": 100 * seconds[key] / p.seconds,
            "macs": round(macs[key]),
        }
        for key in order
    ]
    total: Row = {
        per: "total",
        "seconds": p.seconds,
        "share": 100.0,
        "macs": round(sum(macs.values())),
    }
    notes = _notes([p])
    return Table("predict-parts", title, columns, rows, notes, total=total, layout="rows")


def _differ(values: Iterable[str]) -> bool:
    return len(set(values)) > 1


def _notes(predictions: Sequence[TimePrediction]) -> tuple[str, ...]:
    devices = dict.fromkeys(p.device.title for p in predictions)
    settings = dict.fromkeys(p.setting.name for p in predictions)
    notes = [
        f"on {', '.join(devices)}; {'; '.join(settings)}; one step of a batch, without loading it"
    ]
    bases = {p.basis.partition(" ")[0] for p in predictions}
    if "measured" in bases:
        notes.append(
            "measured by timm: one run, published in its results/benchmark-*.csv; the interval is "
            "that of another run under another torch"
        )
    if bases - {"measured"}:
        notes.append(
            "intervals: of networks of families that were held out; see docs/prediction.md"
        )
    return (*notes, *dict.fromkeys(note for p in predictions for note in p.notes))
