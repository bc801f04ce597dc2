"""Plots: their data is the table's, their hash is their data's, and each format is what it says."""

from __future__ import annotations

import json
import math
import re
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effcalc.base.units import UNITS
from effcalc.cli.app import command_names
from effcalc.cli.output import captured
from effcalc.network.archfile import load
from effcalc.output.plots.marks import axis, label_mark, log_domain, log_ticks, place_labels
from effcalc.output.plots.stamp import data_hash, digest
from effcalc.output.plots.style import AUTO, THEMES, PlotLook, render, save
from effcalc.output.table import Column, Table
from effcalc.scaling.tables.published import observations_table
from tests.cli_helpers import run

KINDS = [name for name in command_names() if name.startswith("plot ")]
# The smallest request of each kind that draws every part of it.
SMALL = {
    "plot comm": ["squeezenet-1.1", "--strategy", "ddp,zero-3", "--compute", "40ms"],
    "plot compare": ["alexnet", "squeezenet-1.0", "efficientnet-b0"],
    "plot memory": ["squeezenet-1.1"],
    "plot front": [str(Path(__file__).parents[1] / "data" / "search.json")],
    "plot observations": ["efficientnet-b0", "resnet-50"],
    "plot scaling": ["--phi", "0:2"],
    "plot stages": ["squeezenet-1.1"],
}
NEEDED = {"plot roofline": ["saved.json"]}  # kinds that draw a file of the user's
OURS = [name for name in KINDS if name in SMALL]
SVG = "{http://www.w3.org/2000/svg}"


def make(kind: str, *args: str):
    """Return the plot that a command would draw."""
    with captured() as plots:
        result = run(*kind.split(), *args, "--output", "x.svg")
    assert (result.code, result.err) == (0, "")
    [picture] = plots
    return picture.plot


def drawn(plot) -> list[dict]:
    """Return every record in the chart's data."""
    spec = plot.draw(PlotLook(THEMES["light"], 720)).to_dict()
    return [record for records in spec["datasets"].values() for record in records]


# --- what is drawn -----------------------------------------------------------------------------


def test_scaling_draws_the_figures_of_the_table_of_effcalc_scale() -> None:
    table = json.loads(run("scale", "--phi", "0:2", "--format", "json").out)["rows"]
    records = drawn(make("plot scaling", "--phi", "0:2"))
    curve = {r["phi"]: r["macs"] for r in records if r.get("line") == "the network, exactly"}
    assert curve == {row["phi"]: row["macs"] for row in table}
    # B0 at φ = 0: 385,814,752 MACs, exactly (facts of torchvision's model); 2^φ doubles it.
    assert curve[0] == 385_814_752
    doubling = {r["phi"]: r["macs"] for r in records if r.get("line") == "2^φ"}
    assert doubling == pytest.approx({p: 385_814_752 * 2**p for p in (0, 1, 2)})
    # The rule: (1.2 · 1.1² · 1.15²)^φ = 1.92027^φ.
    [rule] = {r["line"] for r in records if str(r.get("line")).startswith("the rule")}
    assert rule == "the rule, 1.92^φ"
    at_two = next(r["macs"] for r in records if r.get("line") == rule and r["phi"] == 2)
    assert at_two == pytest.approx(385_814_752 * (1.2 * 1.1**2 * 1.15**2) ** 2)


def test_comm_draws_the_efficiencies_of_the_table_of_effcalc_comm() -> None:
    args = ["squeezenet-1.1", "--strategy", "ddp,zero-3", "--compute", "40ms", "--link=1GB/s"]
    table = json.loads(run("comm", *args, "--format", "json").out)["rows"]
    records = drawn(make("plot comm", *args))
    expected = {(row["strategy"], row["workers"]): row["efficiency"] for row in table}
    assert {(r["line"], r["workers"]): r["efficiency"] for r in records} == expected
    assert expected["ddp", 1] == 100


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "an efficiency needs the compute time: --compute 120ms"),
        (["--compute", "1s", "--workers", "8"], "--workers: a plot is over several"),
        (
            ["--compute=1s", "--dtype=fp16,fp32", "--algorithm=ring,tree,gloo,halving-doubling"],
            "a plot has at most 6 lines, and these are 8",
        ),
    ],
)
def test_comm_says_what_it_cannot_draw(args: list[str], says: str) -> None:
    result = run("plot", "comm", *args, "--output", "x.svg")
    assert (result.code, says in result.error()) == (2, True)


