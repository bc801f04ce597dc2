"""Predict how long a network takes: seconds, an interval, and what the figure rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from effcalc.base.errors import InputError, one_of
from effcalc.hardware.files import Device, load_device
from effcalc.network.network import Network
from effcalc.prediction.factors import Fitted, Quantiles, fitted, nearest
from effcalc.prediction.measured import SPREAD, Identity, Row, measured
from effcalc.prediction.model import (
    ARITHMETIC,
    PRECISIONS,
    Limits,
    Setting,
    work_seconds,
)
from effcalc.prediction.work import Work, grown, works

ASSUMED_WIDER = 1.5
"""How much wider an interval is, in logarithms, in a setting that nobody measured; assumed."""

NEAR_BATCH = 4
"""How far from the measured batch its own small interval still holds; beyond, that of the model."""

WRONG_BEFORE = ("convmixer", "efficientformerv2")
"""Networks that take 2 to 10 times what is predicted in eager mode, by timm's tables."""


class Subject(NamedTuple):
    """What is predicted: a network's works for `batch` images, and what tells it from others."""

    name: str
    works: Sequence[Work]
    batch: int
    identity: Identity


@dataclass(frozen=True, slots=True)
class TimePrediction:
    """Seconds of one step of `batch` images, with its 80% and 90% interval.

    `basis` says what the figure rests on, `notes` what it assumes. `parts` are the seconds of each
    operator call, all its repeats, scaled to sum to `seconds`.
    """

    name: str
    device: Device
    setting: Setting
    batch: int
    seconds: float
    quantiles: Quantiles
    basis: str
    notes: tuple[str, ...]
    parts: tuple[tuple[Work, float], ...]

    @property
    def images_per_second(self) -> float:
        """Images of the batch over the seconds that it takes."""
        return self.batch / self.seconds

    @property
    def intervals(self) -> Mapping[str, float]:
        """Seconds within which 80% and 90% of what was held out lie, by column."""
        low90, low80, high80, high90 = (self.seconds * q for q in self.quantiles)
        return {"low80": low80, "high80": high80, "low90": low90, "high90": high90}


def subject(name: str, network: Network) -> Subject:
    """Read a network as works, and know it by its figures."""
    shape = next((t.shape for t in network.inputs if len(t.shape) == 4), ())
    batch = shape[0] if shape else 1
    all_works = works(network)
    macs = round(sum(work.macs * work.repeats for work in all_works)) // max(batch, 1)
    identity = Identity(shape[-1] if shape else 0, network.params, macs)
    return Subject(name, all_works, batch, identity)


def predict(
    network: Network, device: str, batch: int | None = None, *, name: str = "", **setting: Any
) -> TimePrediction:
    """Predict a step of a network on a device, by its name or from file.toml.

    `batch` is a multiple of the network's own, which it is without one. `setting` has the fields of
    `Setting`: `precision` ("amp" unless given, or fp32, tf32, fp16, bf16), `channels_last`,
    `compiled`, `mode` ("infer" or "train"). A network by its `name` may have been measured.
    Raises `InputError`.
    """
    chosen = Setting(**setting)
    one_of(chosen.precision, PRECISIONS, "`precision`")
    one_of(chosen.mode, ("infer", "train"), "`mode`")
    of = subject(name, network)
    if batch is not None and (batch < 1 or batch % of.batch):
        raise InputError(f"`batch` {batch} is not a multiple of the network's own, {of.batch}")
    times = 1 if batch is None else batch // of.batch
    return predict_time(of, load_device(device), chosen, times)


class _Case(NamedTuple):
    """A step of `batch` images of a subject, on a device, in a setting, with fitted factors."""

    of: Subject
    device: Device
    setting: Setting
    factors: Fitted
    batch: int

    def parts(self) -> list[tuple[Work, float]]:
        """Seconds of each work, all its repeats."""
        limits = limits_of(self.device, self.setting)
        chosen = self.factors.devices.get(self.device.name, self.factors.common)
        return [
            (work, work_seconds(work, limits, chosen, self.setting.precision) * work.repeats)
            for work in grown(self.of.works, self.batch / self.of.batch)
        ]

    def seconds(self) -> float:
        """Seconds of the step by the factors alone."""
        return sum(seconds for _, seconds in self.parts())

    def from_row(self, row: Row) -> float:
        """Seconds of the step, from what was measured of perhaps another batch of it here."""
        measured_seconds = row.batch / row.rate
        if row.batch == self.batch:
            return measured_seconds
        return measured_seconds * self.seconds() / self._replace(batch=row.batch).seconds()

    def row(self) -> Row | None:
        """What was measured of this very network here."""
        return measured(self.device.name, self.setting, self.of.identity, self.of.name)


