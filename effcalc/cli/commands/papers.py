"""`effcalc papers`."""

from __future__ import annotations

from typing import Annotated

import typer

from effcalc.cli.options import OutputOptions

Which = Annotated[
    str | None,
    typer.Argument(metavar="TABLE", help='Part of a table\'s name: "EfficientNet, table 2".'),
]


def papers(output: OutputOptions, table: Which = None) -> None:
    """Set the figures that papers print beside effcalc's for the same network.

    A figure reproduces where effcalc's, rounded to the digits printed, is the one printed.

    Examples:
    effcalc papers
    effcalc papers "EfficientNet, table 2"
    effcalc papers SqueezeNet --format markdown
    """
    from effcalc.base.errors import InputError, one_line
    from effcalc.cli.output import write_table
    from effcalc.deployment.papers import claims, papers_table

    chosen = list(claims(table or ""))
    if not chosen:
        names = dict.fromkeys(claim.published.table for claim in claims())
        raise InputError(
            f"no published figure is from {one_line(table or '')!r}; there are {'; '.join(names)}"
        )
    tables = dict.fromkeys(claim.published.table for claim in chosen)
    title = next(iter(tables)) if len(tables) == 1 else "Published figures"
    write_table(papers_table(chosen, title, single=len(tables) == 1), output)
