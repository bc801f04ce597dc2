"""Reports: the page says what the tables say, stands alone, and works when it is clicked."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.browser import Browser, browser, needs_chromium
from tests.cli_helpers import run

VOID = {"meta", "br", "path", "line", "rect", "link", "input", "img"}


class Outline(HTMLParser):
    """Checks that elements nest, and gathers ids, links and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.text = ""
        self.feed(page)
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.stack.append(tag)
        for key, value in attrs:
            self.ids += [value or ""] if key == "id" else []
            self.links += [value or ""] if (tag, key) == ("a", "href") else []
            self.fetched += [value or ""] if key in ("src", "srcset", "data", "poster") else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a report on one network, and one that compares three."""
    folder = tmp_path_factory.mktemp("report")
    one = run("report", "--variant", "b1", "--output", str(folder / "one.html"))
    names = ["alexnet", "squeezenet-1.0", "efficientnet-b0@phi=1"]
    several = run("report", *names, "--output", str(folder / "several.html"))
    for result in (one, several):
        assert (result.code, result.out, result.err) == (0, "", "")
    return folder


@pytest.mark.parametrize("name", ["one", "several"])
def test_a_report_is_one_well_formed_file_that_fetches_nothing(pages: Path, name: str) -> None:
    page = (pages / f"{name}.html").read_text(encoding="utf-8")
    outline = Outline(page)
    assert page.startswith('<!doctype html>\n<html lang="en">')
    assert len(outline.ids) == len(set(outline.ids))
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)
    assert not outline.fetched
    assert not re.search(r"url\(|@import", page)
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\s\"'<)]+", page)) <= namespaces


def test_a_report_says_the_figures_of_effcalc_scale(pages: Path) -> None:
    outline = Outline((pages / "one.html").read_text(encoding="utf-8"))
    # B1: 7,794,184 parameters and 686,802,832 MACs, which torchvision's model has exactly.
    for figure in ("EfficientNet-B1", "7,794,184", "7.794M", "686,802,832", "240"):
        assert figure in outline.text
    for word in ("MACs", "FLOPs", "peak act."):
        assert word in outline.text.partition("Definitions")[2]


def test_the_same_report_is_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.html"
        assert run("report", "squeezenet-1.1", "--output", str(path)).code == 0
        made.append(path.read_bytes().replace(f"{name}.html".encode(), b""))
    assert made[0] == made[1]


def test_without_plots_nothing_that_draws_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    program = (
        "import sys\n"
        "from effcalc.cli.main import main\n"
        f"assert main(['report', '--no-plots', '--output', {str(path)!r}]) == 0\n"
        "assert not {'altair', 'vl_convert', 'numpy', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    page = path.read_text(encoding="utf-8")
    assert "<svg" not in page
    Outline(page)


def test_a_name_with_markup_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    network = tmp_path / "my.toml"
    source = '<img src="http://x.example/y.png" onerror="alert(1)"></style><script>'
    network.write_text(
        f"""
