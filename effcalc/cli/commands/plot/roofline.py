"""`effcalc plot roofline`."""

from __future__ import annotations

from typing import Annotated

import typer

from effcalc.cli.pictures import PlotOptions

Saved = Annotated[
    str,
    typer.Argument(metavar="PROFILE.json", help="What effcalc profile --per layer --output saved."),
]


def roofline(saved: Saved, plot: PlotOptions) -> None:
    """Draw a saved profile: layers under the measured roofs, and the time by layer.

    The profile must know the roofs of its device: run effcalc device before effcalc profile.

    Examples:
    effcalc plot roofline my-profile.json --output roofline.svg
    effcalc plot roofline my-profile.json --theme dark --output roofline.png
    """
    from effcalc.cli.output import write_plot
    from effcalc.output.saved import read_saved
    from effcalc.profiling.plot import roofline as roofline_plot
    from effcalc.profiling.roofline import saved_ceilings

    table = read_saved(saved)
    write_plot(roofline_plot(table, saved_ceilings(table.environment)), plot)
