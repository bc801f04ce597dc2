"""Documents filled by `effcalc embed`: only what is between the markers changes."""

from __future__ import annotations

import codecs
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from effcalc.base.errors import InputError, RunError
from effcalc.output.embed import Output, fill
from effcalc.output.embed.syntax import SYNTAXES

TABLE = "| φ |\n| - |\n| 3 |\n"
MD = "<!-- effcalc: scale -->{}<!-- effcalc end -->"


def table(*_) -> Output:
    return Output(TABLE)


def figure(*_) -> Output:
    return Output("19.34M", inline=True)


def filled(text: str, name: str = "a.md", compute=table) -> str:
    result = fill(text.encode(), name, compute)
    again = fill(result.data, name, compute)
    assert (again.data, again.diff) == (result.data, [])  # filling twice is filling once
    return result.data.decode()


# Where the comments of each kind of document stand, and around what.
BLOCKS = {
    "a.md": ("<!-- effcalc: scale -->", "<!-- effcalc end -->"),
    "a.myst": ("% effcalc: scale", "% effcalc end"),
    "a.html": ("<!--effcalc: scale-->", "<!--effcalc end-->"),
    "a.rst": (".. effcalc: scale", ".. effcalc end"),
    "a.tex": ("% effcalc: scale", "% effcalc end"),
}
LINES = {
    "a.md": "B4 <!-- effcalc: value params -->{}<!-- effcalc end --> parameters",
    "a.html": "<p>B4 <!-- effcalc: value params -->{}<!-- effcalc end --> parameters",
    "a.rst": ".. effcalc: value params\n.. |b4| replace:: {}\n.. effcalc end\n\nB4 has |b4|.",
    "a.tex": "B4, 50\\% % effcalc: value params\n{}% effcalc end\n parameters",
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("eol", ["\n", "\r\n", "\r"])
def test_a_table_stands_between_comments_on_lines_of_their_own(name, eol):
    begin, end = BLOCKS[name]
    blank = "" if name == "a.tex" else "\n"
    for old in ("", "old\n", "\nold\n\n"):
        text = f"é {{}}\n\n{begin}\n{{}}{end}\nafter".replace("\n", eol)
        expected = text.format("x", f"{blank}{TABLE}{blank}".replace("\n", eol))
        assert filled(text.format("x", old.replace("\n", eol)), name) == expected


@pytest.mark.parametrize("name", LINES)
def test_a_figure_stands_inside_a_line(name):
    for old in ("", "19.3M", "a b"):
        assert filled(LINES[name].format(old), name, figure) == LINES[name].format("19.34M")


def test_blanks_around_a_figure_stay():
    for name, text in (
        ("a.md", "B4 <!-- effcalc: value params --> {} <!-- effcalc end -->"),
        ("a.tex", "B4 % effcalc: value params\n  {} % effcalc end\nparameters"),
    ):
        assert filled(text.format("old"), name, figure) == text.format("19.34M")


@pytest.mark.parametrize("name", BLOCKS)
def test_a_figure_may_have_a_line_of_its_own(name):
    begin, end = BLOCKS[name]
    blank = "" if name == "a.tex" else "\n"
    expected = f"{begin}\n{blank}19.34M\n{blank}{end}\n"
    assert filled(f"{begin}\n{end}\n", name, figure) == expected


@pytest.mark.parametrize(
    ("lead", "inside"), [("  ", "  "), ("> ", "> "), ("- ", "  "), ("1. ", "   ")]
)
def test_a_block_keeps_the_indentation_of_its_comment(lead, inside):
    text = f"{lead}<!-- effcalc: scale -->\n{inside}<!-- effcalc end -->\n"
    begin, *body, end, last = filled(text).split("\n")
    assert (begin, end, last) == (*text.split("\n")[:2], "")
    assert body == [f"{inside}{line}".rstrip() for line in ("", *TABLE.split("\n"))]


plain = st.text(st.characters(exclude_characters="<`~%.\\>-*", exclude_categories=["Cs"]))
bytes_ = st.binary(max_size=40).filter(lambda b: not set(b) & set(b"<`~%.\\>-*"))
ENCODINGS = [
    ("utf-8", b""),
    ("utf-8", codecs.BOM_UTF8),
    ("utf-16-le", codecs.BOM_UTF16_LE),
    ("utf-16-be", codecs.BOM_UTF16_BE),
    ("utf-32-le", codecs.BOM_UTF32_LE),
]


@given(
    st.lists(st.tuples(plain, st.booleans()), min_size=1, max_size=4),
    plain,
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(ENCODINGS),
    st.sampled_from(sorted(BLOCKS)),
)
def test_characters_outside_regions_stay_in_every_encoding(parts, last, eol, encoding, name):
    # UTF-16's byte order mark and a NUL are that of UTF-32: no reader can tell the two apart.
    assume(not (encoding[0] == "utf-16-le" and parts[0][0].startswith("\0")))

    def write(body: str) -> bytes:
        text = ""
        for before, inline in parts:
            if inline and name in LINES and name != "a.rst":
                line = LINES[name].format("19.34M" if body else "old").replace("\n", eol)
            else:
                begin, end = (comment.replace("scale", "table") for comment in BLOCKS[name])
                line = f"{begin}{eol}{body or 'old' + eol}{end}"
            text += f"{before}{eol}{eol}{line}{eol}"
        return encoding[1] + (text + last).encode(encoding[0])

    def compute(command, _):
        return Output(TABLE if command == "table" else "19.34M", inline=command != "table")

    blank = "" if name == "a.tex" else eol
    wanted = write(blank + TABLE.replace("\n", eol) + blank)
    result = fill(write(""), name, compute)
    assert result.data == wanted
    assert result.diff
    assert fill(wanted, name, compute) == (wanted, [])


@given(bytes_, bytes_, st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_bytes_outside_regions_stay_whatever_they_are(before, after, eol, bom):
    start, end = b"<!-- effcalc: scale -->", b"<!-- effcalc end -->"
    head = codecs.BOM_UTF8 * bom + before + eol + start
    result = fill(head + eol + b"old" + eol + end + after, "a.md", lambda *_: Output("| a |"))
    assert result.data == head + eol * 2 + b"| a |" + eol * 2 + end + after
    assert fill(result.data, "a.md", lambda *_: Output("| a |")) == (result.data, [])


def test_a_document_that_is_not_utf_8_gets_no_utf_8():
    latin = "Größe <!-- effcalc: value phi --><!-- effcalc end -->".encode("latin-1")
    result = fill(latin, "a.md", lambda *_: Output("φ = 3", inline=True))
    assert result.data.decode("latin-1") == (
        "Größe <!-- effcalc: value phi -->&#966; = 3<!-- effcalc end -->"
    )
    with pytest.raises(
        InputError, match="line 1: the document is not UTF-8, and the output has 'φ'"
    ):
        fill(
            "Größe % effcalc: value\n% effcalc end".encode("latin-1"),
            "a.tex",
            lambda *_: Output("φ", inline=True),
        )
    with pytest.raises(InputError, match="is not the UTF-16-LE that its first bytes announce"):
        fill(codecs.BOM_UTF16_LE + b"effcalc!x", "a.md", table)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.md", "\n<!-- effcalc: scale -->\n", "a.md: line 2: the region has no"),
        ("a.md", "<!-- effcalc end -->", "line 1: this end has no"),
        (
            "a.md",
            "<!-- effcalc: a -->\n<!-- effcalc: b -->\n",
            "line 2: a region begins inside the",
        ),
        ("a.md", "a\n<!-- effcalc: scale", "line 2: the comment is not closed"),
        ("a.md", "<!-- effcalc: a -->\n% effcalc end\n", "line 2: this end is not the kind"),
        ("a.md", "a <!-- effcalc: scale --><!-- effcalc end -->", "line 1: a table needs its"),
        ("a.md", "<!-- effcalc: scale -->x\n<!-- effcalc end -->", "give `effcalc end` a line"),
        ("a.tex", "a\r% effcalc: scale\r", "a.tex: line 2: the region has no"),
        ("a.rst", "\n\n.. effcalc end", "a.rst: line 3: this end has no"),
        ("a.txt", "effcalc", "a.txt: is no document that effcalc fills"),
        ("a.ipynb", '{"cells": "effcalc', "a.ipynb: is not JSON"),
        ("a.ipynb", "[" * 100_000 + "effcalc", "a.ipynb: is nested too deeply"),
    ],
)
def test_broken_markers_name_file_and_line(name, text, said):
    with pytest.raises(InputError, match=said):
        fill(text.encode(), name, table)


