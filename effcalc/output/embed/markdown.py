"""What a Markdown document shows as text: code blocks, indented or fenced, and code spans.

markdown-it-py reads the blocks, as CommonMark and GitHub's tables have them, and the lines of text
that hold a comment. It is imported where there is a document to fill.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from effcalc.output.embed.literal import Literal, spans_literal
from effcalc.output.embed.text import Lines

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline

_RULES = (
    *("table", "fence", "code", "blockquote", "hr", "list", "heading", "lheading", "html_block"),
    *("backticks", "escape", "autolink"),
)
_MAX_TAG = 1000  # characters of a tag, of which an attribute may hold a backtick


@lru_cache(maxsize=2)
def markdown_literal(text: str) -> Literal:
    """Code blocks, and comments in code spans."""
    parser, lines = _parser(), Lines(text)
    spans: list[tuple[int, int]] = []
    after = 0  # the comments of a table's cells before this one on its line
    for token in parser.parse(text):
        if token.map is None:
            continue
        first, end = token.map
        if token.type in ("fence", "code_block"):
            spans.append((lines.start(first + 1), lines.end(end)))
        elif token.type == "inline" and "<!--" in token.content:
            after = max(after, lines.start(first + 1))
            for is_text in _text_comments(parser, token.content):
                after = text.find("<!--", after) + 4
                if is_text:
                    spans.append((after - 4, after))
    return spans_literal(spans)


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("zero").enable(_RULES)
    parser.options["html"] = True
    parser.core.ruler.enableOnly(["normalize", "block"])
    parser.inline.ruler.before("escape", "html", _html)
    return parser


def _text_comments(parser: MarkdownIt, content: str) -> list[bool]:
    """Say of each "<!--" in a block's text whether it is only text."""
    starts: set[int] = set()
    parser.inline.parse(content, parser, {"starts": starts}, [])
    are_text, at = [], content.find("<!--")
    while at >= 0:
        are_text.append(at not in starts)
        at = content.find("<!--", at + 4)
    return are_text


def _html(state: StateInline, silent: bool) -> bool:
    """Step over a comment, whose start is noted, or a tag: an inline rule of markdown-it.

    In place of its `html_inline`, which copies the rest of the text for each tag. A comment that
    is not closed is noted too: effcalc refuses it. So is one behind a backslash, with which the
    output of a region may end.
    """
    from markdown_it.common.html_re import HTML_TAG_RE

    at = state.pos
    if state.src.startswith("<!--", at):
        state.env["starts"].add(at)
        end = -1 if "unclosed" in state.env else state.src.find("-->", at + 4)
        if end < 0:
            state.env["unclosed"] = True
        state.pos = end + 3 if end >= 0 else at + 4
        return True
    if state.src.startswith("\\<!--", at):
        state.pos += 1
        return True
    tag = HTML_TAG_RE.match(state.src[at : at + _MAX_TAG]) if state.src[at] == "<" else None
    if tag is None:
        return False
    state.pos += tag.end()
    return True
