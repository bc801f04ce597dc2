"""`effcalc profile`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from effcalc.cli.options import (
    DEFAULT_NETWORK,
    Args,
    Inputs,
    MaxLevel,
    OutputOptions,
    ScalingOptions,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effcalc.output.table import Table
    from effcalc.profiling.live.ranks import Ranks
    from effcalc.profiling.live.run import Settings
    from effcalc.profiling.live.subject import Source
    from effcalc.profiling.results import Measurement, Profile

Target = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK",
        help="A network of effcalc archs, or package.module:factory, file.py:factory, "
        "torchvision:NAME, timm:NAME, model.onnx, model.pt2.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="cpu, cuda or cuda:1 (mps and xpu untested); cuda where there is one.",
    ),
]
Mode = Annotated[
    str,
    typer.Option(
        "--mode", metavar="MODE", help="infer, or train: forward, backward, SGD with momentum."
    ),
]
Batches = Annotated[
    str,
    typer.Option("--batch", metavar="NUMBERS", help="Images in a batch, or a list: 1,8,32."),
]
Format = Annotated[
    str,
    typer.Option(
        "--dtype", metavar="DTYPE", help="fp32 (TF32 off), tf32, fp16, bf16 or amp (autocast)."
    ),
]
ChannelsLast = Annotated[
    bool, typer.Option("--channels-last", help="Store images as NHWC.", show_default=False)
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Run it through torch.compile.", show_default=False)
]
Threads = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=1, help="Threads of one operator.")
]
Repeat = Annotated[
    int | None,
    typer.Option(
        "--repeat", metavar="N", min=1, help="Timed runs; by default until the median is known."
    ),
]
Warmup = Annotated[
    int | None,
    typer.Option(
        "--warmup", metavar="N", min=0, help="Runs before them; by default until it settles."
    ),
]
Cold = Annotated[
    bool, typer.Option("--cold", help="Flush the caches before each run.", show_default=False)
]
Per = Annotated[
    str | None,
    typer.Option("--per", metavar="PART", help="Break the time down: layer, module or kernel."),
]
Against = Annotated[
    str | None,
    typer.Option(
        "--against", metavar="FILE.json", help="Say what is slower than in a saved profile."
    ),
]
FailSlower = Annotated[
    str | None,
    typer.Option(
        "--fail-slower",
        metavar="PERCENT",
        help="With --against, end with 1 where it is slower by more, and beyond the noise: 5%.",
    ),
]
Picture = Annotated[
    str | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="With --per layer, draw layers under their roofs: .svg, .png or .html.",
    ),
]
Trace = Annotated[
    str | None,
    typer.Option("--trace", metavar="FILE", help="Write a trace for Perfetto or Chrome (.json)."),
]


def profile(
    scaling: ScalingOptions,
    max_level: MaxLevel,
    output: OutputOptions,
    network: Target = DEFAULT_NETWORK,
    device: Device = None,
    mode: Mode = "infer",
    batch: Batches = "",
    dtype: Format = "fp32",
    channels_last: ChannelsLast = False,
    compile: Compile = False,
    threads: Threads = None,
    repeat: Repeat = None,
    warmup: Warmup = None,
    cold: Cold = False,
    arg: Args = [],  # noqa: B006 - typer's, never changed
    input: Inputs = [],  # noqa: B006
    per: Per = None,
    trace: Trace = None,
    plot: Picture = None,
    against: Against = None,
    fail_slower: FailSlower = None,
) -> None:
    """Measure what a network really takes on this machine: latency, layers, kernels, memory.

    The latency is the median of runs without a profiler, with 10th and 90th percentile and a 95%
    interval; what may have disturbed it is said beside it. --per then splits a run under torch's
    profiler; its rows sum to the run. Roofs that effcalc device measured say what bounds a layer.
    Under torchrun each rank profiles itself, training through DDP, and rank 0 prints one table.

    Examples:
    effcalc profile
    effcalc profile --phi 1 --batch 1,8,32
    effcalc profile resnet-50 --batch 8 --per layer --plot roofline.svg
    effcalc profile torchvision:vit_b_16 --mode train --batch 8 --per kernel
    effcalc profile mypackage.models:make --arg depth=3 --input 8x3x64x64
    effcalc profile model.onnx --batch 8 --per layer
    effcalc profile --per layer --output before.json
    effcalc profile --per layer --against before.json --fail-slower 5%
    torchrun --nproc-per-node 2 -m effcalc profile --mode train
    """
    from effcalc.base.errors import CheckFailed, EffcalcError, InputError, need
    from effcalc.base.files import check_output
    from effcalc.cli.output import write_table
    from effcalc.models.names import file_kind
    from effcalc.profiling.parts import check_per

    check_per(per, max_level, compiled=compile)
    batches = _batches(batch)
    if len(batches) > 1 and (per is not None or trace is not None):
        raise InputError("--per and --trace are for one batch size, such as --batch 8")
    if trace is not None:
        check_output(trace)
    if plot is not None:
        _check_plot(plot, per)
    old, limit = _saved(against, fail_slower, per)
    need("torch", "profiling", "torch")
    from effcalc.profiling.live.ranks import launched
    from effcalc.profiling.live.run import Settings

    ranks = launched()
    first = ranks is None or ranks.rank == 0
    settings = Settings(
        mode=mode,
        dtype=dtype,
        device=device,
        threads=threads,
        repeat=repeat,
        warmup=warmup,
        channels_last=channels_last,
        compile=compile,
        cold=cold,
        trace=trace if first else None,
        ranks=ranks,
    )
    if file_kind(network) == "onnx":
        from effcalc.profiling.live.onnx import settings_for

        settings = settings_for(network, settings, per)
    measured: list[Profile] = []
    try:
        plotted = plot is not None
        for made in _profiles(network, scaling, (arg, input), batches, settings, plotted):
            measured[:] = [made]
    except (KeyboardInterrupt, EffcalcError):
        # What was measured is kept, and marked partial.
        recorded = measured and measured[0].measurements[0].profiled is not None
        if measured and first and (per is None or recorded):
            write_table(_table(measured[0], per, max_level), output)
        raise
    if not first:
        return
    table = _table(measured[0], per, max_level)
    if plot is not None:
        _draw(table, plot)
    if old is not None and against is not None:
        from effcalc.profiling.against import against_table, slower

        table = against_table(old, table, against)
        write_table(table, output)
        found = slower(table, limit) if limit is not None else []
        if found:
            raise CheckFailed(f"--fail-slower {fail_slower}: {', '.join(found)}")
        return
    write_table(table, output)


def _check_plot(path: str, per: str | None) -> None:
    """Refuse a picture that cannot be drawn, before anything is measured."""
    from effcalc.base.errors import InputError
    from effcalc.base.files import check_output
    from effcalc.output.plots.style import check_suffix, import_engine

    if per not in ("layer", "module"):
        raise InputError("--plot draws layers: give --per layer")
    check_suffix(path)
    check_output(path)
    import_engine()


def _draw(table: Table, path: str) -> None:
    """Draw a table of layers to a file, whole or not at all."""
    from effcalc.cli.output import write_plot
    from effcalc.cli.pictures import PlotOptions
    from effcalc.profiling.plot import roofline

    write_plot(roofline(table), PlotOptions(output=path))


def _saved(
    against: str | None, fail_slower: str | None, per: str | None
) -> tuple[Table | None, float | None]:
    """Read the profile to compare with, and the limit in percent, before anything is measured."""
    from effcalc.base.errors import InputError
    from effcalc.base.units import parse_number
    from effcalc.output.saved import read_saved
    from effcalc.profiling.against import check_comparable

    if against is None:
        if fail_slower is not None:
            raise InputError("--fail-slower needs something to be slower than: --against FILE.json")
        return None, None
    limit = None
    if fail_slower is not None:
        limit = parse_number(fail_slower.removesuffix("%"), "--fail-slower")
        if limit < 0:
            raise InputError("--fail-slower: must not be negative")
    old = read_saved(against)
    check_comparable(old, per, against)
    return old, limit


def _table(profile: Profile, per: str | None, max_level: int | None) -> Table:
    from effcalc.profiling.parts import breakdown_table
    from effcalc.profiling.summary import profile_table

    return profile_table(profile) if per is None else breakdown_table(profile, per, max_level)


def _batches(text: str) -> list[int | None]:
    """Read `--batch`; without it the inputs are taken as they are."""
    from effcalc.base.errors import InputError, one_line
    from effcalc.base.units import parse_values

    if not text:
        return [None]
    values = parse_values(text, "--batch")
    if len(values) > 100:
        raise InputError(f"--batch: {one_line(text)} asks for {len(values)} batch sizes, over 100")
    for value in values:
        if not isinstance(value, int) or value < 1:
            raise InputError(f"--batch: {value} is not a whole number from 1")
    return [int(value) for value in values]


def _profiles(
    network: str,
    scaling: ScalingOptions,
    given: tuple[list[str], list[str]],
    batches: list[int | None],
    settings: Settings,
    needs_roofs: bool,
) -> Iterator[Profile]:
    """Yield the profile with one more batch size each time."""
    import sys
    from contextlib import nullcontext, redirect_stdout

    from effcalc.base.limits import memory_limited
    from effcalc.cli.output import status
    from effcalc.models.names import file_kind
    from effcalc.profiling.live.run import known_roofs, measurements, prepared
    from effcalc.profiling.results import Profile

    done: list[Measurement] = []
    # What the user's code prints is not part of the result.
    with redirect_stdout(sys.stderr), status() as tell, prepared(settings) as (device, where):
        roofs = known_roofs(settings, device)
        if needs_roofs and roofs is None:
            from effcalc.profiling.plot import no_roofs

            raise no_roofs()
        limited = memory_limited() if device.type == "cpu" else nullcontext()
        with limited:
            name, source = _source(network, scaling, *given)
            if file_kind(network):
                where["graph"] = "read from a file"
            if file_kind(network) == "onnx":
                from effcalc.profiling.live.onnx import onnx_measurements, runtime_version

                where["runtime"] = runtime_version()
                each = onnx_measurements(network, given[1], batches, settings, device, tell)
            else:
                each = measurements(name, source, batches, settings, device, tell)
            for m in each:
                done += [m] if settings.ranks is None else _of_all_ranks(m, settings.ranks)
                yield Profile(name, tuple(done), where, roofs)


def _of_all_ranks(m: Measurement, ranks: Ranks) -> list[Measurement]:
    """Gather what every rank measured; the trace is alike on all, and the first one's is kept."""
    from dataclasses import replace

    from effcalc.profiling.live.ranks import gather

    own = replace(m, rank=ranks.rank, network=m.network if ranks.rank == 0 else None)
    gathered = gather(own, ranks)
    return [replace(other, network=gathered[0].network) for other in gathered]


def _source(
    network: str, scaling: ScalingOptions, arg: list[str], input: list[str]
) -> tuple[str, Source]:
    """Return what is profiled, by name, and what makes it."""
    from effcalc.base.errors import InputError, one_line
    from effcalc.cli.networks import one_network
    from effcalc.models.names import file_kind, is_code
    from effcalc.profiling.live.subject import from_scaled, from_target

    where = one_line(network)
    kind = file_kind(network)
    if kind and arg:
        raise InputError(f"{where}: --arg is for a model in code, and this is a .{kind} file")
    if kind or is_code(network):
        if not scaling.plain:
            raise InputError(f"{where}: scaling options are for networks of effcalc archs")
        return where, from_target(network, arg, input)
    for option, values in (("--arg", arg), ("--input", input)):
        if values:
            raise InputError(f"{where}: {option} is for a model in code; see --image-size, --batch")
    at = one_network(network, scaling, "profile")
    return at.title, from_scaled(at)
