"""The options that commands share: each is declared once and means the same everywhere.

A command names what it takes as parameters: a single option by its alias (`workers: Workers`),
a group by its class (`output: OutputOptions`). `effcalc/cli/app.py` turns a group into its
options and hands the command one instance. Options that may hold a list stay text here, and are
read by whoever knows what the list is of.
"""

# Annotations stay objects in this module: app.py reads them without evaluating any text.
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, NamedTuple

import typer

from effcalc.errors import InputError
from effcalc.formats import FORMATS, find_format
from effcalc.units import (
    DEFAULT_DIGITS,
    DTYPE_BYTES,
    MAX_DIGITS,
    int_text,
    parse_count,
    parse_dtype,
    parse_number,
)


class Default(NamedTuple):
    """What an option declared by an alias is when it is not given."""

    value: Any


def network_names() -> Iterable[str]:
    """Return the built-in networks and their released variants, for completion."""
    from effcalc.archfile import index

    return index()


def _number(option: str) -> Callable[[str | float], float]:
    """Return a reader of finite numbers that names `option` in its errors."""

    def read(text: str | float) -> float:
        return parse_number(text, option) if isinstance(text, str) else text

    return read


def whole(option: str, least: int = 1, most: int | None = None) -> Callable[[str | int], int]:
    """Return a reader of whole numbers from `least` to `most` that names `option`."""

    def read(text: str | int) -> int:
        value = parse_count(text, option) if isinstance(text, str) else text
        if value < least or (most is not None and value > most):
            limits = f"at least {least}" if most is None else f"from {least} to {most}"
            raise InputError(f"{option}: {int_text(value)} is not a whole number {limits}")
        return value

    return read


def _dtype(text: str) -> str:
    return parse_dtype(text, "--dtype")


def complete_network(incomplete: str) -> list[str]:
    """Complete the name of a built-in network."""
    return [name for name in network_names() if name.startswith(incomplete)]


def _complete_format(incomplete: str) -> list[tuple[str, str]]:
    return [(f.name, f.help) for f in FORMATS.values() if f.name.startswith(incomplete)]


def _theme(text: str) -> str:
    from effcalc.plots.style import check_theme

    return check_theme(text)


def _complete_theme(incomplete: str) -> list[str]:
    from effcalc.plots.style import THEME_NAMES

    return [name for name in THEME_NAMES if name.startswith(incomplete)]


def _complete_dtype(incomplete: str) -> list[str]:
    return [name for name in DTYPE_BYTES if name.startswith(incomplete)]


# --- one option each ---------------------------------------------------------------------------

DEFAULT_NETWORK = "efficientnet-b0"

_NETWORK_HELP = "A built-in network (see effcalc archs) or an architecture file.toml."

Network = Annotated[
    str,
    typer.Argument(metavar="NETWORK", help=_NETWORK_HELP, autocompletion=complete_network),
    Default(DEFAULT_NETWORK),
]
Networks = Annotated[
    list[str],
    typer.Argument(metavar="NETWORK...", help=_NETWORK_HELP, autocompletion=complete_network),
]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        metavar="N",
        parser=whole("--workers"),
        help="Workers that train together, each with a copy of the network.",
    ),
    Default(8),
]
Batch = Annotated[
    int,
    typer.Option("--batch", metavar="N", parser=whole("--batch"), help="Images in a batch."),
    Default(1),
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        metavar="DTYPE",
        parser=_dtype,
        help="Type of each number, such as float32, bfloat16 (bf16), float16 (fp16) or int8.",
        autocompletion=_complete_dtype,
    ),
    Default("float32"),
]
Per = Annotated[
    str | None,
    typer.Option("--per", metavar="PART", help="Break the cost down: stage, block, layer or op."),
    Default(None),
]
MaxLevel = Annotated[
    int | None,
    typer.Option(
        "--max-level",
        metavar="N",
        parser=whole("--max-level"),
        help="Sum up what lies deeper than N levels of the network's modules.",
    ),
    Default(None),
]
Args = Annotated[
    list[str],
    typer.Option(
        "--arg", metavar="NAME=VALUE", help="An argument of the factory; may be repeated."
    ),
]
Inputs = Annotated[
    list[str],
    typer.Option(
        "--input",
        metavar="INPUT",
        help="What goes in: 1x3x224x224, or tokens=1x128:int64; may be repeated.",
    ),
]

