"""`effcalc plot stages`."""

from __future__ import annotations

from typing import Annotated

import typer

from effcalc.cli.options import Network
from effcalc.cli.pictures import PlotOptions
from effcalc.cli.scaling import ScalingOptions

Per = Annotated[
    str, typer.Option("--per", metavar="PART", help="Break down by stage, block, layer or op.")
]


def stages(
    network: Network, scaling: ScalingOptions, plot: PlotOptions, per: Per = "stage"
) -> None:
    """Draw where a network's MACs, parameters and activations sit.

    Examples:
    effcalc plot stages --output stages.svg
    effcalc plot stages squeezenet-1.0 --per block --output blocks.svg
    effcalc plot stages resnet-50 --per op --theme dark --output ops.png
    """
    from effcalc.cli.output import write_plot
    from effcalc.scaling.plots.stages import stages as stages_plot
    from effcalc.scaling.request import one_network
    from effcalc.scaling.tables.scaling import breakdown_table

    scaled = one_network(network, scaling, "effcalc plot stages")
    write_plot(stages_plot(breakdown_table(scaled.network, per, scaled.title)), plot)
