"""What a document shows as it stands, where a comment is only text: code, verbatim, scripts.

Each function reads a text once and returns a `Literal`: asked about growing positions, it says
where the literal that holds one ends, or None outside of any.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

Literal: TypeAlias = Callable[[int], int | None]

_START = r"(?<![^\r\n])"  # of a line, after LF, CR LF or CR
_FENCE = re.compile(
    _START + r"(?P<lead>[ \t>]*(?:(?:[-*+]|[0-9]{1,9}[.)])[ \t]+)*)(?P<mark>`{3,}|~{3,})"
    r"(?P<info>[^\r\n]*)"
)
_OUT_OF_QUOTE = re.compile(_START + r"(?![ \t]*>)")
# A line that begins a block, at which a code span of the paragraph before it cannot end.
_BLOCK = re.compile(
    _START + r"[ \t>]*(?:(?=(?:[-*+]|#{1,6}|[0-9]{1,9}[.)])(?:[ \t\r\n]|\Z)|[|\r\n]|<!--)|\Z)"
)
_LIST = re.compile(r"[ \t>]*(?:(?:[-*+]|[0-9]{1,9}[.)])[ \t]+)*")
_TICKS = re.compile(r"`+")

_RAW = re.compile(
    r"<(?P<tag>script|style|textarea|title|xmp)\b.*?(?:</(?P=tag)\s*>|\Z)", re.S | re.I
)
_VERBATIM = re.compile(
    r"(?<![^\r\n])[^%\r\n]*?\\begin\{(?P<v>verbatim\*?|Verbatim|lstlisting|minted|comment)\}"
    r".*?(?:\\end\{(?P=v)\}|\Z)",
    re.S,
)
_LITERAL_DIRECTIVE = re.compile(
    r"\.\. +(?:code|code-block|sourcecode|parsed-literal|math|raw|prompt|literalinclude"
    r"|productionlist|highlight|ipython|plot|graphviz|mermaid)::"
)
_DIRECTIVE = re.compile(r"\.\.\s+(?:\|[^|]+\|\s+)?[A-Za-z][\w.:+-]*::|\.\.\s+(?:\[|_)")


def _spans(found: Iterable[tuple[int, int]]) -> Literal:
    """Return a `Literal` of spans in order."""
    spans = list(found)
    starts = [start for start, _ in spans]

    def end_of(at: int) -> int | None:
        i = bisect_right(starts, at) - 1
        return spans[i][1] if i >= 0 and at < spans[i][1] else None

    return end_of


def html_literal(text: str) -> Literal:
    """Scripts, styles and other elements in which HTML has no comments."""
    return _spans(match.span() for match in _RAW.finditer(text))


def latex_literal(text: str) -> Literal:
    """Verbatim environments and listings."""
    return _spans(match.span() for match in _VERBATIM.finditer(text))


def markdown_literal(text: str) -> Literal:
    """Fenced code blocks, and code spans where a comment does not begin a line."""
    fence = _spans(_fences(text))
    spans = _CodeSpans(text)

    def end_of(at: int) -> int | None:
        end = fence(at)
        return spans.end_of(at) if end is None and "`" in text else end

    return end_of


def _fences(text: str) -> Iterable[tuple[int, int]]:
    opened: re.Match[str] | None = None
    for match in _FENCE.finditer(text):
        mark, info = match["mark"], match["info"]
        if opened is not None and ">" in opened["lead"]:  # a block quote ends what is in it
            out = _OUT_OF_QUOTE.search(text, opened.end() + 1)
            if out is not None and out.start() <= match.start():
                yield opened.start("mark"), out.start()
                opened = None
        if opened is None:
            if mark[0] == "~" or "`" not in info:
                opened = match
        elif mark.startswith(opened["mark"]) and not info.strip(" \t"):
            yield opened.start("mark"), match.end()
            opened = None
    if opened is not None:
        out = _OUT_OF_QUOTE.search(text, opened.end() + 1) if ">" in opened["lead"] else None
        yield opened.start("mark"), out.start() if out else len(text)


class _CodeSpans:
    """The code spans of one paragraph after the other, as positions in them are asked for."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.start = self.stop = 0
        self.inside: Literal = _spans(())

    def end_of(self, at: int) -> int | None:
        line = max(self.text.rfind("\n", 0, at), self.text.rfind("\r", 0, at)) + 1
        if _LIST.fullmatch(self.text, line, at):
            return None  # a comment that begins a line is a block, whatever is before it
        if at < self.start:
            self.start = self.stop = 0
        while at >= self.stop:
            self.start = self.stop
            next_block = _BLOCK.search(self.text, self.start + 1)
            self.stop = next_block.start() if next_block else len(self.text) + 1
            self.inside = _NOT_READ
        if self.inside is _NOT_READ:
            self.inside = _spans(_code_spans(self.text, self.start, self.stop))
        return self.inside(at)


def _NOT_READ(at: int) -> int | None:  # noqa: N802 - a constant
    return None


def _code_spans(text: str, start: int, stop: int) -> Iterable[tuple[int, int]]:
    """Pair each run of backticks with the next one of its length."""
    runs = [match.span() for match in _TICKS.finditer(text, start, stop)]
    of_length: dict[int, deque[int]] = {}
    for i, (a, b) in enumerate(runs):
        of_length.setdefault(b - a, deque()).append(i)
    i = 0
    while i < len(runs):
        a, b = runs[i]
        slashes = 0
        while a - slashes > start and text[a - slashes - 1] == "\\":
            slashes += 1
        closing = of_length.get(b - a - slashes % 2, deque())  # an escaped backtick opens nothing
        while closing and closing[0] <= i:
            closing.popleft()
        if closing:
            i = closing.popleft()
            yield a, runs[i][1]
        i += 1


def rst_literal(text: str) -> Literal:
    """Literal blocks, code directives and the bodies of comments: by indentation."""
    if not re.search(r"(?<![^\r\n])[ \t]+\.\.[ \t]+effcalc", text):
        return _spans(())  # what is not indented is in none
    spans: list[tuple[int, int]] = []
    outer: list[tuple[int, bool]] = []  # indentation of the lines around, and if they show text
    for match in re.finditer(r"(?<![^\r\n])([ \t]*)([^ \t\r\n][^\r\n]*)", text):
        indent, line = len(match[1].expandtabs()), match[2]
        while outer and outer[-1][0] >= indent:
            outer.pop()
        inside = bool(outer) and outer[-1][1]
        if inside:
            spans.append(match.span())
        outer.append((indent, inside or _shows_text(line)))
    return _spans(spans)


def _shows_text(line: str) -> bool:
    """Whether what is indented under a line of reStructuredText is text as it stands."""
    if line.startswith(".."):
        if _LITERAL_DIRECTIVE.match(line):
            return True
        return _DIRECTIVE.match(line) is None  # a comment
    return line.rstrip().endswith("::")
