"""Run the steps that `effcalc memory --verify` is asked for, and measure each."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from effcalc.base.errors import InputError, RunError
from effcalc.base.limits import available_memory, memory_limited
from effcalc.base.units import Value, format_bytes
from effcalc.cli.output import progress
from effcalc.footprint.live import built, measure
from effcalc.footprint.predict import predict
from effcalc.footprint.tables import Check, MeasuredRun
from effcalc.models.loading import load_real
from effcalc.profiling.live.environment import choose_device, environment
from effcalc.profiling.live.precision import place

if TYPE_CHECKING:
    from effcalc.cli.memory import Request
    from effcalc.footprint.step import StepSettings
    from effcalc.network.network import Network
    from effcalc.scaling.scale import Scaled


def measured_on(asked: Request) -> dict[str, Value]:
    """Describe where the steps ran."""
    return environment(choose_device(asked.steps[0].device))


def checks(asked: Request) -> list[Check]:
    """Predict and measure every run, one after the other."""
    if any(step.zero for step in asked.steps):
        raise InputError("--verify runs one worker; give no --zero")
    device = choose_device(asked.steps[0].device)
    points = asked.points()
    return [_check(asked, *point, device) for point in progress(points, "steps", len(points))]


def _check(
    asked: Request, scaled: Scaled | None, batch: int, step: StepSettings, device: Any
) -> Check:
    network = asked.network(scaled, batch, step.train)
    prediction = predict(network, step)
    free = available_memory() if device.type == "cpu" else None
    if free is not None and prediction.peak.total > free:
        raise RunError(
            f"--verify: the step needs {format_bytes(prediction.peak.total)}, and "
            f"{format_bytes(free)} are free; give a smaller --batch"
        )
    with (
        redirect_stdout(sys.stderr),
        memory_limited() if device.type == "cpu" else nullcontext(),
    ):
        module, args, kwargs = _module(asked, network if scaled is not None else None, batch, step)
        module, (args, kwargs) = place(
            module, (args, kwargs), "bf16" if step.dtype == "bf16" else "fp32", device, False
        )
        measured = measure(module, tuple(args), kwargs, step, asked.title)
    return Check(MeasuredRun(asked.label(scaled), prediction), asdict(measured))


def _module(asked: Request, network: Network | None, batch: int, step: StepSettings) -> Any:
    """The module to run and its inputs, on the CPU in float32."""
    if network is None:
        loaded = load_real(asked.target, asked.arg, asked.input, batch)
        return loaded.module, loaded.args, loaded.kwargs
    return built(network, step)
