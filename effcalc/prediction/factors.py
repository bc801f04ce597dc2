"""The factors of each setting, as their TOML files have them, and which setting stands in.

A file holds factors common to all devices that were measured in its setting, those of each device,
and quantiles of measured over predicted time where it was held out
(`benchmarks/fit_prediction.py`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from effcalc.hardware.files import Device
from effcalc.prediction.model import Factors, Setting

FOLDER = Path(__file__).parent / "factors"

Quantiles = tuple[float, float, float, float]
"""Measured over predicted: the points of 5%, 10%, 90% and 95%."""


class Fitted(NamedTuple):
    """What was fitted in one setting."""

    setting: Setting
    common: Factors
    devices: Mapping[str, Factors]
    quantiles: Mapping[str, Quantiles]


@cache
def fitted(setting: Setting) -> Fitted:
    """Read the file of a setting that was fitted."""
    file = FOLDER / f"{setting.stem}.toml"
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    return Fitted(
        Setting(**data["setting"]),
        _factors(data["common"]),
        {device: _factors(values) for device, values in data["devices"].items()},
        {basis: tuple(points) for basis, points in data["quantiles"].items()},
    )


def _factors(values: Mapping[str, Any]) -> Factors:
    names = ("narrow", "narrow_linear", "misaligned", "attention_inner", "attention_product")
    return Factors(
        compute=values["compute"],
        memory=values["memory"],
        launch=values["launch_us"] * 1e-6,
        **{name: values[name] for name in names},
    )


def nearest(setting: Setting, device: Device) -> tuple[Setting, tuple[str, ...]]:
    """Return the setting whose factors serve this one, and what that assumes.

    Every setting in `factors/` was measured on GPUs by autocast, and one on a CPU.
    """
    if "fp16" not in device.peaks:
        assumed = () if setting == Setting("fp32", compiled=True) else (f"{setting.name}",)
        return Setting("fp32", compiled=True), assumed
    served = setting._replace(precision="amp")
    if served.mode == "train":
        served = Setting(mode="train")
    elif served.compiled:
        served = Setting(compiled=True)
    return served, () if served == setting else (setting.name,)
