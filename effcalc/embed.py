"""Regions of documents that hold a command, and what it prints between two comments.

    <!-- effcalc: scale --phi 0:3 -->
    <!-- effcalc end -->

Only what is between the comments changes; everything else is kept byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from effcalc.errors import InputError, one_line

MAX_BYTES = 64 << 20


class Syntax(NamedTuple):
    """How a kind of document writes comments, and which format its tables have.

    `marker` finds one comment: group `command`, or group `end`. `literal` finds what is shown as
    it stands, where comments are text.
    """

    format: str
    marker: re.Pattern[str]
    literal: re.Pattern[str] | None = None
    blank: bool = True  # a blank line goes between a comment and a table


_LINE = r"(?:(?<=[\r\n])|\A\ufeff?)[ \t]*"
_HTML = re.compile(r"(?<!`)<!--\s*effcalc(?::(?P<command>.*?)|\s+(?P<end>end)\s*)(?:-->|\Z)", re.S)
_TEX = re.compile(
    _LINE + r"%+[ \t]*effcalc(?::(?P<command>[^\r\n]*)|[ \t]+(?P<end>end)[ \t]*$)", re.M
)
_FENCE = re.compile(
    r"^[ \t>]*(?P<f>`{3,}|~{3,})[^\n]*\n.*?(?:^[ \t>]*(?P=f)[`~]*[ \t\r]*$|\Z)", re.S | re.M
)
_VERBATIM = re.compile(
    r"\\begin\{(?P<v>verbatim|lstlisting|minted)\}.*?(?:\\end\{(?P=v)\}|\Z)", re.S
)

SYNTAXES = {
    (".md", ".markdown"): Syntax("markdown", _HTML, _FENCE),
    (".html", ".htm"): Syntax("html", _HTML),
    (".tex",): Syntax("latex", _TEX, _VERBATIM, blank=False),
}
"""Every kind of document that is filled, by the ends of its files' names."""


class Region(NamedTuple):
    """A command and the place of its output, as positions in the text."""

    command: str
    start: int
    end: int


def syntax_of(name: str) -> Syntax | None:
    """Return the syntax that a file's name implies."""
    lower = name.lower()
    return next((s for ends, s in SYNTAXES.items() if lower.endswith(ends)), None)


def line_of(text: str, at: int) -> int:
    """Return the number of the line that holds position `at`."""
    ends = (text.count(end, 0, at) for end in ("\n", "\r", "\r\n"))
    lf, cr, both = ends
    return lf + cr - both + 1


def regions(text: str, syntax: Syntax, name: str) -> list[Region]:
    """Find the regions of a document; unclosed and nested ones are an `InputError`."""
    shown = syntax.literal.finditer(text) if syntax.literal else iter(())
    literal = next(shown, None)
    found: list[Region] = []
    opened: re.Match[str] | None = None
    for marker in syntax.marker.finditer(text):
        while literal is not None and literal.end() <= marker.start():
            literal = next(shown, None)
        if literal is not None and literal.start() <= marker.start():
            continue
        where = f"{one_line(name)}: line {line_of(text, marker.end())}"
        if syntax.marker is _HTML and not marker[0].endswith("-->"):
            raise InputError(f"{where}: the comment is not closed with -->")
        if marker["end"]:
            if opened is None:
                raise InputError(f"{where}: this end has no `effcalc: COMMAND` before it")
            found.append(Region(opened["command"].strip(), opened.end(), marker.start()))
            opened = None
        elif opened is not None:
            raise InputError(f"{where}: a region begins inside another; `effcalc end` is missing")
        else:
            opened = marker
    if opened is not None:
        line = line_of(text, opened.end())
        raise InputError(f"{one_line(name)}: line {line}: the region has no `effcalc end`")
    return found


def fill(
    data: bytes, name: str, syntax: Syntax, compute: Callable[[str, str], str]
) -> tuple[bytes, list[tuple[int, str, str]]]:
    """Return the document filled, and for each stale region its line, old and new text.

    `compute(command, format)` returns the lines of a table. Raises `InputError` with file and line.
    """
    if len(data) > MAX_BYTES:
        raise InputError(f"{one_line(name)}: is larger than 64 MiB")
    if b"effcalc" not in data:
        return data, []
    text = data.decode("utf-8", "surrogateescape")
    pieces, stale, at = [], [], 0
    for region in regions(text, syntax, name):
        old = text[region.start : region.end]
        where = f"{one_line(name)}: line {line_of(text, region.start)}"
        if not re.match(r"[ \t]*[\r\n]", old):
            raise InputError(f"{where}: give `effcalc end` a line of its own")
        try:
            body = compute(region.command, syntax.format)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        newline = re.search(r"\r\n|\n|\r", old)
        blank = "\n" * syntax.blank
        new = f"\n{blank}{body.rstrip()}\n{blank}"
        if syntax.marker.search(new):
            raise InputError(f"{where}: the output holds a marker of effcalc's")
        if newline is not None:
            new = new.replace("\n", newline[0])
        new += re.split(r"[\r\n]", old)[-1]  # the indentation of the end
        if new != old:
            stale.append((line_of(text, region.start), old, new))
        pieces += [text[at : region.start], new]
        at = region.end
    pieces.append(text[at:])
    try:
        return "".join(pieces).encode("utf-8", "surrogateescape"), stale
    except UnicodeEncodeError:
        raise InputError(f"{one_line(name)}: the output cannot be written as UTF-8") from None