class _Estimate(NamedTuple):
    seconds: float
    basis: str
    quantiles: Quantiles


def predict_time(of: Subject, device: Device, setting: Setting, times: int = 1) -> TimePrediction:
    """Predict a step of `times` the batch of a subject on a device.

    What was measured of this very network on this device goes before any prediction, then what
    was measured of it on another device times the ratio of what is predicted for both. Raises
    `InputError` for a device without a bandwidth or the peak that the setting needs.
    """
    served, assumed = nearest(setting, device)
    case = _Case(of, device, setting, fitted(served), of.batch * times)
    parts = case.parts()
    predicted = sum(seconds for _, seconds in parts)
    estimate = _measured_here(case) or _measured_elsewhere(case) or _by_factors(case, predicted)
    quantiles = estimate.quantiles
    notes = [f"nobody measured {name}: the factors are those of {served.name}" for name in assumed]
    if "data sheet" in estimate.basis and "data_sheet" not in case.factors.quantiles:
        notes.append(f"of {served.name} one device was measured: the interval is that of amp")
    if assumed:
        low90, low80, high80, high90 = (q**ASSUMED_WIDER for q in quantiles)
        quantiles = (low90, low80, high80, high90)
    return TimePrediction(
        of.name,
        device,
        setting,
        case.batch,
        estimate.seconds,
        quantiles,
        estimate.basis,
        (*notes, *_warnings(of)),
        tuple((work, part * estimate.seconds / predicted) for work, part in parts),
    )


def _measured_here(case: _Case) -> _Estimate | None:
    row = case.row()
    if row is None:
        return None
    basis = f"measured by timm ({row.name}, batch {row.batch})"
    near = 1 / NEAR_BATCH <= case.batch / row.batch <= NEAR_BATCH
    quantiles = SPREAD if near else case.factors.quantiles["table"]
    return _Estimate(case.from_row(row), basis if near else f"{basis} × ratio", quantiles)


def _measured_elsewhere(case: _Case) -> _Estimate | None:
    """Scale what was measured on another device by the ratio of what is predicted for both."""
    factors = case.factors
    known = case.device.name in factors.devices
    for name in factors.devices if "sibling" in factors.quantiles else ():
        other = case._replace(device=load_device(name))
        row = other.row()
        if name == case.device.name or row is None:
            continue
        if known:
            ratio = case.seconds() / other.seconds()
            quantiles = factors.quantiles["sibling"]
        else:  # both by what all devices share
            shared = factors._replace(devices={})
            ratio = (
                case._replace(factors=shared).seconds() / other._replace(factors=shared).seconds()
            )
            quantiles = _data_sheet(factors)
        basis = f"measured by timm on {name} × ratio" + ("" if known else ", data sheet only")
        return _Estimate(other.from_row(row) * ratio, basis, quantiles)
    return None


def _by_factors(case: _Case, seconds: float) -> _Estimate:
    if case.device.name in case.factors.devices:
        return _Estimate(seconds, "device in the tables", case.factors.quantiles["table"])
    return _Estimate(seconds, "data sheet only", _data_sheet(case.factors))


def limits_of(device: Device, setting: Setting) -> Limits:
    """Return a device's peak and bandwidth for a setting."""
    format = ARITHMETIC[setting.precision]
    if format not in device.peaks:
        raise InputError(f"`device` {device.name}: its file has no dense peak of {format}")
    if device.bandwidth is None:
        raise InputError(f"`device` {device.name}: its file has no memory bandwidth")
    return Limits(device.peaks[format], device.bandwidth)


def _data_sheet(factors: Fitted) -> Quantiles:
    """Quantiles of a device that was not fitted to; where a setting has one device, amp's."""
    usual = fitted(Setting()).quantiles["data_sheet"]
    return factors.quantiles.get("data_sheet", usual)


def _warnings(of: Subject) -> list[str]:
    notes = [
        f"{of.name} is like networks that took 2 to 10 times what is predicted"
        for name in WRONG_BEFORE
        if name in of.name.replace("_", "").lower()
    ]
    unknown = sorted({work.name for work in of.works if work.kind == "other"})
    if unknown:
        notes.append(
            f"operators of no known class count by their traffic: {', '.join(unknown[:5])}"
        )
    return notes