Digits = Annotated[
    int,
    typer.Option(
        "--digits",
        metavar="N",
        parser=whole("--digits", 1, MAX_DIGITS),
        help="Significant digits.",
    ),
    Default(DEFAULT_DIGITS),
]


# --- groups ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScalingOptions:
    """How far to scale a network; values that may be lists or ranges are still text."""

    panel: ClassVar[str] = "Scaling (a value may be a list 0,1,2 or a range 0:7 or 0:7:0.5)"

    phi: Annotated[
        str | None,
        typer.Option(
            "--phi",
            metavar="NUMBERS",
            help="Compound coefficient φ: depth α^φ, width β^φ, resolution γ^φ.",
        ),
    ] = None
    alpha: Annotated[
        float,
        typer.Option(
            "--alpha", metavar="NUMBER", parser=_number("--alpha"), help="Base α of the depth."
        ),
    ] = 1.2
    beta: Annotated[
        float,
        typer.Option(
            "--beta", metavar="NUMBER", parser=_number("--beta"), help="Base β of the width."
        ),
    ] = 1.1
    gamma: Annotated[
        float,
        typer.Option(
            "--gamma", metavar="NUMBER", parser=_number("--gamma"), help="Base γ of the resolution."
        ),
    ] = 1.15
    depth: Annotated[
        str | None,
        typer.Option("--depth", metavar="NUMBERS", help="Layers, as a multiple of the base's."),
    ] = None
    width: Annotated[
        str | None,
        typer.Option("--width", metavar="NUMBERS", help="Channels, as a multiple of the base's."),
    ] = None
    resolution: Annotated[
        str | None,
        typer.Option(
            "--resolution", metavar="NUMBERS", help="Image size, as a multiple of the base's."
        ),
    ] = None
    image_size: Annotated[
        str | None,
        typer.Option(
            "--image-size", metavar="PIXELS", help="Image size: 320, or 320x480 (height x width)."
        ),
    ] = None
    variant: Annotated[
        str | None,
        typer.Option("--variant", metavar="NAMES", help="Released variants, such as b3."),
    ] = None
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A value of the architecture file, such as sr=0.75; may be repeated.",
        ),
    ] = field(default_factory=list)
    classes: Annotated[
        int | None,
        typer.Option(
            "--classes", metavar="N", parser=whole("--classes"), help="Classes of the last layer."
        ),
    ] = None
    in_channels: Annotated[
        int | None,
        typer.Option(
            "--in-channels",
            metavar="N",
            parser=whole("--in-channels"),
            help="Channels of the image.",
        ),
    ] = None
    no_head: Annotated[
        bool, typer.Option("--no-head", help="Leave the classifier out.", show_default=False)
    ] = False


