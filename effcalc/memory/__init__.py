"""Memory of a network by liveness: of an inference, and of a training step."""

from effcalc.memory.liveness import Activations, activations, allocated

__all__ = ["Activations", "activations", "allocated"]