def test_released_variants_stand_where_the_rule_gives_their_own_product() -> None:
    records = drawn(make("plot scaling", "--phi", "0:7"))
    at = {r["label"]: r for r in records if "label" in r}
    assert sorted(at) == [f"B{i}" for i in range(8)]  # B8 and L2 lie beyond φ = 7
    # B3: d 1.4, w 1.2, 300 px: ln(1.4 · 1.44 · (300/224)²) / ln(1.92027) = 1.9706
    assert at["B3"]["phi"] == pytest.approx(
        math.log(1.4 * 1.2**2 * (300 / 224) ** 2) / math.log(1.2 * 1.1**2 * 1.15**2)
    )
    assert at["B3"]["macs"] == 1_827_141_392


def test_what_rounding_adds_is_the_growth_over_the_rule() -> None:
    [row] = json.loads(run("scale", "--phi", "1", "--format", "json").out)["rows"]
    off = next(
        r["off"]
        for r in drawn(make("plot scaling", "--phi", "0:2"))
        if r.get("phi") == 1 and "off" in r
    )
    assert off == pytest.approx((row["growth"] / row["theory"] - 1) * 100)


def test_shares_of_the_stages_sum_to_one_and_their_figures_are_the_tables() -> None:
    table = json.loads(run("scale", "--per", "stage", "--format", "json").out)
    for key in ("macs", "params", "activation_bytes"):
        records = [r for r in drawn(make("plot stages")) if "length" in r]
        whole = table["total"][key]
        parts = {r["name"]: r for r in records if math.isclose(r["length"] * whole, r[key])}
        assert {n: r[key] for n, r in parts.items()} == {r["name"]: r[key] for r in table["rows"]}
    shares = [r["length"] for r in drawn(make("plot stages"))]
    assert sum(shares) == pytest.approx(3)  # of three figures


def test_compare_draws_cost_and_published_accuracy_as_effcalc_compare_prints_them() -> None:
    names = ["alexnet", "squeezenet-1.0", "resnet-18"]
    table = json.loads(run("compare", *names, "--format", "json").out)["rows"]
    plot = make("plot compare", *names)
    told = {(r["network"], r["macs"], r["top1"]) for r in drawn(plot)}
    assert told == {(r["network"], r["macs"], r["top1"]) for r in table if r["top1"] is not None}
    assert plot.subtitle[-1] == "no accuracy is published for resnet-18"


@pytest.mark.parametrize("name", ["efficientnet-b0", "mobilenet-v1", "mobilenet-v2", "resnet-50"])
def test_scaling_all_three_gains_most_for_each_doubling(name: str) -> None:
    """The paper's second observation (tables 3 and 7), on exact MACs."""
    rows = list(observations_table(load(name)[0]).rows)
    rates = {row["scaled"]: row["rate"] for row in rows if row["rate"] is not None}
    assert max(rates, key=rates.__getitem__) == "all three"
    assert {row["scaled"] for row in rows} <= {"nothing", "all three", "depth", "width",
                                               "resolution"}  # fmt: skip
    gains = {r["scaled"]: r["gain"] for r in drawn(make("plot observations", name))}
    assert gains == {"nothing": 0.0} | {
        row["scaled"]: row["gain"] for row in rows if row["gain"] is not None
    }


# --- the hash ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OURS)
def test_the_hash_is_read_back_from_every_format(kind: str, tmp_path: Path) -> None:
    for suffix in (".svg", ".png", ".html"):
        path = tmp_path / f"picture{suffix}"
        result = run(*kind.split(), *SMALL[kind], "--output", str(path))
        assert (result.code, result.out, result.err) == (0, "", "")
        assert data_hash(path) == make(kind, *SMALL[kind]).hash


def test_the_hash_follows_the_data_and_not_the_look(tmp_path: Path) -> None:
    plot = make("plot stages")
    hashes = set()
    for i, (theme, width) in enumerate([("light", 720), ("dark", 720), ("light", 500)]):
        save(replace(plot, title=f"Title {i}"), tmp_path / f"{i}.svg", theme, width)
        hashes.add(data_hash(tmp_path / f"{i}.svg"))
    assert hashes == {plot.hash}
    assert make("plot stages", "--variant", "b1").hash != plot.hash
    assert make("plot stages", "--per", "block").hash != plot.hash


VALUES = st.none() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False)


