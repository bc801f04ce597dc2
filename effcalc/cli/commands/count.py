"""`effcalc count`."""

# Annotations stay objects in this module: app.py reads them without evaluating any text.
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from effcalc.cli.options import Args, Batch, Inputs, MaxLevel, OutputOptions

if TYPE_CHECKING:
    from effcalc.network.network import Network
    from effcalc.output.table import Table

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="package.module:factory, file.py:factory, torchvision:NAME, timm:NAME, model.onnx, "
        "model.pt2, or a network of effcalc archs.",
    ),
]


@dataclass(frozen=True, slots=True)
class CountOptions:
    """What is counted, how it is shown, and which other counters are compared."""

    arg: Args = field(default_factory=list)
    input: Inputs = field(default_factory=list)
    per: Annotated[
        str | None,
        typer.Option("--per", metavar="PART", help="Break the cost down: module, layer or op."),
    ] = None
    backward: Annotated[
        bool, typer.Option("--backward", help="Count the backward pass too.", show_default=False)
    ] = False
    real: Annotated[
        bool,
        typer.Option(
            "--real", help="Run with real weights, where values decide.", show_default=False
        ),
    ] = False
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="End with 1 where an operator has no formula or a module never ran.",
            show_default=False,
        ),
    ] = False
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="TOOLS",
            help="Compare with other counters: thop,ptflops,fvcore,torchinfo,calflops,torchprofile,"
            "torch, or all.",
        ),
    ] = None
    time_limit: Annotated[
        str | None,
        typer.Option("--time-limit", metavar="SECONDS", help="Time of each other counter: 120."),
    ] = None
    memory_limit: Annotated[
        str | None,
        typer.Option(
            "--memory-limit",
            metavar="BYTES",
            help="Memory of each other counter: 8GB; by default three quarters of what is free.",
        ),
    ] = None


def count(
    target: Target,
    batch: Batch,
    max_level: MaxLevel,
    output: OutputOptions,
    options: CountOptions,
) -> None:
    """Count any torch model, an ONNX or .pt2 file: parameters, MACs, bytes moved, memory.

    The model runs once on tensors without memory, so its weights are never allocated, and every
    operator counts, whatever module or function made it. What has no formula is listed. A target
    with a factory imports and runs that code; no other kind does. --real runs a model whose
    forward depends on values. --against runs other counters on the model, each in a process of
    its own, and says on which operators they differ.

    Examples:
    effcalc count torchvision:resnet50
    effcalc count timm:vit_base_patch16_224 --per module --max-level 2
    effcalc count torchvision:mobilenet_v2 --backward --batch 32
    effcalc count efficientnet-b0@phi=1 --backward
    effcalc count mypackage.models:make --arg depth=3 --input 1x3x64x64
    effcalc count model.py:Net --input tokens=1x128:int64 --per op
    effcalc count torchvision:fasterrcnn_resnet50_fpn --real
    effcalc count model.onnx --format json
    effcalc count torchvision:vit_b_16 --against thop,fvcore,torch
    """
    from effcalc.base.errors import CheckFailed, InputError
    from effcalc.cli.output import write_table
    from effcalc.scaling.tables.counting import check_breakdown, count_breakdown, count_table, gaps

    per, against = options.per, options.against
    check_breakdown(per, max_level)
    if against is None and (options.time_limit is not None or options.memory_limit is not None):
        raise InputError("--time-limit and --memory-limit are for other counters: --against thop")
    if against is None:
        network = _count(target, batch, options)
        table = count_table(network) if per is None else count_breakdown(network, per, max_level)
    elif per is None and max_level is None and not options.backward:
        network, table = _compare(target, batch, against, options)
    else:
        raise InputError("--against compares totals of the forward pass: no --per, no --backward")
    write_table(table, output)
    if options.strict and gaps(network):
        raise CheckFailed(f"--strict: {target}: {'; '.join(gaps(network))}")


def _count(target: str, batch: int, options: CountOptions) -> "Network":
    """Count a model."""
    import sys
    from contextlib import redirect_stdout

    from effcalc.base.limits import memory_limited
    from effcalc.models.mode import RunMode
    from effcalc.models.target import target_network

    # What the user's code prints is not part of the result.
    with memory_limited(options.real), redirect_stdout(sys.stderr):
        return target_network(
            target,
            settings=options.arg,
            inputs=options.input,
            batch=batch,
            mode=RunMode(options.backward, options.real),
        )


def _compare(
    target: str, batch: int, against: str, options: CountOptions
) -> "tuple[Network, Table]":
    """Count a model, and let other counters count it."""
    import sys
    from contextlib import redirect_stdout

    from effcalc.base.errors import InputError
    from effcalc.base.limits import memory_limited
    from effcalc.base.units import parse_bytes, parse_number
    from effcalc.cli.output import progress
    from effcalc.models.peers.against import against_table, default_limits, prepare
    from effcalc.models.peers.child import Target
    from effcalc.models.peers.registry import select

    limits = default_limits()
    if options.time_limit is not None:
        limits = limits._replace(seconds=parse_number(options.time_limit, "--time-limit"))
    if options.memory_limit is not None:
        limits = limits._replace(memory=parse_bytes(options.memory_limit, "--memory-limit"))
    for option, limit in (("--time-limit", limits.seconds), ("--memory-limit", limits.memory)):
        if limit <= 0:
            raise InputError(f"{option}: must be above zero")
    peers = select(against)
    with memory_limited(options.real), redirect_stdout(sys.stderr):
        subject = prepare(
            Target(target, tuple(options.arg), tuple(options.input), batch, options.real)
        )
    shown = progress(peers, "counters", len(peers))
    return subject.network, against_table(subject, shown, limits)
