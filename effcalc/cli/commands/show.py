"""`effcalc show`."""

from __future__ import annotations

from typing import Annotated

import typer

from effcalc.cli.options import OutputOptions

File = Annotated[
    str, typer.Argument(metavar="FILE", help="A table that effcalc wrote with --format json.")
]


def show(file: File, output: OutputOptions) -> None:
    """Print a table that effcalc saved as JSON, such as a profile, in any format.

    So a measured table stands in a document without being measured again.

    Examples:
    effcalc show my-profile.json
    effcalc show my-profile.json --columns batch,latency --format markdown
    """
    from effcalc.cli.output import write_table
    from effcalc.output.saved import read_saved

    write_table(read_saved(file), output)
