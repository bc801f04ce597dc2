"""The Markdown cells of a notebook: only the characters of a region change in its JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from effcalc.base.errors import InputError, one_line
from effcalc.output.embed.edits import Edit, apply, diff_of
from effcalc.output.embed.regions import Compute, checked_edits
from effcalc.output.embed.syntax import Syntax
from effcalc.output.embed.text import DocumentText

_TOKEN = re.compile(r'\s*(?:("[^"\\]*(?:\\.[^"\\]*)*")|([{}\[\]:,])|([^\s{}\[\]:,"]+))', re.S)
_CHARACTER = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|[^\\]", re.S
)


class Cell(NamedTuple):
    """A cell's source: the JSON strings whose texts make it up, as positions of their quotes."""

    strings: list[tuple[int, int]]
    is_list: bool


def fill_cells(
    document: DocumentText, where: str, syntax: Syntax, compute: Compute
) -> tuple[str, list[str]]:
    """Fill the Markdown cells of a notebook; return its text, and a diff of the cells' sources."""
    text = document.text
    try:
        json.loads(text)
    except RecursionError:
        raise InputError(f"{where}: is nested too deeply to be read") from None
    except ValueError as error:
        raise InputError(f"{where}: is not JSON: {one_line(error)}") from None
    edits: list[Edit] = []
    diff: list[str] = []
    for number, cell in _markdown_cells(text):
        source = "".join(json.loads(text[a:b]) for a, b in cell.strings)
        if "effcalc" not in source:
            continue
        at = f"{where}: cell {number}"
        changes = checked_edits(source, document, at, syntax, compute)
        if changes:
            diff += diff_of(source, changes, at)
            edits += _raw_edits(text, cell, changes)
    return apply(text, edits), diff


def _markdown_cells(text: str) -> Iterator[tuple[int, Cell]]:
    """Yield the number of each Markdown cell, from 1, and its source."""
    kinds: dict[int, str] = {}
    cells: dict[int, Cell] = {}
    for path, a, b in _strings(text):
        match path:
            case ["cells", int(i), "cell_type"]:
                kinds[i] = json.loads(text[a:b])
            case ["cells", int(i), "source"]:
                cells[i] = Cell([(a, b)], False)
            case ["cells", int(i), "source", int(j)]:
                if j == 0:
                    cells[i] = Cell([], True)
                cells[i].strings.append((a, b))
    for i in sorted(cells):
        if kinds.get(i) == "markdown":
            yield i + 1, cells[i]


def _strings(text: str) -> Iterator[tuple[list[str | int], int, int]]:
    """Yield the path and the place of every string value of a JSON text that was checked."""
    path: list[Any] = []  # keys of objects, indices of arrays
    key_next = False
    for token in _TOKEN.finditer(text):
        string, sign = token[1], token[2]
        if sign == "{":
            path.append("")
            key_next = True
        elif sign == "[":
            path.append(0)
            key_next = False
        elif sign in ("}", "]"):
            path.pop()
            key_next = False
        elif sign == ",":
            key_next = isinstance(path[-1], str)
            if not key_next:
                path[-1] += 1
        elif sign == ":":
            key_next = False
        elif string is not None and key_next:
            path[-1] = json.loads(string)
        elif string is not None:
            yield path, token.start(1), token.end(1)


def _raw_edits(text: str, cell: Cell, edits: list[Edit]) -> Iterator[Edit]:
    """Turn edits of a cell's source into edits of the JSON text around it."""
    # Where each character of the source stands in the JSON text.
    places = [m.span() for a, b in cell.strings for m in _CHARACTER.finditer(text, a + 1, b - 1)]
    ends = {b - 1 for _, b in cell.strings[:-1]}
    gap = _gap(text, cell)
    for edit in edits:
        start = places[edit.start][0] if edit.start < len(places) else cell.strings[-1][1] - 1
        end = places[edit.end - 1][1] if edit.end > edit.start else start
        new = json.dumps(edit.new, ensure_ascii=False)[1:-1]
        if cell.is_list:  # a string for each line, as where there were none of them before
            lines = edit.new.split("\n")
            texts = [json.dumps(line, ensure_ascii=False)[1:-1] for line in lines]
            new = f'\\n"{gap}"'.join(texts)
            if end in ends and edit.new.endswith("\n"):
                new = new.removesuffix(f'"{gap}"')  # what follows is a string of its own already
        yield Edit(start, end, new)


def _gap(text: str, cell: Cell) -> str:
    """Return what stands between two strings of a cell's source: a comma and its white space."""
    if len(cell.strings) > 1:
        return text[cell.strings[0][1] : cell.strings[1][0]]
    before = re.search(r"\s*\Z", text[: cell.strings[0][0]])
    return "," + (before[0] if before else "")
