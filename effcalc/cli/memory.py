"""From the options of `effcalc memory` to the steps that it predicts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from effcalc.base.errors import InputError, one_line, one_of
from effcalc.base.units import parse_count
from effcalc.cli.networks import check_options, is_target
from effcalc.cli.output import progress
from effcalc.footprint.fit import Fitted, fit_batch, fit_phi
from effcalc.footprint.optimizer import OPTIMIZERS
from effcalc.footprint.predict import predict
from effcalc.footprint.step import CHECKPOINTS, DEVICES, PRECISIONS, StepSettings
from effcalc.footprint.tables import MeasuredRun
from effcalc.models.mode import RunMode
from effcalc.models.names import file_kind
from effcalc.models.target import target_network
from effcalc.network.network import Network
from effcalc.scaling.request import scaled_networks
from effcalc.scaling.scale import Scaled, build
from effcalc.scaling.tables.scaling import label_of

if TYPE_CHECKING:
    from effcalc.cli.steps import StepOptions
    from effcalc.scaling.request import ScalingRequest


@dataclass(frozen=True)
class Request:
    """What is asked for: networks (`scaled`, or a `target` that torch runs), batches, steps."""

    title: str
    scaled: Sequence[Scaled]
    target: str
    arg: Sequence[str]
    input: Sequence[str]
    batches: Sequence[int]
    steps: Sequence[StepSettings]
    options: ScalingRequest

    def network(self, scaled: Scaled | None, batch: int, train: bool) -> Network:
        """Lay down, or trace, the network of one run."""
        if scaled is not None:
            return build(scaled.arch, scaled.scaling, batch, scaled.head)
        with redirect_stdout(sys.stderr):  # what the user's code prints is not the result
            return target_network(
                self.target,
                settings=self.arg,
                inputs=self.input,
                batch=batch,
                mode=RunMode(train=True if train else None),
            )

    def points(self) -> list[tuple[Scaled | None, int, StepSettings]]:
        """Return every combination of network, batch and step."""
        return [
            (scaled, batch, step)
            for scaled in (*self.scaled, *(() if self.scaled else (None,)))
            for batch in self.batches
            for step in self.steps
        ]

    def label(self, scaled: Scaled | None) -> str:
        """Say which of several scalings a row is about."""
        return label_of(scaled) if scaled is not None and len(self.scaled) > 1 else ""

    def runs(self) -> Iterator[MeasuredRun]:
        """Predict every run."""
        points = self.points()
        for scaled, batch, step in progress(points, "predictions", len(points)):
            yield MeasuredRun(
                self.label(scaled), predict(self.network(scaled, batch, step.train), step)
            )

    def one_step(self, option: str) -> StepSettings:
        """Return the step that is asked for; `option` needs it to be one (training, of both)."""
        steps = [s for s in self.steps if s.train] if len(self.steps) == 2 else self.steps
        if len(steps) != 1:
            raise InputError(f"{option} is for one --dtype and one --mode")
        return steps[0]

    def fits(self, limit: int) -> list[Fitted]:
        """Find the largest batch of the network, and the largest φ at the batch."""
        step = self.one_step("--fit")
        if len(self.scaled) > 1 or len(self.batches) > 1:
            raise InputError("--fit finds the batch and φ itself; give one scaling and one --batch")
        if self.input:
            raise InputError("--fit grows the batch itself; give no --input")
        scaled = self.scaled[0] if self.scaled else None
        fits = [fit_batch(lambda batch: self.network(scaled, batch, step.train), step, limit)]
        asked = self.options
        if scaled is not None and not scaled.scaling.variant and not asked.scales:
            fits.append(
                fit_phi(scaled.arch, asked.bases, self.batches[0], step, limit, scaled.head)
            )
        return fits


def request(
    network: str,
    scaling: ScalingRequest,
    options: StepOptions,
    arg: Sequence[str] = (),
    input: Sequence[str] = (),
) -> Request:
    """Read the options; raises `InputError` for what cannot be."""
    batches = [_count(text, "--batch") for text in options.batch.split(",")]
    dtypes = [one_of(text.strip(), PRECISIONS, "--dtype") for text in options.dtype.split(",")]
    modes = (
        ("infer", "train")
        if options.mode is None
        else (one_of(options.mode, ("infer", "train"), "--mode"),)
    )
    step = StepSettings(
        optimizer=one_of(options.optimizer, OPTIMIZERS, "--optimizer"),
        checkpoint=one_of(options.checkpoint, CHECKPOINTS, "--checkpoint"),
        workers=_count(options.workers, "--workers"),
        zero=int(one_of(options.zero, ("0", "1", "2", "3"), "--zero")),
        device=one_of(options.device, DEVICES, "--device"),
    )
    if step.zero and step.workers < 2:
        raise InputError(f"--zero {step.zero} shards over --workers; give 2 or more")
    if options.master_weights and dtypes != ["bf16"]:
        raise InputError("--master-weights copies bf16 weights; give --dtype bf16")
    steps = [
        replace(step, train=m == "train", dtype=d, master=options.master_weights)
        for d in dtypes
        for m in modes
    ]
    kind = file_kind(network)
    if is_target(network) and step.checkpoint != "none":
        raise InputError("--checkpoint is for effcalc's networks, which have stages and blocks")
    check_options(network, scaling, arg, input)
    if is_target(network):
        if kind == "onnx" and "train" in modes and options.mode is not None:
            raise InputError("an .onnx file holds an inference; give --mode infer")
        if kind == "onnx":
            steps = [s for s in steps if not s.train]
        name = one_line(network)
        return Request(name, (), network, arg, input, batches, steps, scaling)
    arch, networks = scaled_networks(network, scaling)
    if len(networks) > 1000:
        raise InputError(f"at most 1,000 scalings, and this asks for {len(networks):,}")
    scaled = list(networks)
    name = scaled[0].title if len(scaled) == 1 else arch.title
    return Request(name, scaled, "", arg, input, batches, steps, scaling)


def _count(text: str, option: str) -> int:
    value = parse_count(text, option)
    if value < 1:
        raise InputError(f"{option}: {one_line(text)} is not a whole number of at least 1")
    return value
