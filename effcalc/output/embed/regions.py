"""The regions of one document, and what fills them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from effcalc.base.errors import EffcalcError, InputError
from effcalc.output.embed.edits import Edit, apply
from effcalc.output.embed.syntax import Marker, Syntax
from effcalc.output.embed.text import NEWLINE, DocumentText, Lines, has_surrogates

MAX_REGIONS = 10_000


class Output(NamedTuple):
    """What a command printed, in the format of its document."""

    text: str
    inline: bool = False  # whether it may stand inside a line: a figure, a picture


Compute = Callable[[str, Syntax], Output]
"""Runs the command of a region; any error of effcalc's gets the region's place put before it."""


class Region(NamedTuple):
    """A command, and the place of its output between two comments, as positions in the text."""

    command: str
    start: int
    end: int
    lead: str  # what stands before the first comment on its line
    inline: bool  # inside a line of text
    line: int


def checked_edits(
    text: str, document: DocumentText, where: str, syntax: Syntax, compute: Compute
) -> list[Edit]:
    """Return what fills a text that is a document, or a cell of one; it stays as it reads."""
    edits = find_edits(text, document, where, syntax, compute)
    if not edits:
        return []
    new = apply(text, edits)
    # Whatever the output is, the document still holds the same regions, and they hold it.
    before = [region.command for region in regions(text, syntax, where)]
    try:
        after = [region.command for region in regions(new, syntax, where)]
        same = before == after and not find_edits(new, document, where, syntax, compute)
    except InputError:
        same = False
    if not same:
        raise InputError(f"{where}: the output of a region holds what reads as one of its comments")
    return edits


def regions(text: str, syntax: Syntax, where: str) -> list[Region]:
    """Find the regions of a document; unclosed and nested ones are an `InputError`."""
    lines = Lines(text)
    result: list[Region] = []
    opened: Marker | None = None
    for marker in syntax.find(text, syntax.literal(text)):
        at = f"{where}: line {lines.number(marker.start)}"
        if marker.unclosed:
            raise InputError(f"{at}: the comment is not closed with -->")
        if marker.command is not None:
            if opened is not None:
                line = lines.number(opened.start)
                raise InputError(
                    f"{at}: a region begins inside the one of line {line}; `effcalc end` is missing"
                )
            opened = marker
        elif opened is None:
            raise InputError(f"{at}: this end has no `effcalc: COMMAND` before it")
        elif opened.style != marker.style:
            raise InputError(f"{at}: this end is not the kind of comment that its region began in")
        else:
            result.append(_region(text, opened, marker, lines))
            opened = None
    if opened is not None:
        line = lines.number(opened.start)
        raise InputError(f"{where}: line {line}: the region has no `effcalc end`")
    if len(result) > MAX_REGIONS:
        raise InputError(f"{where}: holds more than {MAX_REGIONS:,} regions")
    return result


def _region(text: str, begin: Marker, end: Marker, lines: Lines) -> Region:
    start, stop = begin.end, end.start
    if begin.style == "html":
        inline = NEWLINE.search(text, start, stop) is None
    else:
        inline = not (begin.whole_line and end.whole_line)
        if inline:
            line_break = NEWLINE.match(text, start)
            start = min(line_break.end() if line_break else start, stop)
    return Region(
        (begin.command or "").strip(), start, stop, begin.lead, inline, lines.number(begin.start)
    )


def find_edits(
    text: str, document: DocumentText, where: str, syntax: Syntax, compute: Compute
) -> list[Edit]:
    """Return what changes where the regions of a text are filled."""
    edits = []
    for region in regions(text, syntax, where):
        at = f"{where}: line {region.line}"
        try:
            output = compute(region.command, syntax)
            edit = _edit(text, region, output, syntax)
            new = _written(edit.new, document, syntax)
        except EffcalcError as error:
            raise type(error)(f"{at}: {error}") from None
        if new != text[edit.start : edit.end]:
            edits.append(edit._replace(new=new))
    return edits


def _edit(text: str, region: Region, output: Output, syntax: Syntax) -> Edit:
    """Return what a region's output replaces: all of it, or a figure inside a line."""
    old = text[region.start : region.end]
    body = output.text.strip("\n") if not output.inline else output.text.strip()
    substitution = re.fullmatch(r"(\s*\.\. \|[^|\r\n]+\| replace::[ \t]*)([^\r\n]*?)\s*", old)
    if output.inline and syntax.format == "rst" and substitution:
        body = f" {body}" if substitution[1].endswith(":") else body
        return Edit(region.start + substitution.start(2), region.start + substitution.end(2), body)
    if region.inline:
        if not output.inline:
            raise InputError("a table needs its comments on lines of their own")
        blank = len(old) - len(old.lstrip())
        kept = len(old.rstrip())
        return Edit(region.start + min(blank, kept), region.start + max(blank, kept), body)
    first = re.match(r"[ \t]*(\r\n|\n|\r)", old)
    if first is None:
        raise InputError("give `effcalc end` a line of its own, or put all on one line")
    tail = re.split(r"[\r\n]", old)[-1]
    if tail.strip(" \t>"):
        raise InputError("give `effcalc end` a line of its own, or put all on one line")
    indent = _indent(region.lead)
    blank_lines = [""] * syntax.blank
    new = [f"{indent}{line}".rstrip() for line in (*blank_lines, *body.split("\n"), *blank_lines)]
    return Edit(region.start, region.end, "\n".join(["", *new, tail]).replace("\n", first[1]))


def _indent(lead: str) -> str:
    """Return what begins every line of a block: blanks as wide as a list's marker, quote signs."""
    if not re.fullmatch(r"[ \t>]*(?:(?:[-*+]|[0-9]{1,9}[.)])[ \t]+)*", lead):
        return ""
    return re.sub(r"[^ \t>]", " ", lead)


def _written(new: str, document: DocumentText, syntax: Syntax) -> str:
    """Return output as the document's encoding can hold it."""
    if has_surrogates(new):
        raise InputError("the command holds bytes that are no text")
    if document.is_unicode or new.isascii():
        return new
    if syntax.entities:
        return new.encode("ascii", "xmlcharrefreplace").decode()
    raise InputError(f"the document is not UTF-8, and the output has {_other(new)!r}; save it so")


def _other(text: str) -> str:
    return next(c for c in text if not c.isascii())
