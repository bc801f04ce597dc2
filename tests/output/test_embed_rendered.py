"""Filled documents, read by what really renders them: all they hold is there, and no more."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess

import pytest
from docutils import nodes
from docutils.core import publish_doctree, publish_string
from markdown_it import MarkdownIt

from tests.cli_helpers import run

# Two rows and figures that hand arithmetic gives elsewhere: B0 has 5,288,548 parameters.
TABLE = "scale --phi 0:1 --columns phi,params,nearest"
CELLS = ["φ", "params", "nearest", "0", "5.289M", "is b0", "1", "9.110M"]
B4 = "value params --variant b4 --exact"
EXACT = "19,341,616"


@pytest.fixture
def fill(tmp_path, monkeypatch):
    """Return what writes a document, fills it, and returns its text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "img").mkdir()

    def filled(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        result = run("embed", name)
        assert result.code == 0, result.err
        return (tmp_path / name).read_text(encoding="utf-8")

    return filled


MARKDOWN = f"""# Plan

- In a list:

  <!-- effcalc: {TABLE} -->
  <!-- effcalc end -->

> And quoted:
>
> <!-- effcalc: {TABLE} -->
> <!-- effcalc end -->

Directly after text
<!-- effcalc: {TABLE} -->
<!-- effcalc end -->
B4 has <!-- effcalc: {B4} --><!-- effcalc end --> parameters.

<!-- effcalc: plot scaling --phi 0:1 --output img/a.svg -->
<!-- effcalc end -->

| a | b |
| - | - |
| <!-- effcalc: {B4} --><!-- effcalc end --> | x |
"""


def check_markdown(tokens) -> None:
    cells = [b for a, b in itertools.pairwise(tokens) if a.type in ("th_open", "td_open")]
    texts = ["".join(c.content for c in cell.children if c.type == "text") for cell in cells]
    assert [text for text in texts if not text.startswith("b2")] == [
        *CELLS * 3,
        "a",
        "b",
        EXACT,
        "x",
    ]
    prose = [
        c.content for t in tokens if t.type == "inline" for c in t.children if c.type == "text"
    ]
    assert EXACT in prose
    assert not any("effcalc" in text or "<!--" in text for text in prose)
    (image,) = [c for t in tokens if t.type == "inline" for c in t.children if c.type == "image"]
    assert image.attrs["src"] == "img/a.svg"
    inside = [
        t.type for t in tokens if t.type in ("list_item_open", "blockquote_open", "table_open")
    ]
    assert inside[:4] == ["list_item_open", "table_open", "blockquote_open", "table_open"]
    code = [t for t in tokens if t.type in ("fence", "code_block")]
    assert not code


def test_markdown_in_a_gfm_parser(fill):
    text = fill("a.md", MARKDOWN)
    check_markdown(MarkdownIt("commonmark", {"html": True}).enable("table").parse(text))


def test_myst_s_own_comments_in_a_myst_parser(fill):
    plugins = pytest.importorskip("mdit_py_plugins.myst_blocks")
    myst = MARKDOWN.replace(f"  <!-- effcalc: {TABLE} -->", f"  % effcalc: {TABLE}", 1)
    myst = myst.replace("  <!-- effcalc end -->", "  % effcalc end", 1)
    text = fill("a.myst", myst)
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = parser.use(plugins.myst_block_plugin).parse(text)
    check_markdown(tokens)
    comments = [t.content.strip() for t in tokens if t.type == "myst_line_comment"]
    assert comments == [f"effcalc: {TABLE}", "effcalc end"]


def test_a_notebook_in_nbformat(fill):
    nbformat = pytest.importorskip("nbformat")
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": MARKDOWN.splitlines(keepends=True)},
        {"cell_type": "code", "metadata": {}, "source": ["1"], "outputs": [], "execution_count": 1},
    ]
    book = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    text = fill("a.ipynb", json.dumps(book, indent=1) + "\n")
    read = nbformat.reads(text, as_version=4)
    nbformat.validate(read)
    # What a notebook editor would write for these cells is what is there.
    assert json.loads(text) == json.loads(nbformat.writes(read))
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    check_markdown(parser.parse(read.cells[0].source))


RST = f"""
Plan
====

.. note::

   .. effcalc: {TABLE}

   .. effcalc end

- In a list:

  .. effcalc: scale --phi 0:1
     --columns phi,params,nearest

  .. effcalc end

.. effcalc: {B4}
.. |b4| replace::
.. effcalc end

B4 has |b4| parameters.

.. effcalc: plot scaling --phi 0:1 --output img/a.svg

.. effcalc end
"""


def test_rst_in_docutils(fill):
    text = fill("a.rst", RST)
    strict = {"report_level": 2, "halt_level": 2, "_disable_config": True}
    tree = publish_doctree(text, settings_overrides=strict)
    said = [" ".join(entry.astext().split()) for entry in tree.findall(nodes.entry)]
    assert [cell for cell in said if not cell.startswith("b2")] == CELLS * 2
    parents = [type(t.parent).__name__ for t in tree.findall(nodes.table)]
    assert parents == ["note", "list_item"]
    assert f"B4 has {EXACT} parameters." in [p.astext() for p in tree.findall(nodes.paragraph)]
    (image,) = tree.findall(nodes.image)
    assert image["uri"] == "img/a.svg"
    html = publish_string(text, writer="html5", settings_overrides=strict).decode()
    assert html.count("<table") == 2


def test_html_in_chromium(fill, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("needs chromium")
    page = (
        "<!doctype html><meta charset=utf-8><title>x</title><p>B4 has "
        f"<!-- effcalc: {B4} --><!-- effcalc end --> parameters.\n"
        f"<!-- effcalc: {TABLE} -->\n<!-- effcalc end -->\n"
        "<!-- effcalc: plot scaling --phi 0:1 --output img/a.svg -->\n<!-- effcalc end -->\n"
        "<script>onload = () => document.title = JSON.stringify([\n"
        "[...document.querySelectorAll('th,td')].map(c => c.innerText),\n"
        "document.querySelector('p').innerText, document.querySelector('img').naturalWidth,\n"
        "getComputedStyle(document.querySelectorAll('td')[1]).textAlign])</script>\n"
    )
    fill("a.html", page)
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
         f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "a.html").as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    title = done.stdout.partition("<title>")[2].partition("</title>")[0]
    cells, prose, width, align = json.loads(title)
    assert [cell for cell in cells if not cell.startswith("b2")] == CELLS
    assert prose.strip() == f"B4 has {EXACT} parameters."
    assert width == 720
    assert align == "right"


LATEX = rf"""\documentclass{{article}}
\usepackage{{booktabs,graphicx}}
\begin{{document}}
B4 has % effcalc: {B4}
x % effcalc end
parameters, 100\% of them.
% effcalc: {TABLE}
% effcalc end
\begin{{verbatim}}
% effcalc: shown
\end{{verbatim}}
% effcalc: plot stages squeezenet-1.1 --output img/a.png
% effcalc end
\end{{document}}
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_latex_in_pdflatex(fill, tmp_path):
    text = fill("a.tex", LATEX)
    assert f"B4 has % effcalc: {B4}\n{EXACT} % effcalc end\nparameters" in text
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert "img/a.png" in done.stdout
    if shutil.which("pdftotext"):
        subprocess.run(["pdftotext", "-layout", "a.pdf"], cwd=tmp_path, check=True)
        printed = (tmp_path / "a.txt").read_text()
        assert f"B4 has {EXACT} parameters, 100% of them." in " ".join(printed.split())
        assert "9.110M" in printed
