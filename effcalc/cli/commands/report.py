"""`effcalc report`."""

from __future__ import annotations

from typing import Annotated

import typer

from effcalc.cli.options import Workers, complete_network
from effcalc.cli.pictures import ReportOptions
from effcalc.cli.scaling import ScalingOptions

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NETWORK...]",
        help="One network, or several as effcalc compare reads them; efficientnet-b0 without any.",
        autocompletion=complete_network,
    ),
]
NoPlots = Annotated[
    bool, typer.Option("--no-plots", help="Leave plots out; nothing beside effcalc is needed.")
]


def report(
    scaling: ScalingOptions,
    workers: Workers,
    report: ReportOptions,
    networks: Names = None,
    no_plots: NoPlots = False,
) -> None:
    """Write a page about one network, or several compared, as one HTML file that fetches nothing.

    It holds the figures, tables that sort by a click, plots, and what each word means; it prints
    well. Plots need the extra: pip install 'effcalc[plot]'.

    Examples:
    effcalc report --output report.html
    effcalc report --phi 3 --output phi3.html
    effcalc report alexnet squeezenet-1.0 --output small.html
    """
    from effcalc.base.errors import InputError
    from effcalc.cli.output import write_text
    from effcalc.cli.wording import page_with_options
    from effcalc.output import page
    from effcalc.output.plots.style import import_engine
    from effcalc.scaling.report import comparison_page, network_page
    from effcalc.scaling.request import network_at, one_network

    if not no_plots:
        import_engine()
    names = networks or ["efficientnet-b0"]
    if len(names) > 1 and not scaling.plain:
        raise InputError(
            "scaling options are for one network; of several, write each as NETWORK@phi=3"
        )
    if len(names) == 1 and "@" not in names[0]:
        scaled = one_network(names[0], scaling, "effcalc report", workers)
        result = network_page(scaled, scaled.title, report.digits, report.command, not no_plots)
    elif len(names) == 1:
        if not scaling.plain:
            raise InputError(f"{names[0]} is scaled already; give no scaling option with it")
        scaled = network_at(names[0], workers)
        result = network_page(scaled, scaled.title, report.digits, report.command, not no_plots)
    else:
        all_of = [network_at(name, workers) for name in names]
        result = comparison_page(names, all_of, report.digits, report.command, not no_plots)
    pieces = page.write(page_with_options(result), report.digits)
    write_text(pieces, report.output, document=True)
