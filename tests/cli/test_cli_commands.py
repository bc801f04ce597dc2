"""The commands scale, archs, compare and papers as a user meets them: nothing a user can type or
put in a file ends in a traceback, and rows always sum to their total."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import effcalc
from effcalc.network.catalog import BUILT_IN
from effcalc.output.formats import FORMATS
from effcalc.scaling.figures import PER
from tests.cli_helpers import run

SCHEMA = json.loads(
    (Path(effcalc.__file__).parent / "output" / "schema" / "table.schema.json").read_text(
        encoding="utf-8"
    )
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
SUMS = ("params", "macs", "flops", "elementwise", "weight_bytes", "buffer_bytes", "read_bytes")


def table(*args: str) -> dict:
    """Return a command's JSON, which follows the schema."""
    result = run(*args, "--format", "json")
    assert (result.code, result.err) == (0, "")

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    data = json.loads(result.out, parse_constant=refuse)
    VALIDATOR.validate(data)
    return data


def row(*args: str) -> dict:
    [only] = table(*args)["rows"]
    return only


def check_sums(data: dict) -> None:
    for key in SUMS:
        assert sum(r[key] for r in data["rows"]) == data["total"][key], key


@pytest.mark.parametrize(
    "args",
    [
        ["scale", "--phi", "3"],
        ["scale", "--phi", "0:7"],
        ["scale", "--variant", "b3,l2"],
        ["scale", "--depth", "1,2", "--width", "0.5:1.5:0.5", "--image-size", "64,96x64"],
        ["scale", "--max-macs", "1.8G"],
        ["scale", "--max-weights", "8.5MB", "--max-activations", "6MiB"],
        ["scale", "--width", "1e300"],
        ["archs"],
        ["archs", "squeezenet-1.0", "--set", "sr=0.75"],
        ["compare", "alexnet", "squeezenet-1.0", "efficientnet-b0@phi=3"],
        ["papers", "EfficientNet, table 2"],
    ],
    ids=" ".join,
)
def test_json_follows_the_schema(args: list[str]) -> None:
    assert table(*args)["rows"]


@pytest.mark.parametrize("per", PER)
@pytest.mark.parametrize("name", ["efficientnet-b0", "squeezenet-1.0", "alexnet", "resnet-1001"])
def test_rows_sum_to_the_total_which_is_the_networks(name: str, per: str) -> None:
    scaling = ["--depth", "1.7", "--width", "1.3"]
    data = table("scale", name, *scaling, "--per", per)
    check_sums(data)
    whole = row("scale", name, *scaling)
    for key in ("params", "macs", "flops", "weight_bytes", "activation_bytes"):
        assert data["total"][key] == whole[key]


def test_what_fits_a_budget_fits_and_a_little_more_does_not() -> None:
    data = table("scale", "--max-macs", "1.8G", "--max-params", "20M")
    assert len(data["rows"]) == 4
    for r in data["rows"]:
        assert r["macs"] <= 1.8e9
        assert r["params"] <= 20e6
    phi = data["rows"][0]["phi"]
    more = row("scale", "--phi", f"{phi + 0.001:.3f}")
    assert more["macs"] > 1.8e9 or more["params"] > 20e6


@pytest.mark.parametrize("args", [["--phi", "60"], ["--width", "1000"], ["--width", "1e300"]])
def test_any_size_is_exact(args: list[str]) -> None:
    """FLOPs are 2 x MACs and weights 4 bytes a parameter to the last digit, past 2^53 too."""
    at = row("scale", *args)
    assert at["macs"] > 2**53 or at["params"] > 2**32
    assert at["flops"] == 2 * at["macs"]
    assert at["weight_bytes"] == 4 * at["params"]
    result = run("scale", *args, "--format", "csv", "--columns", "macs,params")
    assert result.out == f"macs,params\n{at['macs']},{at['params']}\n"


def test_beyond_a_float_there_is_no_ratio_but_the_figures_stand() -> None:
    at = row("scale", "--width", "1e300")
    assert (at["theory"], at["growth"], at["nearest_name"]) == (None, None, "l2")
    assert " +∞" in run("scale", "--width", "1e300").out
    first, second = table("compare", "resnet-18", "resnet-18@width=1e300")["rows"]
    assert (first["macs_ratio"], second["macs_ratio"]) == (1, None)


