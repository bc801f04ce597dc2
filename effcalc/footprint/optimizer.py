"""The optimizers: what each keeps between steps, and what it allocates in one.

Source: torch.optim of torch 2.14, SGD without weight decay: on CPU one parameter after the other,
on CUDA all at once ("foreach").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from effcalc.base.units import dtype_bytes
from effcalc.footprint.step import StepSettings
from effcalc.footprint.tape import Tape
from effcalc.network.network import Network, Param


@dataclass(frozen=True, slots=True)
class Optimizer:
    """An optimizer as `--optimizer` names it, and the torch class that runs it.

    Sizes are in tensors of a parameter's shape unless they say bytes. `state` tensors and
    `state_bytes` (a step counter) are kept for each parameter. An update on CPU allocates `scratch`
    tensors and `scratch_bytes` for one parameter, of which `scratch_left` live until the next
    parameter's are there; an update on CUDA allocates `foreach_scratch` for each parameter at once.
    """

    name: str
    title: str
    torch: str
    arguments: Mapping[str, float] = field(default_factory=lambda: {"lr": 1e-3})
    state: int = 0
    state_bytes: int = 0
    scratch: int = 0
    scratch_bytes: int = 0
    scratch_left: int = 0
    foreach_scratch: int = 0


def _adam(name: str, title: str, torch: str) -> Optimizer:
    """Two moments and a float32 counter.

    The denominator is the root of the second moment, divided by the bias correction: on CPU both
    are alive, with the number (8 bytes) to divide by, and torch's loop still has a name for the
    result when it allocates the next parameter's. On CUDA the division is in place.
    """
    return Optimizer(
        name,
        title,
        torch,
        state=2,
        state_bytes=4,
        scratch=2,
        scratch_bytes=8,
        scratch_left=1,
        foreach_scratch=1,
    )


OPTIMIZERS: dict[str, Optimizer] = {
    optimizer.name: optimizer
    for optimizer in (
        Optimizer("sgd", "SGD", "torch.optim:SGD"),
        Optimizer(
            "momentum",
            "SGD with momentum",
            "torch.optim:SGD",
            {"lr": 1e-3, "momentum": 0.9},
            state=1,
        ),
        _adam("adam", "Adam", "torch.optim:Adam"),
        _adam("adamw", "AdamW", "torch.optim:AdamW"),
    )
}


def trainable(network: Network) -> list[tuple[Param, int]]:
    """Return the parameters that training changes, each once, with how many blocks are alike."""
    params = {p.key: (p, call.count) for call in network.calls for p in call.params if p.trainable}
    return list(params.values())


def tensor_bytes(param: Param, step: StepSettings) -> int:
    """Bytes of a tensor of the parameter's shape in the optimizer's precision.

    With master weights the optimizer works on float32 copies.
    """
    return param.numel * (4 if step.master else dtype_bytes(param.dtype))


def state_bytes(network: Network, step: StepSettings) -> int:
    """Bytes that the optimizer keeps: its state, and float32 master copies of the weights."""
    optimizer = OPTIMIZERS[step.optimizer]
    tensors = optimizer.state + step.master
    return sum(
        (tensor_bytes(p, step) * tensors + optimizer.state_bytes) * count
        for p, count in trainable(network)
    )


def update(tape: Tape, network: Network, step: StepSettings) -> None:
    """Update the weights: layer by layer on CPU, all at once on CUDA."""
    optimizer, trained = OPTIMIZERS[step.optimizer], trainable(network)
    whole = sum(tensor_bytes(p, step) * count for p, count in trained)
    if step.master:  # float32 copies of the gradients
        tape.new(step.share(whole, 1))
    if step.device == "cuda":
        memory = tape.new(step.share(optimizer.foreach_scratch * whole, 1))
        tape.moment("", step.optimizer, "optimizer")
        tape.drop(memory)
        return
    number = 0 if step.watched else optimizer.scratch_bytes  # a dispatch mode does not see it
    left = 0  # of the parameter before
    for call in network.calls:
        sizes = []
        for p in call.params:
            if p.trainable:
                size = tensor_bytes(p, step)
                sizes.append(left + optimizer.scratch * size + number)
                left = optimizer.scratch_left * size
        if sizes:
            memory = tape.new(step.share(max(sizes), 1))
            tape.moment(call.name, step.optimizer, "optimizer")
            tape.drop(memory)
