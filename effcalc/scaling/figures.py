"""What a network costs, in total and by part: the figures that every table shows.

Rows of a breakdown always sum to the total, and a parameter that layers share is counted once,
for its first user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from effcalc.base.units import dtype_bytes
from effcalc.network import ops
from effcalc.network.liveness import activations, allocated
from effcalc.network.network import Network, OperatorCall, Shape, repeated_name
from effcalc.network.ops import Cost


class Weights(NamedTuple):
    """Parameters and buffers: elements, and bytes by each one's own dtype."""

    params: int = 0
    trainable: int = 0
    buffers: int = 0
    weight_bytes: int = 0
    gradient_bytes: int = 0  # of the trainable parameters, in their own dtype
    buffer_bytes: int = 0


class Figures(NamedTuple):
    """Totals of a network, for one pass over its batch.

    `activation_bytes` sums what operators allocate; `peak_activation_bytes` is the most alive at
    once during evaluation, the input included (`effcalc.footprint.activations`).
    """

    weights: Weights
    cost: Cost
    activation_bytes: int
    peak_activation_bytes: int


class BreakdownRow(NamedTuple):
    """One row of a breakdown; `calls` is the number of operator calls in it."""

    name: str
    op: str
    output: Shape
    calls: int
    weights: Weights
    cost: Cost
    activation_bytes: int


def weights(calls: Iterable[OperatorCall], seen: set[str] | None = None) -> Weights:
    """Count parameters and buffers by identity; those in `seen` belong to earlier layers."""
    seen = set() if seen is None else seen
    params: Any = 0
    trainable: Any = 0
    buffers: Any = 0
    param_bytes: Any = 0
    gradient_bytes: Any = 0
    buffer_bytes: Any = 0
    for call in calls:
        for p in call.params:
            if p.key in seen:
                continue
            seen.add(p.key)
            n = p.numel * call.count
            size = n * dtype_bytes(p.dtype)
            if p.buffer:
                buffers = buffers + n
                buffer_bytes = buffer_bytes + size
                continue
            params = params + n
            param_bytes = param_bytes + size
            if p.trainable:
                trainable = trainable + n
                gradient_bytes = gradient_bytes + size
    return Weights(params, trainable, buffers, param_bytes, gradient_bytes, buffer_bytes)


def figures(network: Network) -> Figures:
    """Total everything over a network."""
    memory = activations(network)
    return Figures(
        weights(network.calls),
        ops.total([(ops.cost(call), call.count) for call in network.calls]),
        memory.outputs,
        memory.peak,
    )


def macs(network: Network) -> int:
    """Multiply-accumulates alone: `figures(network).cost.macs`, sooner."""
    return sum(ops.macs(call) * call.count for call in network.calls)


def by_layer(call: OperatorCall) -> str:
    """Group of a layer in a breakdown by layer: itself."""
    return repeated_name(call)


def by_block(call: OperatorCall) -> str:
    """Group by block; identical blocks share a row, `stage3.1-4`."""
    return repeated_name(call).removesuffix(call.name[len(call.block) :])


def by_stage(call: OperatorCall) -> str:
    """Group by stage: the first part of the name where a layer has no stage of its own."""
    return call.stage or call.name.partition(".")[0]


def by_op(call: OperatorCall) -> str:
    """Group by operator."""
    return call.op


PER: dict[str, Callable[[OperatorCall], str]] = {
    "stage": by_stage,
    "block": by_block,
    "layer": by_layer,
    "op": by_op,
}
"""The breakdowns that `--per` offers."""


def breakdown(network: Network, group: Callable[[OperatorCall], str]) -> list[BreakdownRow]:
    """Split the totals by group, in order of first appearance."""
    groups: dict[str, list[tuple[OperatorCall, Any]]] = {}
    for call, size in zip(network.calls, allocated(network), strict=True):
        groups.setdefault(group(call), []).append((call, size))
    seen: set[str] = set()
    return [
        BreakdownRow(
            name,
            members[0][0].op if len({call.op for call, _ in members}) == 1 else "",
            _result([call for call, _ in members]),
            sum(call.count for call, _ in members),
            weights([call for call, _ in members], seen),
            ops.total([(ops.cost(call), call.count) for call, _ in members]),
            sum(size for _, size in members),
        )
        for name, members in groups.items()
    ]


def _result(calls: Sequence[OperatorCall]) -> Shape:
    """Shape of what some layers make at last, in the forward pass where they have one."""
    forward = [call for call in calls if call.attrs.get("phase") != "backward"]
    last = (forward or calls)[-1]
    return last.outputs[0].shape if last.outputs else ()