def test_options_of_the_network() -> None:
    base = row("scale")
    # B0's last layer has 1280 inputs: 1281 parameters and 1280 MACs less for each class.
    ten = row("scale", "--classes", "10")
    assert base["params"] - ten["params"] == 990 * 1281
    assert base["macs"] - ten["macs"] == 990 * 1280
    # Its stem is 3x3 with 32 filters and makes 112 x 112 pixels: 288 weights a channel.
    gray = row("scale", "--in-channels", "1")
    assert base["params"] - gray["params"] == 2 * 288
    assert base["macs"] - gray["macs"] == 2 * 288 * 112 * 112
    # No head: no classifier.
    assert row("scale", "--no-head")["params"] == base["params"] - 1281 * 1000
    shown = [r["stage"] for r in table("archs", "efficientnet-b0", "--no-head")["rows"]]
    every = [r["stage"] for r in table("archs", "efficientnet-b0")["rows"]]
    assert shown == every[: len(shown)]
    assert len(shown) < len(every)
    assert row("scale", "--no-head")["nearest_name"] is None


def test_a_released_name_is_its_variant() -> None:
    by_name, by_option = row("scale", "efficientnet-b3"), row("scale", "--variant", "B3")
    assert by_name == by_option
    assert (by_name["pixels"], by_name["nearest"]) == ("300", "is b3")


