"""`effcalc sweep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from effcalc.cli.axes import AxesOptions
from effcalc.cli.options import Network, OutputOptions, Workers, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effcalc.base.condition import Condition
    from effcalc.output.table import Row
    from effcalc.scaling.sweep.select import Selection

Where = Annotated[
    str | None,
    typer.Option(
        "--where", metavar="CONDITION", help="Keep points such as 'params < 6M and macs < 1.8G'."
    ),
]
Pareto = Annotated[
    str | None,
    typer.Option(
        "--pareto",
        metavar="KEYS",
        help="Keep the Pareto front of columns, small is good: params,macs; -KEY: large is.",
    ),
]
TopOption = Annotated[
    int | None,
    typer.Option(
        "--top", metavar="N", parser=whole("--top"), help="Keep the first N points by --by."
    ),
]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="KEY", help="Column of --top; -KEY puts the largest first."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the unfinished sweep of --output.")
]


def sweep(
    network: Network,
    axes: AxesOptions,
    workers: Workers,
    output: OutputOptions,
    where: Where = None,
    pareto: Pareto = None,
    top: TopOption = None,
    by: By = None,
    resume: Resume = False,
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
    from dataclasses import asdict, replace

    from effcalc.base.errors import InputError, need, one_line
    from effcalc.cli.output import progress, write_table
    from effcalc.network.archfile import load
    from effcalc.output.formats import find_format

    need("numpy", "effcalc sweep", "sweep")
    from effcalc.output.table import Table, select
    from effcalc.scaling.request import Many
    from effcalc.scaling.sweep.chunks import Sweep
    from effcalc.scaling.sweep.points import AxesText, space
    from effcalc.scaling.sweep.resume import Journal
    from effcalc.scaling.sweep.table import (
        figures_for,
        number_names,
        row_text,
        sweep_columns,
        sweep_rows,
    )
    from effcalc.scaling.sweep.work import Work, fingerprint

    typed = {key: getattr(axes, key) for key in AxesText.__dataclass_fields__}
    points = space(AxesText(**typed), axes.settings, axes.random, axes.seed)
    loaded = [load(network, s, axes.classes, axes.in_channels) for s in points.settings]
    arch, named = loaded[0]
    if named is not None:
        raise InputError(f"{network} is a released scaling; sweep {arch.name} instead")
    knobs = list(points.settings[0])
    names = number_names(arch, knobs, points.compound)
    condition, selection, asked = _choice(where, pareto, top, by, names)

    notes = (f"scaling rule: {arch.rule}",) if arch.rule else ()
    columns = sweep_columns(arch, knobs, points.compound)
    table = Table("sweep", arch.title, columns, (), notes)
    shown = select(table, output.columns)
    keys = [column.key for column in shown.columns]
    wanted = figures_for(asked if selection else [*keys, *asked])
    run = Sweep(points, tuple(a for a, _ in loaded), not axes.no_head, workers, wanted)
    work = Work(
        run,
        condition,
        lambda chunks, done: progress(chunks, "points", points.length, done=done, size=len),
    )

    def streamed() -> Iterator[Row]:
        """Make the rows of every point as they are read."""
        for chunk, at in work.matching():
            yield from sweep_rows(chunk, keys, at)

    def selected(selection: Selection, journal: Journal | None) -> list[Row]:
        """See all points, and make the rows of those selected."""
        kept = work.kept(selection, journal)
        return list(sweep_rows(kept, keys, range(len(kept))))

    format = find_format(output.format, output.output or "")
    appended = selection is None and format.head is not None and output.sort is None
    if output.output is not None and (appended or selection):
        options = asdict(axes) | {
            "network": network,
            "architecture": fingerprint(run),
            "workers": workers,
            "where": where,
            "pareto": pareto,
            "top": top,
            "by": by,
            "format": format.name,
            "columns": output.columns,
        }
        request = {k.replace("_", "-"): str(v) for k, v in options.items() if v is not None}
        with Journal(output.output, request, resume, appended) as journal:
            try:
                if selection is None:
                    work.write(journal, row_text(shown, format))
                else:
                    write_table(replace(table, rows=selected(selection, journal)), output)
                    journal.finish()
            except KeyboardInterrupt:
                kept = "the same with --resume goes on" if journal.state.chunks else "nothing kept"
                print(f"effcalc: stopped; {kept}", file=sys.stderr)
                raise
    elif resume:
        raise InputError(
            "--resume goes on with a file: the csv or jsonl --output of a sweep, or any --output "
            "of one with --pareto or --top"
        )
    elif selection is not None:
        write_table(replace(table, rows=selected(selection, None)), output)
    else:
        made = streamed() if condition else Many(points.length, streamed)
        write_table(replace(table, rows=made), output)
    if work.failed:
        print(
            f"effcalc: {work.failed:,} of {points.length:,} points cannot be built; the first: "
            f"{one_line(run.reasons.first)}",
            file=sys.stderr,
        )


def _choice(
    where: str | None, pareto: str | None, top: int | None, by: str | None, names: list[str]
) -> tuple[Condition | None, Selection | None, list[str]]:
    """Read which points are kept, and by which columns."""
    from effcalc.base.condition import condition as read_condition
    from effcalc.base.errors import InputError
    from effcalc.scaling.sweep.select import Front, Top, read_order

    if (top is None) != (by is None):
        raise InputError("--top and --by go together, such as --top 20 --by macs")
    if top is not None and pareto is not None:
        raise InputError("--pareto and --top exclude each other; order a front with --sort")
    condition = None if where is None else read_condition(where, names, "--where")
    asked = [] if condition is None else sorted(condition.names)
    if pareto is not None:
        orders = [read_order(key, names, "--pareto") for key in pareto.split(",")]
        return condition, Front(orders), [*asked, *(order.key for order in orders)]
    if top is not None:
        order = read_order(by or "", names, "--by")
        return condition, Top(top, order), [*asked, order.key]
    return condition, None, asked
