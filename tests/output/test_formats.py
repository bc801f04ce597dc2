"""Every format carries the same table, and each is read back by a real parser."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.resources import files

import jsonschema
import pytest
from docutils import nodes
from docutils.core import publish_doctree
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from effcalc.base.errors import InputError, one_line
from effcalc.base.units import UNITS
from effcalc.output.formats import FORMATS, find_format, render
from effcalc.output.formats.html import html_fragment
from effcalc.output.grid import TableLook, text_width, wrap
from effcalc.output.table import Column, Table

PEOPLE = ["table", "markdown", "rst", "latex", "html"]
PROGRAMS = ["csv", "json", "jsonl"]
SCHEMA = json.loads(files("effcalc").joinpath("output/schema/table.schema.json").read_text())

COLUMNS = (
    Column("name", "Name", help="what it is"),
    Column("params", "Parameters", "count", "trainable"),
    Column("growth", "Real growth", "ratio", "against φ = 0"),
    Column("hidden", "Hidden", "int", default=False),
)
ROWS = [
    {"name": "b0", "params": 5_288_548, "growth": 1.0, "hidden": 1},
    {"name": "a|b*c_d_e", "params": None, "growth": float("nan"), "hidden": 2},
]


def make(rows=ROWS, columns=COLUMNS, **more) -> Table:
    return Table("demo", "A & B <i>", columns, rows, **more)


def text_of(table: Table, name: str, **look) -> str:
    return "".join(render(table, name, TableLook(**look)))


def markdown_cells(source: str) -> list[str]:
    tokens = MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(source)
    cells = [b for a, b in itertools.pairwise(tokens) if a.type in ("th_open", "td_open")]
    return ["".join(child.content for child in cell.children) for cell in cells]


class _Html(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag in ("th", "td"):
            self.cells.append("")

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] in ("th", "td"):
            self.cells[-1] += data


def test_every_format_is_registered_once() -> None:
    assert list(FORMATS) == ["table", "csv", "html", "json", "jsonl", "latex", "markdown", "rst"]
    assert list(FORMATS) == [format.name for format in FORMATS.values()]
    suffixes = [suffix for format in FORMATS.values() for suffix in format.suffixes]
    assert len(set(suffixes)) == len(suffixes)


def test_a_format_is_found_by_name_or_by_the_file() -> None:
    assert find_format(None).name == "table"
    assert find_format(None, "a/B3.JSON").name == "json"
    assert find_format("csv", "b3.json").name == "csv"
    with pytest.raises(InputError, match="'markdwon' \\(did you mean 'markdown'\\?\\); known: tab"):
        find_format("markdwon")


@pytest.mark.parametrize("name", PEOPLE)
def test_people_get_fitted_units_the_default_columns_and_the_conventions(name: str) -> None:
    text = text_of(make(notes=("A note.",)), name)
    assert "5.289M" in text
    assert "Hidden" not in text
    assert "A note." in text
    assert "multiply-accumulates of convolutions" in text
    assert "FLOPs = 2 " in text
    assert "5.288548M" in text_of(make(), name, digits=8)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_get_exact_values_of_all_columns(name: str) -> None:
    text = text_of(make(), name)
    assert "5288548" in text
    assert "hidden" in text


def test_a_terminal_table_is_aligned() -> None:
    assert text_of(make(total={"params": 5_288_548}, conventions={}), "table") == (
        "A & B <i>\n\n"
        "                         Real\n"
        "Name       Parameters  growth\n"
        "─────────────────────────────\n"
        "b0             5.289M  1.000×\n"
        "a|b*c_d_e           –     nan\n"
        "─────────────────────────────\n"
        "               5.289M\n"
    )


def test_a_single_row_shows_each_figure_and_its_meaning() -> None:
    assert text_of(make(ROWS[:1], conventions={}), "table") == (
        "A & B <i>\n\n"
        "Name             b0             what it is\n"
        "Parameters   5.289M  5,288,548  trainable\n"
        "Real growth  1.000×             against φ = 0\n"
    )
    assert "Meaning" not in text_of(make(ROWS[:1], layout="rows"), "markdown")
    assert "| Meaning" in text_of(make(ROWS[:1], layout="record"), "markdown")


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], []])
def test_colour_changes_no_text(rows) -> None:
    coloured = text_of(make(rows), "table", color=True)
    assert "\x1b[1m" in coloured
    assert "\x1b" not in text_of(make(rows), "table")
    assert re.sub(r"\x1b\[[0-9]*m", "", coloured) == text_of(make(rows), "table")


@given(st.integers(20, 200), st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_text_wraps_to_the_terminal_and_numbers_are_never_cut(width: int, names) -> None:
    rows = [{"name": name, "params": 5_288_548, "growth": 1.5} for name in names]
    text = text_of(make(rows, layout="rows", conventions={}), "table", width=width)
    assert text.count("5.289M") == len(rows)
    for line in text.splitlines():
        assert text_width(line) <= max(width, 16 + 2 + 10 + 2 + 6)


@given(st.text(max_size=200), st.integers(1, 40))
def test_wrapping_loses_nothing(text: str, width: int) -> None:
    lines = wrap(one_line(text), width)
    assert "".join(lines).replace(" ", "") == one_line(text).replace(" ", "")
    assert all(text_width(line) <= max(width, 2) for line in lines)  # a wide character takes 2


def test_wide_characters_line_up() -> None:
    rows = [{"name": name, "params": 1} for name in ("網絡", "ab", "e\u0301e\u0301")]
    text = text_of(make(rows, COLUMNS[:2], conventions={}), "table")
    assert len({text_width(line) for line in text.splitlines()[2:]}) == 1


printable = st.text(max_size=20).map(lambda text: one_line(text, limit=100))


@given(printable, printable)
def test_markdown_says_the_text_and_nothing_more(title: str, cell: str) -> None:
    table = Table(
        "demo", title, (Column("a", title), Column("b", "b", "int")), [{"a": cell, "b": 1}]
    )
    source = text_of(table, "markdown")
    assert markdown_cells(source) == [title, "b", cell, "1"]


@given(st.text(st.sampled_from("-+=>#1.)*_`[]!<&;a :|\\~"), max_size=12))
def test_a_markdown_note_is_one_paragraph(note: str) -> None:
    source = text_of(make(notes=(note,), conventions={}), "markdown")
    tokens = MarkdownIt("commonmark").enable("table").parse(source)
    types = [token.type for token in tokens if token.level == 0 and token.nesting >= 0]
    assert types in (
        ["paragraph_open", "table_open"],
        ["paragraph_open", "table_open", "paragraph_open"],
    )
    if len(types) == 3:
        said = "".join(child.content for child in tokens[-2].children)
        assert " ".join(said.split()) == one_line(note)


def rst(source: str) -> nodes.document:
    """Parse reStructuredText; a warning is an error."""
    settings = {"report_level": 2, "halt_level": 2, "_disable_config": True}
    document = publish_doctree(source, settings_overrides=settings)
    for remark in list(document.findall(nodes.system_message)):  # "ordinary text, as so short"
        remark.parent.remove(remark)
    return document


risky = st.text(st.sampled_from("-+=>#1.)(aiv*_`[]|{}<@:/\\ \"'^~!&$%"), max_size=12).map(one_line)


@given(printable | risky, printable | risky)
def test_rst_says_the_text_and_nothing_more(title: str, cell: str) -> None:
    columns = (Column("a", "a"), Column("b", title, "int"))
    rows = [{"a": cell, "b": -1}, {"a": "A. b", "b": None}]
    total = {"a": cell, "b": 3}
    table = Table("demo", title, columns, rows, (cell,), total, conventions={"a": "x"})
    document = rst(text_of(table, "rst"))
    said = [" ".join(entry.astext().split()) for entry in document.findall(nodes.entry)]
    assert said == ["a", title, cell, "-1", "A. b", "–", cell, "3"]
    (found,) = document.findall(nodes.table)
    assert [one_line(t.astext()) for t in found.findall(nodes.title)] == [title] * bool(title)
    after = [one_line(part.astext()) for part in document.children[1:]]
    assert after == [cell] * bool(cell) + ["a = x."]
    assert not list(document.findall(nodes.reference))


@given(printable, printable)
def test_html_escapes_everything(title: str, cell: str) -> None:
    table = Table("demo", title, (Column("a", title, help=cell),), [{"a": cell}], notes=(cell,))
    assert _Html(text_of(table, "html")).cells == [title, cell]


def test_html_needs_nothing_from_elsewhere() -> None:
    page = text_of(make(total={"params": 1}), "html")
    assert page.startswith("<!doctype html>")
    assert "color-scheme:light dark" in page
    assert not re.search(r"https?:|src=|<script|@import|url\(", page)
    fragment = "".join(html_fragment(make()))
    assert fragment.startswith("<figure")
    assert fragment in text_of(make(), "html")


def test_latex_uses_booktabs_and_escapes() -> None:
    row = {"name": r'a_b%{c}$\#&~^"', "growth": -1.5}
    text = text_of(make([row], layout="rows", total={"params": 12}), "latex")
    assert r"a\_b\%\{c\}\$\textbackslash{}\#\&\textasciitilde{}\textasciicircum{}''" in text
    assert r"$-$1.500$\times$" in text
    assert r"\caption{A \& B \textless{}i\textgreater{}}" in text
    for rule in (r"\toprule", r"\bottomrule"):
        assert text.count(rule) == 1
    assert text.count(r"\midrule") == 2
    assert r"\label" not in text


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_latex_compiles_whatever_the_text(tmp_path) -> None:
    text = "".join(map(chr, range(32, 127))) + "×·≤≥–µ²φαβγΔ"
    columns = (Column("a", text), Column("b", text, "change"))
    rows = [{"a": start + text, "b": -3.2} for start in ("[", "*", "x", "[1]")]
    table = Table("demo", text, columns, rows, (text,), {"a": text}, layout="rows")
    source = r"\documentclass{article}\usepackage{booktabs}\begin{document}" + text_of(
        table, "latex"
    )
    tmp_path.joinpath("a.tex").write_text(source + r"\end{document}", encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "a.tex"],
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_csv_is_the_keys_and_the_rows_alone() -> None:
    rows = [{"name": 'a,"b"\n', "params": 10**5000, "growth": 0.1, "hidden": True}, {}]
    text = text_of(make(rows, notes=("n",), total={"params": 1}), "csv")
    read = list(csv.reader(io.StringIO(text)))
    assert read == [
        ["name", "params", "growth", "hidden"],
        ['a,"b"\n', "1" + "0" * 5000, "0.1", "true"],
        ["", "", "", ""],
    ]


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(
    st.lists(st.dictionaries(st.sampled_from(["a", "b"]), values)),
    st.lists(st.text()),
    st.none() | st.dictionaries(st.sampled_from(["a", "b"]), values),
    st.sampled_from(UNITS),
)
@settings(max_examples=60)
def test_json_follows_its_schema_and_keeps_values(rows, notes, total, unit) -> None:
    columns = (Column("a", "A", unit), Column("b", "B"))
    table = Table("demo", "T", columns, rows, tuple(notes), total, environment={"device": "cpu"})
    text = text_of(table, "json")
    text.encode()
    read = json.loads(text, parse_constant=pytest.fail)  # NaN and Infinity are not JSON
    jsonschema.validate(read, SCHEMA)
    assert read["notes"] == notes
    for row, was in zip(read["rows"], rows, strict=True):
        for key in ("a", "b"):
            value = was.get(key)
            if isinstance(value, float) and not math.isfinite(value):
                value = None
            assert row[key] == value
            assert type(row[key]) is type(value)


def test_json_lines_are_the_rows_of_json() -> None:
    rows = [{"name": 'a,"b"\n', "params": 10**5000, "growth": math.nan, "hidden": True}, {}]
    lines = text_of(make(rows, notes=("n",), total={"params": 1}), "jsonl").splitlines()
    assert [json.loads(line, parse_int=str) for line in lines] == json.loads(
        text_of(make(rows), "json"), parse_int=str
    )["rows"]


def test_formats_that_can_be_appended_to_say_where_their_rows_begin() -> None:
    rows = [{"name": "x", "params": 1}, {"name": "y", "params": 2}]
    for format in FORMATS.values():
        if format.head is not None:
            whole = text_of(make(rows), format.name)
            head, *more = [text_of(make([row]), format.name).splitlines(True) for row in rows]
            appended = head + [line for lines in more for line in lines[format.head :]]
            assert "".join(appended) == whole


def test_json_and_csv_write_ints_of_any_size() -> None:
    rows = [{"name": "x", "params": 10**5000 + 1}]
    for name in FORMATS:
        assert text_of(make(rows), name)
    assert "1" + "0" * 4999 + "1" in text_of(make(rows), "json")


@pytest.mark.parametrize("name", PROGRAMS)
def test_formats_for_programs_stream(name: str) -> None:
    read = []

    def rows():
        for i in range(100_000):
            read.append(i)
            yield {"name": "x", "params": i}

    pieces = render(make(rows()), name)
    while not read:
        next(pieces)
    assert len(read) == 1
    assert sum(piece.count("x") for piece in pieces) > 99_000


@pytest.mark.parametrize("name", PEOPLE)
def test_formats_for_people_have_a_row_limit(name: str) -> None:
    rows = ({"name": "x"} for _ in range(10_001))
    with pytest.raises(InputError, match=f"`format` {name} holds at most 10,000 rows"):
        text_of(make(rows), name)


def test_schema_lists_every_unit() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    column = SCHEMA["properties"]["columns"]["items"]["properties"]
    assert tuple(column["unit"]["enum"]) == UNITS


def test_no_columns_by_default_means_all_of_them() -> None:
    table = make([{"hidden": 7}], columns=COLUMNS[3:])
    assert all("7" in text_of(table, name) for name in FORMATS)