def test_specs_of_compare_are_the_options_of_scale() -> None:
    specs = {
        "efficientnet-b0@phi=3": ["--phi", "3"],
        "efficientnet-b0@phi=2,alpha=1.3,beta=1": ["--phi=2", "--alpha=1.3", "--beta=1"],
        "efficientnet-b0@depth=2,width=1.5,image-size=300": [
            "--depth=2",
            "--width=1.5",
            "--image-size=300",
        ],
        "efficientnet-b0@variant=b3": ["--variant", "b3"],
        "efficientnet-b0@classes=10": ["--classes", "10"],
        "squeezenet-1.0@sr=0.75": ["squeezenet-1.0", "--set", "sr=0.75"],
    }
    rows = table("compare", *specs)["rows"]
    for compared, (spec, args) in zip(rows, specs.items(), strict=True):
        at = row("scale", *args)
        assert compared["network"] == spec
        assert all(compared[k] == at[k] for k in ("params", "macs", "activation_bytes"))
        assert compared["macs_ratio"] == at["macs"] / rows[0]["macs"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        # coefficients
        ("scale --depth 0", "--depth must be a finite number above zero, not 0"),
        ("scale --width -1", "--width must be a finite number above zero, not -1"),
        ("scale --resolution -1", "--resolution must be a finite number above zero, not -1"),
        ("scale --phi nan", "--phi: 'nan' is not a number"),
        ("scale --width inf", "--width: 'inf' is not a number"),
        ("scale --phi 1 --alpha 0.9", "--alpha must be a finite number of at least 1, not 0.9"),
        ("scale --max-macs 1G --beta 0.9", "--beta must be a finite number of at least 1"),
        ("scale --alpha 1.3", "--alpha, --beta and --gamma are the bases of --phi; give --phi"),
        ("scale --phi 1e308", "--phi 1e+308 is too large"),
        ("scale --phi 1e999", "--phi: '1e999' is out of range"),
        ("scale --phi -1e308", "--phi -1e+308 is too small: the coefficients vanish"),
        ("scale --phi -60", "--phi -60 gives an image of 0 x 0 pixels; at least 1 is needed"),
        ("scale --width 1e308", "stage stem is too large: it has over 10^308 repeats or channels"),
        ("scale --depth 1e308", "stage stage3 is too large: it has over 10^308"),
        ("scale --resolution 1e308", "the image passes 10^308 pixels a side"),
        ("scale --resolution 0.001", "--resolution 0.001 gives an image of 0 x 0 pixels"),
        ("scale --image-size 0", "--image-size: '0' is under one pixel; write at least 1"),
        ("scale --image-size 3x4x5", "'3x4x5' is not a size in pixels; write 320, or 320x480"),
        ("scale alexnet --image-size 9", "alexnet.toml: stage conv1: the image is too small"),
        # ranges
        ("scale --phi 7:0", "--phi: the range '7:0' runs backwards; write the smaller end first"),
        ("scale --phi 0:7:0", "--phi: the step of '0:7:0' must be above 0"),
        ("scale --phi 0,,1", "--phi: '0,,1' cannot be read; write a number, a list such as"),
        ("scale --depth 1:1e10 --width 1:1e10", "the values given have 100.0E combinations"),
        ("scale --phi 0:99999:0.5", "--format table holds at most 10,000 rows and this has 200.0k"),
        ("scale --phi 0:2 --per stage", "--per is for one scaling, and this asks for 3"),
        # what excludes what
        ("scale --phi 1 --depth 2", "--phi and --depth, --width, --resolution or --image-size"),
        ("scale --phi 1 --variant b3", "--phi and --variant exclude each other"),
        ("scale --resolution 2 --image-size 9", "--resolution and --image-size say the same"),
        ("scale efficientnet-b3 --phi 1", "efficientnet-b3 is a released scaling of"),
        ("scale efficientnet-b3 --max-macs 1G", "efficientnet-b3 is a released scaling; give"),
        ("scale --max-macs 1G --phi 1", "a --max option finds the scaling itself"),
        ("scale --max-macs 1G --per op", "a --max option finds the scaling itself"),
        # budgets
        ("scale --max-macs 0", "--max-macs must be above zero, not 0"),
        ("scale --max-macs -1", "--max-macs: '-1' is negative"),
        ("scale --max-macs 1", "no scaling of efficientnet-b0 fits MACs of 1"),
        ("scale --max-weights 5Q", "--max-weights: '5Q' is not"),
        # names
        ("scale efficientnet-b9", "is named 'efficientnet-b9' (did you mean 'efficientnet-b"),
        ("archs resnet-20", "no network is named 'resnet-20' (did you mean 'resnet-"),
        ("scale --variant b33", "has no variant 'b33' (did you mean 'b3'?); known: b0"),
        ("scale --per stge", "(did you mean 'stage'?)"),
        ("scale squeezenet-1.0 --set rs=1", "--set: no knob is named 'rs'"),
        ("scale squeezenet-1.0 --set sr", "--set: 'sr' is not KEY=VALUE, such as sr=0.75"),
        ("scale squeezenet-1.0 --set sr=0", "--set sr must be from 0.001 to 1000, not 0"),
        ("scale squeezenet-1.0 --set sr=nan", "--set sr: nan is out of range"),
        ("scale --set sr=1", "--set: no knob is named 'sr'; this network has no knobs"),
        ("scale --classes 0", "--classes: 0 is not a whole number at least 1"),
        ("scale --classes 1e300", "--classes must be from 1 to 2^31"),
        ("papers EficientNet", "no published figure is from 'EficientNet'"),
        ("compare", "missing argument"),
        ("compare alexnet@phi", "alexnet@phi: 'phi' is not key=value; write for example"),
        ("compare alexnet@fi=3", "alexnet@fi=3: there is no key 'fi'"),
        ("compare alexnet@phi=0:3", "alexnet@phi=0:3: give one scaling for each network, not 4"),
        ("compare alexnet@classes=0", "--classes must be from 1 to 2^31, not 0"),
        ("compare alexnet alexnt", "no network is named 'alexnt' (did you mean 'alexnet'?)"),
        ("compare alexnet --columns mac", "--columns: there is no column 'mac'"),
    ],
)
def test_what_cannot_be_is_one_line_and_2(args: str, says: str) -> None:
    result = run(*args.split())
    assert result.code == 2, result.err
    assert says in result.error()


