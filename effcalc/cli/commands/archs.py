"""`effcalc archs`."""

from __future__ import annotations

from typing import Annotated

import typer

from effcalc.cli.options import OutputOptions, complete_network
from effcalc.cli.scaling import ScalingOptions

Name = Annotated[
    str | None,
    typer.Argument(
        metavar="NETWORK",
        help="A built-in network or an architecture file.toml; without it, all are listed.",
        autocompletion=complete_network,
    ),
]


def archs(output: OutputOptions, scaling: ScalingOptions, network: Name = None) -> None:
    """List the built-in networks, or show one: its stage table, what scales, and its source.

    Examples:
    effcalc archs
    effcalc archs efficientnet-b0
    effcalc archs squeezenet-1.0 --set freq=4
    effcalc archs my-network.toml --columns all
    """
    from effcalc.cli.output import write_table
    from effcalc.network.catalog import built_in_names
    from effcalc.scaling.request import one_network
    from effcalc.scaling.scale import scale
    from effcalc.scaling.tables.networks import arch_table, archs_table

    if network is None:
        write_table(archs_table([scale(name) for name in built_in_names()]), output)
    else:
        scaled = one_network(network, scaling, "effcalc archs")
        write_table(arch_table(scaled), output)