name = "my-network"
title = 'My </title><script>alert(2)</script>'
source = '{source}'
[input]
size = 32
[[stage]]
name = "conv"
block = "convolution"
kernel = 3
channels = 8
[[stage]]
name = "pool"
block = "global_avg_pool"
head = true
[[stage]]
name = "classifier"
block = "linear"
channels = "= classes"
channel_scales = false
head = true
""",
        encoding="utf-8",
    )
    result = run("report", str(network), "--output", str(path))
    assert (result.code, result.err) == (0, "")
    page = path.read_text(encoding="utf-8")
    outline = Outline(page)
    assert not outline.fetched
    assert page.count("<script>") == 1
    assert "My </title><script>alert(2)</script>" in outline.text


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        ([], 2, "give --output report.html"),
        (["alexnet", "resnet-18", "--phi", "3", "-o", "x.html"], 2, "NETWORK@phi=3"),
        (["resnet-18@depth=2", "--phi", "3", "-o", "x.html"], 2, "is scaled already"),
        (["--phi", "0:3", "-o", "x.html"], 2, "for one scaling"),
        (["resnet-19", "-o", "x.html"], 2, "did you mean"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_errors_say_what_would_be_right(
    args: list[str], code: int, said: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("report", *args)
    assert result.code == code
    assert said in result.error()
    assert not list(tmp_path.iterdir())


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = run("report", "--output", str(tmp_path / "x.html"))
    assert result.code == 3
    assert "pip install 'effcalc[plot]'" in result.error()


# --- in a browser ------------------------------------------------------------------------------

_COLUMN = """
const table = document.querySelectorAll("figure.sorts table")[arguments[0]];
return [...table.tBodies[0].rows].map((row) => row.cells[arguments[1]].textContent);
"""
_HEADS = """
const table = document.querySelectorAll("figure.sorts table")[arguments[0]];
return [...table.tHead.rows[0].cells].map((cell) => cell.getAttribute("aria-sort"));
"""


@needs_chromium
def test_a_report_is_clicked_through(pages: Path) -> None:
    with browser() as page:
        page.requests()
        page.open(pages / "one.html")
        _sorts(page)
        _links_lead(page)
        _opens(page)
        _turns_dark(page)
        pdf = page.pdf()
        assert pdf.startswith(b"%PDF-")
        assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 30
        page.open(pages / "several.html")
        first = page.js(_COLUMN, 0, 0)
        assert first == ["alexnet", "squeezenet-1.0", "efficientnet-b0@phi=1"]
        # On a telephone nothing but tables and plots, which scroll by themselves, is wider.
        page.cdp("Emulation.setDeviceMetricsOverride", width=400, height=800,
                 deviceScaleFactor=1, mobile=True)  # fmt: skip
        assert page.js("return document.documentElement.scrollWidth") <= 400
        asked = page.requests()
        assert len(asked) >= 2
        assert all(url.startswith("file:") for url in asked)
        assert not [entry for entry in page.log("browser") if entry["level"] != "INFO"]


def _sorts(page: Browser) -> None:
    """Click every heading of the table by stage: exact values decide, not the text shown."""
    stages = page.js(_COLUMN, 0, 0)
    assert stages[:2] == ["stem", "stage2"]
    heads = page.find("figure.sorts thead button")[: len(page.js(_HEADS, 0))]
    table = page.js("return document.querySelector('figure.sorts table tfoot').textContent")
    macs = page.js(
        "return [...document.querySelector('figure.sorts thead tr').cells]"
        ".findIndex((cell) => cell.textContent.startsWith('MACs'))"
    )
    page.click(heads[macs])
    exact = page.js(
        "return [...document.querySelector('figure.sorts tbody').rows]"
        ".map((row) => Number(row.cells[arguments[0]].dataset.v))",
        macs,
    )
    assert exact == sorted(exact, reverse=True)
    assert len(set(exact)) > 5
    assert page.js(_HEADS, 0)[macs] == "descending"
    page.click(heads[macs])
    assert page.js(_HEADS, 0)[macs] == "ascending"
    page.keys(heads[0], "\ue007")  # Enter on the first heading, a name
    assert page.js(_COLUMN, 0, 0) == sorted(stages, key=_natural)
    assert page.js(_HEADS, 0).count("none") == len(heads) - 1
    for head in heads:
        page.click(head)
        assert sorted(page.js(_COLUMN, 0, 0)) == sorted(stages)
    assert page.js("return document.querySelector('figure.sorts table tfoot').textContent") == table


def _natural(name: str) -> tuple[str, int]:
    word, number = re.fullmatch(r"(\D*)(\d*)", name).groups()
    return word, int(number or 0)


def _links_lead(page: Browser) -> None:
    for link in page.find("nav a"):
        page.js("scrollTo(0, 0)")
        page.click(link)
        target = page.js("return location.hash")
        top = page.js("return document.querySelector(location.hash).getBoundingClientRect().top")
        height = page.js("return innerHeight")
        assert target
        assert -2 <= top < height


def _opens(page: Browser) -> None:
    for summary in page.find("summary"):
        page.click(summary)
    assert page.js("return [...document.querySelectorAll('details')].every((d) => d.open)")
    assert page.js(
        "return [...document.querySelectorAll('details table')].every((t) => t.offsetHeight > 0)"
    )


def _turns_dark(page: Browser) -> None:
    ink = "return getComputedStyle(document.body).backgroundColor"
    text = "return getComputedStyle(document.querySelector('svg text')).fill"
    found = []
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.cdp("Emulation.setEmulatedMedia", features=[feature])
        found.append((page.js(ink), page.js(text)))
    assert found[0][0] == "rgb(255, 255, 255)"
    assert found[1][0] == "rgb(13, 17, 23)"
    assert found[0][1] != found[1][1]


@needs_chromium
def test_a_plots_page_draws_itself_with_tooltips_and_fetches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "plot.html"
    assert run("plot", "scaling", "--phi", "0:2", "--output", str(path)).code == 0
    with browser() as page:
        page.requests()
        page.open(path)
        texts = page.js("return [...document.querySelectorAll('svg text')].map(t => t.textContent)")
        assert "GMACs per image" in texts
        assert "B2" in texts
        spot = page.js(
            "const r = document.querySelector('svg [aria-roledescription=\"point\"]')"
            ".getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]"
        )
        for kind in ("mouseMoved", "mouseMoved"):
            page.cdp("Input.dispatchMouseEvent", type=kind, x=spot[0], y=spot[1])
        told = page.js("return document.querySelector('#vg-tooltip-element').textContent")
        assert "385.8M" in told
        assert all(url.startswith("file:") for url in page.requests())
        assert not [entry for entry in page.log("browser") if entry["level"] == "SEVERE"]