@pytest.mark.parametrize("command", ["scale", "archs", "compare alexnet", "papers"])
def test_an_output_that_cannot_be_written_leaves_nothing(tmp_path, command: str) -> None:
    for place in (tmp_path, tmp_path / "none" / "x.csv"):
        result = run(*command.split(), "--output", str(place))
        assert (result.code, "--output" in result.error()) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_a_later_row_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("old")
    # The first rows can be made; at the last the image has no pixel.
    result = run("scale", "--resolution", "1,0.5,0.001", "--output", str(path))
    assert (result.code, result.out) == (2, "")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_100_000_rows_stream_and_stop_when_the_reader_does() -> None:
    """Rows come one by one: ten are read, and the process ends long before it made them all."""
    command = [sys.executable, "-m", "effcalc.cli.main", "scale", "resnet-18"]
    process = subprocess.Popen(
        [*command, "--phi", "0:9.9999:0.0001", "--format", "csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(effcalc.__file__).parents[1],
    )
    assert process.stdout is not None
    assert process.stderr is not None
    rows = csv.DictReader(process.stdout)
    phis = [float(next(rows)["phi"]) for _ in range(10)]
    assert phis == [i / 10_000 for i in range(10)]
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("name", [n for n in FORMATS if n not in ("csv", "json", "jsonl")])
def test_formats_for_people_say_their_limit_at_once(name: str) -> None:
    result = run("scale", "--phi", "0:9.9999:0.0001", "--format", name)
    assert result.code == 2
    assert f"--format {name} holds at most 10,000 rows" in result.error()


def test_many_values_are_never_held_in_memory() -> None:
    """10^11 combinations of sizes and depths: only the refusal is quick, were they made first."""
    result = run("scale", "--depth", "1:1e5:0.000001", "--image-size", "32", "--format", "latex")
    assert "holds at most 10,000 rows" in result.error()


@pytest.mark.parametrize("name", ["table", "markdown"])
def test_the_readmes_examples_fit_80_columns(name: str) -> None:
    for args in (["--phi", "3"], ["--phi", "0:7"]):
        text = run("scale", *args, "--format", name).out
        # One scaling in Markdown is a row of every figure, which only its source is wide for.
        lines = [line for line in text.splitlines() if args[1] != "3" or line[:1] != "|"]
        assert max(map(len, lines)) <= 80


# --- anything at all ---------------------------------------------------------------------------

number = st.one_of(
    st.integers(-3, 30).map(str),
    st.floats().map(str),
    st.sampled_from(
        [
            "0",
            "1",
            "1.2",
            "0.5",
            "1e3",
            "1e9",
            "1e300",
            "1e308",
            "-1",
            "0:3",
            "3:0",
            "0:1:0.5",
            "1,2",
            "x",
            "1e-9",
            ",",
        ]
    ),
    st.text(max_size=4),
)
OPTIONS = {
    "--phi": number,
    "--alpha": number,
    "--gamma": number,
    "--depth": number,
    "--width": number,
    "--resolution": number,
    "--image-size": st.one_of(number, st.sampled_from(["32", "64x32", "1", "999999999999"])),
    "--variant": st.sampled_from(["b0", "b3", "B7", "b0,b1", "x", ""]),
    "--classes": number,
    "--in-channels": number,
    "--workers": number,
    "--set": st.sampled_from(
        ["sr=0.5", "sr=nan", "bypass=simple", "freq=3", "x", "=", "pct_3x3=1"]
    ),
    "--per": st.sampled_from([*PER, "x"]),
    "--columns": st.sampled_from(["all", "macs", "macs,params", "x", ""]),
    "--sort": st.sampled_from(["macs", "-macs", "x", "-"]),
    "--digits": number,
    "--format": st.sampled_from([*FORMATS, "x"]),
    "--max-macs": st.sampled_from(["1G", "1", "1e300", "0", "x"]),
    "--max-params": st.sampled_from(["1M", "1", "0", "x"]),
}
NETWORKS = ["efficientnet-b0", "efficientnet-b3", "squeezenet-1.0", "alexnet", "mobilenet-v1", "x"]
relaxed = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def check(*args: str) -> None:
    """Run a command line: it ends well, or in one line that says what is wrong."""
    result = run(*args)
    assert result.code in (0, 2), (args, result.err)
    if result.code == 2:
        # A format may have begun before a later row turned out to be impossible.
        assert result.err.startswith("effcalc: error: ")
        assert result.err.count("\n") == 1
        assert "bug" not in result.err
    else:
        assert result.err == ""


@relaxed
@given(st.data())
def test_any_options(data: st.DataObject) -> None:
    args = ["scale", data.draw(st.sampled_from(NETWORKS))]
    given = data.draw(st.lists(st.sampled_from(sorted(OPTIONS)), max_size=4, unique=True))
    args += [f"{option}={data.draw(OPTIONS[option])}" for option in given]
    if data.draw(st.booleans()):
        args.append("--no-head")
    check(*args)


@settings(relaxed, max_examples=25)
@given(
    st.sampled_from(NETWORKS[:1] + NETWORKS[2:5]),
    st.sampled_from(sorted(PER)),
    st.floats(0.01, 1e30),
    st.floats(0.01, 1e30),
    st.integers(128, 10**9),
)
def test_rows_sum_at_any_scaling(
    name: str, per: str, depth: float, width: float, size: int
) -> None:
    scaling = [f"--depth={depth}", f"--width={width}", f"--image-size={size}"]
    data = json.loads(run("scale", name, *scaling, "--per", per, "--format", "json").out)
    check_sums(data)
    assert data["total"]["macs"] == row("scale", name, *scaling)["macs"]


@settings(relaxed, max_examples=50)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(["alexnet", "x", "resnet-18@", "resnet-18@@", "", "@", ".toml@phi=1"]),
            st.builds("resnet-18@{}={}".format, st.sampled_from(["phi", "width", "x", ""]), number),
            st.text(max_size=8).filter(lambda text: not text.startswith("-")),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_comparison(specs: list[str]) -> None:
    check("compare", *specs)


FILES = [path.read_text(encoding="utf-8") for path in sorted(BUILT_IN.glob("*.toml"))]
VALUES = [
    *("0", "1", "-1", "7", "0.5", "1e9", "1e-9", "nan", "inf", "2147483648", "99999999999"),
    *('""', '"x"', '"= sr"', '"= 1/0"', '"= classes*2"', "true", "[]", "{}"),
    *('"linear"', '"max_pool"', '"fire"', '"mbconv"', '"none"'),
]


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """A built-in file with a few lines changed, moved, doubled or left out."""
    lines = draw(st.sampled_from(FILES)).splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.integers(0, 4)):
            case 0:
                del lines[at]
            case 1:
                lines.insert(draw(st.integers(0, len(lines))), lines[at])
            case 2:
                lines[at] = draw(st.text(max_size=10))
            case _ if "=" in lines[at]:
                key = lines[at].partition("=")[0]
                lines[at] = f"{key}= {draw(st.sampled_from(VALUES))}"
        if not lines:
            break
    return "\n".join(lines)