@dataclass(frozen=True, slots=True)
class AxesOptions:
    """What a sweep is over: lists and ranges, still text."""

    panel: ClassVar[str] = (
        "Axes (a list 0.5,1,2 or a range 0.5:2:0.1; every combination is a point)"
    )

    depth: Annotated[
        str | None,
        typer.Option("--depth", metavar="NUMBERS", help="Layers, as a multiple of the base's."),
    ] = None
    width: Annotated[
        str | None,
        typer.Option("--width", metavar="NUMBERS", help="Channels, as a multiple of the base's."),
    ] = None
    resolution: Annotated[
        str | None,
        typer.Option(
            "--resolution", metavar="NUMBERS", help="Image size, as a multiple of the base's."
        ),
    ] = None
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
    classes: Annotated[
        int | None,
        typer.Option(
            "--classes", metavar="N", parser=whole("--classes"), help="Classes of the last layer."
        ),
    ] = None
    in_channels: Annotated[
        int | None,
        typer.Option(
            "--in-channels",
            metavar="N",
            parser=whole("--in-channels"),
            help="Channels of the image.",
        ),
    ] = None
    no_head: Annotated[
        bool, typer.Option("--no-head", help="Leave the classifier out.", show_default=False)
    ] = False


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Which bases α, β, γ are tried, on which network, and what counts as good."""

    panel: ClassVar[str] = "Candidates (a list 1,1.1,1.2 or a range 1:1.5:0.1)"

    alpha: Annotated[
        str, typer.Option("--alpha", metavar="NUMBERS", help="Bases α of the depth.")
    ] = "1:2:0.1"
    beta: Annotated[
        str, typer.Option("--beta", metavar="NUMBERS", help="Bases β of the width.")
    ] = "1:1.4:0.05"
    gamma: Annotated[
        str, typer.Option("--gamma", metavar="NUMBERS", help="Bases γ of the resolution.")
    ] = "1:1.4:0.05"
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            metavar="NUMBER",
            parser=_number("--tolerance"),
            help="How far α·β²·γ² may be from 2.",
        ),
    ] = 0.1
    phi: Annotated[
        float,
        typer.Option(
            "--phi", metavar="NUMBER", parser=_number("--phi"), help="φ of the networks tried."
        ),
    ] = 1.0
    accuracy: Annotated[
        str | None,
        typer.Option(
            "--accuracy",
            metavar="FILE.csv",
            help="Accuracies of candidates: columns alpha, beta, gamma, accuracy.",
        ),
    ] = None
    cost: Annotated[
        str,
        typer.Option(
            "--cost",
            metavar="COST",
            help="COST of the objective: macs, params, memory, communication or latency.",
        ),
    ] = "macs"
    profiles: Annotated[
        str | None,
        typer.Option(
            "--profiles",
            metavar="FILE",
            help="Saved profile of each candidate, for latency: 'lat/{d}-{w}-{px}.json'.",
        ),
    ] = None
    target: Annotated[
        str | None,
        typer.Option(
            "--target", metavar="COST", help="T of the objective; the median cost if not given."
        ),
    ] = None
    exponent: Annotated[
        float,
        typer.Option(
            "--exponent", metavar="NUMBER", parser=_number("--exponent"), help="w of the objective."
        ),
    ] = -0.07
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A value of the architecture file, such as sr=0.75; may be repeated.",
        ),
    ] = field(default_factory=list)
    classes: Annotated[
        int | None,
        typer.Option(
            "--classes", metavar="N", parser=whole("--classes"), help="Classes of the last layer."
        ),
    ] = None
    in_channels: Annotated[
        int | None,
        typer.Option(
            "--in-channels",
            metavar="N",
            parser=whole("--in-channels"),
            help="Channels of the image.",
        ),
    ] = None
    no_head: Annotated[
        bool, typer.Option("--no-head", help="Leave the classifier out.", show_default=False)
    ] = False


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """How the accuracies of candidates are found by a command, and kept."""

    panel: ClassVar[str] = "Evaluation"

    evaluate: Annotated[
        str | None,
        typer.Option(
            "--evaluate",
            metavar="COMMAND",
            help="Trains a candidate, with {d}, {w}, {r}, {px}, {alpha}, {beta}, {gamma} or {phi} "
            "in it; the last line it prints is the accuracy. No shell sees it.",
        ),
    ] = None
    study: Annotated[
        str | None,
        typer.Option(
            "--study",
            metavar="FILE",
            help="Where results are kept, NETWORK.search if not given; with --storage a name.",
        ),
    ] = None
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage", metavar="URL", help="A PostgreSQL URL, postgresql://…, for many machines."
        ),
    ] = None
    worker: Annotated[
        bool,
        typer.Option("--worker", help="Help with the search of --storage, and print nothing."),
    ] = False
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", metavar="N", parser=whole("--jobs", 1, 1024), help="Commands at a time."
        ),
    ] = 1
    retries: Annotated[
        int,
        typer.Option(
            "--retries",
            metavar="N",
            parser=whole("--retries", 0, 1000),
            help="How often a candidate whose command fails is tried again.",
        ),
    ] = 1
    time_limit: Annotated[
        float | None,
        typer.Option(
            "--time-limit",
            metavar="SECONDS",
            parser=_number("--time-limit"),
            help="Longest that a command may take.",
        ),
    ] = None
    heartbeat: Annotated[
        int,
        typer.Option(
            "--heartbeat",
            metavar="SECONDS",
            parser=whole("--heartbeat", 1, 3600),
            help="How often a process of --storage says that it is alive; three missed are one "
            "killed.",
        ),
    ] = 10
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search that --study holds.")
    ] = False
    status: Annotated[
        bool, typer.Option("--status", help="Show how the search stands, and change nothing.")
    ] = False


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How to write a table, and where to; `effcalc.cli.output.write_table` takes it."""

    panel: ClassVar[str] = "Output"

    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help=f"One of {', '.join(FORMATS)}; without it, what the name of --output ends in, "
            "or table.",
            autocompletion=_complete_format,
        ),
    ] = None
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to a file, all or nothing."),
    ] = None
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="KEYS", help="Columns by their keys: a,b,c, or all."),
    ] = None
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort", metavar="KEY", help="Order rows by a column; -KEY puts the largest first."
        ),
    ] = None
    digits: Annotated[
        int,
        typer.Option(
            "--digits",
            metavar="N",
            parser=whole("--digits", 1, MAX_DIGITS),
            help="Significant digits; csv and json are always exact.",
        ),
    ] = DEFAULT_DIGITS
    caption: Annotated[
        str | None, typer.Option("--caption", metavar="TEXT", help="A title of your own.")
    ] = None
    no_notes: Annotated[
        bool,
        typer.Option(
            "--no-notes",
            help="Leave out the notes and what the words mean, where a document says so once.",
            show_default=False,
        ),
    ] = False
    command: str = ""  # the command line, which app.py fills in; not an option

    def __post_init__(self) -> None:
        # What cannot be written is refused before anything is computed.
        find_format(self.format, self.output or "")
        if self.output is not None:
            from effcalc.cli.output import check_output

            check_output(self.output)


