"""New text for stretches of a document, and the diff that shows it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from effcalc.output.embed.text import NEWLINE, Lines


class Edit(NamedTuple):
    """New text for a stretch of a document."""

    start: int
    end: int
    new: str


def apply(text: str, edits: Sequence[Edit]) -> str:
    """Return the text after all edits, which are in order."""
    pieces, at = [], 0
    for edit in edits:
        pieces += [text[at : edit.start], edit.new]
        at = edit.end
    return "".join([*pieces, text[at:]])


def diff_of(text: str, edits: Sequence[Edit], where: str) -> list[str]:
    """Return a unified diff that shows each edit, with the numbers of its lines."""
    if not edits:
        return []
    lines = Lines(text)
    out = [f"--- {where}", f"+++ {where}"]
    shift = 0
    for first, last, group in _groups(edits, lines):
        start, end = lines.start(first), lines.end(last)
        local = [Edit(e.start - start, e.end - start, e.new) for e in group]
        old = text[start:end]
        a, b = (NEWLINE.sub("\n", t).splitlines() for t in (old, apply(old, local)))
        hunks = list(difflib.unified_diff(a, b, lineterm=""))[2:]
        out += [_shifted(x, first - 1, shift) if x.startswith("@@ ") else x for x in hunks]
        shift += len(b) - len(a)
    return out


def _groups(edits: Sequence[Edit], lines: Lines) -> Iterator[tuple[int, int, list[Edit]]]:
    """Put edits that share lines together: first line, last line, edits."""
    group: list[Edit] = []
    first = last = 0
    for edit in edits:
        a, b = lines.number(edit.start), lines.number(max(edit.start, edit.end - 1))
        if group and a > last:
            yield first, last, group
            group = []
        if not group:
            first = a
        last = max(last, b)
        group.append(edit)
    if group:
        yield first, last, group


def _shifted(hunk: str, lines: int, more: int) -> str:
    """Put the numbers of a hunk's lines, counted from its own start, into the document's."""
    old, new = (re.findall(rf"\{sign}([0-9]+)(,[0-9]+)?", hunk)[0] for sign in "-+")
    return f"@@ -{int(old[0]) + lines}{old[1]} +{int(new[0]) + lines + more}{new[1]} @@"
