"""How each kind of document writes comments, and what it shows as it stands.

`SYNTAXES` is the whole table: to add a kind of document, add a line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import quote

from effcalc.base.errors import InputError
from effcalc.output.embed.literal import (
    Literal,
    html_literal,
    latex_literal,
    rst_literal,
)
from effcalc.output.embed.markdown import markdown_literal
from effcalc.output.formats import FORMATS


class Marker(NamedTuple):
    """One of effcalc's comments: the command that begins a region, or its end."""

    start: int  # of the comment
    end: int  # of the comment, and of its line where it takes the rest of one
    command: str | None  # None: the end of a region
    style: str  # a region ends in the style in which it began
    lead: str  # what stands before it on its line
    unclosed: bool = False

    @property
    def whole_line(self) -> bool:
        """Whether nothing but indentation stands before it on its line."""
        return _INDENT.fullmatch(self.lead) is not None


_INDENT = re.compile(r"[ \t>]*(?:(?:[-*+]|[0-9]{1,9}[.)])[ \t]+)*")
_COMMENT = re.compile(r"\s*effcalc(?::(?P<command>.*)|\s+end\s*)", re.S)
# Comments that take the rest of a line. TeX's may follow text; a \% is none.
_MYST = re.compile(r"(?P<lead>[ \t>]*)(?P<mark>%[ \t]*effcalc(?::(?P<command>.*)|[ \t]+end[ \t]*))")
_TEX = re.compile(
    r"(?P<lead>(?:[^%\\]|\\.)*)(?P<mark>%+[ \t]*effcalc(?::(?P<command>.*)|[ \t]+end[ \t]*))"
)
_RST = re.compile(
    r"(?P<lead>[ \t]*)(?P<mark>\.\.[ \t]+effcalc(?::(?P<command>.*)|[ \t]+end[ \t]*))"
)
_LINE_END = re.compile(r"[\r\n]|\Z")


def html_comments(text: str, literal: Literal) -> Iterator[Marker]:
    """Find `<!-- effcalc: … -->`, which may span lines and stand inside one."""
    at = text.find("<!--")
    last = text.rfind("-->")  # so that many open comments are not each looked at to the end
    while at >= 0:
        end = literal(at)
        if end is None:
            close = text.find("-->", at + 4) if at + 4 <= last else -1
            body = text[at + 4 : close if close >= 0 else at + 400]
            end = close + 3 if close >= 0 else len(text)
            match = _COMMENT.match(body) if close < 0 else _COMMENT.fullmatch(body)
            if match:
                start = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
                yield Marker(at, end, match["command"], "html", text[start:at], close < 0)
            elif close < 0 and at + 4 < len(text):
                end = at + 4  # an open comment hides the rest in HTML alone; go on looking
        at = text.find("<!--", max(end, at + 4))


def _line_comments(
    style: str, pattern: re.Pattern[str], continued: bool = False
) -> Callable[[str, Literal], Iterator[Marker]]:
    """Return a finder of comments that end with their line; indented lines may continue them."""

    def find(text: str, literal: Literal) -> Iterator[Marker]:
        at = text.find("effcalc")
        while at >= 0:
            start = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
            stop = _LINE_END.search(text, at).start()  # type: ignore[union-attr]
            match = pattern.fullmatch(text, start, stop)
            if match and literal(match.start("mark")) is None:
                command = match["command"]
                if continued and command is not None:
                    stop = _continuation(text, stop, len(match["lead"]))
                    command = text[match.start("command") : stop]
                yield Marker(match.start("mark"), stop, command, style, match["lead"])
            at = text.find("effcalc", stop)

    return find


def _continuation(text: str, stop: int, indent: int) -> int:
    """Return where a comment ends whose further lines are indented by more than `indent`."""
    more = re.compile(rf"(?:\r\n|\n|\r)[ \t]{{{indent + 1}}}[ \t]*[^ \t\r\n][^\r\n]*")
    while match := more.match(text, stop):
        stop = match.end()
    return stop


_myst_comments = _line_comments("myst", _MYST)


def _markdown_comments(text: str, literal: Literal) -> Iterator[Marker]:
    markers = [*html_comments(text, literal)]
    if "%" in text:
        markers += _myst_comments(text, literal)
    return iter(sorted(markers, key=lambda marker: marker.start))


def _url(path: str) -> str:
    return quote(path, safe="/-._~")


def _markdown_image(path: str, alt: str) -> str:
    return f"![{FORMATS['markdown'].escape(alt)}]({_url(path)})"


def _html_image(path: str, alt: str) -> str:
    return f'<img src="{_url(path)}" alt="{FORMATS["html"].escape(alt)}">'


def _rst_image(path: str, alt: str) -> str:
    return f".. image:: {_url(path)}\n   :alt: {alt}".removesuffix("\n   :alt: ")


def _latex_image(path: str, alt: str) -> str:
    if not path.lower().endswith(".png") or re.search(r"[^A-Za-z0-9/._+-]", path):
        raise InputError(
            "`output`: LaTeX includes a .png whose path has letters, digits and ._+- alone"
        )
    return f"\\includegraphics[width=\\linewidth]{{{path}}}"


class Syntax(NamedTuple):
    """One kind of document."""

    format: str  # of its tables, by the name in `formats.FORMATS`
    suffixes: tuple[str, ...]
    find: Callable[[str, Literal], Iterator[Marker]]
    literal: Callable[[str], Literal]  # from a text to what shows comments as text
    image: Callable[[str, str], str]  # markup of a picture, from its path and what it shows
    blank: bool = True  # a blank line goes between a comment and a table
    entities: bool = True  # any character can be written in ASCII, as &#966;


MARKDOWN = Syntax(
    format="markdown",
    suffixes=(".md", ".markdown", ".myst", ".qmd", ".rmd"),
    find=_markdown_comments,
    literal=markdown_literal,
    image=_markdown_image,
)
SYNTAXES = (
    MARKDOWN,
    Syntax(
        format="html",
        suffixes=(".html", ".htm"),
        find=html_comments,
        literal=html_literal,
        image=_html_image,
    ),
    Syntax(
        format="rst",
        suffixes=(".rst", ".rest"),
        find=_line_comments("rst", _RST, continued=True),
        literal=rst_literal,
        image=_rst_image,
        entities=False,
    ),
    Syntax(
        format="latex",
        suffixes=(".tex", ".ltx"),
        find=_line_comments("tex", _TEX),
        literal=latex_literal,
        image=_latex_image,
        blank=False,
        entities=False,
    ),
)
"""Every kind of document. A notebook (`NOTEBOOK`) has Markdown in its cells."""

NOTEBOOK = ".ipynb"
SUFFIXES = (*(suffix for syntax in SYNTAXES for suffix in syntax.suffixes), NOTEBOOK)
"""The ends of the names of all documents."""


def is_document(name: str) -> bool:
    """Whether a file's name is that of a document which can be filled."""
    return name.lower().endswith(SUFFIXES)


def syntax_of(name: str) -> Syntax:
    """Return the syntax that a document's name implies; raise `InputError` where there is none."""
    lower = name.lower()
    if lower.endswith(NOTEBOOK):
        return MARKDOWN
    syntax = next((s for s in SYNTAXES if lower.endswith(s.suffixes)), None)
    if syntax is None:
        raise InputError(f"{name}: is no document that effcalc fills ({', '.join(SUFFIXES)})")
    return syntax
