"""What autograd does about each layer: which operands need gradients, what it keeps."""

from __future__ import annotations

from typing import NamedTuple

from effcalc.network.network import Layer, Network
from effcalc.network.ops import OPS
from effcalc.network.ops.core import Saved

_REAL = ("float32", "bfloat16", "float16", "float64", "complex64", "complex128")


class Node(NamedTuple):
    """A layer's backward: the operands that get gradients, and those kept for it.

    `copied`: the layer overwrites its first operand, of which a copy is kept. A layer without
    gradients has no operands in any of these.
    """

    saved: Saved
    needed: tuple[int, ...] = ()
    operands: tuple[int, ...] = ()
    copied: bool = False

    @property
    def keeps(self) -> bool:
        """Whether anything is kept."""
        return bool(self.operands or (self.needed and (self.saved.outputs or self.saved.made)))


def nodes(network: Network, device: str) -> list[Node]:
    """Return the backward of each layer of a training step, in the order of the layers."""
    needs: set[int] = set()  # tensors whose gradient is needed
    trainable = {p.key for la in network.layers for p in la.params if p.trainable}
    found = []
    for la in network.layers:
        saved = rule(la, device)
        needed = tuple(
            i
            for i, t in enumerate(la.operands)
            if t.dtype in _REAL and (t.param in trainable if t.param else t.id in needs)
        )
        if not needed or not saved.differentiable:
            # An operator in place that cuts the gradient off leaves a tensor that needs none.
            needs.difference_update(t.id for t in la.outputs)
            found.append(Node(saved))
            continue
        operands = set(saved.operands)
        if saved.crosswise:
            operands |= {i for i in range(len(la.operands)) if any(j != i for j in needed)}
        copied = la.memory == "inplace" and 0 in operands
        found.append(Node(saved, needed, tuple(sorted(operands)), copied))
        needs.update(t.id for t in la.outputs if t.dtype in _REAL)
    return found


def rule(layer: Layer, device: str) -> Saved:
    """What autograd keeps of a layer; of an unknown operator all that it reads and makes."""
    op = OPS.get(layer.op)
    if op is None or op.saves is None:
        return Saved(tuple(range(len(layer.operands))), tuple(range(len(layer.outputs))))
    return op.saves(layer, device)


def unknown(network: Network) -> dict[str, int]:
    """Operators of which nobody knows what autograd keeps, with their calls."""
    found: dict[str, int] = {}
    for la in network.layers:
        op = OPS.get(la.op)
        if (op is None or op.saves is None) and la.op != "unused":
            found[la.op] = found.get(la.op, 0) + la.count
    return found
