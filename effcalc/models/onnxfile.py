"""Read an ONNX file as a `Network`: its graph, with every shape inferred; no weight is allocated.

Needs the package `onnx`, not torch. Operators are mapped to the records that torch's have.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from effcalc.base.errors import InputError, NeedsError, one_line
from effcalc.base.units import dtype_bytes
from effcalc.models.inputs import InputSpec, by_name
from effcalc.models.onnxshapes import OWN_DOMAINS, infer_types, sides_of
from effcalc.network.network import Network, OperatorCall, Param, Shape, Tensor
from effcalc.network.ops import OnnxCall, OnnxNode, from_onnx

NOTE = (
    "of an ONNX file the parameters are its floating-point initializers of one dimension or more; "
    "constants and running statistics count as buffers"
)

Fixed = Mapping[str, tuple[Shape, str]]
"""The inputs of a graph, each with its shape and dtype."""


def load_onnx(path: Path, where: str, inputs: list[InputSpec], batch: int = 1) -> Network:
    """Read the graph of an ONNX file; `inputs`, `batch` and errors are those of `read_onnx`."""
    model, fixed = read_onnx(path, where, inputs, batch)
    return graph_network(model, fixed, where, path.stem)


def graph_network(
    model: Any, fixed: Fixed, where: str, name: str, names: Mapping[str, str] | None = None
) -> Network:
    """Return what `read_onnx` gives as a network; `where` is what errors call it.

    `names` gives operator calls other names than `node_name`'s, by their node's first output.
    """
    types = infer_types(model, where)
    shapes = {n: (sides_of(t), dtype_name(t.tensor_type.elem_type)) for n, t in types.items()}
    return _Reader(model.graph, fixed, shapes, names or {}).network(name)


def read_onnx(path: Path, where: str, inputs: list[InputSpec], batch: int = 1) -> tuple[Any, Fixed]:
    """Read an ONNX file, without data that it keeps in others; return its model and its inputs.

    `inputs` give the shapes of inputs whose sizes are open, or other shapes; a first dimension
    that is open is the batch. Functions of the file's own are written out. Raises `InputError`
    for a file that is not ONNX or an input without a size, `NeedsError` where onnx is not
    installed.
    """
    onnx = _onnx()
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror or error}") from None
    except Exception as error:
        raise InputError(f"{where}: is not an ONNX file: {one_line(error)}") from None
    if not model.graph.node:
        raise InputError(f"{where}: is not an ONNX file: it has no operators")
    if any(isinstance(text, bytes) for text in _texts(model.graph)):
        raise InputError(f"{where}: is damaged: a name in it is no text")
    fixed = _fix_inputs(model.graph, where, inputs, batch)
    if model.functions:
        try:
            model = importlib.import_module("onnx.inliner").inline_local_functions(model)
        except Exception as error:
            raise InputError(f"{where}: its functions are damaged: {one_line(error)}") from None
    return model, fixed


def _texts(graph: Any) -> Iterator[str | bytes]:
    """Yield the names in a graph: protobuf gives those that are not UTF-8 as bytes."""
    yield from (value.name for value in (*graph.input, *graph.output, *graph.initializer))
    for node in graph.node:
        yield from (node.op_type, node.domain, node.name, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def _onnx() -> Any:
    try:
        importlib.import_module("onnx.shape_inference")
        return importlib.import_module("onnx")
    except ImportError as error:
        raise NeedsError("reading an ONNX file needs onnx; pip install 'effcalc[onnx]'") from error


def _fix_inputs(graph: Any, where: str, specs: list[InputSpec], batch: int) -> Fixed:
    """Give every input of a graph a size."""
    weights = {t.name for t in graph.initializer}
    values = [v for v in graph.input if v.name not in weights]
    given = by_name(specs, [v.name for v in values], where)
    fixed: dict[str, tuple[Shape, str]] = {}
    for value in values:
        tensor = value.type.tensor_type
        dims = tensor.shape.dim
        dtype = dtype_name(tensor.elem_type)
        if value.name in given:
            _, shape, wanted = given[value.name]
            if wanted not in ("float32", dtype):  # which is also what no dtype says
                raise InputError(f"{where}: input {one_line(value.name)} is {dtype}, not {wanted}")
        else:
            sides = [d.dim_value if d.HasField("dim_value") else -1 for d in dims]
            if sides and sides[0] < 0:
                sides[0] = batch
            if min(sides, default=0) < 0 or not tensor.HasField("shape"):
                raise InputError(
                    f"{where}: input {one_line(value.name)} has no fixed size; give "
                    f"`input` {one_line(value.name)}=1x3x224x224"
                )
            shape = tuple(sides)
        del dims[:]
        for side in shape:
            dims.add().dim_value = side
        fixed[value.name] = (shape, dtype)
    return fixed


def buffers_of(graph: Any) -> set[str]:
    """Return the initializers that are no parameters (see `NOTE`)."""
    statistics = {
        n for node in graph.node if node.op_type == "BatchNormalization" for n in node.input[3:5]
    }
    return {
        t.name
        for t in graph.initializer
        if t.name in statistics or not t.dims or "float" not in dtype_name(t.data_type)
    }


def dtype_name(number: int) -> str:
    """Return a dtype's name from ONNX's number, float32 for one that means none."""
    helper = importlib.import_module("onnx.helper")
    try:
        name = str(helper.tensor_dtype_to_np_dtype(number)).removeprefix("float_")
        if name == "object":  # text
            return "int64"
        dtype_bytes(name)
    except Exception:
        return "float32"
    return name


@dataclass
class _Reader:
    """Turns the nodes of one graph into layers."""

    graph: Any
    fixed: Fixed
    shapes: Mapping[str, tuple[Shape, str]]
    names: Mapping[str, str]
    values: dict[str, Tensor] = field(default_factory=dict)
    params: dict[str, Param] = field(default_factory=dict)
    charged: set[str] = field(default_factory=set)
    uncounted: dict[str, int] = field(default_factory=dict)

    def network(self, name: str) -> Network:
        graph = self.graph
        buffers = buffers_of(graph)
        for t in graph.initializer:
            dtype, shape, buffer = dtype_name(t.data_type), tuple(t.dims), t.name in buffers
            self.params[t.name] = Param(t.name, shape, dtype, not buffer, buffer)
            self.values[t.name] = Tensor(-1, shape, dtype, -1, t.name)
        inputs = tuple(self._value(n, shape, d) for n, (shape, d) in self.fixed.items())
        calls: list[OperatorCall] = []
        for node in graph.node:
            call = self._layer(node)
            if call is not None:
                calls.append(call)
        unused = tuple(p for key, p in self.params.items() if key not in self.charged)
        if unused:
            calls.append(OperatorCall("", "unused", (), (), unused))
        outputs = tuple(self.values[v.name] for v in graph.output if v.name in self.values)
        return Network(name, inputs, outputs, tuple(calls), uncounted=self.uncounted, notes=(NOTE,))

    def _value(self, name: str, shape: Shape, dtype: str, storage: int = -1) -> Tensor:
        number = len(self.values) + 1
        self.values[name] = Tensor(number, shape, dtype, number if storage < 0 else storage)
        return self.values[name]

    def _layer(self, node: Any) -> OperatorCall | None:
        if node.op_type == "Constant":
            return None  # its value is part of the operators that read it
        names = [n for n in node.input if n]
        operands = tuple(self.values[n] for n in names if n in self.values)
        attrs = {a.name: _attribute(a) for a in node.attribute}
        results: list[tuple[str, Shape, str]] = []
        for n in node.output:
            if not n:
                continue
            if n not in self.shapes:
                self._miss(node, " of unknown shape")
                return None
            results.append((n, *self.shapes[n]))
        mapped = from_onnx(OnnxNode(node.op_type, operands, attrs))
        if mapped is None:
            self._miss(node, "")
            mapped = OnnxCall(f"onnx::{node.op_type}", operands)
        source = mapped.operands[0] if mapped.memory == "view" and mapped.operands else None
        if source is not None and source.param:
            outputs = tuple(Tensor(-1, s, d, -1, source.param) for _, s, d in results)
            self.values.update({n: t for (n, _, _), t in zip(results, outputs, strict=True)})
        else:
            storage = -1 if source is None else source.storage
            outputs = tuple(self._value(n, s, d, storage) for n, s, d in results)
        fresh = dict.fromkeys(t.param for t in operands if t.param not in self.charged | {""})
        if mapped.memory == "view":
            fresh = {}
        self.charged.update(fresh)
        params = tuple(self.params[key] for key in fresh)
        return OperatorCall(
            self.names.get(next(iter(node.output), "")) or node_name(node),
            mapped.op,
            mapped.operands,
            outputs,
            params,
            mapped.attrs,
            mapped.memory,
        )

    def _miss(self, node: Any, why: str) -> None:
        key = f"onnx::{operator_name(node)}{why}"
        self.uncounted[key] = self.uncounted.get(key, 0) + 1


def _attribute(attribute: Any) -> Any:
    """Return the value of a node's attribute; a tensor or a graph is left out."""
    kinds = {1: "f", 2: "i", 3: "s", 6: "floats", 7: "ints", 8: "strings"}
    kind = kinds.get(attribute.type)
    if kind is None:
        return None
    value = getattr(attribute, kind)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, int | float) else tuple(value)


def operator_name(node: Any) -> str:
    """Return a node's operator, after its domain where that is not ONNX's own: `mine.Relu`."""
    return str(node.op_type if node.domain in OWN_DOMAINS else f"{node.domain}.{node.op_type}")


def node_name(node: Any) -> str:
    """Return the path of the module that a node came from, where an exporter of torch's says it."""
    for item in node.metadata_props:
        if item.key == "pkg.torch.onnx.name_scopes":
            scopes = [s.strip(" '\"") for s in item.value.strip("[]").split(",")]
            if len(scopes) > 1:
                return str(scopes[-2])
    return ".".join(part for part in str(node.name).replace("/", ".").split(".") if part)
