"""What autograd does about each layer: which operands need gradients, what it keeps."""

from __future__ import annotations

from typing import NamedTuple

from effcalc.network.network import Network, OperatorCall
from effcalc.network.ops import OPS
from effcalc.network.ops.core import SavedForBackward

_REAL = ("float32", "bfloat16", "float16", "float64", "complex64", "complex128")


class Node(NamedTuple):
    """A layer's backward: the operands that get gradients, and those kept for it.

    `copied`: the layer overwrites its first operand, of which a copy is kept. A layer without
    gradients has no operands in any of these.
    """

    saved: SavedForBackward
    needed: tuple[int, ...] = ()
    operands: tuple[int, ...] = ()
    copied: bool = False

    @property
    def keeps(self) -> bool:
        """Whether anything is kept."""
        return bool(self.operands or (self.needed and (self.saved.outputs or self.saved.extra)))


def nodes(network: Network, device: str) -> list[Node]:
    """Return the backward of each layer of a training step, in the order of the layers."""
    needs: set[int] = set()  # tensors whose gradient is needed
    trainable = {p.key for call in network.calls for p in call.params if p.trainable}
    result = []
    for call in network.calls:
        saved = rule(call, device)
        needed = tuple(
            i
            for i, t in enumerate(call.operands)
            if t.dtype in _REAL and (t.param in trainable if t.param else t.id in needs)
        )
        if not needed or not saved.differentiable:
            # An operator in place that cuts the gradient off leaves a tensor that needs none.
            needs.difference_update(t.id for t in call.outputs)
            result.append(Node(saved))
            continue
        operands = set(saved.operands)
        if saved.if_other_needs_grad:
            operands |= {i for i in range(len(call.operands)) if any(j != i for j in needed)}
        copied = call.memory == "inplace" and 0 in operands
        result.append(Node(saved, needed, tuple(sorted(operands)), copied))
        needs.update(t.id for t in call.outputs if t.dtype in _REAL)
    return result


def rule(call: OperatorCall, device: str) -> SavedForBackward:
    """What autograd keeps of a layer; of an unknown operator all that it reads and writes."""
    op = OPS.get(call.op)
    if op is None or op.saves is None:
        return SavedForBackward(tuple(range(len(call.operands))), tuple(range(len(call.outputs))))
    return op.saves(call, device)


def unknown(network: Network) -> dict[str, int]:
    """Operators of which it is not known what autograd keeps, with their calls."""
    calls: dict[str, int] = {}
    for call in network.calls:
        op = OPS.get(call.op)
        if (op is None or op.saves is None) and call.op != "unused":
            calls[call.op] = calls.get(call.op, 0) + call.count
    return calls
