"""`effcalc plot scaling`."""

from __future__ import annotations

from typing import Annotated

import typer

from effcalc.cli.options import Network
from effcalc.cli.pictures import PlotOptions
from effcalc.cli.scaling import ScalingOptions


def _figures(incomplete: str) -> list[str]:
    from effcalc.scaling.plots.scaling import FIGURES

    return [name for name in FIGURES if name.startswith(incomplete)]


Figure = Annotated[
    str,
    typer.Option(
        "--figure",
        metavar="COLUMN",
        help="What to draw: macs, flops, params, weight_bytes, activation_bytes, "
        "peak_activation_bytes or gradient_bytes.",
        autocompletion=_figures,
    ),
]


def scaling(
    network: Network, scaling: ScalingOptions, plot: PlotOptions, figure: Figure = "macs"
) -> None:
    """Draw cost against φ, or against depth, width or resolution alone.

    Beside it are the line of the rule, (α·β²·γ²)^φ, and 2^φ; below is what rounding to whole
    layers, channels and pixels adds. Released variants are marked at the φ whose rule gives the
    d·w²·r² of their own coefficients: the paper gives them none. Without a scaling, φ runs from 0
    to 7 in quarters.

    Examples:
    effcalc plot scaling --output scaling.svg
    effcalc plot scaling resnet-50 --width 0.5:2:0.1 --figure params -o w.png
    effcalc plot scaling --phi 0:3:0.05 --theme dark --output scaling.html
    """
    from dataclasses import replace

    from effcalc.cli.output import progress, write_plot
    from effcalc.scaling.plots.scaling import scaling as scaling_plot
    from effcalc.scaling.request import scaled_networks
    from effcalc.scaling.scale import WORKERS, released, scaled
    from effcalc.scaling.tables.scaling import scale_table

    if not scaling.scales:
        scaling = replace(scaling, phi="0:7:0.25")
    arch, networks = scaled_networks(network, scaling)
    rows = list(progress(networks, "scalings", len(networks)))
    curve = scale_table(arch, rows, arch.title, WORKERS)
    head = not scaling.no_head
    variants = [scaled(arch, released(arch, v), head=head) for v in arch.variants if head]
    marks = scale_table(arch, variants, arch.title, WORKERS) if variants else None
    write_plot(scaling_plot(curve, marks, figure), plot)
