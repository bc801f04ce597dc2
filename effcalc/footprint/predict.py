"""What a step needs: its peak, of what that consists, where it is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from effcalc.base.errors import InputError
from effcalc.footprint.autograd import unknown
from effcalc.footprint.simulate import run
from effcalc.footprint.step import StepSettings
from effcalc.footprint.tape import CATEGORIES, Moment
from effcalc.network.network import Network, OperatorCall


@dataclass(frozen=True)
class MemoryPrediction:
    """Memory of one step, in bytes, on one worker.

    `moments` has what is alive at the end of every operator; of repeated blocks the first, the
    second, the last but one and the last repeat. `kept` has for each layer (all repeats) what
    autograd keeps on its account. `unknown` counts calls of operators of which it is not
    known what autograd keeps; they are taken to keep all that they read and write.
    """

    network: Network
    step: StepSettings
    moments: tuple[Moment, ...]
    kept: tuple[tuple[OperatorCall, int], ...]
    unknown: dict[str, int]

    @cached_property
    def peak(self) -> Moment:
        """The first moment at which most is alive."""
        return max(self.moments, key=lambda m: m.total)

    @property
    def batch(self) -> int:
        """Images in the batch."""
        return self.network.inputs[0].shape[0] if self.network.inputs else 0

    @property
    def gradient_bytes(self) -> int:
        """Gradients of all parameters, which are there when the optimizer starts."""
        return self.moments[-1].alive[CATEGORIES.index("gradients")]

    @property
    def kept_bytes(self) -> int:
        """All that autograd keeps for the backward pass, when the forward pass is done."""
        return sum(size for _, size in self.kept)

    def at_peak(self, category: str) -> int:
        """Bytes of one category at the peak."""
        return self.peak.alive[CATEGORIES.index(category)]


def predict(network: Network, step: StepSettings | None = None) -> MemoryPrediction:
    """Predict the memory of one step of a network, which nothing runs.

    The network is one that evaluation runs, from an architecture or a trace (one traced in
    training mode for a training step). Raises `InputError` where a training step is asked for and
    the network has not one result of two axes or more to compare with labels, or no parameter to
    train.
    """
    step = step or StepSettings()
    if step.train:
        ends = network.outputs
        if len(ends) != 1 or len(ends[0].shape) < 2:
            raise InputError(
                f"{network.name}: a training step is predicted for one result of (batch, classes, "
                "...), with the cross entropy as loss; this network has another"
            )
        if not any(p.trainable for call in network.calls for p in call.params):
            raise InputError(f"{network.name}: has no parameters to train; give `mode` infer")
    moments, kept = run(network, step)
    missing = unknown(network) if step.train else {}
    return MemoryPrediction(network, step, tuple(moments), tuple(kept), missing)
