"""`effcalc sweep`."""

# Annotations stay objects in this module: app.py reads them without evaluating any text.
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from effcalc.cli.options import Network, OutputOptions, Workers, whole
from effcalc.cli.scaling import AxesOptions

if TYPE_CHECKING:
    from effcalc.scaling.sweep.run import SweepRequest, SweepRun


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """Which points are swept, which of them are kept, and whether a sweep is resumed."""

    random: Annotated[
        int | None,
        typer.Option(
            "--random",
            metavar="N",
            parser=whole("--random"),
            help="N points drawn instead of all; FIRST:LAST is then any number between.",
        ),
    ] = None
    seed: Annotated[
        int,
        typer.Option("--seed", metavar="N", parser=whole("--seed", 0), help="Which random points."),
    ] = 0
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="CONDITION",
            help="Keep points such as 'params < 6M and macs < 1.8G'.",
        ),
    ] = None
    pareto: Annotated[
        str | None,
        typer.Option(
            "--pareto",
            metavar="KEYS",
            help="Keep the Pareto front of columns, small is good: params,macs; -KEY: large is.",
        ),
    ] = None
    top: Annotated[
        int | None,
        typer.Option(
            "--top", metavar="N", parser=whole("--top"), help="Keep the first N points by --by."
        ),
    ] = None
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="KEY", help="Column of --top; -KEY puts the largest first."),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the unfinished sweep of --output.")
    ] = False


def sweep(
    network: Network,
    axes: AxesOptions,
    workers: Workers,
    output: OutputOptions,
    options: SweepOptions,
) -> None:
    """Say what a network costs at any number of scalings, and which of them are worth a look.

    Each combination of the values given is a point, or --random draws points; each has the
    figures of effcalc scale. Points stream to a csv or jsonl file, an interrupted sweep goes on
    with --resume, and memory does not grow with the number of points.

    Examples:
    effcalc sweep --depth 1:2:0.25 --width 1:2:0.25 --top 5 --by macs
    effcalc sweep --width 0.5:2 --random 999 --where "macs<1G" --top 5 --by macs
    effcalc sweep squeezenet-1.0 --set sr=0.125:1:0.125 --pareto params,-macs
    effcalc sweep --phi 1 --alpha 1:1.4:0.1 --gamma 1:1.3:0.1 --where "macs<1G"
    effcalc sweep --depth 1:3:0.01 --width 1:2:0.01 -o points.csv
    effcalc sweep --depth 1:3:0.01 --width 1:2:0.01 -o points.csv --resume
    """
    import sys
    from dataclasses import asdict

    from effcalc.base.errors import need, one_line
    from effcalc.cli.output import progress
    from effcalc.cli.wording import with_options

    need("numpy", "effcalc sweep", "sweep")
    from effcalc.scaling.sweep.run import SweepRequest, SweepRun

    values = asdict(options)
    resume = values.pop("resume")
    request = SweepRequest(network, axes, workers=workers, **values)
    run = SweepRun(
        request,
        output.columns,
        lambda chunks, done: progress(chunks, "points", run.length, done=done, size=len),
    )
    _write(run, request, output, resume)
    failed, reason = run.work.failed, with_options(run.sweep.reasons.first)
    if failed:
        print(
            f"effcalc: {failed:,} of {run.length:,} points cannot be built; the first: "
            f"{one_line(reason)}",
            file=sys.stderr,
        )


def _write(run: "SweepRun", request: "SweepRequest", output: OutputOptions, resume: bool) -> None:
    """Write the points: through a journal where a file can be resumed, or as one table."""
    import sys
    from dataclasses import replace

    from effcalc.base.errors import InputError
    from effcalc.cli.output import write_table
    from effcalc.output.formats import find_format
    from effcalc.scaling.sweep.resume import Journal

    format = find_format(output.format, output.output or "")
    selects = run.selection is not None
    appended = not selects and format.head is not None and output.sort is None
    if output.output is None or not (appended or selects):
        if resume:
            raise InputError(
                "--resume goes on with a file: the csv or jsonl --output of a sweep, or any "
                "--output of one with --pareto or --top"
            )
        write_table(replace(run.table, rows=run.rows()), output)
        return
    about = request.as_text(run.sweep) | {"format": format.name}
    about |= {} if output.columns is None else {"columns": output.columns}
    with Journal(output.output, about, resume, appended) as journal:
        try:
            if selects:
                write_table(replace(run.table, rows=run.rows(journal)), output)
                journal.finish()
            else:
                run.write(journal, format)
        except KeyboardInterrupt:
            kept = "the same with --resume goes on" if journal.state.chunks else "nothing kept"
            print(f"effcalc: stopped; {kept}", file=sys.stderr)
            raise
