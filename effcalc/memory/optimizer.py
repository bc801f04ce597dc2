"""What an optimizer keeps between steps, and makes in one.

Source: torch.optim's SGD, Adam and AdamW of torch 2.14, without weight decay for SGD: on CPU one
parameter after the other, on CUDA all at once ("foreach").
"""

from __future__ import annotations

from effcalc.memory.step import Step
from effcalc.network import Network, Param
from effcalc.units import dtype_bytes

OPTIMIZERS: dict[str, int] = {"sgd": 0, "momentum": 1, "adam": 2, "adamw": 2}
"""Tensors of a parameter's shape that each keeps: the momentum; first and second moments."""

COUNTER = 4
"""Bytes of the step counter that Adam keeps for each parameter, a float32."""


def trainable(network: Network) -> list[tuple[Param, int]]:
    """Return the parameters that training changes, each once, with how many blocks are alike."""
    found = {p.key: (p, la.count) for la in network.layers for p in la.params if p.trainable}
    return list(found.values())


def element_bytes(param: Param, step: Step) -> int:
    """Bytes of an element of what the optimizer works with: of the weight, or its master copy."""
    return 4 if step.master else dtype_bytes(param.dtype)


def state_bytes(network: Network, step: Step) -> int:
    """Bytes that the optimizer keeps: its state, and float32 master copies of the weights."""
    tensors = OPTIMIZERS[step.optimizer]
    counter = COUNTER * (tensors == 2)
    return sum(
        (p.numel * element_bytes(p, step) * (tensors + step.master) + counter) * count
        for p, count in trainable(network)
    )


def scratch(param: Param, step: Step) -> int:
    """Bytes that the update of one parameter makes for itself.

    Adam's denominator: √v, and that divided by the bias correction, both alive at the division;
    over all parameters at once (CUDA) the division is in place.
    """
    if OPTIMIZERS[step.optimizer] < 2:
        return 0
    tensors = 1 if step.device == "cuda" else 2
    return tensors * param.numel * element_bytes(param, step)
