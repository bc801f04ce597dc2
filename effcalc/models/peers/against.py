"""A model's MACs by effcalc and by other counters, side by side."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

from effcalc.base import process
from effcalc.base.errors import InputError, one_line
from effcalc.base.limits import child_memory
from effcalc.base.process import Limits
from effcalc.base.units import Value, format_count
from effcalc.base.version import __version__
from effcalc.models.mode import RunMode
from effcalc.models.names import file_kind
from effcalc.models.peers import child
from effcalc.models.peers.calls import HookedModule, modules
from effcalc.models.peers.child import Target
from effcalc.models.peers.explain import explain
from effcalc.models.peers.ourselves import EFFCALC
from effcalc.models.peers.record import Peer
from effcalc.models.target import check_batch
from effcalc.network.network import Network
from effcalc.output.table import Column, Table
from effcalc.scaling import figures
from effcalc.scaling.tables.counting import notes

AGREES = "agrees"
SECONDS = 120.0
"""Time limit of one counter, unless another is given."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one counter and one model; without `macs`, `cause` says why in one line.

    `seconds` are the count's own and `process_seconds` those of its process, which imports the
    counter and builds the model; `peak` is the most resident memory of that process in bytes.
    """

    tool: str
    macs: int | float | None = None
    params: int | float | None = None
    unassigned: Mapping[str, int] = field(default_factory=dict)
    seconds: float | None = None
    process_seconds: float | None = None
    peak: int | None = None
    version: str = ""
    cause: str = ""


class Subject(NamedTuple):
    """A model that is to be counted by others, as effcalc counts it, and its modules."""

    target: Target
    network: Network
    modules: Mapping[str, HookedModule]


COLUMNS = (
    Column("tool", "tool", help="the counter, and its backend where it has several"),
    Column("macs", "MACs", "count", "its figure as MACs of the whole batch"),
    Column("difference", "difference", "count", "its MACs less effcalc's", default=False),
    Column("change", "%", "change", "that difference over effcalc's MACs"),
    Column("params", "params", "count", "parameters, where it tells them"),
    Column("seconds", "time", "seconds", "of the count itself"),
    Column("process_seconds", "process", "seconds", "with imports and building", default=False),
    Column("peak", "peak memory", "bytes", "most resident memory of its process"),
    Column("explanation", "why", help="the operators on which it differs"),
    Column("version", "version", help="of its package", default=False),
)


def default_limits() -> Limits:
    """Return `SECONDS`, and what a child process may have."""
    return Limits(SECONDS, child_memory())


def run(peer: Peer, target: Target, limits: Limits) -> Outcome:
    """Count one model with one counter in a process of its own; this never fails."""
    if importlib.util.find_spec(peer.package) is None:
        return Outcome(peer.name, cause=f"not installed: {peer.how_to_install}")
    ended = process.run(child.__name__, child.request(peer, target), limits)
    answer = ended.answer or {}
    cause = ended.cause
    if ended.answer is not None and answer["macs"] is None:
        cause = f"gave no figure: {ended.said}".removesuffix(": ")
    return Outcome(
        peer.name,
        **answer,
        process_seconds=ended.seconds,
        peak=ended.peak or None,
        version=_version(peer.package),
        cause=cause,
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def prepare(target: Target) -> Subject:
    """Load a model and count it here.

    Raises `InputError` for a file, whose model other counters cannot run, and otherwise as
    `targets.load` does.
    """
    from effcalc.models.count import count_owned
    from effcalc.models.targets import load

    name = one_line(target.target)
    if file_kind(target.target):
        raise InputError(
            f"{name}: other counters cannot run a file; give package.module:factory, "
            "file.py:factory, torchvision:NAME, timm:NAME or a network of `effcalc archs`"
        )
    loaded = load(**asdict(target))
    mode = RunMode(real=target.real)
    network = count_owned(loaded.module, loaded.args, loaded.kwargs, mode, name)
    check_batch(target.target, target.inputs, target.batch, network)
    return Subject(target, replace(network, name=name), modules(loaded.module))


def against_table(subject: Subject, peers: Iterable[Peer], limits: Limits | None = None) -> Table:
    """Return effcalc's figures for a model, and those of other counters.

    Each counter builds the model anew in a process of its own, one after the other; whatever it
    does, it is a row.
    """
    target, network, _ = subject
    limits = limits or default_limits()
    outcomes = [(peer, run(peer, target, limits)) for peer in itertools.chain([EFFCALC], peers)]
    (_, first), *others = outcomes
    here = replace(
        first,
        macs=figures.macs(network),
        params=figures.weights(network.calls).params,
        version=__version__,
    )
    rows = [_row(here, here) | {"explanation": first.cause or None}]
    for peer, outcome in others:
        why = outcome.cause
        if outcome.macs is not None:
            why = explain(peer.rule, *subject[1:], outcome.macs, outcome.unassigned) or AGREES
            why += _parameters(outcome.params, here.params)
        rows.append(_row(outcome, here) | {"explanation": why})
    conventions = (f"{p.name}: {p.convention}." for p, o in others if o.macs is not None)
    return Table(
        "against",
        f"{network.name}: effcalc and other counters",
        COLUMNS,
        rows,
        notes=(*notes(network), *conventions),
        environment={
            "python": platform.python_version(),
            "torch": _version("torch"),
            "machine": f"{os.cpu_count()} {platform.machine()} cores",
        },
    )


def _row(outcome: Outcome, here: Outcome) -> dict[str, Value]:
    values = asdict(outcome)
    row: dict[str, Value] = {c.key: values[c.key] for c in COLUMNS if c.key in values}
    if outcome.macs is not None and here.macs is not None:
        row["difference"] = outcome.macs - here.macs
        row["change"] = 100 * (outcome.macs - here.macs) / here.macs if here.macs else None
    return row


def _parameters(counted: float | None, true: float | None) -> str:
    if counted is None or true is None or counted == true:
        return ""
    return (
        f"; {format_count(abs(counted - true))} parameters {'more' if counted > true else 'fewer'}"
    )
