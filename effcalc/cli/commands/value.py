"""`effcalc value`."""

from __future__ import annotations

from typing import Annotated

import typer

from effcalc.cli.options import Digits, Network, Workers
from effcalc.cli.scaling import ScalingOptions

Key = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        help="A column of effcalc scale, such as params, macs, weight_bytes or growth.",
    ),
]
Exact = Annotated[bool, typer.Option("--exact", help="Write all digits.", show_default=False)]


def value(
    key: Key,
    network: Network,
    scaling: ScalingOptions,
    workers: Workers,
    digits: Digits,
    exact: Exact = False,
) -> None:
    """Print one figure of effcalc scale, for a sentence or a script.

    NETWORK may also be a table of one row that effcalc saved as FILE.json, such as a profile's; KEY
    is then a column of that.

    Examples:
    effcalc value params --variant b4
    effcalc value macs resnet-50 --exact
    effcalc value growth --phi 3 --digits 3
    """
    from effcalc.cli.output import write_figure
    from effcalc.scaling.tables.values import saved_figure, scaled_figure

    if network.endswith(".json"):
        from effcalc.base.errors import InputError
        from effcalc.output.saved import read_saved

        if not scaling.plain:
            raise InputError("a saved table is what it is; give no scaling with it")
        figure = saved_figure(read_saved(network), key)
    else:
        from effcalc.scaling.request import one_network

        figure = scaled_figure(one_network(network, scaling, "effcalc value", workers), key)
    write_figure(figure.exact_text() if exact else figure.text(digits))
