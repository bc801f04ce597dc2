"""LaTeX, with booktabs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from effcalc.base.errors import one_line
from effcalc.output.formats.core import renderer
from effcalc.output.grid import TableLook, make_grid, prose

if TYPE_CHECKING:
    from effcalc.output.table import Table


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "–": "--",
    "[": "{[}",  # a row that starts with [ or * would be an option of the line break before it
    "*": "{*}",
    "µ": r"\textmu{}",
    "²": r"\textsuperscript{2}",
    "φ": r"$\varphi$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "Δ": r"$\Delta$",
} | {c: f"\\{c}" for c in "&%$#_"}


def _latex(text: str) -> str:
    """Escape what LaTeX would read as markup, and write the field's symbols as commands."""
    return "".join(_LATEX.get(c, c) for c in text)


@renderer("a LaTeX table that needs the package booktabs", (".tex",), escape=_latex)
def render_latex(table: Table, look: TableLook) -> Iterator[str]:
    """Yield a `table` float with a caption and no label, ruled by booktabs."""
    grid = make_grid(table, look, "latex")

    def line(cells: list[str]) -> str:
        texts = [
            f"$-${_latex(cell[1:])}" if right and cell.startswith("-") else _latex(cell)
            for cell, right in zip(cells, grid.right, strict=True)
        ]
        return f"{' & '.join(texts)} \\\\\n"

    yield "\\begin{table}\n\\centering\n"
    if table.title:
        yield f"\\caption{{{_latex(one_line(table.title))}}}\n"
    yield f"\\begin{{tabular}}{{{''.join('r' if right else 'l' for right in grid.right)}}}\n"
    yield f"\\toprule\n{line(grid.heads)}\\midrule\n"
    for cells in grid.lines:
        yield line(cells)
    if grid.total is not None:
        yield f"\\midrule\n{line(grid.total)}"
    yield "\\bottomrule\n\\end{tabular}\n"
    for paragraph in prose(table):
        yield f"\n\\smallskip\n{{\\footnotesize {_latex(paragraph)}\\par}}\n"
    yield "\\end{table}\n"