@dataclass(frozen=True, slots=True)
class PlotOptions:
    """How to draw a plot, and where to; `effcalc.cli.output.write_plot` takes it."""

    panel: ClassVar[str] = "Picture"

    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="File to draw to: NAME.svg, .png or .html."
        ),
    ] = None
    theme: Annotated[
        str,
        typer.Option(
            "--theme",
            metavar="THEME",
            parser=_theme,
            help="light, dark, or auto: light, and dark where the reader's system is.",
            autocompletion=_complete_theme,
        ),
    ] = "light"
    size: Annotated[
        int | None,
        typer.Option(
            "--picture-width",
            metavar="PIXELS",
            parser=whole("--picture-width", 320, 4000),
            help="Width of the whole picture; 720 without it.",
        ),
    ] = None
    caption: Annotated[
        str | None, typer.Option("--caption", metavar="TEXT", help="A title of your own.")
    ] = None

    def __post_init__(self) -> None:
        # What cannot be written is refused before anything is computed.
        from effcalc.cli.output import check_output
        from effcalc.plots.style import check_suffix

        if self.output is None:
            raise InputError("a plot needs a file: give --output plot.svg, plot.png or plot.html")
        check_suffix(self.output)
        check_output(self.output)


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Where to write a page, and how its figures are told."""

    panel: ClassVar[str] = "Output"

    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="File to write, such as report.html."),
    ] = None
    digits: Annotated[
        int,
        typer.Option(
            "--digits",
            metavar="N",
            parser=whole("--digits", 1, MAX_DIGITS),
            help="Significant digits.",
        ),
    ] = DEFAULT_DIGITS
    command: str = ""  # the command line, which app.py fills in; not an option

    def __post_init__(self) -> None:
        from effcalc.cli.output import check_output

        if self.output is None:
            raise InputError("a report needs a file: give --output report.html")
        check_output(self.output)
