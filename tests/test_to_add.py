"""docs/architecture.md, "To add something": one of each is added in one place, and all follows."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from effcalc.base.errors import InputError
from effcalc.cli.options import OutputOptions
from effcalc.cli.output import write_table
from effcalc.communication.strategies import STRATEGIES
from effcalc.footprint.optimizer import OPTIMIZERS, Optimizer
from effcalc.footprint.predict import predict
from effcalc.footprint.step import StepSettings
from effcalc.network.blocks import BLOCKS, block
from effcalc.network.builder import Builder
from effcalc.network.keys import Positive
from effcalc.network.network import Tensor
from effcalc.network.ops import BY_ONNX, BY_TORCH, OPS, OnnxNode, TorchFunction, from_onnx, register
from effcalc.network.ops.autocast import float32
from effcalc.network.ops.core import Op, per_output
from effcalc.network.ops.saving import keeps
from effcalc.output.plots.marks import drawable, records
from effcalc.output.plots.style import Plot, PlotLook
from effcalc.output.table import Column, Table
from effcalc.scaling.scale import build, scale
from tests.cli_helpers import run

PROJECT = Path(__file__).parents[1]
FILE = """
name = "mine"
[input]
size = 8
classes = 4
[[stage]]
name = "body"
block = "cubes"
channels = 8
[[stage]]
name = "head"
block = "linear"
channels = "=classes"
channel_scales = false
"""


def test_every_row_of_the_page_names_what_is_there() -> None:
    page = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("\n## To add something")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!What|---)(.+?) \| (.+) \|$", table, flags=re.M)
    assert len(rows) > 10
    for what, where in rows:
        paths = re.findall(r"`([\w/]+/(?:\w+\.py)?)`", where)
        assert len(paths) == 1, what
        assert (PROJECT / "effcalc" / paths[0]).exists(), what


@pytest.fixture
def cube(monkeypatch: pytest.MonkeyPatch) -> Op:
    """An operator, added by its record."""
    op = Op(
        "cube",
        ("mine::cube",),
        elementwise=per_output,
        build=lambda call: TorchFunction("torch:pow", {"exponent": 3}),
        saves=keeps(0),
        autocast=float32,
        onnx=("Cube",),
    )
    for index, name in ((OPS, "cube"), (BY_TORCH, "mine::cube"), (BY_ONNX, "Cube")):
        monkeypatch.setitem(index, name, op)  # removed again after the test
        del index[name]
    register(op)
    return op


@pytest.fixture
def mine(cube: Op, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A file with a block of its own, which uses the operator."""

    def cubes(net: Builder, x: Tensor, *, channels: Positive) -> Tensor:
        n, c, h, w = x.shape
        weight = ("weight", (channels, c, 1, 1))
        settings = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
        x = net.add("conv", "conv", (x,), (n, channels, h, w), params=[weight], **settings)
        return net.add("cube", "cube", (x,), x.shape)

    monkeypatch.setitem(BLOCKS, "cubes", cubes)
    block(cubes)
    path = tmp_path / "mine.toml"
    path.write_text(FILE, encoding="utf-8")
    return str(path)


def test_an_operator(mine: str) -> None:
    assert BY_TORCH["mine::cube"].name == "cube"
    x = Tensor(0, (2, 3), storage=0)
    call = from_onnx(OnnxNode("Cube", (x,), {}))
    assert call is not None
    assert (call.op, call.operands) == ("cube", (x,))

    at = scale(mine)
    # Figures: 8 channels of 8 x 8 pixels.
    assert [c.outputs[0].numel for c in at.network.calls if c.op == "cube"] == [8 * 8 * 8]
    network = build(at.arch, at.scaling, 2)

    # Memory: two images, float32; the operator is on the float32 list of autocast.
    for dtype, kept in (("fp32", 2 * 512 * 4), ("amp", 2 * 512 * 4)):
        prediction = predict(network, StepSettings(dtype=dtype))
        assert not prediction.unknown
        assert {call.op: size for call, size in prediction.kept}["cube"] == kept

    # The module that torch runs.
    torch = pytest.importorskip("torch")
    from effcalc.models.build import build as build_module

    model = build_module(network)
    images = torch.rand(2, 3, 8, 8)
    body = model.get_submodule("body")
    with torch.no_grad():
        expected = torch.nn.functional.conv2d(images, body.conv.weight) ** 3
        assert torch.equal(body(images), expected)


def test_a_block(mine: str) -> None:
    table = run("scale", mine, "--format", "csv", "--columns", "macs,params")
    # 8 * 8 * 8 results of 3 products, and 512 * 4 of the classifier
    assert table.out == f"macs,params\n{512 * 3 + 512 * 4},{8 * 3 + 512 * 4 + 4}\n"
    Path(mine).write_text(FILE.replace("channels = 8", "channels = 0"), encoding="utf-8")
    assert "(body): channels must be above zero, not 0" in run("scale", mine).error()
    Path(mine).write_text(FILE.replace("channels = 8", "chanels = 8"), encoding="utf-8")
    assert "unknown key 'chanels' (did you mean 'channels'?)" in run("scale", mine).error()


