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

from effcalc.errors import InputError, one_line
from effcalc.inputs import InputSpec
from effcalc.network import Shape
from effcalc.onnxfile import Fixed, buffers_of, node_name, read_onnx
from effcalc.torch.graph import Graph, Step, Values, made_up
from effcalc.torch.onnxrun.layers import LAYERS
from effcalc.torch.onnxrun.moving import MOVING
from effcalc.torch.onnxrun.node import Call, Maker, Node, Unsupported
from effcalc.torch.onnxrun.pointwise import POINTWISE
from effcalc.torch.targets import Loaded, filled

OPERATORS: Mapping[str, Maker] = {**LAYERS, **POINTWISE, **MOVING}

_CPU = torch.device("cpu")
_PACKED = ("int2", "int4", "uint2", "uint4", "float4_e2m1fn")  # several in a byte


def load_module(path: Path, where: str, inputs: list[InputSpec], batch: int = 1) -> Loaded:
    """Return a module that runs the graph of an ONNX file on the CPU, and random inputs.

    Weights are those in the file; those that it keeps in other files are made up. What follows
    from constants and shapes alone is computed here, once. Errors are those of `read_onnx`, and
    an `InputError` for an operator, or a variant of one, that torch does not have.
    """
    model, fixed = read_onnx(path, where, inputs, batch)
    try:
        module = _Planner(model.graph, where, _opset(model)).graph_of(fixed)
    except InputError as error:
        if "Reshape" in str(error) and inputs:
            raise InputError(f"{error}; it was exported for inputs of another size") from None
        raise
    images = [torch.empty(s, dtype=getattr(torch, d), device="meta") for s, d in fixed.values()]
    return Loaded(where, module, tuple(filled(images)), {})


def shapes_of(model: Any, where: str, fixed: Fixed) -> dict[str, tuple[Shape, str]]:
    """Return shape and dtype of every value in a graph for inputs of these shapes.

    Raises `InputError` as `load_module` does.
    """
    planner = _Planner(model.graph, where, _opset(model))
    planner.graph_of(fixed)
    names = planner.shapes.items()
    shapes = {n: (tuple(t.shape), str(t.dtype).removeprefix("torch.")) for n, t in names}
    return shapes | {alias: shapes[n] for alias, n in planner.aliases.items()}


def _opset(model: Any) -> int:
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)


