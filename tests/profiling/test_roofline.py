"""Roofs: which one bounds a layer, how they are measured, kept and set beside the vendor's."""

from __future__ import annotations

import json

import pytest
import torch

from effcalc.hardware.files import device_names, load_device
from effcalc.network.network import OperatorCall, Tensor
from effcalc.output.saved import read_saved
from effcalc.profiling.devices import device_table, vendor_device
from effcalc.profiling.live import environment
from effcalc.profiling.live import roofs as measuring
from effcalc.profiling.roofline import Level, Point, Roofs, roofs_from, verdict
from tests.cli_helpers import run

ROOFS = Roofs(
    flops=100e9,
    bandwidth=((16_000, 10e9), (64_000, 200e9), (1_000_000, 80e9), (64_000_000, 20e9)),
    levels=(Level("L1", 32_000), Level("L2", 1_000_000)),
)


def conv(channels, side):
    """A 1x1 convolution of one image without a bias."""
    x = Tensor(1, (1, channels, side, side), storage=1)
    weight = Tensor(2, (channels, channels, 1, 1), param="w")
    y = Tensor(3, (1, channels, side, side), storage=3)
    attrs = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    return OperatorCall("conv", "conv", (x, weight), (y,), (), attrs)


def relu(numel, memory="new"):
    x = Tensor(1, (numel,), storage=1)
    y = Tensor(2, (numel,), storage=1 if memory == "inplace" else 2)
    return OperatorCall("relu", "relu", (x,), (y,), (), {}, memory)


def test_a_bandwidth_is_the_best_at_the_working_set_or_above():
    # The 16 kB point is slow because calling the operator takes its time, not because of the L1.
    assert ROOFS.bandwidth_of(1000) == 200e9
    assert ROOFS.bandwidth_of(64_001) == 80e9
    assert ROOFS.bandwidth_of(10**12) == 20e9
    assert [ROOFS.level_of(n) for n in (32_000, 32_001, 1_000_001)] == ["L1", "L2", "memory"]


def test_a_convolution_above_the_ridge_is_bound_by_computing():
    # 64 channels, 56x56: 2 x 64 x 64 x 3136 = 25,690,112 FLOPs take 0.2569 ms at 100 GFLOP/s;
    # 4 x (2 x 64 x 3136 + 4096) = 1,622,016 bytes take 0.0811 ms at 20 GB/s.
    got = verdict([conv(64, 56)], 0.5e-3, 0, ROOFS)
    assert got is not None
    assert got.bound == "compute"
    assert got.efficiency == pytest.approx(25_690_112 / 100e9 / 0.5e-3)


def test_an_elementwise_layer_is_bound_by_what_holds_its_working_set():
    # 100,000 floats read and 100,000 written: 800 kB, which the L2 holds: 80 GB/s, 10 µs.
    assert verdict([relu(100_000)], 20e-6, 0, ROOFS) == ("L2", pytest.approx(0.5))
    # 10 times as many do not fit: 8 MB at 20 GB/s are 400 µs.
    assert verdict([relu(1_000_000)], 500e-6, 0, ROOFS) == ("memory", pytest.approx(0.8))


def test_what_is_overwritten_in_place_is_in_the_cache_once():
    # 200,000 floats in place move 1.6 MB, but 800 kB hold them: the L2's 80 GB/s, 20 µs.
    assert verdict([relu(200_000, "inplace")], 20e-6, 0, ROOFS) == ("L2", pytest.approx(1.0))


def test_time_between_operators_bounds_a_layer_that_consists_of_it():
    got = verdict([relu(1000)], 10e-6, 6e-6, ROOFS)
    assert got is not None
    assert got.bound == "overhead"


def test_nothing_to_judge():
    view = OperatorCall("v", "view", (Tensor(1, (4,)),), (Tensor(2, (4,)),), (), {}, "view")
    assert verdict([view], 1e-6, 0, ROOFS) is None


# --- the table ---------------------------------------------------------------------------------

