"""Tables about what a step needs in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from effcalc.base.errors import InputError, one_of
from effcalc.base.units import Value, dtype_bytes, format_bytes
from effcalc.footprint.fit import Fitted
from effcalc.footprint.optimizer import OPTIMIZERS
from effcalc.footprint.predict import MemoryPrediction
from effcalc.footprint.step import StepSettings
from effcalc.footprint.tape import CATEGORIES, Moment
from effcalc.network.network import OperatorCall
from effcalc.output.table import Column, Row, Table
from effcalc.scaling import figures

TITLES = {
    "params": ("params", "parameters, and the part gathered of sharded ones"),
    "buffers": ("buffers", "running statistics"),
    "optimizer": ("optimizer", "its state, and float32 master copies"),
    "inputs": ("inputs", "images and labels, which the caller holds"),
    "gradients": ("gradients", "of parameters"),
    "saved": ("kept", "for the backward pass, by autograd"),
    "temporary": ("temporary", "other results, gradients of results, scratch"),
}
"""Category -> its heading and what is in it; the figures are those at the peak, and sum to it."""

UNITS = {"MB": "10^6 bytes"}

PHASES = {
    "start": "before the step",
    "forward": "forward",
    "recompute": "forward, computed again",
    "backward": "backward",
    "optimizer": "optimizer step",
}


class MeasuredRun(NamedTuple):
    """One row: what a prediction is of, in words (`label`, empty for one network alone)."""

    label: str
    prediction: MemoryPrediction


def described(step: StepSettings) -> str:
    """Say in words how a step runs."""
    if not step.train:
        return f"inference, {step.dtype}"
    parts = [f"training with {OPTIMIZERS[step.optimizer].title}", step.dtype]
    if step.master:
        parts.append("float32 master weights")
    if step.checkpoint != "none":
        parts.append(f"each {step.checkpoint} computed again")
    if step.zero:
        parts.append(f"ZeRO-{step.zero} on {step.workers} workers")
    return ", ".join(parts)


def memory_table(runs: Sequence[MeasuredRun], title: str) -> Table:
    """One row for each run: its peak, what it consists of, the layer and the moment of it."""
    several = len(runs) > 1
    steps = [run.prediction.step for run in runs]

    def differs(values: Iterable[Value]) -> bool:
        return len(set(values)) > 1

    columns = (
        Column("network", "scaling", "text", "", any(run.label for run in runs)),
        Column("mode", "mode", "text", "infer or train", differs(s.train for s in steps)),
        Column("batch", "batch", "int", "images", differs(r.prediction.batch for r in runs)),
        Column("dtype", "dtype", "text", "precision", differs(s.dtype for s in steps)),
        Column("optimizer_name", "with", "text", "optimizer", False),
        *(
            Column(key, heading, "bytes", help, not several or key not in ("buffers", "inputs"))
            for key, (heading, help) in TITLES.items()
        ),
        Column("peak", "peak", "bytes", "the most alive at once: the sum of these"),
        Column("layer", "at layer", "text", "where the peak is", not several),
        Column("phase", "during", "text", "when the peak is", not several),
        Column("op", "operator", "text", "at whose end it is", False),
        Column("all_gradients", "all gradients", "bytes", "of all parameters", not several),
        Column("all_kept", "all kept", "bytes", "when the backward pass begins", not several),
    )
    notes = ["; ".join(described(step) for step in dict.fromkeys(steps))] if several else []
    if several and len(runs) <= 4:
        notes += [f"peak of {_short(run)}: {where(run.prediction.peak)}" for run in runs]
    notes += _gaps(runs)
    rows = [_row(run) for run in runs]
    return Table("memory", title, columns, rows, tuple(notes), conventions=UNITS)


def _short(run: MeasuredRun) -> str:
    p = run.prediction
    parts = (run.label, "train" if p.step.train else "infer", f"batch {p.batch}", p.step.dtype)
    return ", ".join(part for part in parts if part)


def where(peak: Moment) -> str:
    """Say where a peak is: `stage3.0.depthwise.act, backward`."""
    repeat = "" if not peak.repeat else f" (its repeat {peak.repeat + 1})"
    return f"{peak.layer or 'the start'}{repeat}, {PHASES[peak.phase]}"


def _row(run: MeasuredRun) -> Row:
    p = run.prediction
    training = p.step.train
    return {
        "network": run.label or p.network.name,
        "mode": "train" if training else "infer",
        "batch": p.batch,
        "dtype": p.step.dtype,
        "optimizer_name": p.step.optimizer if training else None,
        **{key: p.at_peak(key) for key in CATEGORIES},
        "peak": p.peak.total,
        "layer": p.peak.layer,
        "phase": PHASES[p.peak.phase],
        "op": p.peak.op,
        "all_gradients": p.gradient_bytes,
        "all_kept": p.kept_bytes,
    }


def _gaps(runs: Sequence[MeasuredRun]) -> list[str]:
    """Say of which operators it is not known what autograd keeps."""
    calls: dict[str, int] = {}
    for run in runs:
        for op, n in run.prediction.unknown.items():
            calls[op] = max(calls.get(op, 0), n)
    if not calls:
        return []
    names = ", ".join(f"{op} ({n})" for op, n in sorted(calls.items()))
    return [f"unknown what autograd keeps, taken as all operands and results: {names}"]


PER = {name: figures.PER[name] for name in ("stage", "block", "layer")}
"""The breakdowns that `--per` offers, beside "moment"."""


def per_table(run: MeasuredRun, per: str, title: str) -> Table:
    """Say what each part keeps for the backward pass, and the most alive while it runs.

    `per` is stage, block, layer, or moment for the live bytes after every operator. Raises
    `InputError` for another.
    """
    if per == "moment":
        return timeline(run.prediction, title)
    group = PER[one_of(per, [*PER, "moment"], "`per`")]
    columns = (
        Column("name", per, "text", "identical blocks share a row but for first and last"),
        Column("params", "params", "bytes", "parameters"),
        Column("kept", "kept", "bytes", "for the backward pass"),
        Column("share", "% kept", "percent", "share of what is kept"),
        Column("peak", "peak", "bytes", "the most alive, network and all, while it runs"),
        Column("phase", "during", "text", "when that is"),
    )
    rows = _part_rows(run.prediction, group)
    whole = run.prediction.kept_bytes
    total: Row = {
        "name": "total",
        "params": sum(row["params"] for row in rows),
        "kept": whole,
        "share": 100.0 if whole else None,
        "peak": run.prediction.peak.total,
    }
    return Table(
        "memory-parts", title, columns, rows, total=total, layout="rows", conventions=UNITS
    )


def _part_rows(prediction: MemoryPrediction, group: Callable[[OperatorCall], str]) -> list[Any]:
    names = {call.name: group(call) for call, _ in prediction.kept}
    weights: dict[str, int] = {}
    kept: dict[str, int] = {}
    for call, size in prediction.kept:
        name = group(call)
        kept[name] = kept.get(name, 0) + size
        own = sum(p.numel * dtype_bytes(p.dtype) for p in call.params if not p.buffer)
        weights[name] = weights.get(name, 0) + own * call.count
    most: dict[str, Moment] = {}
    for m in prediction.moments:
        name = names.get(m.layer, "")
        if name and (name not in most or m.total > most[name].total):
            most[name] = m
    whole = prediction.kept_bytes
    return [
        {
            "name": name,
            "params": weights[name],
            "kept": kept[name],
            "share": kept[name] * 100 / whole if whole else None,
            "peak": most[name].total if name in most else None,
            "phase": PHASES[most[name].phase] if name in most else None,
        }
        for name in kept
    ]


def timeline(prediction: MemoryPrediction, title: str) -> Table:
    """Live bytes by category at the end of every operator, in order: what a plot shows."""
    columns = (
        Column("moment", "moment", "int", "number of the operator"),
        Column("layer", "layer", "text", "whose operator"),
        Column("phase", "phase", "text", "forward, recompute, backward or optimizer"),
        Column("op", "op", "text", "operator", False),
        Column("repeat", "repeat", "int", "of a repeated block", False),
        *(
            Column(key, heading, "bytes", help, key in ("saved", "temporary"))
            for key, (heading, help) in TITLES.items()
        ),
        Column("alive", "alive", "bytes", "sum"),
    )
    rows: list[Row] = [
        {
            "moment": i,
            "layer": m.layer,
            "phase": m.phase,
            "op": m.op,
            "repeat": m.repeat,
            **dict(zip(CATEGORIES, m.alive, strict=True)),
            "alive": m.total,
        }
        for i, m in enumerate(prediction.moments)
    ]
    return Table(
        "memory-timeline",
        title,
        columns,
        rows,
        layout="rows",
        conventions=UNITS,
        chart="effcalc.footprint.plot:memory",
    )


class Check(NamedTuple):
    """A run, and what was measured of it (fields of `effcalc.footprint.live.Measured`)."""

    run: MeasuredRun
    measured: Mapping[str, int | None]

    @property
    def difference(self) -> float:
        """How far the predicted peak is from the measured one, in percent of that."""
        measured = self.measured["peak"] or 0
        return (self.run.prediction.peak.total - measured) * 100 / measured if measured else 0.0


_COMPARED = (
    ("params", "parameters"),
    ("buffers", "buffers"),
    ("optimizer", "optimizer state"),
    ("inputs", "images, labels"),
    ("before_backward", "alive before backward"),
    ("gradients", "all gradients"),
    ("gradients_at_peak", "gradients at peak"),
    ("peak", "peak at operators' ends"),
    ("scratch", "scratch inside operators"),
    ("allocated", "allocated, in blocks"),
    ("reserved", "reserved"),
    ("resident", "resident, whole process"),
)
"""What a check compares, and after that what it measures alone."""


def verify_table(
    checks: Sequence[Check], title: str, environment: Mapping[str, Value], tolerance: float
) -> Table:
    """Set what was predicted beside what was measured, quantity by quantity."""
    several = len(checks) > 1
    columns = (
        Column("network", "scaling", "text", "", any(c.run.label for c in checks)),
        Column("mode", "mode", "text", "infer or train", several),
        Column(
            "batch", "batch", "int", "images", len({c.run.prediction.batch for c in checks}) > 1
        ),
        Column(
            "dtype", "dtype", "text", "", len({c.run.prediction.step.dtype for c in checks}) > 1
        ),
        Column("what", "bytes of", "text", "quantity"),
        Column("predicted", "predicted", "bytes", "without running"),
        Column("measured", "measured", "bytes", "of the second step"),
        Column("difference", "difference", "bytes", "predicted - measured"),
        Column("relative", "%", "change", "of the measured"),
    )
    rows = [row for check in checks for row in _check_rows(check)]
    notes = (
        "; ".join(dict.fromkeys(described(c.run.prediction.step) for c in checks)),
        f"tolerance of the peak: {tolerance:g}%",
    )
    return Table(
        "memory-verify", title, columns, rows, notes, conventions=UNITS, environment=environment,
        layout="rows",
    )  # fmt: skip


def _check_rows(check: Check) -> Iterator[Row]:
    p, measured = check.run.prediction, dict(check.measured)
    within = measured.pop("within", None)
    if within is not None:
        measured["scratch"] = within - (measured["peak"] or 0)
    start = p.moments[0].alive
    backward = next((m.total for m in p.moments if m.phase == "backward"), 0)
    predicted: dict[str, int] = {
        **dict(zip(CATEGORIES, start, strict=True)),
        "before_backward": backward - SEED[p.step.dtype],
        "gradients": p.gradient_bytes,
        "gradients_at_peak": p.at_peak("gradients"),
        "peak": p.peak.total,
    }
    training = ("optimizer", "before_backward", "gradients", "gradients_at_peak")
    for key, what in _COMPARED:
        value = measured.get(key)
        if value is None or (key in training and not p.step.train):
            continue
        guess = predicted.get(key)
        yield {
            "network": check.run.label or p.network.name,
            "mode": "train" if p.step.train else "infer",
            "batch": p.batch,
            "dtype": p.step.dtype,
            "what": what,
            "predicted": guess,
            "measured": value,
            "difference": None if guess is None else guess - value,
            "relative": None if guess is None or not value else (guess - value) * 100 / value,
        }


SEED = {"fp32": 4, "amp": 4, "bf16": 2}
"""Bytes of the gradient that the backward pass begins with: the loss has one element."""


def fit_table(fits: Sequence[Fitted], limit: int, step: StepSettings, name: str) -> Table:
    """The largest batch and the largest φ that fit a memory. Raises `InputError` for none."""
    if all(fit.value is None for fit in fits):
        raise InputError(
            f"`fit`: nothing of {name} fits {format_bytes(limit)}, not even one image; allow more, "
            "or try `checkpoint` block, `dtype` bf16 or `zero` 3"
        )
    columns = (
        Column("what", "largest", "text", "what grows"),
        Column("value", "value", "number", "the largest that fits"),
        Column("batch", "batch", "int", "images"),
        Column("peak", "peak", "bytes", "of the step"),
        Column("used", "used", "percent", "of the limit"),
        Column("layer", "at layer", "text", "where the peak is"),
        Column("phase", "during", "text", "when the peak is", False),
    )
    rows: list[Row] = []
    for fit in fits:
        if fit.prediction is None:
            rows.append({"what": f"{fit.what}: none fits"})
            continue
        peak = fit.prediction.peak
        rows.append(
            {
                "what": fit.what,
                "value": fit.value,
                "batch": fit.prediction.batch,
                "peak": peak.total,
                "used": peak.total * 100 / limit,
                "layer": peak.layer,
                "phase": PHASES[peak.phase],
            }
        )
    title = f"{name} within {format_bytes(limit)}: {described(step)}"
    notes = ("φ in steps of 0.001",) if any(fit.what == "φ" for fit in fits) else ()
    return Table("memory-fit", title, columns, rows, notes, layout="rows", conventions=UNITS)
