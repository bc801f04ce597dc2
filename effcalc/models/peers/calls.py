"""A network's operator calls together with the modules that made them, as other counters see them.

Counters that hook modules look at a module's exact class and at where it is registered; both are
lost in a `Network`, which knows operators. Here they are put together again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from effcalc.network.network import Network, OperatorCall, Shape
from effcalc.network.ops import OPS, macs

if TYPE_CHECKING:
    from torch import nn


class HookedModule(NamedTuple):
    """What a hook could know of a module.

    `kind` is its class, with the module path in front unless torch.nn defines it ("Conv2d");
    `leaf` says that it has no children, and `times` how often a walk over children from the root
    meets it.
    """

    kind: str
    leaf: bool = True
    times: int = 1


def modules(model: nn.Module) -> dict[str, HookedModule]:
    """Return every module of a model by its first path; the root's is ""."""
    times: dict[int, int] = {}

    def walk(module: nn.Module) -> None:
        times[id(module)] = times.get(id(module), 0) + 1
        for child in module.children():  # each child of one parent once
            walk(child)

    walk(model)
    return {
        path: HookedModule(_kind(type(module)), not any(module.children()), times[id(module)])
        for path, module in model.named_modules()
    }


def _kind(cls: type) -> str:
    where = cls.__module__
    return cls.__name__ if where.startswith("torch.nn.modules.") else f"{where}.{cls.__qualname__}"


GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
"""Gates of each recurrent module; a cell has as many."""


@dataclass(frozen=True, slots=True)
class Call:
    """An operator call and the modules that it ran in, from the root inwards.

    `result` is the shape that its module returned, `params` are the parameters and buffers that
    the module's call reads, and `main` says that this operator is the one with the most MACs in
    that call, or the first that reads a parameter: what counts a module once counts it here.
    """

    layer: OperatorCall
    within: tuple[HookedModule, ...]
    result: Shape = ()
    params: Mapping[str, int] = field(default_factory=dict)  # name in the module -> elements
    main: bool = True

    @property
    def op(self) -> str:
        """Name of the operator's record."""
        return self.layer.op

    @property
    def macs(self) -> int:
        """What effcalc counts."""
        return macs(self.layer)

    @property
    def module(self) -> HookedModule:
        """The innermost module."""
        return self.within[-1]

    @property
    def kind(self) -> str:
        """Class of the innermost module."""
        return self.within[-1].kind

    @property
    def inputs(self) -> int:
        """Elements of the first operand."""
        return self.layer.operands[0].numel if self.layer.operands else 0

    @property
    def outputs(self) -> int:
        """Elements of the first result."""
        return self.layer.outputs[0].numel if self.layer.outputs else 0

    @property
    def bias(self) -> int:
        """Elements to which a convolution or linear layer adds a bias."""
        with_bias = self.op in ("conv", "linear") and len(self.layer.operands) > 2
        return self.outputs if with_bias else 0

    @property
    def unit_stride(self) -> bool:
        """Whether a convolution moves by one position at a time."""
        return all(n == 1 for n in self.layer.attrs.get("stride", ()))

    @property
    def units(self) -> int:
        """Hidden units that a recurrent module's projection of its state serves, or 0.

        Times the batch, and the steps where one call makes several.
        """
        gates = GATES.get(self.kind.removesuffix("Cell"), 0)
        if self.op != "linear" or not gates:
            return 0
        name = self.layer.operands[1].param.rpartition(".")[2]
        return self.outputs // gates if name.startswith("weight_hh") else 0

    @property
    def affine(self) -> bool:
        """Whether a normalisation multiplies by a weight."""
        others = self.layer.operands[1:]
        return any(not t.param.rpartition(".")[2].startswith("running_") for t in others)


def calls(network: Network, known: Mapping[str, HookedModule]) -> Iterator[Call]:
    """Yield the network's calls in order."""
    for path, run in groupby(network.calls, lambda la: _innermost(la.name, known)):
        within = tuple(known[p] for p in _prefixes(path) if p in known)
        for segment in _segments(list(run)):
            result = _result(segment)
            params = {
                t.param.rpartition(".")[2]: t.numel
                for layer in segment
                for t in layer.operands
                if t.param
            }
            main = max(segment, key=lambda layer: (macs(layer), _works(layer), _reads(layer)))
            for layer in segment:
                yield Call(layer, within, result, params, layer is main and _reads(layer))


def _prefixes(path: str) -> list[str]:
    """Return "", "a", "a.b", ... of a dotted path."""
    parts = path.split(".") if path else []
    return [".".join(parts[:n]) for n in range(len(parts) + 1)]


def _innermost(name: str, known: Mapping[str, HookedModule]) -> str:
    return next((p for p in reversed(_prefixes(name)) if p in known), "")


def _reads(layer: OperatorCall) -> bool:
    return layer.memory != "view" and any(t.param for t in layer.operands)


def _works(layer: OperatorCall) -> bool:
    op = OPS.get(layer.op)
    return _reads(layer) and (op is None or not op.free)


def _segments(run: list[OperatorCall]) -> Iterator[list[OperatorCall]]:
    """Split consecutive layers of a module into its calls: where what it read first comes again."""
    segment: list[OperatorCall] = []
    start: tuple[str, tuple[str, ...]] | None = None
    for layer in run:
        if _reads(layer):
            signature = (layer.op, tuple(t.param for t in layer.operands))
            if signature == start:
                yield segment
                segment = []
            start = start or signature
        segment.append(layer)
    yield segment


def _result(segment: list[OperatorCall]) -> Shape:
    """Follow a call's last result through the views made of it."""
    out = None
    for layer in segment:
        is_new = layer.memory != "view"
        if layer.outputs and (is_new or (out is not None and layer.operands[0].id == out.id)):
            out = layer.outputs[0]
    return out.shape if out is not None else ()
