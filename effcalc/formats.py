"""Output formats: one renderer each, in one registry that `--format` follows.

To add a format, write a generator of text and register it here; nothing else knows them.
Formats for people write fitted units (`16.35M`), formats for programs exact values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from effcalc.errors import InputError, one_line, suggest
from effcalc.grid import PROSE_WIDTH, Look, fit, make_grid, prose, text_width, wrap
from effcalc.table import stream
from effcalc.units import Value, int_text

if TYPE_CHECKING:
    from effcalc.table import Table

SCHEMA = "urn:effcalc:table:1"
"""Names the JSON Schema, `effcalc/schema/table.schema.json`, that JSON output follows."""

Renderer: TypeAlias = "Callable[[Table, Look], Iterator[str]]"


class Format(NamedTuple):
    """One output format; `render` yields its text in pieces, row by row where it can."""

    name: str
    help: str
    suffixes: tuple[str, ...]  # of the file names that imply it
    render: Renderer


FORMATS: dict[str, Format] = {}
"""Every output format by its name."""


def renderer(
    name: str, help: str, suffixes: tuple[str, ...] = ()
) -> Callable[[Renderer], Renderer]:
    """Register a renderer as the format `name`, implied by files with one of `suffixes`."""

    def register(render: Renderer) -> Renderer:
        FORMATS[name] = Format(name, help, suffixes, render)
        return render

    return register


def find_format(name: str | None, file_name: str = "") -> Format:
    """Return the named format; without a name the one that the file's suffix implies, or table."""
    if name is None:
        name = next(
            (f.name for f in FORMATS.values() if file_name.lower().endswith(f.suffixes or ("\0",))),
            "table",
        )
    if name not in FORMATS:
        raise InputError(
            f"--format: there is no format {one_line(name, limit=60)!r}{suggest(name, FORMATS)}; "
            f"known: {', '.join(FORMATS)}"
        )
    return FORMATS[name]


def render(table: Table, format: str = "table", look: Look | None = None) -> Iterator[str]:
    """Yield the table as text in the named format."""
    return find_format(format).render(table, look or Look())


# --- table: the terminal -----------------------------------------------------------------------


@renderer("table", "for reading in a terminal", (".txt",))
def render_table(table: Table, look: Look) -> Iterator[str]:
    """Yield an aligned table without a box: bold heads in colour, wrapped to `look.width`."""
    grid = make_grid(table, look, "table", single_as_record=True)
    bold, dim, off = ("\x1b[1m", "\x1b[2m", "\x1b[0m") if look.color else ("", "", "")
    widths, texts = fit(grid, look.width or (PROSE_WIDTH if grid.record else None))
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))

    def lines(cells: list[list[str]], *, bottom: bool = False) -> Iterator[str]:
        height = max(map(len, cells))
        for cell in cells:
            blank = [""] * (height - len(cell))
            cell[:] = blank + cell if bottom else cell + blank
        for line in zip(*cells, strict=True):
            yield "  ".join(grid.padded(list(line), widths)).rstrip()

    if table.title:
        yield f"{bold}{one_line(table.title)}{off}\n\n"
    heads, *body = texts
    if not grid.record:
        yield from (f"{bold}{line}{off}\n" for line in lines(heads, bottom=True))
        yield f"{dim}{rule}{off}\n"
    total = body.pop() if grid.total is not None else None
    for cells in body:
        yield from (f"{line}\n" for line in lines(cells))
    if total is not None:
        yield f"{dim}{rule}{off}\n"
        yield from (f"{bold}{line}{off}\n" for line in lines(total))
    for paragraph in prose(table):
        for i, line in enumerate(wrap(paragraph, min(look.width or PROSE_WIDTH, 100))):
            yield f"{'' if i else chr(10)}{dim}{line}{off}\n"


# --- markdown ----------------------------------------------------------------------------------

# An underscore inside a word and an ampersand that starts no entity are only themselves.
_MARKDOWN_SPECIAL = re.compile(
    r"([\\`*\[\]<|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|&(?=#|[A-Za-z0-9]+;))"
)


