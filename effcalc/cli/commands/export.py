"""`effcalc export`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from effcalc.cli.options import Batch, Network
from effcalc.cli.scaling import ScalingOptions

if TYPE_CHECKING:
    from effcalc.scaling.scale import Scaled

Output = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="A file that ends in .onnx, .pt2 or .py; whole or not at all.",
    ),
]
DynamicBatch = Annotated[
    bool,
    typer.Option(
        "--dynamic-batch", help="Take batches of any size (.onnx, .pt2).", show_default=False
    ),
]


def export(
    network: Network,
    scaling: ScalingOptions,
    batch: Batch,
    output: Output,
    dynamic_batch: DynamicBatch = False,
) -> None:
    """Write a network at any scaling as an ONNX model, a torch.export program, or Python code.

    Weights are random ones from a fixed seed, and modules are named as effcalc names layers. A
    .py file has a class for each kind of block and a table of the stages, and imports torch alone
    (writing it needs no torch). An .onnx file, which needs effcalc[onnx], is for inference: its
    batch norms are folded into the convolutions.

    Examples:
    effcalc export --phi 3 -o b.py
    effcalc export --phi 3 -o b.onnx --dynamic-batch
    effcalc export resnet-50 --width 0.5 --batch 8 -o half.pt2
    """
    from effcalc.base.errors import InputError, one_line
    from effcalc.base.files import check_output
    from effcalc.cli.output import write_text
    from effcalc.scaling.request import one_network

    suffix = output[output.rfind(".") :] if "." in output else ""
    if suffix not in (".onnx", ".pt2", ".py"):
        raise InputError(
            f"--output: {one_line(repr(output))} says no format; end it in .onnx, .pt2 or .py"
        )
    check_output(output)
    scaled = one_network(network, scaling, "export")
    if suffix != ".py":
        _write_model(scaled, batch, suffix, output, dynamic_batch)
        return
    from effcalc.models.pycode.write import write

    if dynamic_batch or batch != 1:
        raise InputError("a .py file takes batches of any size; leave out --batch")
    write_text([write(scaled, scaled.title)], output)


def _write_model(scaled: Scaled, batch: int, suffix: str, output: str, dynamic_batch: bool) -> None:
    """Write an .onnx or .pt2 file."""
    import sys
    from contextlib import redirect_stdout

    from effcalc.base.errors import need
    from effcalc.base.files import open_output
    from effcalc.scaling.scale import build

    need("torch", f"writing {suffix}", "torch")
    if suffix == ".onnx":
        for package in ("onnx", "onnxscript"):
            need(package, "writing .onnx", "onnx")
    from effcalc.models.export import write_onnx, write_pt2

    write_to = write_onnx if suffix == ".onnx" else write_pt2
    with open_output(output, binary=True) as file, redirect_stdout(sys.stderr):
        write_to(build(scaled.arch, scaled.scaling, batch, scaled.head), file, dynamic_batch)
