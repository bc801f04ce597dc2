"""What others measured: an extract of timm's published tables.

From `results/benchmark-*.csv` of huggingface/pytorch-image-models (timm), Copyright 2019 Ross
Wightman, Apache License 2.0; see `measured/NOTICE`. One run a row; the same network on the same
device under two versions of torch differs by a median of 1.4 to 3.1%.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from effcalc.prediction.model import Setting

FOLDER = Path(__file__).parent / "measured"
SPREAD = (0.94, 0.955, 1.045, 1.06)
"""Of another run: a normal error whose median size is 3.1%, the largest seen; assumed."""


class Identity(NamedTuple):
    """What tells a network: pixels of a side, exact parameters and MACs of one image."""

    pixels: int
    params: int
    macs: int


class Row(NamedTuple):
    """One measurement: timm's name, images a step, images a second."""

    name: str
    batch: int
    rate: float


def file_name(device: str, setting: Setting) -> str:
    """Return the name of the file of a device and a setting."""
    return f"{device}-{setting.stem}.csv"


@cache
def rows(device: str, setting: Setting) -> Mapping[Identity, list[Row]]:
    """Return what was measured on a device in a setting; nothing where nobody did."""
    path = FOLDER / file_name(device, setting)
    result: dict[Identity, list[Row]] = {}
    if not path.is_file():
        return result
    with open(path, encoding="utf-8", newline="") as file:
        for name, px, params, macs, batch, rate in list(csv.reader(file))[1:]:
            key = Identity(int(px), int(params), int(macs))
            result.setdefault(key, []).append(Row(name, int(batch), float(rate)))
    return result


def measured(device: str, setting: Setting, identity: Identity, name: str) -> Row | None:
    """Return the row of this very network, by its figures, and by name where several share them.

    Networks of equal parameters and MACs may still differ (in their activations, say): without the
    name, none of several is taken.
    """
    same = rows(device, setting).get(identity, [])
    wanted = _plain(name.removeprefix("timm:").removeprefix("torchvision:"))
    named = [row for row in same if _plain(row.name.partition(".")[0]) == wanted]
    if named:
        return named[0]
    return same[0] if len(same) == 1 else None


def _plain(name: str) -> str:
    """Return a name as letters and digits: "ResNet-50" is timm's "resnet50"."""
    return "".join(c for c in name.lower() if c.isalnum())