def test_an_error_of_a_command_names_file_and_line():
    def compute(*_):
        raise RunError("it fell")

    with pytest.raises(RunError, match=r"^a.md: line 2: it fell$"):
        fill(("\n" + MD.format("\n")).encode(), "a.md", compute)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", "```md\n<!-- effcalc: x -->\n```\n"),
        ("a.md", "````\n```\n<!-- effcalc: x -->\n````\n"),
        ("a.md", "- ~~~ a`b\n  <!-- effcalc: x -->\n  ~~~\n"),
        ("a.md", "> ```\n> <!-- effcalc: x -->\n\n" + MD.format("\n\n| φ |\n| - |\n| 3 |\n\n")),
        ("a.md", "write `<!-- effcalc: x -->` so"),
        ("a.md", "write ``a ` b <!-- effcalc: x\n-->`` so"),
        ("a.md", "a comment opens with `<!--`.\n\n" + MD.format("\n\n| φ |\n| - |\n| 3 |\n\n")),
        ("a.md", "```inline```\n\n" + MD.format("\n\n| φ |\n| - |\n| 3 |\n\n")),
        ("a.md", "one ` tick\n\nand " + "<!-- effcalc --> ` no more"),
        # Indented code: by four blanks or a tab, and by two more than a list's text.
        ("a.md", "So:\n\n    <!-- effcalc: x -->\n    <!-- effcalc end -->\n"),
        ("a.md", "\t<!-- effcalc: x -->\n"),
        ("a.md", "    % effcalc: x\n"),
        ("a.md", "- a\n\n      <!-- effcalc: x -->\n"),
        ("a.md", "> So:\n>\n>     <!-- effcalc: x -->\n"),
        ("a.md", "1. a\n\n   ```\n   <!-- effcalc: x -->\n   ```\n"),
        ("a.md", "- > ~~~\n  > <!-- effcalc: x -->\n\n" + MD.format("\n\n| φ |\n| - |\n| 3 |\n\n")),
        ("a.md", "| a |\n| - |\n| `<!-- effcalc: x -->` |\n"),
        ("a.html", "<script>\n'<!-- effcalc: x -->'\n</script>"),
        ("a.tex", "\\begin{verbatim}\n% effcalc: x\n\\end{verbatim}\n"),
        ("a.tex", "% note % effcalc: x\n\\% effcalc: x\n"),
        ("a.rst", "So::\n\n   .. effcalc: x\n"),
        ("a.rst", ".. code-block:: rst\n\n   .. effcalc: x\n"),
        ("a.rst", "..\n   .. effcalc: x\n"),
        ("a.rst", "text .. effcalc: x\n"),
    ],
)
def test_what_is_shown_as_text_is_no_marker(name, text):
    assert filled(text, name) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", "one ` tick\n\nand <!-- effcalc: x -->{}<!-- effcalc end --> ` another"),
        ("a.md", "an escaped \\` tick <!-- effcalc: x -->{}<!-- effcalc end --> `"),
        ("a.md", "`a` <!-- effcalc:\n x\n-->{}<!-- effcalc end --> `b`"),
        ("a.md", "``` a`b\n\n<!-- effcalc: x -->{}<!-- effcalc end -->"),
        ("a.md", "> ```\n> code\n\nthen <!-- effcalc: x -->{}<!-- effcalc end -->"),
        # Indented text of a list and of a paragraph is no code.
        ("a.md", "- a\n\n    <!-- effcalc: x -->{}<!-- effcalc end -->\n"),
        ("a.md", "a\n      b <!-- effcalc: x -->{}<!-- effcalc end -->\n"),
        ("a.md", "| a | b |\n| - | - |\n| ` | <!-- effcalc: x -->{}<!-- effcalc end --> ` |\n"),
        ("a.md", "<a title='`'> <!-- effcalc: x -->{}<!-- effcalc end --> `"),
        ("a.html", "<!-- a --><!-- effcalc: x -->{}<!-- effcalc end -->"),
        ("a.tex", "a \\\\% effcalc: x\n{}% effcalc end"),
        ("a.rst", ".. note::\n\n   .. effcalc: x\n      --a\n\n   {}\n\n   .. effcalc end"),
    ],
)
def test_what_only_looks_like_code_is_a_marker(name, text):
    assert filled(text.format("old"), name, figure) == text.format("19.34M")


