"""How plots and reports are written, as their options say it.

Annotations stay objects in this module: app.py reads them without evaluating any text.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from effcalc.base.errors import InputError
from effcalc.base.units import DEFAULT_DIGITS
from effcalc.cli.options import Caption, Digits, whole


def _theme(text: str) -> str:
    from effcalc.output.plots.style import check_theme

    return check_theme(text)


def _complete_theme(incomplete: str) -> list[str]:
    from effcalc.output.plots.style import THEME_NAMES

    return [name for name in THEME_NAMES if name.startswith(incomplete)]


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
    caption: Caption = None

    def __post_init__(self) -> None:
        # What cannot be written is refused before anything is computed.
        from effcalc.base.files import check_output
        from effcalc.output.plots.style import check_suffix

        if self.output is None:
            raise InputError("a plot needs a file: give --output plot.svg, plot.png or plot.html")
        check_suffix(self.output)
        check_output(self.output)


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Where to write a page, and with how many digits."""

    panel: ClassVar[str] = "Output"

    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="File to write, such as report.html."),
    ] = None
    digits: Digits = DEFAULT_DIGITS
    command: str = ""  # the command line, which app.py fills in; not an option

    def __post_init__(self) -> None:
        from effcalc.base.files import check_output

        if self.output is None:
            raise InputError("a report needs a file: give --output report.html")
        check_output(self.output)
