"""Writes a built network as a torch.export program or an ONNX model."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import IO, Any

import torch
from torch.export import Dim, ExportedProgram

from effcalc.base.errors import InputError
from effcalc.base.units import format_bytes
from effcalc.models.build import build
from effcalc.network.network import Network
from effcalc.scaling.figures import figures

ONNX_LIMIT = 2**31 - 2**20
"""Bytes of weights in one ONNX file, which may have 2 GiB in all."""


def write_pt2(network: Network, file: IO[bytes], dynamic_batch: bool = False) -> None:
    """Write the network, at evaluation, as what `torch.export.load` reads.

    Its batch is that of the network, or any with `dynamic_batch`. Weights are `build`'s from
    seed 0. Paths of this machine are left out.
    """
    program = _program(network, dynamic_batch)
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    torch.export.save(program, file)


def write_onnx(network: Network, file: IO[bytes], dynamic_batch: bool = False) -> None:
    """Write the network, at evaluation, as an ONNX model with input `images`, result `output`.

    As `write_pt2`; batch norms are folded into the convolutions before them. Raises `InputError`
    for more weights than one file holds.
    """
    weights = figures(network).weights
    size = weights.weight_bytes + weights.buffer_bytes
    if size > ONNX_LIMIT:
        raise InputError(
            f"{format_bytes(size)} of weights do not fit in an ONNX file, which has at most 2 GiB; "
            "write a .pt2 file"
        )
    program = _program(network, dynamic_batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own code
        exported = torch.onnx.export(
            program, input_names=["images"], output_names=["output"], dynamo=True, verbose=False
        )
    assert exported is not None
    model = exported.model_proto
    _forget_paths(model.graph)
    for function in model.functions:
        _forget_paths(function)
    file.write(model.SerializeToString())


def _program(network: Network, dynamic_batch: bool) -> ExportedProgram:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(network).eval()
    batch, *rest = network.inputs[0].shape
    # torch takes a batch of one for a constant.
    image = torch.zeros(max(2, batch) if dynamic_batch else batch, *rest)
    shapes = {"x": {0: Dim("batch")}} if dynamic_batch else None
    return torch.export.export(model, (image,), dynamic_shapes=shapes)


def _forget_paths(graph: Any) -> None:
    """Remove the stack traces that torch notes at each node: they name files of this machine."""
    nodes: Iterable[Any] = graph.node
    for node in nodes:
        kept = [p for p in node.metadata_props if not p.key.endswith("stack_trace")]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