@pytest.mark.parametrize("evil", ["<!-- effcalc end -->", "% effcalc end", "```\n", "a\n<!--"])
@pytest.mark.parametrize(
    ("name", "text"), [("a.md", MD.format("\n")), ("a.tex", "% effcalc: x\n% effcalc end")]
)
def test_output_cannot_end_its_region(name, text, evil):
    try:
        new = fill(text.encode(), name, lambda *_: Output(evil)).data
    except InputError as error:
        new, said = text.encode(), str(error)
        assert "reads as one of its comments" in said
    # What is left is one region, whose output may be replaced.
    assert filled(new.decode(), name) == filled(text, name)


# --- notebooks ---------------------------------------------------------------------------------


def notebook(sources: list[object], **dump) -> str:
    cells = [{"cell_type": "markdown", "metadata": {}, "source": s} for s in sources]
    cells.append({"cell_type": "code", "source": ["<!-- effcalc: code -->"], "outputs": []})
    return json.dumps({"metadata": {"a": [1.0, "é"]}, "cells": cells, "nbformat": 4}, **dump)


def sources_of(text: str) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"]]


WRITERS = [{"indent": 1, "ensure_ascii": False}, {"indent": None}, {"separators": (",", ":")}]


@given(
    plain.map(lambda text: text.replace("effcalc", "")),
    st.booleans(),
    st.booleans(),
    st.sampled_from(WRITERS),
    st.sampled_from(["", "old\n", "é\n\U0001f600\n", '"\\\n']),
)
def test_a_notebook_keeps_its_json(before, as_list, inline, dump, old):
    begin, end = "<!-- effcalc: x -->", "<!-- effcalc end --> \\é\n"
    if inline:
        source, wanted = (f"{before}\na {begin}{t}{end}" for t in (old.replace("\n", ""), "19.34M"))
    else:
        source, wanted = (f"{before}\n{begin}\n{t}{end}" for t in (old, f"\n{TABLE}\n"))
    lines = source.splitlines(keepends=True) if as_list else source
    text = notebook(["# é\n", lines, ["a\n", "b"]], **dump)
    compute = figure if inline else table
    new = filled(text, "a.ipynb", compute)
    assert sources_of(new) == ["# é\n", wanted, "a\nb", "<!-- effcalc: code -->"]
    # All that is not the region is there, character by character: the same text before and after.
    head, tail = (
        json.dumps(x, ensure_ascii=dump.get("ensure_ascii", True))[1:-1] for x in (begin, end)
    )
    assert new[: new.index(head) + len(head)] == text[: text.index(head) + len(head)]
    assert new[new.rindex(tail) :] == text[text.rindex(tail) :]