TSV = '''
"""Tab-separated values."""

from effcalc.output.formats.core import renderer


@renderer("values between tabs", (".tsv",))
def render_tsv(table, look):
    for row in (dict(zip((c.key for c in table.columns), (c.key for c in table.columns))),
                *table.rows):
        yield "\\t".join(str(row[c.key]) for c in table.columns) + "\\n"
'''
PROGRAM = """
import os, sys
{}
from effcalc.cli.completion import complete
from effcalc.cli.main import main
sys.exit(complete() if "_EFFCALC_COMPLETE" in os.environ else main(sys.argv[1:]))
"""


def program(change: str, *args: str, **env: str) -> str:
    """Run effcalc in a process of its own, after some lines of Python; return what it prints."""
    command = [sys.executable, "-c", PROGRAM.format(change), *args]
    env |= {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout


def test_a_format(tmp_path: Path) -> None:
    folder = tmp_path / "formats"
    folder.mkdir()
    (folder / "tsv.py").write_text(TSV, encoding="utf-8")
    change = f"from effcalc.output import formats; formats.__path__.append({str(folder)!r})"

    assert "rst, tsv;" in " ".join(program(change, "scale", "--help").split())
    scale = (change, "scale", "--columns", "phi,macs")
    assert program(*scale, "--format", "tsv") == "phi\tmacs\nNone\t385814752\n"
    path = tmp_path / "table.tsv"
    program(*scale, "--output", str(path))
    assert path.read_text(encoding="utf-8") == "phi\tmacs\nNone\t385814752\n"
    line = "effcalc scale --format t"
    choices = program(change, _EFFCALC_COMPLETE="fish", _EFFCALC_LINE=line)
    assert "tsv\tvalues between tabs" in choices.splitlines()


# A mean of squares and a float32 counter for each parameter; the root of the mean in the step.
RMSPROP = Optimizer(
    "rmsprop",
    "RMSprop",
    "torch.optim:RMSprop",
    state=1,
    state_bytes=4,
    scratch=1,
    scratch_left=1,
    foreach_scratch=1,
)


def test_an_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setitem(OPTIMIZERS, "rmsprop", RMSPROP)
    assert run("memory", "--optimizer", "x").error().endswith("sgd, momentum, adam, adamw, rmsprop")
    args = ("memory", "squeezenet-1.1", "--image-size", "64", "--mode", "train")
    assert "training with RMSprop" in run(*args, "--optimizer", "rmsprop").out
    checked = run(*args, "--optimizer", "rmsprop", "--verify", "--format", "csv")
    assert checked.code == 0
    rows = {row["what"]: row for row in csv.DictReader(io.StringIO(checked.out))}
    # 1,235,496 weights in 52 tensors
    assert rows["optimizer state"]["measured"] == str(1235496 * 4 + 52 * 4)
    assert rows["optimizer state"]["difference"] == "0"
    assert rows["peak at operators' ends"]["difference"] == "0"


def test_the_help_names_every_optimizer() -> None:
    change = f"from effcalc.footprint.optimizer import *; OPTIMIZERS['rmsprop'] = {RMSPROP!r}"
    text = " ".join(program(change, "memory", "--help").split())
    assert "One of sgd, momentum, adam, adamw, rmsprop." in text


def squares(table: Table) -> Plot:
    """A chart of a table: what `chart` of the table names."""

    def draw(look: PlotLook) -> Any:
        import altair as alt

        return alt.Chart(alt.InlineData(values=records(table))).mark_point().encode(x="macs:Q")

    return Plot("squares", table.title, (), (drawable(table, ("macs",)),), draw)


def test_a_plot(tmp_path: Path) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    table = Table("mine", "Mine", (Column("macs", "MACs", "count"),), [{"macs": 3}])
    options = OutputOptions(plot=str(tmp_path / "mine.svg"))
    with pytest.raises(InputError, match="nothing draws this table"):
        write_table(table, options)
    assert not (tmp_path / "mine.svg").exists()
    assert (
        "--plot: there is no folder" in run("scale", "--plot", str(tmp_path / "no/x.svg")).error()
    )
    with redirect_stdout(io.StringIO()) as out:
        write_table(replace(table, chart=f"{__name__}:squares"), options)
    assert "MACs" in out.getvalue()
    assert "Mine" in (tmp_path / "mine.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "command",
    [
        ("scale", "--phi", "0:2"),
        ("scale", "--per", "stage"),
        ("compare", "alexnet", "squeezenet-1.0"),
        ("comm", "squeezenet-1.1", "--workers", "1,8", "--compute", "1s"),
        ("memory", "squeezenet-1.1", "--mode", "train", "--per", "moment"),
    ],
)
def test_commands_draw_their_tables(command: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    picture = tmp_path / "table.svg"
    assert run(*command, "--plot", str(picture)).out == run(*command).out
    assert "</svg>" in picture.read_text(encoding="utf-8")


def test_a_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    ddp = STRATEGIES["ddp"]
    monkeypatch.setitem(STRATEGIES, "mine", ddp._replace(name="mine", help="as ddp"))
    assert "known: ddp" in run("comm", "--strategy", "x").error()
    assert ", mine" in run("comm", "--strategy", "x").error()
    args = ("comm", "--strategy", "ddp,mine", "--workers", "8", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(run(*args).out)))
    assert [row.pop("strategy") for row in rows] == ["ddp", "mine"]
    assert rows[0] == rows[1]
