"""What a document shows as it stands, where a comment is only text: code, verbatim, scripts.

Each function reads a text once and returns a `Literal`: asked about growing positions, it says
where the literal that holds one ends, or None outside of any.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TypeAlias

Literal: TypeAlias = Callable[[int], int | None]

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


def spans_literal(spans: Sequence[tuple[int, int]]) -> Literal:
    """Return a `Literal` of spans in order."""
    starts = [start for start, _ in spans]

    def end_of(at: int) -> int | None:
        i = bisect_right(starts, at) - 1
        return spans[i][1] if i >= 0 and at < spans[i][1] else None

    return end_of


def html_literal(text: str) -> Literal:
    """Scripts, styles and other elements in which HTML has no comments."""
    return spans_literal([match.span() for match in _RAW.finditer(text)])


def latex_literal(text: str) -> Literal:
    """Verbatim environments and listings."""
    return spans_literal([match.span() for match in _VERBATIM.finditer(text)])


def rst_literal(text: str) -> Literal:
    """Literal blocks, code directives and the bodies of comments: by indentation."""
    if not re.search(r"(?<![^\r\n])[ \t]+\.\.[ \t]+effcalc", text):
        return spans_literal(())  # what is not indented is in none
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
    return spans_literal(spans)


def _shows_text(line: str) -> bool:
    """Whether what is indented under a line of reStructuredText is text as it stands."""
    if line.startswith(".."):
        if _LITERAL_DIRECTIVE.match(line):
            return True
        return _DIRECTIVE.match(line) is None  # a comment
    return line.rstrip().endswith("::")