@dataclass
class _Planner:
    """Lays the nodes of a graph down as steps, following shapes on the meta device."""

    source: Any
    where: str
    opset: int
    graph: Graph = field(default_factory=lambda: Graph(_CPU))
    shapes: dict[str, torch.Tensor] = field(default_factory=dict)
    constants: dict[str, torch.Tensor] = field(default_factory=dict)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    def graph_of(self, fixed: Fixed) -> Graph:
        """Return the whole graph, for inputs of these shapes."""
        self._read_initializers()
        self.used = {n for node in self.source.node for n in node.input}
        self.used |= {v.name for v in self.source.output}
        for name, (shape, dtype) in fixed.items():
            self.shapes[name] = torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
        steps = []
        with torch.no_grad():
            for node in self.source.node:
                step = self._step(node)
                steps += [step] if step else []
        outputs = [self.aliases.get(v.name, v.name) for v in self.source.output]
        for name in outputs:
            if name not in self.shapes:
                raise InputError(f"{self.where}: is damaged: nothing makes its {one_line(name)}")
            self._hold(name, "")
        self.graph.plan(list(fixed), steps, outputs, lambda values: _result(values, outputs))
        return self.graph

    def _read_initializers(self) -> None:
        buffers = buffers_of(self.source)
        for proto in self.source.initializer:
            tensor = self._tensor(proto)
            self.shapes[proto.name] = tensor.to("meta")
            if proto.name in buffers:
                self.constants[proto.name] = tensor
            else:
                self.weights[proto.name] = tensor

    def _tensor(self, proto: Any) -> torch.Tensor:
        """Return what an initializer or an attribute holds."""
        try:
            dtype = _dtype(proto.data_type)
            if proto.data_location == type(proto).EXTERNAL:
                return made_up(proto.dims, dtype, _CPU)
            array = importlib.import_module("onnx.numpy_helper").to_array(proto).copy()
            if array.dtype.isbuiltin != 1:  # bfloat16 and the like, which torch reads as bits
                array = array.view(f"u{array.itemsize}")
            return torch.from_numpy(array).view(dtype)
        except (Unsupported, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{self.where}: {one_line(proto.name)} cannot be read: {one_line(error)}"
            ) from None

    def _step(self, proto: Any) -> Step | None:
        """Plan one node; None where its result is known before the graph runs."""
        reads = [self.aliases.get(n, n) for n in proto.input]
        try:
            attributes = self._attributes(proto)
        except Unsupported as error:
            raise self._error(proto, error) from None
        node = Node(
            proto.op_type,
            attributes,
            self.opset,
            reads,
            len(proto.output),
            max((i + 1 for i, n in enumerate(proto.output) if n in self.used), default=0),
            self.constants | self.weights,
            self.shapes,
        )
        if node.op == "Identity" and reads[0] in self.weights:
            self.aliases[proto.output[0]] = reads[0]  # how an exporter writes a shared weight
            return None
        writes = list(proto.output)
        call = self._call(proto, node)
        names = node.rest()
        known = all(n in self.constants for n in names)
        place = self.constants if known else self.shapes
        try:
            results = _named(writes, call(*(place[n] for n in names)))
        except Exception as error:
            raise self._error(proto, error) from None
        for name, value in results.items():
            self.shapes[name] = value.to("meta")
        if known:
            self.constants |= results
            return None
        scope = node_name(proto)
        for name in names:
            self._hold(name, scope)

        def run(values: Values) -> None:
            values.update(_named(writes, call(*(values[n] for n in names))))

        return Step(run, scope, frozenset((*names, *writes)))

    def _call(self, proto: Any, node: Node) -> Call:
        if proto.domain not in ("", "ai.onnx") or node.op not in OPERATORS:
            domain = "" if proto.domain in ("", "ai.onnx") else f"{proto.domain}."
            raise InputError(
                f"{self.where}: has {one_line(domain + node.op)}, which torch does not run here; "
                "give what makes the model: module:factory"
            )
        try:
            call = OPERATORS[node.op](node)
            if unread := node.unread():
                raise Unsupported(f"{', '.join(unread)} is not supported")
        except Exception as error:
            raise self._error(proto, error) from None
        return call

    def _attributes(self, proto: Any) -> dict[str, Any]:
        helper = importlib.import_module("onnx.helper")
        return {a.name: self._attribute(helper.get_attribute_value(a), a) for a in proto.attribute}

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
        """Give a weight to the module that first reads it; a constant to the graph."""
        if name in self.constants:
            self.graph.constants[name] = self.constants[name]
        elif name in self.weights and name not in self.held:
            tensor = self.weights[name]
            self.graph.hold(
                name, f"{scope}.tensor_{len(self.held)}".lstrip("."), nn.Parameter(tensor)
            )
            self.held.add(name)

    def _error(self, proto: Any, error: Exception) -> InputError:
        name = one_line(node_name(proto) or next(iter(proto.output), ""))
        cause = one_line(error if isinstance(error, Unsupported) else str(error) or repr(error))
        return InputError(f"{self.where}: {proto.op_type} {name} cannot be run: {cause}")


def _dtype(number: int) -> torch.dtype:
    """Return torch's dtype for ONNX's number."""
    try:
        name = str(importlib.import_module("onnx.helper").tensor_dtype_to_np_dtype(number))
    except Exception:
        name = ""
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or name in _PACKED:
        raise Unsupported(f"type {number} of ONNX ({name or 'unknown'}) is not supported")
    return dtype


def _named(names: list[str], result: Any) -> dict[str, Any]:
    """Return the outputs of a node by name; those without a name are dropped."""
    results = result if isinstance(result, tuple) else (result,)
    return {n: value for n, value in zip(names, results, strict=False) if n}


def _result(values: Values, outputs: list[str]) -> Any:
    found = tuple(values[name] for name in outputs)
    return found[0] if len(found) == 1 else found
