"""Shapes of the values in an ONNX graph, by onnx's own inference.

Inference of a whole model gives up where a shape is computed by many operators, as torch's older
exporter writes it (a swin_t: 1,357 values of 6,177 nodes; onnxruntime's symbolic inference leaves
1,065, and refuses a vit_b_16). Node by node, with the small values computed that the shapes
follow from, onnx's inference knows them all. No weight is read or allocated.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from effcalc.base.errors import InputError, one_line

MOST = 1 << 16
"""Elements of a value that is computed to know a shape, at most."""

OWN_DOMAINS = ("", "ai.onnx")
"""Both names of the domain of ONNX's own operators."""


def infer_types(model: Any, where: str) -> dict[str, Any]:
    """Return the type of each value in a model's graph, as onnx's TypeProto, by name.

    The shapes of the graph's inputs are fixed. Values whose type is not known are left out.
    Raises `InputError` where the graph contradicts itself.
    """
    # What is inferred follows from the inputs' shapes alone.
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        model = importlib.import_module("onnx.shape_inference").infer_shapes(model, data_prop=True)
    except Exception as error:
        raise InputError(f"{where}: its shapes cannot be inferred: {one_line(error)}") from None
    graph = model.graph
    types = {v.name: v.type for v in (*graph.value_info, *graph.output) if is_fixed(v.type)}
    if any(n and n not in types for node in graph.node for n in node.output):
        types = _by_node(model, types)
    return types


def is_fixed(type_: Any) -> bool:
    """Whether a type is that of a tensor whose every size is known."""
    tensor = type_.tensor_type
    return bool(tensor.HasField("shape")) and all(
        d.HasField("dim_value") and d.dim_value >= 0 for d in tensor.shape.dim
    )


def _by_node(model: Any, types: Mapping[str, Any]) -> dict[str, Any]:
    """Infer the types that are not known yet, one node after the other."""
    onnx = importlib.import_module("onnx")
    known = {v.name: v.type for v in model.graph.input} | dict(types)
    values: dict[str, Any] = {}
    for t in model.graph.initializer:
        known[t.name] = onnx.helper.make_tensor_type_proto(t.data_type, t.dims)
        if math.prod(t.dims) <= MOST and t.data_location != t.EXTERNAL:
            with suppress(Exception):  # a damaged one has no value
                values[t.name] = onnx.numpy_helper.to_array(t)
    opsets = {o.domain: o.version for o in model.opset_import}
    for node in model.graph.node:
        if any(n not in known for n in node.output if n):
            known |= _inferred(node, known, values, model)
        values |= _computed(node, known, values, opsets)
    return known


def _inferred(
    node: Any, known: Mapping[str, Any], values: Mapping[str, Any], model: Any
) -> Iterator[tuple[str, Any]]:
    """Yield the types of a node's outputs that follow from its inputs."""
    onnx = importlib.import_module("onnx")
    if any(n not in known for n in node.input if n):
        return
    opsets = {o.domain: o.version for o in model.opset_import}
    version = opsets.get(node.domain, 1)
    try:
        outputs = onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op_type, version, node.domain),
            node,
            {n: known[n] for n in node.input if n},
            {n: onnx.numpy_helper.from_array(values[n]) for n in node.input if n in values},
            opset_imports=list(model.opset_import),
            ir_version=model.ir_version,
        )
    except Exception:  # an operator that onnx does not know, or a contradiction: no shape
        return
    yield from ((name, type_) for name, type_ in outputs.items() if is_fixed(type_))


def _computed(
    node: Any, known: Mapping[str, Any], values: Mapping[str, Any], opsets: Mapping[str, int]
) -> dict[str, Any]:
    """Return the values of a node's outputs, where they follow from the graph and are small."""
    reference = importlib.import_module("onnx.reference")
    names = [n for n in node.output if n]
    sizes = [math.prod(sides_of(known[n])) for n in names if n in known]
    if (
        node.domain not in OWN_DOMAINS
        or len(sizes) < len(names)
        or max(sizes, default=0) > MOST
        or any(a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute)
    ):
        return {}
    numpy = importlib.import_module("numpy")
    if node.op_type in ("Shape", "Size") and node.input and node.input[0] in known:
        sides = sides_of(known[node.input[0]])
        span = {a.name: a.i for a in node.attribute}
        value = (
            sides[slice(span.get("start"), span.get("end"))]
            if node.op_type == "Shape"
            else math.prod(sides)
        )
        return {names[0]: numpy.array(value, numpy.int64)}
    if any(n not in values for n in node.input if n):
        return {}
    try:
        run = reference.ReferenceEvaluator(node, opsets=dict(opsets))
        results = run.run(None, {n: values[n] for n in node.input if n})
    except Exception:  # not every operator of every opset has a reference
        return {}
    return dict(zip(names, results, strict=False))


def sides_of(type_: Any) -> tuple[int, ...]:
    """Return the shape of a tensor of a fixed type."""
    return tuple(d.dim_value for d in type_.tensor_type.shape.dim)