POINTS = [
    Point("matmul", "2x2x2", "fp32", None, 48, 1.0, 80, 48),
    Point("conv", "3x3 of a", "fp32", "contiguous", 48, 1.0, 120, 48),
    Point("conv", "3x3 of b", "fp32", "contiguous", 48, 1.0, 100, 48),
    Point("conv", "3x3 of a", "fp32", "channels_last", 48, 1.0, 300, 48),
    Point("matmul", "2x2x2", "bf16", None, 24, 1.0, 900, 24),
    Point("copy", "", None, None, 1000, 2.0, 0, 1000),
    Point("add", "", None, None, 1000, 1.0, 0, 1000),
    Point("copy", "", None, None, 9000, 90.0, 0, 9000),
]
LEVELS = (Level("L2", 2000),)


def test_roofs_are_the_best_of_a_format_and_layout(tmp_path):
    file = tmp_path / "roofs.json"
    file.write_text(device_table(POINTS, LEVELS, {"device": "x"}).render("json"))
    table = read_saved(file)
    contiguous = roofs_from(table, "fp32", "contiguous")
    assert contiguous == Roofs(120.0, ((1000, 1000.0), (9000, 100.0)), LEVELS)
    last = roofs_from(table, "fp32", "channels_last")
    assert last is not None
    assert last.flops == 300
    only = roofs_from(table, "bf16", "channels_last")  # a product has no layout
    assert only is not None
    assert only.flops == 900
    assert roofs_from(table, "tf32", "contiguous") is None


def test_the_vendor_s_dense_figures_stand_beside():
    table = device_table(POINTS, LEVELS, {"device": "NVIDIA H100 80GB HBM3"})
    by_kind = {(row["what"], row.get("dtype"), row.get("level")): row for row in table.rows}
    # 989.4 TFLOP/s of bf16 are dense; 900 FLOP/s of them:
    row = by_kind["matmul", "bf16", None]
    assert row["vendor_flops"] == 989.4e12
    assert row["vendor_share"] == pytest.approx(900 / 989.4e12 * 100)
    assert by_kind["copy", None, "memory"]["vendor_bandwidth"] == 3352e9
    assert by_kind["add", None, "L2"]["vendor_bandwidth"] is None  # a cache is not the memory
    assert any("dense" in note for note in table.notes)


def test_a_driver_s_name_means_one_hardware_file():
    names = [name for known in device_names() for name in load_device(known).reported_as]
    assert len(names) == len(set(names))
    device = vendor_device("NVIDIA A100-SXM4-40GB")
    assert device is not None
    assert device.name == "a100-40gb"
    assert vendor_device("AMD EPYC") is None


@pytest.mark.parametrize("name", ["a100-40gb", "a100-80gb-sxm", "h100-sxm", "h100-pcie", "l4"])
def test_tensor_peaks_are_dense(name):
    # Of every generation, bf16 is twice TF32, and int8 twice bf16: a doubled figure would show.
    peaks = load_device(name).peaks
    assert peaks["bf16"] / peaks["tf32"] == pytest.approx(2, rel=0.01)
    assert peaks["int8"] / peaks["bf16"] == pytest.approx(2, rel=0.01)


# --- measuring and keeping ---------------------------------------------------------------------


