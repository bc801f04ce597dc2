"""`effcalc plot front`."""

from __future__ import annotations

from typing import Annotated

import typer

from effcalc.cli.pictures import PlotOptions

Saved = Annotated[
    str,
    typer.Argument(metavar="FILE.json", help="What effcalc search wrote with --output FILE.json."),
]


def front(saved: Saved, plot: PlotOptions) -> None:
    """Draw the candidates of a search by accuracy and cost, with the Pareto front.

    Candidates on the front, and the one of the best reward, have their α, β and γ beside them.

    Examples:
    effcalc plot front my-search.json --output front.svg
    """
    from effcalc.base.errors import InputError, one_line
    from effcalc.cli.output import write_plot
    from effcalc.output.saved import read_saved
    from effcalc.scaling.plots.front import front as front_plot

    table = read_saved(saved)
    try:
        picture = front_plot(table)
    except InputError as error:
        raise InputError(f"{one_line(saved)}: {error}") from None
    write_plot(picture, plot)
