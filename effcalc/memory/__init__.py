"""Memory of a network by liveness: of an inference, and of a training step."""

from effcalc.memory.liveness import Activations, activations, allocated
from effcalc.memory.predict import Prediction, predict
from effcalc.memory.step import Step
from effcalc.memory.tape import CATEGORIES, Moment

__all__ = [
    "CATEGORIES",
    "Activations",
    "Moment",
    "Prediction",
    "Step",
    "activations",
    "allocated",
    "predict",
]
