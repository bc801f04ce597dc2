"""`effcalc memory` as a user meets it: what it prints, what it refuses."""

from __future__ import annotations

import json

import pytest

from effcalc.footprint.tape import CATEGORIES
from tests.cli_helpers import run


def rows(*args: str) -> list[dict[str, object]]:
    result = run("memory", *args, "--format", "json")
    assert (result.code, result.err) == (0, "")
    data: list[dict[str, object]] = json.loads(result.out)["rows"]
    return data


def test_categories_sum_to_the_peak():
    found = rows("--phi", "0,1", "--batch", "2,3", "--dtype", "fp32,amp")
    assert len(found) == 2 * 2 * 2 * 2  # scalings, batches, precisions, modes
    for row in found:
        assert sum(row[key] for key in CATEGORIES) == row["peak"]  # type: ignore[misc]


def test_parts_sum_to_what_is_kept():
    parts = rows("resnet-50", "--mode", "train", "--per", "layer", "--batch", "2")
    (whole,) = rows("resnet-50", "--mode", "train", "--batch", "2")
    assert sum(part["kept"] for part in parts) == whole["all_kept"]  # type: ignore[misc]
    peaks = [part["peak"] for part in parts if part["peak"] is not None]  # none: a view
    assert max(peaks) == whole["peak"]  # type: ignore[type-var]


def test_the_timeline_has_the_peak():
    moments = rows("--mode", "train", "--per", "moment")
    (whole,) = rows("--mode", "train")
    assert max(m["alive"] for m in moments) == whole["peak"]  # type: ignore[type-var]
    assert [m["phase"] for m in moments][-1] == "optimizer"


def test_fit_finds_batch_and_phi():
    batch, phi = rows("--fit", "1GiB", "--optimizer", "sgd")
    assert batch["peak"] <= 1 << 30
    assert phi["peak"] <= 1 << 30
    (more,) = rows("--batch", str(batch["value"] + 1), "--mode", "train", "--optimizer", "sgd")  # type: ignore[operator]
    assert more["peak"] > 1 << 30  # type: ignore[operator]


@pytest.mark.parametrize(
    "args",
    [
        ["--phi", "3", "--batch", "32"],
        ["--phi", "0:3", "--batch", "32"],
        ["resnet-50", "--batch", "16,32", "--dtype", "fp32,amp", "--mode", "train"],
        ["--mode", "train"],
        ["--mode", "train", "--per", "stage"],
        ["--mode", "train", "--per", "moment"],
        ["--fit", "24GiB"],
    ],
)
def test_tables_fit_80_columns(args):
    result = run("memory", *args)
    assert result.code == 0
    assert max(len(line) for line in result.out.splitlines()) <= 80


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--batch", "0"], "--batch: 0 is not a whole number of at least 1"),
        (["--batch", "two"], "--batch: 'two' is not a whole number"),
        (["--fit", "24 gigs"], "--fit: '24 gigs' is not a size"),
        (["--fit", "0"], "--fit: must be above zero"),
        (["--fit", "1kB"], "fits 1.000 kB, not even one image"),
        (["--fit", "1GB", "--batch", "1,2"], "--fit finds the batch"),
        (
            ["--dtype", "fp33"],
            "--dtype: 'fp33' is not one of fp32, bf16, amp (did you mean 'fp32'?)",
        ),
        (["--optimizer", "adan"], "--optimizer: 'adan' is not one of"),
        (["--zero", "2"], "--zero 2 shards over --workers; give 2 or more"),
        (["--zero", "4", "--workers", "2"], "--zero: '4' is not one of 0, 1, 2, 3"),
        (["--master-weights"], "--master-weights copies bf16 weights"),
        (["--per", "stage"], "--per is for one run, and this asks for 2"),
        (["--mode", "train", "--per", "stag"], "--per: 'stag' is not one of"),
        (["--input", "1x3x8x8"], "--arg and --input are for a target"),
        (["torchvision:resnet18", "--phi", "1"], "a target is taken as it is"),
        (["torchvision:resnet18", "--checkpoint", "block"], "--checkpoint is for effcalc's"),
    ],
)
def test_bad_input_is_one_line_and_code_2(args, message):
    result = run("memory", *args)
    assert result.code == 2
    assert result.out == ""
    assert message in result.err
    assert result.err.count("\n") == 1


def test_a_target_is_traced():
    inferred, trained = rows("torchvision:resnet18", "--input", "2x3x64x64")
    (ours,) = rows("resnet-18", "--image-size", "64", "--batch", "2", "--mode", "infer")
    assert inferred["peak"] == ours["peak"]
    assert trained["params"] == 11_689_512 * 4  # torchvision's ResNet-18


def test_a_document_runs_no_model(tmp_path, monkeypatch):
    (tmp_path / "model.py").write_text("raise SystemExit('ran')\n")
    (tmp_path / "doc.md").write_text(
        "<!-- effcalc: memory model.py:make -->\n<!-- effcalc end -->\n"
    )
    monkeypatch.chdir(tmp_path)
    result = run("embed", "doc.md")
    assert result.code == 2
    assert "a document runs no model" in result.err
