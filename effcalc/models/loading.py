"""Make the module that a target names, to be run: a file's graph, a model in code, a network."""

from __future__ import annotations

from collections.abc import Sequence

from effcalc.base.errors import InputError, one_line
from effcalc.models.inputs import parse_inputs
from effcalc.models.names import existing_file, file_kind
from effcalc.models.pt2 import load_pt2
from effcalc.models.targets import Loaded, load


def load_real(target: str, settings: Sequence[str], inputs: Sequence[str], batch: int) -> Loaded:
    """Make the module of a target on the CPU, with real inputs of that batch.

    A .pt2 file runs node by node from its graph, with made-up weights. `settings`, `inputs` and
    errors are those of `targets.load`; an ONNX file is refused, since torch does not run it.
    """
    where, kind = one_line(target), file_kind(target)
    if kind == "pt2":
        return load_pt2(existing_file(target), where, parse_inputs(inputs), real=True)
    if kind == "onnx":
        raise InputError(
            f"{where}: torch does not run an ONNX file; give the model in code, or a .pt2 file"
        )
    return load(target, settings, inputs, batch=batch, real=True)
