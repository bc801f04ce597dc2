"""`effcalc plot observations`."""

from __future__ import annotations

from typing import Annotated

import typer

from effcalc.cli.options import complete_network
from effcalc.cli.pictures import PlotOptions

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NETWORK...]",
        help="Of efficientnet-b0, mobilenet-v1, mobilenet-v2 and resnet-50; all without it.",
        autocompletion=complete_network,
    ),
]


def observations(plot: PlotOptions, networks: Names = None) -> None:
    """Draw the accuracy that depth, width, resolution alone and all three gain, for their cost.

    Accuracy is as the EfficientNet paper prints it (tables 3 and 7); the cost is exact.

    Examples:
    effcalc plot observations --output observations.svg
    effcalc plot observations efficientnet-b0 resnet-50 --output two.png
    """
    from effcalc.cli.output import write_plot
    from effcalc.network.archfile import load
    from effcalc.scaling.plots.observations import observations as observations_plot
    from effcalc.scaling.tables.published import observations_table

    names = networks or ["efficientnet-b0", "mobilenet-v1", "mobilenet-v2", "resnet-50"]
    tables = [observations_table(load(name)[0]) for name in names]
    write_plot(observations_plot(tables), plot)