@given(st.lists(st.tuples(VALUES, VALUES), max_size=5), st.data())
def test_any_other_value_has_another_hash(rows: list, data: st.DataObject) -> None:
    columns = (Column("a", "a", "number"), Column("b", "b"))

    def table(rows: list) -> Table:
        return Table("t", "t", columns, [{"a": a, "b": b} for a, b in rows])

    told = digest("t", [table(rows)])
    assert told == digest("t", [replace(table(rows), title="other", notes=("x",))])
    assert told != digest("u", [table(rows)])
    assert told != digest("t", [table([*rows, (1, 2)])])
    if rows:
        i = data.draw(st.integers(0, len(rows) - 1))
        assert told != digest("t", [table([*rows[:i], ("other value", 0), *rows[i + 1 :]])])


def test_the_last_bits_of_a_power_do_not_make_a_picture_stale() -> None:
    """Machines differ in the last bit of a power; 12 digits are told, and the 11th shows."""
    column = (Column("a", "a", "number"),)

    def told(value: float) -> str:
        return digest("t", [Table("t", "t", column, [{"a": value}])])

    assert told(math.nextafter(1.2**7, 2)) == told(1.2**7)
    assert told(1.2**7 * (1 + 1e-10)) != told(1.2**7)


@pytest.mark.parametrize("data", [b"", b"<svg></svg>", b"\x89PNG\r\n\x1a\n\0\0", b"\xff" * 99])
def test_a_file_without_a_hash_has_none(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    assert data_hash(path) is None
    path.write_bytes(data)
    assert data_hash(path) is None


# --- formats -----------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", [*THEMES, AUTO])
@pytest.mark.parametrize("kind", OURS)
def test_an_svg_is_xml_with_its_text_as_text_and_the_asked_width(kind: str, theme: str) -> None:
    plot = replace(make(kind, *SMALL[kind]), title='A <b> & "c"')
    root = ElementTree.fromstring(render(plot, ".svg", theme, 600))
    texts = ["".join(node.itertext()) for node in root.iter(f"{SVG}text")]
    assert 'A <b> & "c"' in texts
    assert set(plot.subtitle) <= set(texts)
    assert float(root.attrib["width"]) == pytest.approx(600, abs=2)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"].startswith('A <b> & "c"')
    background = THEMES["light" if theme == AUTO else theme].background
    assert root.find(f"{SVG}rect").attrib["fill"] == background
    assert (theme == AUTO) == (root.find(f"{SVG}style") is not None)


def test_the_same_plot_is_the_same_bytes() -> None:
    first, second = (render(make("plot scaling", "--phi", "0:2"), ".svg") for _ in range(2))
    assert first == second


def test_series_differ_by_dash_and_shape_too() -> None:
    text = json.dumps(make("plot observations").draw(PlotLook(THEMES["light"], 720)).to_dict())
    assert '"strokeDash"' in text
    assert '"shape"' in text


def test_every_colour_of_the_light_theme_turns_to_one_of_the_dark() -> None:
    for theme in THEMES.values():
        colours = [*theme[:5], *theme.series]
        assert len(set(colours)) == len(colours)


def _contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, as WCAG 2.1 defines it (relative luminance)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", THEMES)
def test_text_and_marks_stand_out(name: str) -> None:
    """WCAG 2.1: 4.5 for text (1.4.3), 3 for what a picture is made of (1.4.11)."""
    theme = THEMES[name]
    assert _contrast(theme.ink, theme.background) >= 7
    assert _contrast(theme.muted, theme.background) >= 4.5
    for colour in (theme.bar, *theme.series):
        assert _contrast(colour, theme.background) >= 3, colour


def test_a_png_is_whole_with_its_chunk() -> None:
    png = render(make("plot stages"), ".png", "light", 500)
    at, names = 8, []
    while at < len(png):
        length, name = struct.unpack_from(">I4s", png, at)
        body = png[at + 4 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length)[0] == zlib.crc32(body)
        names.append(name)
        at += length + 12
    assert names[:2] == [b"IHDR", b"tEXt"]
    assert names[-1] == b"IEND"
    width = struct.unpack_from(">I", png, 16)[0]
    assert width == pytest.approx(1000, abs=4)  # two pixels for each of the picture's


def test_a_page_is_one_file_that_names_nothing_to_fetch() -> None:
    title = "</script><script>alert(1)</script>"
    page = render(replace(make("plot stages"), title=title), ".html", AUTO).decode()
    own = re.sub(r"<script>(?:.|\n)*?</script>", "", page)
    assert "http" not in own
    assert not re.search(r"\b(src|href)=|url\(|@import", own)
    assert page.count("</script>") == 2  # the libraries, and ours: a title ends neither
    assert page.startswith('<!doctype html>\n<html lang="en">')


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_plot_needs_a_file(kind: str) -> None:
    result = run(*kind.split(), *SMALL.get(kind, NEEDED.get(kind, [])))
    assert result.code == 2
    assert "--output" in result.error()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["scaling", "-o", "x.gif"], "ends in none of .svg, .png, .html"),
        (["scaling", "-o", "x.svg", "--theme", "drak"], "did you mean 'dark'?"),
        (["scaling", "-o", "x.svg", "--figure", "mac"], "did you mean 'macs'?"),
        (["scaling", "-o", "x.svg", "--phi", "3"], "scales nothing"),
        (["scaling", "-o", "x.svg", "--depth", "1,2", "--width", "1,2"], "depth and width"),
        (["scaling", "-o", "x.svg", "--phi", "0:1200:400"], "up to 10^308"),
        (["stages", "-o", "x.svg", "--per", "layer"], "at most 120"),
        (["stages", "-o", "x.svg", "--per", "stag"], "did you mean 'stage'?"),
        (["compare", "resnet-18", "-o", "x.svg"], "no accuracy is published for resnet-18"),
        (["observations", "alexnet", "-o", "x.svg"], "no paper scales AlexNet"),
        (["stages", "-o", "x.svg", "--picture-width", "10"], "from 320 to 4000"),
        (["scalign", "-o", "x.svg"], "'plot scalign' (did you mean 'scaling'?)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_errors_say_what_would_be_right(
    args: list[str], said: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("plot", *args)
    assert result.code == 2
    assert said in result.error()
    assert not list(tmp_path.iterdir())


def test_without_the_extra_a_plot_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "altair" else real(name)
    )
    result = run("plot", "stages", "--output", str(tmp_path / "x.svg"))
    assert result.code == 3
    assert "pip install 'effcalc[plot]'" in result.error()
    assert not list(tmp_path.iterdir())