@pytest.fixture
def small_sweep(tmp_path, monkeypatch):
    """A sweep of tiny products, kept in a folder of the test's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(measuring, "MATMULS", {"cpu": (8, 16)})
    monkeypatch.setattr(measuring, "CONVS", {"cpu": ((1, 4, 4, 3),)})
    monkeypatch.setattr(measuring, "RUNS", (1, 2))
    monkeypatch.setattr(environment, "cache_levels", lambda device: (Level("L2", 16384.0),))
    return tmp_path


CPU = torch.device("cpu")


def test_a_device_is_measured_and_kept(small_sweep):
    got = run("device", "--device", "cpu", "--format", "json")
    assert got.code == 0
    document = json.loads(got.out)
    kinds = {(row["what"], row["dtype"], row["layout"]) for row in document["rows"]}
    for dtype in ("fp32", "fp16", "bf16"):
        assert ("matmul", dtype, None) in kinds
        assert {("conv", dtype, layout) for layout in measuring.LAYOUTS} <= kinds
    sizes = [row["working_set"] for row in document["rows"] if row["working_set"]]
    assert sizes == [16384, 32768, 65536]  # up to four times the last cache
    kept = measuring.cached(CPU)
    assert kept is not None
    assert list(kept.rows) == document["rows"]


def test_layers_are_held_against_kept_roofs(small_sweep):
    assert run("device", "--device", "cpu").code == 0
    target = "tests.profile_targets:small"
    got = run("profile", target, "--device", "cpu", "--per", "layer", "--repeat", "3",
              "--format", "json")  # fmt: skip
    document = json.loads(got.out)
    conv_row = next(row for row in document["rows"] if row["name"] == "body.0.conv")
    assert conv_row["bound"] in ("compute", "overhead", "L2", "memory")
    assert conv_row["efficiency"] > 0
    summary = json.loads(run("profile", target, "--device", "cpu", "--repeat", "3",
                             "--format", "json").out)["rows"][0]  # fmt: skip
    kept = measuring.cached(CPU)
    assert kept is not None
    best = roofs_from(kept, "fp32", "contiguous")
    assert best is not None
    assert summary["mfu"] == pytest.approx(100 * summary["flops_rate"] / best.flops)


def test_a_layer_above_its_roof_is_named_and_not_clipped(small_sweep):
    slow = [p._replace(seconds=1e3) for p in POINTS if p.dtype in (None, "fp32")]
    table = device_table(slow, LEVELS, measuring.identity(CPU))
    measuring.keep(table, CPU)
    got = run("profile", "tests.profile_targets:small", "--device", "cpu", "--per", "layer",
              "--repeat", "3", "--format", "json")  # fmt: skip
    document = json.loads(got.out)
    assert max(row["efficiency"] or 0 for row in document["rows"]) > 105
    (note, *_) = [note for note in document["notes"] if note.startswith("above the roof")]
    assert "likely: Winograd" in note


@pytest.mark.parametrize("change", [{"torch": "1.0"}, {"threads": 99}, {"device": "another"}])
def test_roofs_of_another_place_are_not_used(small_sweep, monkeypatch, change):
    who = measuring.identity(CPU)
    measuring.keep(device_table(POINTS, LEVELS, who), CPU)
    assert measuring.cached(CPU) is not None
    monkeypatch.setattr(measuring, "identity", lambda device: {**who, **change})
    assert measuring.cached(CPU) is None


def test_a_file_of_another_place_or_a_broken_one_is_not_used(small_sweep):
    who = measuring.identity(CPU)
    path = measuring.keep(device_table(POINTS, LEVELS, {**who, "torch": "1.0"}), CPU)
    assert measuring.cached(CPU) is None  # under our name, but its own words say otherwise
    path.write_text('{"schema": "urn:effcalc:table:1", "kind": "dev')
    assert measuring.cached(CPU) is None


def test_caches_are_read_from_the_system(tmp_path):
    # A core of its own L1 and L2, an L3 for four: two threads have two of the first.
    for index, (level, kind, size, cpus) in enumerate(
        [("1", "Data", "32K", "0"), ("1", "Instruction", "32K", "0"),
         ("2", "Unified", "1M", "0"), ("3", "Unified", "16M", "0-3")]
    ):  # fmt: skip
        folder = tmp_path / f"cpu0/cache/index{index}"
        folder.mkdir(parents=True)
        for name, text in (("level", level), ("type", kind), ("size", size),
                           ("shared_cpu_list", cpus)):  # fmt: skip
            (folder / name).write_text(f"{text}\n")
    assert environment.cpu_caches(tmp_path, 2) == (
        Level("L1", 2 * 32 * 1024.0),
        Level("L2", 2 * 1024 * 1024.0),
        Level("L3", 16 * 1024 * 1024.0),
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_said():
    got = run("device", "--device", "cuda")
    assert got.code == 3
    assert "no cuda device is attached" in got.error()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert run("device", "--device", "cuda", "--format", "csv").code == 0
    assert measuring.cached(torch.device("cuda")) is not None