@renderer("markdown", "a GitHub-flavoured Markdown table", (".md", ".markdown"))
def render_markdown(table: Table, look: Look) -> Iterator[str]:
    """Yield a GFM table whose source is aligned too."""
    grid = make_grid(table, look, "markdown")
    heads = [_markdown(head) or " " for head in grid.heads]
    body = [[_markdown(cell) for cell in line] for line in grid.lines]
    if grid.total is not None:
        body.append([f"**{_markdown(cell)}**" if cell else "" for cell in grid.total])
    widths = [max(3, *(text_width(row[i]) for row in [heads, *body])) for i in range(len(heads))]

    def line(cells: list[str]) -> str:
        return f"| {' | '.join(grid.padded(cells, widths))} |\n"

    if table.title:
        yield f"**{_markdown(one_line(table.title))}**\n\n"
    yield line(heads)
    marks = ["-" * (w - 1) + ":" if r else "-" * w for w, r in zip(widths, grid.right, strict=True)]
    yield line(marks)
    for cells in body:
        yield line(cells)
    for paragraph in prose(table):
        yield f"\n{_markdown_paragraph(paragraph)}\n"


def _markdown(text: str) -> str:
    """Escape what Markdown would read as markup."""
    return _MARKDOWN_SPECIAL.sub(r"\\\1", text)


def _markdown_paragraph(text: str) -> str:
    """Escape text and wrap it; no line may start a block, as `1.` or `-` would a list."""
    from textwrap import wrap as fill

    lines = []
    for line in fill(  # at spaces alone, and one column is left for an escape
        _markdown(text), PROSE_WIDTH - 1, break_long_words=False, break_on_hyphens=False
    ):
        start = re.match(r"[0-9]+[.)]|[-+=>#]", line)
        at = start.end() - 1 if start else 0
        lines.append(line[:at] + ("\\" if start else "") + line[at:])
    return "\n".join(lines)


# --- latex -------------------------------------------------------------------------------------

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


@renderer("latex", "a LaTeX table that needs the package booktabs", (".tex",))
def render_latex(table: Table, look: Look) -> Iterator[str]:
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


def _latex(text: str) -> str:
    """Escape what LaTeX would read as markup, and write the field's symbols as commands."""
    return "".join(_LATEX.get(c, c) for c in text)


# --- html --------------------------------------------------------------------------------------

