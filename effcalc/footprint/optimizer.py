"""What an optimizer keeps between steps, and makes in one.

Source: torch.optim's SGD, Adam and AdamW of torch 2.14, without weight decay for SGD: on CPU one
parameter after the other, on CUDA all at once ("foreach").
"""

from __future__ import annotations

from effcalc.base.units import dtype_bytes
from effcalc.footprint.step import StepSettings
from effcalc.footprint.tape import Tape
from effcalc.network.network import Network, Param

OPTIMIZERS: dict[str, int] = {"sgd": 0, "momentum": 1, "adam": 2, "adamw": 2}
"""Tensors of a parameter's shape that each keeps: the momentum; first and second moments."""

COUNTER = 4
"""Bytes of the step counter that Adam keeps for each parameter, a float32."""

NUMBER = 8
"""Bytes of the Python number that Adam divides by, while torch has it as a tensor."""


def trainable(network: Network) -> list[tuple[Param, int]]:
    """Return the parameters that training changes, each once, with how many blocks are alike."""
    found = {p.key: (p, call.count) for call in network.calls for p in call.params if p.trainable}
    return list(found.values())


def element_bytes(param: Param, step: StepSettings) -> int:
    """Bytes of an element of what the optimizer works with: of the weight, or its master copy."""
    return 4 if step.master else dtype_bytes(param.dtype)


def state_bytes(network: Network, step: StepSettings) -> int:
    """Bytes that the optimizer keeps: its state, and float32 master copies of the weights."""
    tensors = OPTIMIZERS[step.optimizer]
    counter = COUNTER * (tensors == 2)
    return sum(
        (p.numel * element_bytes(p, step) * (tensors + step.master) + counter) * count
        for p, count in trainable(network)
    )


def scratch(param: Param, step: StepSettings) -> int:
    """Bytes that the update of one parameter makes for itself.

    Adam's denominator: √v, and that divided by the bias correction, both alive at the division;
    over all parameters at once (CUDA) the division is in place.
    """
    if OPTIMIZERS[step.optimizer] < 2:
        return 0
    tensors = 1 if step.device == "cuda" else 2
    return tensors * param.numel * element_bytes(param, step)


def update(tape: Tape, network: Network, step: StepSettings) -> None:
    """Update the weights: layer by layer on CPU, all at once on CUDA."""
    trained = trainable(network)
    if step.master:  # float32 copies of the gradients
        total = sum(p.numel * element_bytes(p, step) * count for p, count in trained)
        tape.new(step.share(total, 1))
    if step.device == "cuda":
        total = sum(scratch(p, step) * count for p, count in trained)
        memory = tape.new(step.share(total, 1))
        tape.moment("", step.optimizer, "optimizer")
        tape.drop(memory)
        return
    before = 0  # the parameter before: torch's loop still has a name for its denominator
    for call in network.calls:
        sizes = []
        for p in call.params:
            if p.trainable:
                number = NUMBER * (scratch(p, step) > 0 and not step.watched)
                sizes.append(before + scratch(p, step) + number)
                before = scratch(p, step) // 2
        if sizes:
            memory = tape.new(step.share(max(sizes), 1))
            tape.moment(call.name, step.optimizer, "optimizer")
            tape.drop(memory)
