"""Write a page: one HTML file with its style, script and plots inside, which fetches nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from typing import NamedTuple

from effcalc.output.formats.html import html_fragment
from effcalc.output.grid import TableLook
from effcalc.output.plots.style import AUTO, Plot, svg
from effcalc.output.table import Table

PLOT_WIDTH = 912  # pixels: as wide as the page


class Tile(NamedTuple):
    """One figure in large type: its name, its value, and a line about it."""

    name: str
    value: str
    note: str


class Paragraph(NamedTuple):
    """A paragraph."""

    text: str


class Folded(NamedTuple):
    """A table that the reader opens."""

    summary: str
    table: Table


Item = Table | Plot | Folded | Paragraph | Sequence[Tile]
"""What a section is made of."""


class Section(NamedTuple):
    """A heading and what stands under it; `name` is where links lead."""

    name: str
    heading: str
    items: Sequence[Item]


class Page(NamedTuple):
    """A whole page; `words` are definitions, and `command` is what made it."""

    title: str
    lead: str
    sections: Sequence[Section]
    words: Sequence[tuple[str, str]]
    command: str


def write(page: Page, digits: int) -> Iterator[str]:
    """Yield the page's HTML. Raises `NeedsError` where it has plots and altair is missing."""
    from effcalc.base.version import __version__

    room = files(__package__ or "effcalc.output")
    style = room.joinpath("page.css").read_text(encoding="utf-8")
    script = room.joinpath("page.js").read_text(encoding="utf-8")
    title = escape(page.title)
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f'<header>\n<h1>{title}</h1>\n<p class="lead">{escape(page.lead)}</p>\n'
    )
    headings = [*((s.name, s.heading) for s in page.sections), ("definitions", "Definitions")]
    links = "".join(f'<li><a href="#{n}">{escape(h)}</a></li>' for n, h in headings)
    yield f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n</header>\n<main>\n'
    for section in page.sections:
        yield f'<section id="{section.name}">\n<h2>{escape(section.heading)}</h2>\n'
        for item in section.items:
            yield from _item(item, digits)
        yield "</section>\n"
    words = "".join(f"<dt>{escape(w)}</dt><dd>{escape(m)}</dd>\n" for w, m in page.words)
    yield f'<section id="definitions">\n<h2>Definitions</h2>\n<dl class="words">\n{words}</dl>\n'
    yield f"</section>\n</main>\n<footer>effcalc {__version__}: <code>{escape(page.command)}</code>"
    yield f"</footer>\n<script>\n{script}</script>\n</body>\n</html>\n"


def _item(item: Item, digits: int) -> Iterator[str]:
    if isinstance(item, Table):
        yield from html_fragment(item, TableLook(digits=digits), sorts=True)
    elif isinstance(item, Plot):
        yield f'<div class="picture" tabindex="0">\n{svg(item, AUTO, PLOT_WIDTH)}</div>\n'
    elif isinstance(item, Folded):
        yield f"<details>\n<summary>{escape(item.summary)}</summary>\n"
        yield from html_fragment(item.table, TableLook(digits=digits), sorts=True)
        yield "</details>\n"
    elif isinstance(item, Paragraph):
        yield f"<p>{escape(item.text)}</p>\n"
    else:
        yield '<dl class="tiles">\n'
        for tile in item:
            note = f"<small>{escape(tile.note)}</small>" if tile.note else ""
            yield f"<div><dt>{escape(tile.name)}</dt><dd>{escape(tile.value)}{note}</dd></div>\n"
        yield "</dl>\n"
