"""`effcalc predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from effcalc.cli.options import DEFAULT_NETWORK, AnyNetwork, Args, Inputs, OutputOptions
from effcalc.cli.predicting import RunOptions
from effcalc.cli.scaling import ScalingOptions

if TYPE_CHECKING:
    from effcalc.hardware.files import Device
    from effcalc.prediction.model import Setting

Devices = Annotated[
    str,
    typer.Option("--device", metavar="NAMES", help="Devices by name or file.toml: rtx-4090,l4."),
]
Batches = Annotated[
    str | None,
    typer.Option(
        "--batch", metavar="NUMBERS", help="Images of one step: 1, or 1,8; 256 unless given."
    ),
]
Per = Annotated[
    str | None, typer.Option("--per", metavar="PART", help="Where the time goes: layer or class.")
]


def predict(
    scaling: ScalingOptions,
    running: RunOptions,
    output: OutputOptions,
    network: AnyNetwork = DEFAULT_NETWORK,
    device: Devices = "rtx-4090",
    batch: Batches = None,
    per: Per = None,
    arg: Args = [],  # noqa: B006 - typer's, never changed
    input: Inputs = [],  # noqa: B006
) -> None:
    """Predict how long a network takes on a device that is not attached, with an interval.

    Each operator takes the larger of its arithmetic and its traffic, at the device's peaks times
    factors fitted to timm's published measurements. A network that timm measured on the device is
    answered by its measurement. The basis of each figure stands beside it.

    Examples:
    effcalc predict --phi 0:7 --device rtx-4090
    effcalc predict resnet-50 --device rtx-3090,rtx-4090,l4 --batch 64
    effcalc predict resnet-50 --mode train --device rtx-3090
    effcalc predict --phi 3 --device a100-40gb --per class
    effcalc predict timm:convnext_tiny --device rtx-4090 --channels-last
    """
    from effcalc.base.errors import InputError, one_of
    from effcalc.cli.networks import read_networks
    from effcalc.cli.output import write_table
    from effcalc.hardware.files import load_device
    from effcalc.prediction.predict import TimePrediction, predict_time, subject
    from effcalc.prediction.tables import PER, per_table, predict_table

    devices = [load_device(name.strip()) for name in device.split(",")]
    settings = [_setting(running, each) for each in devices]
    if per is not None:
        one_of(per, PER, "--per")
    batches = _batches(batch or "256")
    asked = read_networks(network, scaling, arg, input)
    if input and batch is not None:
        raise InputError("--input says what one step takes; give no --batch with it")
    rows: list[tuple[str, TimePrediction]] = []
    for built, title, label in asked.each:
        # As who measured it would call it: "EfficientNet-B0 at φ = 0" is EfficientNet-B0.
        of = subject(title.partition(" at ")[0], built)
        for each, setting in zip(devices, settings, strict=True):
            times = [1] if input else [images // of.batch for images in batches]
            rows += [(label, predict_time(of, each, setting, n)) for n in times]
    if per is None:
        table = predict_table(asked.title, rows)
    elif len(rows) != 1:
        raise InputError(f"--per is for one prediction, and this asks for {len(rows):,}")
    else:
        table = per_table(f"{asked.title}, batch {rows[0][1].batch}, by {per}", rows[0][1], per)
    write_table(table, output)


def _setting(running: RunOptions, device: Device) -> Setting:
    """Read how the network runs; the precision follows the device where it is not given."""
    from effcalc.base.errors import one_of
    from effcalc.prediction.model import PRECISIONS, Setting

    usual = "amp" if "fp16" in device.peaks else "fp32"
    precision = one_of(running.dtype or usual, PRECISIONS, "--dtype")
    mode = one_of(running.mode, ("infer", "train"), "--mode")
    return Setting(
        precision,  # type: ignore[arg-type]
        running.channels_last,
        running.compiled,
        mode,  # type: ignore[arg-type]
    )


def _batches(text: str) -> list[int]:
    from effcalc.base.errors import InputError
    from effcalc.base.units import parse_count

    batches = [parse_count(part, "--batch") for part in text.split(",")]
    for images in batches:
        if images < 1:
            raise InputError(f"--batch: {images} is not a whole number of at least 1")
    return batches
