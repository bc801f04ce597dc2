"""`effcalc count` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from effcalc.cli.main import main  # noqa: E402
from effcalc.output.formats import FORMATS  # noqa: E402

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        print("printed by the model")
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.head = nn.Linear(4, 2)
        self.head.bias.requires_grad_(False)
        self.spare = nn.Linear(5, 5)

    def forward(self, x):
        return torch.linalg.inv(self.head(self.body(x).mean((2, 3))))
"""
NET = ["count", "net.py:Net", "--input", "2x3x6x6"]
CONV, HEAD = 2 * 4 * 16 * 27, 2 * 4 * 2


@pytest.fixture(autouse=True)
def net_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> tuple[str, str]:
    assert main([*args]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def rows(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[list[dict[str, int]], list[str]]:
    out, _ = run(capsys, *NET, *args, "--format", "json")
    table = json.loads(out)
    return [*table["rows"], *([table["total"]] if table.get("total") else [])], table["notes"]


def test_totals(capsys: pytest.CaptureFixture[str]) -> None:
    (row,), notes = rows(capsys)
    assert row["macs"] == CONV + HEAD
    assert row["flops"] == 2 * row["macs"]
    assert row["params"] == 3 * 36 + 4 + 8 + 10 + 30
    assert (row["trainable"], row["frozen"]) == (row["params"] - 2, 2)
    assert row["buffers"] == 4 + 4 + 1
    assert row["weight_bytes"] == 4 * row["params"]
    assert row["buffer_bytes"] == 8 * 4 + 8
    assert row["moved_bytes"] == row["read_bytes"] + row["written_bytes"]
    assert notes == [
        "operators without a formula, counted by their bytes alone: aten::linalg_inv_ex ×1",
        "modules never called: spare",
        "input: 2x3x6x6 float32; evaluation mode",
    ]


def test_what_the_model_prints_is_not_in_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run(capsys, *NET)
    assert "printed by the model" in err
    assert "printed by the model" not in out


def test_strict_tells_and_ends_with_1_after_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run(capsys, *NET, "--strict", code=1)
    assert "MACs" in out
    assert "--strict: net.py:Net: operators without a formula" in err
    assert "linalg_inv_ex ×1; modules never called: spare" in err


@pytest.mark.parametrize("per", ["op", "module", "layer"])
def test_breakdowns_sum_to_the_total(capsys: pytest.CaptureFixture[str], per: str) -> None:
    (whole,), _ = rows(capsys)
    *parts, total = rows(capsys, "--per", per)[0]
    for key in ("params", "macs", "elementwise", "read_bytes", "written_bytes", "activation_bytes"):
        assert sum(part[key] for part in parts) == total[key] == whole[key], key


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    def names(*args: str) -> list[object]:
        return [row["name"] for row in rows(capsys, *args)[0]]

    assert names("--per", "module") == [
        *("body.0", "body.1", "body.2", "net.py:Net", "head", "spare", "total")
    ]
    assert names("--per", "module", "--max-level", "1") == [
        *("body", "net.py:Net", "head", "spare", "total")
    ]
    assert {"body.0 (conv)", "body.1 (batch_norm)", "head (linear)"} < set(names("--per", "layer"))


def test_backward(capsys: pytest.CaptureFixture[str]) -> None:
    (row,), notes = rows(capsys, "--backward")
    assert row["forward_macs"] == CONV + HEAD
    # The head's weight and input, the convolution's weight; linalg.inv's backward has products.
    products = 2 * HEAD + CONV
    inverse = row["backward_macs"] - products
    assert inverse == 2 * 2 * 2 * 2 * 1  # two products of 2 x 2 matrices
    assert "training mode" in notes[-1]


def test_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    for name in FORMATS:
        out, _ = run(capsys, *NET, "--format", name)
        assert out


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["count", "net.py:Net"], 2, "say what goes in"),
        (["count", "net.py:Net", "--input", "2x4x6x6"], 4, "in its module body.0: failed on"),
        (["count", "nothing.here:Net"], 2, "there is no module 'nothing'"),
        ([*NET, "--per", "stage"], 2, "--per stage is for a network of effcalc's"),
        ([*NET, "--per", "thing"], 2, "--per: 'thing' is not one of module, layer, op"),
        ([*NET, "--max-level", "1"], 2, "--max-level is for --per module"),
        (["count", "torchvision:ssd300_vgg16"], 4, "--real (real=True) runs it on real ones"),
    ],
)
def test_refusals(
    capsys: pytest.CaptureFixture[str], args: list[str], code: int, message: str
) -> None:
    out, err = run(capsys, *args, code=code)
    assert message in err
    assert err.strip().splitlines()[-1].startswith("effcalc: error: ")
    assert not out
