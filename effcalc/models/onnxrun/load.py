"""From an ONNX file to a module that runs its graph by torch's operators.

The file is data: nothing in it is executed, and no other file is opened. onnx2torch (1.5.15)
read none of 22 files that torch 2.14 exports, for want of opset 19; onnx2fx (0.0.1) read all, but
executes a source that it writes from the file, and reads shapes from tensors as the graph runs,
which on a GPU waits for the device at each: neither measures what `profile` is to measure.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from effcalc.base.errors import EffcalcError, InputError, one_line
from effcalc.models.graph import Graph, GraphNode, Values, made_up
from effcalc.models.inputs import InputSpec
from effcalc.models.onnxfile import (
    OWN_DOMAINS,
    Fixed,
    buffers_of,
    node_name,
    numpy_name,
    operator_name,
    read_onnx,
)
from effcalc.models.onnxrun.layers import LAYERS
from effcalc.models.onnxrun.moving import MOVING
from effcalc.models.onnxrun.node import Call, Maker, Node, Unsupported
from effcalc.models.onnxrun.pointwise import POINTWISE
from effcalc.models.targets import Loaded, filled
from effcalc.network.network import Shape

OPERATORS: Mapping[str, Maker] = {**LAYERS, **POINTWISE, **MOVING}

_CPU = torch.device("cpu")
_META = torch.device("meta")
_PACKED = ("int2", "int4", "uint2", "uint4", "float4_e2m1fn")  # several in a byte
_KNOWN = 1 << 20
"""Elements of a constant that is computed before the graph runs, at most: shapes and masks."""
_DEEP = 50
"""Modules within each other in a name, at most: torch walks them by recursion."""


def load_module(path: Path, where: str, inputs: list[InputSpec], batch: int = 1) -> Loaded:
    """Return a module that runs the graph of an ONNX file on the CPU, and random inputs.

    Weights are those in the file; those that it keeps in other files are made up. What follows
    from constants and shapes alone is computed here, once. Errors are those of `read_onnx`, and
    an `InputError` for an operator, or a variant of one, that torch does not have.
    """
    model, fixed = read_onnx(path, where, inputs, batch)
    planner = _planned(model, where, fixed, weights=True)
    images = [planner.shapes[name] for name in fixed]
    return Loaded(where, planner.graph, tuple(filled(images)), {})


def shapes_of(model: Any, where: str, fixed: Fixed) -> dict[str, tuple[Shape, str]]:
    """Return shape and dtype of every value in a graph for inputs of these shapes.

    Weights are neither read nor allocated. Raises `InputError` as `load_module` does.
    """
    planner = _planned(model, where, fixed, weights=False)
    names = planner.shapes.items()
    shapes = {n: (tuple(t.shape), str(t.dtype).removeprefix("torch.")) for n, t in names}
    return shapes | {alias: shapes[n] for alias, n in planner.aliases.items()}


def _planned(model: Any, where: str, fixed: Fixed, *, weights: bool) -> _Planner:
    opset = max((o.version for o in model.opset_import if o.domain in OWN_DOMAINS), default=1)
    planner = _Planner(model.graph, where, opset, weights)
    try:
        with torch.no_grad():
            planner.plan(fixed)
    except EffcalcError:
        raise
    except Exception as error:  # of what protobuf lets a file say, much has no meaning
        cause = one_line(str(error) or type(error).__name__)
        raise InputError(f"{where}: cannot be run: {cause}") from None
    return planner


@dataclass
class _Planner:
    """Lays the nodes of a graph down as steps, following shapes on the meta device.

    `known` are values that do not depend on the inputs' values; of the initializers, `values` are
    the tensors and `weights` the names of those that are parameters.
    """

    source: Any
    where: str
    opset: int
    with_weights: bool
    graph: Graph = field(default_factory=lambda: Graph(_CPU))
    shapes: dict[str, torch.Tensor] = field(default_factory=dict)
    known: dict[str, torch.Tensor] = field(default_factory=dict)
    values: dict[str, torch.Tensor] = field(default_factory=dict)
    weights: set[str] = field(default_factory=set)
    aliases: dict[str, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    def plan(self, fixed: Fixed) -> None:
        """Make the graph, for inputs of these shapes, of the nodes that an output needs."""
        self._read_initializers()
        for name, (shape, dtype) in fixed.items():
            self.shapes[name] = torch.empty(shape, dtype=getattr(torch, dtype), device=_META)
        self.used = {v.name for v in self.source.output}
        nodes = []
        for proto in reversed(self.source.node):
            if self.used & set(proto.output):
                nodes.append(proto)
                self.used |= set(proto.input)
        steps = [step for proto in reversed(nodes) if (step := self._step(proto))]
        outputs = [self.aliases.get(v.name, v.name) for v in self.source.output]
        for name in outputs:
            if name not in self.shapes:
                raise InputError(f"{self.where}: is damaged: nothing makes its {one_line(name)!r}")
            self._hold(name, "")
        self.graph.plan(list(fixed), steps, outputs, lambda v: tuple(v[n] for n in outputs))

    def _read_initializers(self) -> None:
        buffers = buffers_of(self.source)
        for proto in self.source.initializer:
            name, shape = proto.name, tuple(proto.dims)
            self._new(name)
            elsewhere = proto.data_location == type(proto).EXTERNAL
            try:
                meta = torch.empty(shape, dtype=_dtype(proto.data_type), device=_META)
            except (Unsupported, RuntimeError, TypeError) as error:
                raise self._unread(name, error) from None
            self.shapes[name] = meta
            if name not in buffers:
                self.weights.add(name)
            if not elsewhere and (self.with_weights or meta.numel() <= _KNOWN):
                self.values[name] = self.known[name] = self._tensor(proto)
            elif self.with_weights:
                self.values[name] = made_up(shape, meta.dtype, _CPU)

    def _tensor(self, proto: Any) -> torch.Tensor:
        """Return what an initializer or an attribute holds."""
        try:
            dtype = _dtype(proto.data_type)
            array = importlib.import_module("onnx.numpy_helper").to_array(proto).copy()
            if array.dtype.isbuiltin != 1:  # bfloat16 and the like, which torch reads as bits
                array = array.view(f"u{array.itemsize}")
            return torch.from_numpy(array).view(dtype)
        except (Unsupported, TypeError, ValueError, RuntimeError) as error:
            raise self._unread(proto.name, error) from None

    def _step(self, proto: Any) -> GraphNode | None:
        """Plan one node; None where its result is known before the graph runs."""
        reads = [self.aliases.get(n, n) for n in proto.input]
        for name in reads:
            if name and name not in self.shapes:
                what = f"reads {one_line(name)!r}, which no node before it makes"
                raise self._error(proto, Unsupported(what))
        writes = list(proto.output)
        for name in filter(None, writes):
            self._new(name)
        try:
            node = self._node(proto, reads)
            if node.op == "Identity" and proto.domain in OWN_DOMAINS and reads[0] in self.weights:
                self.aliases[writes[0]] = reads[0]  # how an exporter writes a shared weight
                return None
            call = self._call(proto, node)
            names = self._operands(node)
            made = _named(writes, call(*(self.shapes[n] for n in names)))
            is_known = all(n in self.known and n not in self.weights for n in names)
            few = sum(t.numel() for t in made.values()) <= _KNOWN
            if is_known and (few or (self.with_weights and not names)):
                made = _named(writes, call(*(self.known[n] for n in names)))
                self.known |= made
                self.values |= made
        except EffcalcError:
            raise
        except Exception as error:
            raise self._error(proto, error) from None
        self.shapes |= {name: value.to(_META) for name, value in made.items()}
        if all(name in self.known for name in made):
            return None
        scope = node_name(proto)
        if scope.count(".") > _DEEP:
            raise self._error(proto, Unsupported(f"its name has over {_DEEP} parts"))
        for name in names:
            self._hold(name, scope)

        def run(values: Values) -> None:
            values.update(_named(writes, call(*(values[n] for n in names))))

        return GraphNode(run, scope, frozenset((*names, *writes)))

    def _node(self, proto: Any, reads: list[str]) -> Node:
        helper = importlib.import_module("onnx.helper")
        attributes = {
            a.name: self._attribute(helper.get_attribute_value(a), a) for a in proto.attribute
        }
        outputs = list(proto.output)
        used = max((i + 1 for i, n in enumerate(outputs) if n in self.used), default=0)
        return Node(
            proto.op_type, attributes, self.opset, reads, len(outputs), used,
            self.known, self.shapes,
        )  # fmt: skip

    def _call(self, proto: Any, node: Node) -> Call:
        if proto.domain not in OWN_DOMAINS or node.op not in OPERATORS:
            name = one_line(operator_name(proto))
            raise InputError(
                f"{self.where}: has {name}, which torch does not run here; "
                "give what makes the model: module:factory"
            )
        call = OPERATORS[node.op](node)
        if unread := node.unread():
            raise Unsupported(f"{', '.join(unread)} is not supported")
        return call

    def _operands(self, node: Node) -> list[str]:
        """Return the names of what the call gets; weights laid out for it are new ones."""
        names = []
        for i, name in enumerate(node.inputs):
            if i in node.laid_out:
                name = f"{name}, laid out for {node.op}"
                self.shapes[name] = node.laid_out[i].to(_META)
                self.values[name] = node.laid_out[i]
                self.weights.add(name)
            if name and i not in node.taken:
                names.append(name)
        return names

    def _attribute(self, value: Any, attribute: Any) -> Any:
        if isinstance(value, bytes):
            return value.decode(errors="replace")
        if attribute.type == type(attribute).TENSOR:
            return self._tensor(value)
        if attribute.type == type(attribute).STRINGS:
            return [v.decode(errors="replace") for v in value]
        if attribute.name in ("to", "dtype") and isinstance(value, int):
            return _dtype(value)
        return value

    def _hold(self, name: str, scope: str) -> None:
        """Give a weight or a constant to the module that first reads it."""
        if name in self.values and name not in self.held:
            tensor = self.values[name]
            path = f"{scope}.tensor_{len(self.held)}" if scope else f"tensor_{len(self.held)}"
            self.graph.hold(name, path, nn.Parameter(tensor) if name in self.weights else tensor)
            self.held.add(name)

    def _new(self, name: str) -> None:
        if name in self.shapes or name in self.aliases:
            raise InputError(f"{self.where}: is damaged: {one_line(name)!r} is made twice")

    def _unread(self, name: str, error: Exception) -> InputError:
        return InputError(f"{self.where}: {one_line(name)} cannot be read: {one_line(error)}")

    def _error(self, proto: Any, error: Exception) -> InputError:
        name = one_line(node_name(proto) or next(iter(proto.output), ""))
        cause = one_line(str(error) or repr(error))
        if proto.op_type == "Reshape" and not isinstance(error, Unsupported):
            cause += "; its shape is written in the file: export it for these inputs, or any batch"
        return InputError(f"{self.where}: {proto.op_type} {name} cannot be run: {cause}")


def _dtype(number: int) -> torch.dtype:
    """Return torch's dtype for ONNX's number."""
    name = numpy_name(number)
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or name in _PACKED:
        raise Unsupported(f"type {number} of ONNX ({name or 'unknown'}) is not supported")
    return dtype


def _named(names: list[str], result: Any) -> dict[str, Any]:
    """Return the outputs of a node by name; those without a name are dropped."""
    results = result if isinstance(result, tuple) else (result,)
    return {n: value for n, value in zip(names, results, strict=False) if n}
