"""The options that fill a `ScalingRequest`: declared once, for a scaling and for a sweep's axes.

Annotations stay objects in this module: app.py reads them without evaluating any text.
"""

from typing import Annotated, Any

from effcalc.cli.options import Classes, Group, InChannels, NoHead, Settings, option
from effcalc.scaling.request import ScalingRequest


def _text(name: str, metavar: str, help: str) -> Any:
    return Annotated[str | None, option(name, metavar, help)]


_OPTIONS = {
    "phi": _text(
        "--phi", "NUMBERS", "Compound coefficient φ: depth α^φ, width β^φ, resolution γ^φ."
    ),
    "alpha": _text("--alpha", "NUMBER", "Base α of the depth; 1.2 unless given."),
    "beta": _text("--beta", "NUMBER", "Base β of the width; 1.1 unless given."),
    "gamma": _text("--gamma", "NUMBER", "Base γ of the resolution; 1.15 unless given."),
    "depth": _text("--depth", "NUMBERS", "Layers, as a multiple of the base's."),
    "width": _text("--width", "NUMBERS", "Channels, as a multiple of the base's."),
    "resolution": _text("--resolution", "NUMBERS", "Image size, as a multiple of the base's."),
    "image_size": _text("--image-size", "PIXELS", "Image size: 320, or 320x480 (height x width)."),
    "variant": _text("--variant", "NAMES", "Released variants, such as b3."),
    "knobs": Settings,
    "classes": Classes,
    "in_channels": InChannels,
    "no_head": NoHead,
}

ScalingOptions = Annotated[
    ScalingRequest,
    Group("Scaling (a value may be a list 0,1,2 or a range 0:7 or 0:7:0.5)", _OPTIONS),
]
"""How far to scale a network."""

_AXES = _OPTIONS | {
    "phi": _text("--phi", "NUMBERS", "Compound coefficient φ; 1 with a base."),
    "alpha": _text("--alpha", "NUMBERS", "Base α of the depth."),
    "beta": _text("--beta", "NUMBERS", "Base β of the width."),
    "gamma": _text("--gamma", "NUMBERS", "Base γ of the resolution."),
    "image_size": _text("--image-size", "PIXELS", "Image size: 224,320x480 or 128:512:32."),
    "knobs": Annotated[
        list[str],
        option(
            "--set",
            "KEY=VALUES",
            "Values of the architecture file, such as sr=0.125,0.25; may be repeated.",
        ),
    ],
}
del _AXES["variant"]  # a sweep has a network's own coefficients

AxesOptions = Annotated[
    ScalingRequest,
    Group("Axes (a list 0.5,1,2 or a range 0.5:2:0.1; every combination is a point)", _AXES),
]
"""What a sweep is over."""
