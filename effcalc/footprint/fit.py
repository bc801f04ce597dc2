"""The largest batch, and the largest φ, whose step fits a memory.

The memory of a step does not shrink as the batch grows, and hardly as φ grows, so the largest is
computed by doubling and bisection on exact predictions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from effcalc.footprint.predict import MemoryPrediction, predict
from effcalc.footprint.step import StepSettings
from effcalc.network.arch import Arch
from effcalc.network.network import Network
from effcalc.scaling.scale import Scaled, build
from effcalc.scaling.solve import largest, search


@dataclass(frozen=True, slots=True)
class Fitted:
    """The largest value that fits, None where none does, and the step that then runs."""

    what: str
    value: int | float | None
    prediction: MemoryPrediction | None


def fit_batch(network: Callable[[int], Network], step: StepSettings, limit: int) -> Fitted:
    """Find the largest batch at which a step of `network(batch)` needs at most `limit` bytes."""

    def state(batch: int) -> int:
        return int(predict(network(batch), step).peak.total > limit)

    batch, _ = search(state, 1, lowest=1)
    return Fitted("batch", batch, None if batch is None else predict(network(batch), step))


def fit_phi(
    arch: Arch,
    bases: tuple[float, float, float],
    batch: int,
    step: StepSettings,
    limit: int,
    head: bool = True,
) -> Fitted:
    """Find the largest φ, in steps of 0.001, at which a batch needs at most `limit` bytes."""

    def needs(scaled: Scaled) -> MemoryPrediction:
        return predict(build(scaled.arch, scaled.scaling, batch, head), step)

    def over(scaled: Scaled) -> bool:
        return needs(scaled).peak.total > limit

    (fit,) = largest(arch, over, bases, workers=1, head=head, kinds=("phi",))
    return Fitted("φ", fit.value, None if fit.scaled is None else needs(fit.scaled))
