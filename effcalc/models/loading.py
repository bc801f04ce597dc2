"""Make what any target names, to be run: a file's graph, a model in code, a network."""

from __future__ import annotations

from collections.abc import Sequence

from effcalc.base.errors import one_line
from effcalc.models.inputs import parse_inputs
from effcalc.models.onnxrun.load import load_module
from effcalc.models.pt2 import load_pt2
from effcalc.models.target import existing_file, file_kind
from effcalc.models.targets import Loaded, load


def load_real(target: str, settings: Sequence[str], inputs: Sequence[str], batch: int) -> Loaded:
    """Make the module of a target on the CPU, with real inputs of that batch.

    A .pt2 or .onnx file runs node by node from its graph; weights of a .pt2 file are made up.
    `settings`, `inputs` and errors are those of `targets.load`.
    """
    where, kind = one_line(target), file_kind(target)
    if kind == "pt2":
        return load_pt2(existing_file(target), where, parse_inputs(inputs), real=True)
    if kind == "onnx":
        return load_module(existing_file(target), where, parse_inputs(inputs), batch)
    return load(target, settings, inputs, batch=batch, real=True)
