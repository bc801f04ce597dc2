"""A node of an ONNX graph, as the function that maps it to torch sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

Call = Callable[..., Any]
"""Takes the node's inputs that are left as tensors, returns its output or a tuple of them."""

Maker = Callable[["Node"], Call]
"""Turns a node into a call; raises `Unsupported` for a variant that torch does not have."""


# Of old opsets, of training, of outputs that are refused, of precision within a sum, of modes of
# a Resize that have no part in the one asked for; a kernel's shape is its weight's.
_WITHOUT_EFFECT = {
    *("consumed_inputs", "is_test", "momentum", "ratio", "seed", "storage_order"),
    *("qk_matmul_output_mode", "round_mode", "softmax_precision", "stash_type"),
    *("extrapolation_value", "nearest_mode", "cubic_coeff_a", "kernel_shape", "num_outputs"),
}


class Unsupported(Exception):  # noqa: N818 - a reason, which `load` makes an error of
    """Why a node cannot be run by torch."""


@dataclass
class Node:
    """One node: its attributes, the opset, the shapes of its inputs, those of known value.

    It has `outputs`, of which what comes after reads the first `used` at most. A call may have
    weights `laid_out` in another order, in the places of those in the file.

    Newer opsets have as inputs what older ones had as attributes (axes, pads, a split): `value`
    reads either, and takes the input from those that the call gets.
    """

    op: str
    attrs: Mapping[str, Any]
    opset: int
    inputs: Sequence[str]
    outputs: int
    used: int
    known: Mapping[str, torch.Tensor]
    shapes: Mapping[str, torch.Tensor]
    taken: set[int] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    laid_out: dict[int, torch.Tensor] = field(default_factory=dict)

    def has(self, place: int) -> bool:
        """Whether the input at a place is given."""
        return place < len(self.inputs) and self.inputs[place] != ""

    def shape(self, place: int) -> tuple[int, ...]:
        """Shape of the input at a place."""
        return tuple(self.shapes[self.inputs[place]].shape)

    def dtype(self, place: int) -> torch.dtype:
        """Dtype of the input at a place."""
        return self.shapes[self.inputs[place]].dtype

    @property
    def rank(self) -> int:
        """Number of dimensions of the first input."""
        return len(self.shape(0))

    def attr(self, name: str, default: Any = None) -> Any:
        """Value of an attribute."""
        self.read.add(name)
        return self.attrs.get(name, default)

    def unread(self) -> list[str]:
        """Attributes that the call made for this node does not respect."""
        return sorted(self.attrs.keys() - self.read - _WITHOUT_EFFECT)

    def refuse(self, name: str, *allowed: Any) -> None:
        """Raise `Unsupported` for an attribute of another value; the first is the default."""
        value = self.attr(name, allowed[0])
        if value not in allowed:
            raise Unsupported(f"{name}={value} is not supported")

    def value(self, place: int, name: str = "", default: Any = None) -> Any:
        """Value, as Python's, of an attribute, or of the input at a place, known before the run.

        Raises `Unsupported` where it depends on what the graph computes.
        """
        if name in self.attrs:
            return self.attr(name)
        if not self.has(place):
            return default
        self.taken.add(place)
        tensor = self.known.get(self.inputs[place])
        if tensor is None:
            raise Unsupported(
                f"its {name or 'input'} is not known before it runs: the graph computes it, or the "
                "file keeps it in another"
            )
        return tensor.tolist()

    def number(self, place: int, name: str = "", default: Any = None) -> Any:
        """A single value as `value` reads it, which a file may hold as a list of one."""
        value = self.value(place, name, default)
        return value[0] if isinstance(value, list) else value

    def axis(self, default: int = 0) -> int:
        """The axis of the first input that `axis` names, from 0."""
        return self.place(int(self.attr("axis", default)), self.rank)

    def place(self, index: int, size: int) -> int:
        """An index into so many, where −1 is the last, from 0."""
        if not -size <= index < size and (index, size) != (0, 0):
            raise Unsupported(f"{index} is not one of {size}")
        return index % max(size, 1)