def test_a_cell_is_written_as_a_list_of_lines():
    text = notebook([["<!-- effcalc: x -->\n", "<!-- effcalc end -->"]], indent=1)
    new = json.loads(filled(text, "a.ipynb"))["cells"][0]["source"]
    lines = ["\n", *TABLE.splitlines(keepends=True), "\n"]
    assert new == ["<!-- effcalc: x -->\n", *lines, "<!-- effcalc end -->"]
    said = fill(text.encode(), "a.ipynb", table).diff
    assert said[:2] == ["--- a.ipynb: cell 1", "+++ a.ipynb: cell 1"]
    assert "+| φ |" in said


def test_a_cells_indented_code_is_no_marker():
    text = notebook(["    <!-- effcalc: x -->\n", ["- a\n", "\n", "      % effcalc: x\n"]])
    assert filled(text, "a.ipynb") == text


@pytest.mark.parametrize(
    "text",
    [
        "a " + "<!--" * 30_000,
        "<!--" * 30_000,
        "a <!--\n" * 20_000,
        "> ```\n" * 20_000,
        "> ```\n\n" * 10_000,
        "a <b " * 20_000,
        "` " * 40_000,
        ">" * 100_000,
        "- " * 50_000,
    ],
)
def test_a_hostile_document_takes_time_by_its_length(text):
    """Each takes a second; where something is quadratic, the test takes minutes."""
    assert filled(f"{text} effcalc") == f"{text} effcalc"


# --- diffs -------------------------------------------------------------------------------------


def test_a_diff_has_the_lines_of_the_document(tmp_path):
    import subprocess

    text = "\n".join(f"line {i}" for i in range(30)).split("\n")
    text[5:5] = ["<!-- effcalc: scale -->", "old", "<!-- effcalc end -->"]
    text[20] = "a <!-- effcalc: value -->1<!-- effcalc end --> and"
    text[21] = "b " + ", ".join(f"<!-- effcalc: value -->{i}<!-- effcalc end -->" for i in (2, 3))
    document = "\n".join(text) + "\n"
    result = fill(document.encode(), "a.md", lambda c, _: table() if c == "scale" else figure())
    (tmp_path / "a.md").write_text(document)
    diff = "\n".join(result.diff) + "\n"
    done = subprocess.run(
        ["patch", "-p0"], input=diff, cwd=tmp_path, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout
    assert "offset" not in done.stdout
    assert (tmp_path / "a.md").read_bytes() == result.data


def test_every_kind_of_document_is_tried_here():
    assert {name for s in SYNTAXES for name in BLOCKS if name.endswith(s.suffixes)} == set(BLOCKS)
    assert all(any(name.endswith(s.suffixes) for name in LINES) for s in SYNTAXES)
