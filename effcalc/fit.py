"""The largest batch, and the largest φ, whose step fits a memory.

The memory of a step does not shrink as the batch grows, and hardly as φ grows, so the largest is
found by doubling and bisection on exact predictions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from effcalc.arch import Arch
from effcalc.errors import InputError
from effcalc.memory import Prediction, Step, predict
from effcalc.network import Network
from effcalc.scaling import build, by_phi
from effcalc.solve import STEPS, largest_point


@dataclass(frozen=True, slots=True)
class Fitted:
    """The largest value that fits, None where none does, and the step that then runs."""

    what: str
    value: int | float | None
    prediction: Prediction | None


def fit_batch(at: Callable[[int], Network], step: Step, limit: int) -> Fitted:
    """Find the largest batch whose step needs at most `limit` bytes; `at(batch)` is the network."""

    def state(batch: int) -> int:
        return int(predict(at(batch), step).peak.total > limit)

    found, _ = largest_point(state, 1, lowest=1)
    return Fitted("batch", found, None if found is None else predict(at(found), step))


def fit_phi(
    arch: Arch,
    bases: tuple[float, float, float],
    batch: int,
    step: Step,
    limit: int,
    head: bool = True,
) -> Fitted:
    """Find the largest φ, in steps of 0.001, at which a batch needs at most `limit` bytes."""

    def at(k: int) -> Network:
        return build(arch, by_phi(arch, k / STEPS, *bases), batch, head)

    def state(k: int) -> int:
        try:
            network = at(k)
        except InputError:
            return 1 if k > 0 else -1
        return int(predict(network, step).peak.total > limit)

    by_phi(arch, 0, *bases)  # bad bases are an error, not a network that does not fit
    found, _ = largest_point(state, 0, lowest=None)
    if found is None:
        return Fitted("φ", None, None)
    return Fitted("φ", found / STEPS, predict(at(found), step))
