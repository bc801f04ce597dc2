"""What `effcalc sweep` is over, as its options say it.

Annotations stay objects in this module: app.py reads them without evaluating any text.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import typer

from effcalc.cli.options import Classes, Depth, InChannels, NoHead, Resolution, Width, whole


@dataclass(frozen=True, slots=True)
class AxesOptions:
    """What a sweep is over: lists and ranges, still text."""

    panel: ClassVar[str] = (
        "Axes (a list 0.5,1,2 or a range 0.5:2:0.1; every combination is a point)"
    )

    depth: Depth = None
    width: Width = None
    resolution: Resolution = None
    image_size: Annotated[
        str | None,
        typer.Option(
            "--image-size", metavar="PIXELS", help="Image size: 224,320x480 or 128:512:32."
        ),
    ] = None
    phi: Annotated[
        str | None,
        typer.Option("--phi", metavar="NUMBERS", help="Compound coefficient φ; 1 with a base."),
    ] = None
    alpha: Annotated[
        str | None, typer.Option("--alpha", metavar="NUMBERS", help="Base α of the depth.")
    ] = None
    beta: Annotated[
        str | None, typer.Option("--beta", metavar="NUMBERS", help="Base β of the width.")
    ] = None
    gamma: Annotated[
        str | None, typer.Option("--gamma", metavar="NUMBERS", help="Base γ of the resolution.")
    ] = None
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUES",
            help="Values of the architecture file, such as sr=0.125,0.25; may be repeated.",
        ),
    ] = field(default_factory=list)
    random: Annotated[
        int | None,
        typer.Option(
            "--random",
            metavar="N",
            parser=whole("--random"),
            help="N points drawn instead of all; FIRST:LAST is then any number between.",
        ),
    ] = None
    seed: Annotated[
        int,
        typer.Option("--seed", metavar="N", parser=whole("--seed", 0), help="Which random points."),
    ] = 0
    classes: Classes = None
    in_channels: InChannels = None
    no_head: NoHead = False
