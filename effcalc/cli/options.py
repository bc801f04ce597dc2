"""The options that commands share: each is declared once and means the same everywhere.

A command names what it takes as parameters: a single option by its alias (`workers: Workers`),
a group by its class (`output: OutputOptions`). `effcalc/cli/app.py` turns a group into its
options and hands the command one instance. Options that may hold a list stay text here, and are
read by whoever knows what the list is of.
"""

# Annotations stay objects in this module: app.py reads them without evaluating any text.
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import typer
from typer.models import OptionInfo

from effcalc.base.errors import InputError
from effcalc.base.units import (
    DEFAULT_DIGITS,
    DTYPE_BYTES,
    MAX_DIGITS,
    int_text,
    parse_count,
    parse_dtype,
    parse_number,
)
from effcalc.output.formats import FORMATS, find_format


class Default(NamedTuple):
    """What an option declared by an alias is when it is not given."""

    value: Any


def network_names() -> Iterable[str]:
    """Return the built-in networks and their released variants, for completion."""
    from effcalc.network.catalog import index

    return index()


def number(option: str) -> Callable[[str | float], float]:
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


def option(
    name: str, metavar: str, help: str, complete: Callable[[str], list[Any]] | None = None
) -> OptionInfo:
    """Return an option that takes text, which its group reads."""
    info: OptionInfo = typer.Option(name, metavar=metavar, help=help, autocompletion=complete)
    return info


def complete_network(incomplete: str) -> list[str]:
    """Complete the name of a built-in network."""
    return [name for name in network_names() if name.startswith(incomplete)]


def _complete_format(incomplete: str) -> list[tuple[str, str]]:
    return [(f.name, f.help) for f in FORMATS.values() if f.name.startswith(incomplete)]


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
AnyNetwork = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK",
        help="A built-in network, an architecture file.toml, or a target of effcalc count.",
        autocompletion=complete_network,
    ),
]
"""What commands take that answer for targets as well."""
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
Settings = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A value of the architecture file, such as sr=0.75; may be repeated.",
    ),
]
Classes = Annotated[
    int | None,
    typer.Option(
        "--classes", metavar="N", parser=whole("--classes"), help="Classes of the last layer."
    ),
]
InChannels = Annotated[
    int | None,
    typer.Option(
        "--in-channels", metavar="N", parser=whole("--in-channels"), help="Channels of the image."
    ),
]
NoHead = Annotated[
    bool, typer.Option("--no-head", help="Leave the classifier out.", show_default=False)
]
Caption = Annotated[
    str | None, typer.Option("--caption", metavar="TEXT", help="A title of your own.")
]


# --- groups ------------------------------------------------------------------------------------


class Group(NamedTuple):
    """The options that fill a dataclass of the domain: `Annotated[ScalingRequest, Group(...)]`."""

    panel: str  # the heading in help
    options: Mapping[str, Any]  # by field, in order, each with its Annotated type


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
    caption: Caption = None
    no_notes: Annotated[
        bool,
        typer.Option(
            "--no-notes",
            help="Leave out the notes and what the words mean, where a document says so once.",
            show_default=False,
        ),
    ] = False
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot", metavar="FILE", help="Draw the table as well: NAME.svg, .png or .html."
        ),
    ] = None
    command: str = ""  # the command line, which app.py fills in; not an option

    def __post_init__(self) -> None:
        # What cannot be written is refused before anything is computed.
        find_format(self.format, self.output or "")
        if self.output is None and self.plot is None:
            return
        from effcalc.base.files import check_output

        if self.output is not None:
            check_output(self.output)
        if self.plot is not None:
            from effcalc.output.plots.style import check_suffix

            check_suffix(self.plot, "`plot`")
            check_output(self.plot, "`plot`")