_STYLE = """\
.effcalc{margin:1em 0;overflow-x:auto}
.effcalc table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.effcalc caption{font-weight:600;text-align:left;padding:.3em .7em}
.effcalc th,.effcalc td{padding:.25em .7em;text-align:left;vertical-align:top}
.effcalc .n{text-align:right;white-space:nowrap}
.effcalc thead th{border-bottom:1px solid #8a8a8a;vertical-align:bottom}
.effcalc tfoot td{border-top:1px solid #8a8a8a;font-weight:600}
.effcalc tbody tr:nth-child(even){background:#7f7f7f1a}
.effcalc figcaption{font-size:.85em;opacity:.8;max-width:60em;padding:.3em .7em}
"""  # colours are the page's own, so a figure fits a light page and a dark one

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>:root{{color-scheme:light dark}}body{{font:15px/1.5 system-ui,sans-serif;margin:2em}}</style>
</head>
<body>
"""


@renderer("html", "a page that stands alone, light and dark", (".html", ".htm"))
def render_html(table: Table, look: Look) -> Iterator[str]:
    """Yield a whole page that holds the table and needs nothing else."""
    fragment = html_fragment(table, look)
    first = next(fragment)  # a table of too many rows is refused before anything is written
    yield _PAGE.format(title=_html(one_line(table.title) or table.kind))
    yield first
    yield from fragment
    yield "</body>\n</html>\n"


def html_fragment(table: Table, look: Look | None = None, *, sorts: bool = False) -> Iterator[str]:
    """Yield a `<figure>` with its own style, to be placed inside another page.

    A page that `sorts` tables has the style itself: the figure is of the class `sorts` where its
    table has rows to sort, and a number's exact value is in `data-v`.
    """
    grid = make_grid(table, look or Look(), "html")
    kinds = [' class="n"' if right else "" for right in grid.right]

    def line(cells: Iterable[str], values: Iterable[Value] = ()) -> str:
        exact = [_exact(value) for value in values] if sorts else []
        exact = exact or [""] * len(kinds)
        inner = (
            f"<td{kind}{value}>{_html(cell)}</td>"
            for kind, cell, value in zip(kinds, cells, exact, strict=True)
        )
        return f"<tr>{''.join(inner)}</tr>\n"

    if sorts:
        yield f'<figure class="effcalc{"" if grid.record else " sorts"}">\n<table>\n'
    else:
        yield f'<figure class="effcalc">\n<style>\n{_STYLE}</style>\n<table>\n'
    if table.title:
        yield f"<caption>{_html(one_line(table.title))}</caption>\n"
    heads = (
        f'<th scope="col"{kind}{f""" title="{_html(help)}" """.rstrip() if help else ""}>'
        f"{_html(head)}</th>"
        for head, help, kind in zip(grid.heads, grid.helps, kinds, strict=True)
    )
    yield f"<thead>\n<tr>{''.join(heads)}</tr>\n</thead>\n<tbody>\n"
    for cells, values in zip(grid.lines, grid.values or repeat(()), strict=False):
        yield line(cells, values)
    yield "</tbody>\n"
    if grid.total is not None:
        yield f"<tfoot>\n{line(grid.total)}</tfoot>\n"
    yield "</table>\n"
    if paragraphs := prose(table):
        yield f"<figcaption>{'<br>'.join(map(_html, paragraphs))}</figcaption>\n"
    yield "</figure>\n"


def _exact(value: Value) -> str:
    """Return the attribute that holds a number as a float has it, which is enough to sort by."""
    if value is None or isinstance(value, str | bool):
        return ""
    try:
        return f' data-v="{float(value)!r}"'
    except OverflowError:
        return ' data-v="Infinity"'


def _html(text: str) -> str:
    from html import escape

    return escape(text)


# --- csv and json: for programs ----------------------------------------------------------------


@renderer("csv", "exact values, one line a row; streams any number of rows", (".csv",))
def render_csv(table: Table, look: Look) -> Iterator[str]:
    """Yield the keys, then each row: RFC 4180 quoting, lines ended by a newline alone.

    Nothing else is in it: no notes, conventions or total, so that every line is a row.
    """
    import csv
    from io import StringIO

    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")

    def line(values: Iterable[object]) -> str:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(values)
        return buffer.getvalue()

    yield line(column.key for column in table.columns)
    for values in stream(table):
        yield line(map(_csv_value, values))


def _csv_value(value: Value) -> str | float | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return int_text(value) if isinstance(value, int) else value


@renderer("json", "exact values and what they mean; streams any number of rows", (".json",))
def render_json(table: Table, look: Look) -> Iterator[str]:
    """Yield one object that follows `effcalc/schema/table.schema.json`, a row on each line."""
    from effcalc import __version__

    def item(key: str, value: object) -> str:
        return f"  {_json(key)}: {_json(value)}"

    keys = [_json(column.key) for column in table.columns]
    head = {
        "schema": SCHEMA,
        "kind": table.kind,
        "title": table.title,
        "effcalc": __version__,
        "command": table.command,
        "conventions": table.conventions,
    }
    if table.environment is not None:
        head["environment"] = table.environment
    yield "{\n" + "".join(f"{item(key, value)},\n" for key, value in head.items())
    columns = [
        {"key": c.key, "title": c.title, "unit": c.unit, "help": c.help} for c in table.columns
    ]
    yield '  "columns": [\n' + ",\n".join(f"    {_json(column)}" for column in columns)
    yield '\n  ],\n  "rows": ['
    between = "\n"
    for values in stream(table):
        cells = (f"{key}: {_json(value)}" for key, value in zip(keys, values, strict=True))
        yield f"{between}    {{{', '.join(cells)}}}"
        between = ",\n"
    yield "\n  ],\n" if between != "\n" else "],\n"
    if table.total is not None:
        yield f"{item('total', {c.key: table.total.get(c.key) for c in table.columns})},\n"
    yield f"{item('notes', list(table.notes))}\n}}\n"


def _json(value: object) -> str:
    """Write JSON on one line: ints of any size, and null for what JSON has no number for."""
    import json

    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # a lone surrogate, as from a file name that is not UTF-8
            return json.dumps(value)
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_json(k)}: {_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int):
        return int_text(value)
    if isinstance(value, float):
        return repr(value) if isfinite(value) else "null"
    raise TypeError(f"no JSON for {type(value).__name__}")
