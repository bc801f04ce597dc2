"""`effcalc count`."""

from __future__ import annotations

from typing import Annotated

import typer

from effcalc.cli.options import Batch, MaxLevel, OutputOptions

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="package.module:factory, file.py:factory, torchvision:NAME, timm:NAME, model.onnx, "
        "model.pt2, or a network of effcalc archs.",
    ),
]
Args = Annotated[
    list[str],
    typer.Option(
        "--arg", metavar="NAME=VALUE", help="An argument of the factory; may be repeated."
    ),
]
Inputs = Annotated[
    list[str],
    typer.Option(
        "--input",
        metavar="INPUT",
        help="What goes in: 1x3x224x224, or tokens=1x128:int64; may be repeated.",
    ),
]
Per = Annotated[
    str | None,
    typer.Option("--per", metavar="PART", help="Break the cost down: module, layer or op."),
]
Backward = Annotated[
    bool, typer.Option("--backward", help="Count the backward pass too.", show_default=False)
]
Real = Annotated[
    bool,
    typer.Option("--real", help="Run with real weights, where values decide.", show_default=False),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="End with 1 where an operator has no formula or a module never ran.",
        show_default=False,
    ),
]


def count(
    target: Target,
    batch: Batch,
    max_level: MaxLevel,
    output: OutputOptions,
    arg: Args = [],  # noqa: B006 - typer's, never changed
    input: Inputs = [],  # noqa: B006
    per: Per = None,
    backward: Backward = False,
    real: Real = False,
    strict: Strict = False,
) -> None:
    """Count any torch model, an ONNX or .pt2 file: parameters, MACs, bytes moved, memory.

    The model runs once on tensors without memory, so its weights are never allocated, and every
    operator counts, whatever module or function made it. What has no formula is listed. A target
    with a factory imports and runs that code; no other kind does. --real runs a model whose
    forward depends on values.

    Examples:
    effcalc count torchvision:resnet50
    effcalc count timm:vit_base_patch16_224 --per module --max-level 2
    effcalc count torchvision:mobilenet_v2 --backward --batch 32
    effcalc count mypackage.models:make --arg depth=3 --input 1x3x64x64
    effcalc count model.py:Net --input tokens=1x128:int64 --per op
    effcalc count torchvision:fasterrcnn_resnet50_fpn --real
    effcalc count model.onnx --format json
    """
    import sys
    from contextlib import redirect_stdout

    from effcalc.cli.output import write_table
    from effcalc.errors import CheckFailed
    from effcalc.limits import memory_limited
    from effcalc.target import target_network
    from effcalc.views.counting import check_breakdown, count_breakdown, count_table, gaps

    check_breakdown(per, max_level)

    # What the user's code prints is not part of the result.
    with memory_limited(real), redirect_stdout(sys.stderr):
        network = target_network(
            target, settings=arg, inputs=input, batch=batch, backward=backward, real=real
        )
    table = count_table(network) if per is None else count_breakdown(network, per, max_level)
    write_table(table, output)
    if strict and gaps(network):
        raise CheckFailed(f"--strict: {target}: {'; '.join(gaps(network))}")