def test_the_data_of_a_plot_is_known_without_what_draws_it() -> None:
    program = (
        "import sys\n"
        "from effcalc.cli.app import run\n"
        "from effcalc.cli.output import captured\n"
        "with captured() as plots:\n"
        "    run(['plot', 'scaling', '--output', 'x.svg'])\n"
        "assert plots[0].plot.hash.startswith('sha256:')\n"
        "assert not {'altair', 'vl_convert', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_help_of_the_group_lists_its_commands() -> None:
    result = run("plot", "--help")
    assert result.code == 0
    assert all(f"  {name.removeprefix('plot ')} " in result.out for name in KINDS)
    assert max(map(len, result.out.splitlines())) <= 80


# --- what charts share -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "title", "divisor"),
    [
        (("per image", "count", [385e6, 39e9], "MACs"), "GMACs per image", "1e9"),
        (("", "count", [5e6], "parameters"), "M parameters", "1e6"),
        (("weights", "bytes", [4_990_000]), "weights, MB", "1e6"),
        (("time", "seconds", [0.2]), "time, s", None),
        (("time", "count", [7], "steps"), "steps time", None),
    ],
)
def test_an_axis_has_one_unit_and_names_it(args: tuple, title: str, divisor: str | None) -> None:
    scale = axis(*args)
    assert scale.title == title
    assert (divisor or "format") in scale.labels
    assert ("/" in scale.labels) == (divisor is not None)


def test_an_axis_can_have_any_unit() -> None:
    assert all(axis("what", unit, [1.0]).title for unit in UNITS)


@given(st.floats(1e-9, 1e15), st.floats(1, 1e12))
def test_ticks_of_a_logarithmic_axis_are_few_and_in_it(low: float, span: float) -> None:
    ticks = log_ticks([low, low * span])
    first, last = log_domain([low, low * span])
    assert 3 <= len(ticks) <= 13
    assert ticks == sorted(set(ticks))
    assert all(first <= tick * (1 + 1e-9) and tick <= last * (1 + 1e-9) for tick in ticks)


def test_labels_keep_clear_of_each_other() -> None:
    """Five points in a row, 30 pixels apart, each with a label of 64: no place is beside them
    all, so they must go above and below."""
    points = [(100.0 + 30 * i, 100.0, "efficientn") for i in range(5)]
    places = place_labels(points, 400)
    assert len(set(places)) > 1
    assert all({"align", "dx", "dy"} == set(label_mark(place)) for place in places)
    # At the right edge the only free place is to the left.
    assert "left" in place_labels([(395.0, 50.0, "network")], 400)[0]