VALUE = st.sampled_from(VALUES)
KEYS = [
    "channels",
    "kernel",
    "stride",
    "padding",
    "groups",
    "expansion",
    "repeats",
    "size",
    "expand",
    "pct_3x3",
    "squeeze_ratio",
    "head",
    "se_ratio",
    "min_width",
    "bypass",
    "drop",
    "ceil_mode",
]
BLOCKS = [
    "convolution",
    "max_pool",
    "linear",
    "fire",
    "mbconv",
    "basic",
    "bottleneck",
    "global_avg_pool",
    "norm_act",
]
SMALL = st.sampled_from(["1", "2", "3", "4", "8", "0.25"])


@st.composite
def trees(draw: st.DrawFn) -> str:
    """A random network of random blocks, its values mostly sensible."""
    lines = ['name = "x"']
    for i in range(draw(st.integers(0, 4))):
        keys = draw(st.dictionaries(st.sampled_from(KEYS), SMALL | VALUE, max_size=6))
        block = draw(st.sampled_from(BLOCKS))
        lines += ["[[stage]]", f'name = "s{i}"', f'block = "{block}"']
        lines += [f"{key} = {value}" for key, value in keys.items()]
    return "\n".join(lines)


@settings(relaxed, max_examples=150)
@given(st.one_of(mutations(), trees(), st.text(max_size=200)), st.booleans())
def test_any_file(tmp_path, text: str, headless: bool) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text, encoding="utf-8", errors="replace")
    more = ["--no-head"] if headless else []
    check("archs", str(path), *more)
    result = run("scale", str(path), "--per", "layer", "--format", "json", *more)
    assert result.code in (0, 2), result.err
    if result.code == 0:
        check_sums(json.loads(result.out))
    else:
        assert result.error()
    check("scale", str(path), "--phi=1,2", *more)
