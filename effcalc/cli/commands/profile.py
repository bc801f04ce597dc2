"""`effcalc profile`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from effcalc.cli.measuring import BreakdownOptions, RunOptions
from effcalc.cli.options import DEFAULT_NETWORK, Args, Inputs, MaxLevel, OutputOptions
from effcalc.cli.scaling import ScalingOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effcalc.output.table import Table
    from effcalc.profiling.live.ranks import Ranks
    from effcalc.profiling.live.subject import Source
    from effcalc.profiling.results import Measurement, Profile
    from effcalc.profiling.roofline import Roofs
    from effcalc.profiling.settings import ProfileSettings

Target = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK",
        help="A network of effcalc archs, or package.module:factory, file.py:factory, "
        "torchvision:NAME, timm:NAME, model.onnx, model.pt2.",
    ),
]


def profile(
    scaling: ScalingOptions,
    max_level: MaxLevel,
    output: OutputOptions,
    run: RunOptions,
    shown: BreakdownOptions,
    network: Target = DEFAULT_NETWORK,
    arg: Args = [],  # noqa: B006 - typer's, never changed
    input: Inputs = [],  # noqa: B006
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
    from dataclasses import replace

    from effcalc.base.errors import need

    batches = _batches(run.batch)
    old, limit = _check(run, shown, max_level, batches)
    plot, output = output.plot, replace(output, plot=None)
    if plot is not None:
        _check_plot(shown.per)
    need("torch", "profiling", "torch")
    from effcalc.profiling.live.ranks import launched

    ranks = launched()
    first = ranks is None or ranks.rank == 0
    settings = _settings(network, run, shown, ranks)
    needs_roofs = plot is not None
    profiles = _profiles(network, scaling, (arg, input), batches, settings, needs_roofs)
    measured = _last(profiles, shown, max_level, output if first else None)
    if not first:
        return
    table = _table(measured, shown.per, max_level)
    if plot is not None:
        _draw(table, measured.roofs, plot)
    _write(table, old, shown, limit, output)


def _last(
    profiles: Iterator[Profile],
    shown: BreakdownOptions,
    max_level: int | None,
    output: OutputOptions | None,
) -> Profile:
    """Return the complete profile; where it is interrupted, write what was measured to `output`."""
    from effcalc.base.errors import EffcalcError
    from effcalc.cli.output import write_table

    profile: Profile | None = None
    try:
        for profile in profiles:  # noqa: B007 - the last one is wanted
            pass
    except (KeyboardInterrupt, EffcalcError):
        # What was measured is kept, and marked partial.
        if profile is not None and output is not None:
            recorded = profile.measurements[0].profiled is not None
            if shown.per is None or recorded:
                write_table(_table(profile, shown.per, max_level), output)
        raise
    assert profile is not None
    return profile


def _check(
    run: RunOptions, shown: BreakdownOptions, max_level: int | None, batches: list[int | None]
) -> tuple[Table | None, float | None]:
    """Refuse what cannot be before anything is measured; return the profile to compare with."""
    from effcalc.base.errors import InputError
    from effcalc.base.files import check_output
    from effcalc.profiling.parts import check_per

    check_per(shown.per, max_level, compiled=run.compile)
    if len(batches) > 1 and (shown.per is not None or shown.trace is not None):
        raise InputError("--per and --trace are for one batch size, such as --batch 8")
    if shown.trace is not None:
        check_output(shown.trace)
    return _saved(shown.against, shown.fail_slower, shown.per)


def _settings(
    network: str, run: RunOptions, shown: BreakdownOptions, ranks: Ranks | None
) -> ProfileSettings:
    """Return how to measure; only the first rank writes a trace."""
    from dataclasses import asdict

    from effcalc.models.names import file_kind
    from effcalc.profiling.settings import ProfileSettings

    values = asdict(run)
    del values["batch"]
    trace = shown.trace if ranks is None or ranks.rank == 0 else None
    settings = ProfileSettings(**values, trace=trace, ranks=ranks)
    if file_kind(network) != "onnx":
        return settings
    from effcalc.profiling.live.onnx import settings_for

    return settings_for(network, settings, shown.per)


def _write(
    table: Table,
    old: Table | None,
    shown: BreakdownOptions,
    limit: float | None,
    output: OutputOptions,
) -> None:
    """Write the profile, or its difference to a saved one; fail where it is slower by too much."""
    from effcalc.base.errors import CheckFailed
    from effcalc.cli.output import write_table
    from effcalc.profiling.against import against_table, slower

    if old is not None:
        table = against_table(old, table, shown.against or "")
    write_table(table, output)
    rows = slower(table, limit) if old is not None and limit is not None else []
    if rows:
        raise CheckFailed(f"--fail-slower {shown.fail_slower}: {', '.join(rows)}")


def _check_plot(per: str | None) -> None:
    """Refuse a picture that cannot be drawn, before anything is measured."""
    from effcalc.base.errors import InputError
    from effcalc.output.plots.style import import_engine

    if per not in ("layer", "module"):
        raise InputError("--plot draws layers: give --per layer")
    import_engine()


def _draw(table: Table, roofs: Roofs | None, path: str) -> None:
    """Draw a table of layers to a file, whole or not at all."""
    from effcalc.cli.output import write_plot
    from effcalc.cli.pictures import PlotOptions
    from effcalc.profiling.plot import roofline

    ceilings = None if roofs is None else roofs.ceilings()
    write_plot(roofline(table, ceilings), PlotOptions(output=path))


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
    settings: ProfileSettings,
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
    from effcalc.models.names import file_kind, is_code
    from effcalc.profiling.live.subject import from_scaled, from_target
    from effcalc.scaling.request import one_network

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
    scaled = one_network(network, scaling, "profile")
    return scaled.title, from_scaled(scaled)
