"""`effcalc plot compare`."""

from __future__ import annotations

from typing import Annotated

import typer

from effcalc.cli.options import complete_network
from effcalc.cli.pictures import PlotOptions


def _figures(incomplete: str) -> list[str]:
    from effcalc.scaling.plots.compare import FIGURES

    return [name for name in FIGURES if name.startswith(incomplete)]


Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NETWORK...]",
        help="As effcalc compare reads them; without any, all of which ImageNet accuracy is "
        "published.",
        autocompletion=complete_network,
    ),
]
Figure = Annotated[
    str,
    typer.Option(
        "--figure",
        metavar="COLUMN",
        help="The cost: macs, params, weight_bytes, peak_activation_bytes or gradient_bytes.",
        autocompletion=_figures,
    ),
]


def compare(plot: PlotOptions, networks: Names = None, figure: Figure = "macs") -> None:
    """Draw networks by their published accuracy and exact cost.

    Networks of one family are joined. Accuracy is what papers print; none is computed.

    Examples:
    effcalc plot compare --output compare.svg
    effcalc plot compare --figure params --theme dark --output params.png
    effcalc plot compare alexnet squeezenet-1.0 --output small.html
    """
    from effcalc.cli.output import write_plot
    from effcalc.scaling.plots.compare import NETWORKS
    from effcalc.scaling.plots.compare import compare as compare_plot
    from effcalc.scaling.request import network_at
    from effcalc.scaling.scale import WORKERS
    from effcalc.scaling.tables.comparison import compare_table

    names = list(networks or NETWORKS)
    table = compare_table(names, [network_at(name, WORKERS) for name in names])
    write_plot(compare_plot(table, figure), plot)
