"""`effcalc profile` on the CPU: names, sums, memory, formats, and what stays as it was."""

from __future__ import annotations

import csv
import io
import json

import pytest
import torch
from torch import nn

import effcalc
from effcalc.output.saved import latency
from effcalc.profiling.parts import breakdown_table
from effcalc.profiling.records import Owner
from effcalc.profiling.summary import profile_table
from tests.cli_helpers import run
from tests.profile_targets import Small
from tests.torch_watch import Watch

QUICK = ("--repeat", "3", "--warmup", "1", "--device", "cpu")
SMALL = "tests.profile_targets:small"


def rows(*args):
    got = run("profile", *args, *QUICK, "--format", "json")
    assert got.code == 0, got.err
    return json.loads(got.out)


def names(*args):
    return [row["name"] for row in json.loads(run(*args, "--format", "json").out)["rows"]]


def layers(document):
    return [row["name"] for row in document["rows"] if not row["name"].startswith("(")]


# --- names and sums ----------------------------------------------------------------------------


def test_layers_are_those_of_scale():
    # Three identical blocks share a row in both.
    at = ("resnet-18", "--depth", "2", "--image-size", "32")
    document = rows(*at, "--per", "layer")
    assert layers(document) == names("scale", *at, "--per", "layer")
    assert any("-" in name.split(".")[1] for name in layers(document) if "." in name)
    assert document["kind"] == "profile-layers"


def test_layers_of_a_model_in_code_are_the_modules_of_count():
    # The dropout, which does nothing here, has no row; the root and the block ran a sum each.
    document = rows(SMALL, "--per", "layer")
    assert layers(document) == names("count", SMALL, "--per", "module")
    assert set(layers(document)) == {"body.0.conv", "body.0", "body.1", SMALL, "head"}


def test_an_exported_program_has_the_modules_that_it_was_exported_from(tmp_path):
    file = str(tmp_path / "small.pt2")
    program = torch.export.export(Small().eval(), (torch.rand(2, 3, 8, 8),))
    torch.export.save(program, file)
    document = rows(file, "--per", "layer")
    assert layers(document) == names("count", file, "--per", "module")
    by_name = {row["name"]: row for row in document["rows"]}
    assert by_name["body.0.conv"]["macs"] == 10_368  # as of the model itself, below
    half = rows(file, "--dtype", "bf16")["rows"][0]
    assert half["held_memory"] < rows(file)["rows"][0]["held_memory"]


def test_modules_are_apart_where_layers_share_a_row():
    at = ("resnet-18", "--depth", "2", "--image-size", "32", "--per", "module")
    assert "conv2.1.add" in layers(rows(*at))
    assert layers(rows(*at, "--max-level", "1"))[:3] == ["stem", "pool1", "conv2"]


@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("per", ["layer", "kernel"])
def test_rows_sum_to_the_profiled_run(mode, per):
    document = rows(SMALL, "--mode", mode, "--per", per)
    times = [row["time"] for row in document["rows"]]
    assert sum(times) == pytest.approx(document["total"]["time"], rel=1e-9)
    assert sum(row["share"] for row in document["rows"]) == pytest.approx(100)
    assert all(time > 0 for time in times)


def test_costs_of_a_layer_are_the_count_s():
    document = rows(SMALL, "--per", "layer")
    by_name = {row["name"]: row for row in document["rows"]}
    conv = by_name["body.0.conv"]
    # 2 images x 3 channels x 8x8 positions x 3x3x3: 10,368 MACs
    assert conv["macs"] == 2 * 3 * 64 * 27 == 10_368
    # reads x (384), the weight (81) and the bias (3), writes 384: float32
    assert conv["moved_bytes"] == 4 * (384 + 81 + 3 + 384)
    assert conv["intensity"] == pytest.approx(2 * 10_368 / 3408)
    assert conv["flops_rate"] == pytest.approx(2 * 10_368 / conv["time"])
    assert by_name["head"]["macs"] == 2 * 3 * 5
    assert document["total"]["macs"] == 10_368 + 30


def test_training_has_its_own_rows_and_backward_time():
    document = rows(SMALL, "--mode", "train", "--per", "layer")
    by_name = {row["name"]: row for row in document["rows"]}
    assert {"(loss)", "(optimizer)", "(autograd engine)"} <= set(by_name)
    conv = by_name["body.0.conv"]
    assert 0 < conv["backward"] < conv["time"]
    # Forward and the gradient of the weight; none of the image is needed: twice the forward.
    assert conv["macs"] == 2 * 10_368


def test_kernels_are_operators_with_their_layer():
    document = rows(SMALL, "--per", "kernel")
    found = {(row["kernel"], row["layer"]): row["calls"] for row in document["rows"]}
    assert found["aten::addmm", "head"] == 1
    assert found["aten::native_batch_norm", "body.1"] == 1
    assert found["aten::add", "body.0"] == 1
    assert ("aten::conv2d", "body.0.conv") not in found  # it calls the convolution and no more


# --- the summary -------------------------------------------------------------------------------


def test_a_row_for_each_batch_and_a_latency_to_read_back(tmp_path):
    file = tmp_path / "p.json"
    at = ("squeezenet-1.1", "--image-size", "32")
    document = rows(*at, "--batch", "1,2")
    assert [row["batch"] for row in document["rows"]] == [1, 2]
    for row in document["rows"]:
        assert row["p10"] <= row["latency"] <= row["p90"]
        assert row["low"] <= row["latency"] <= row["high"]
        assert row["throughput"] == row["batch"] / row["latency"]
        assert (row["runs"], row["warmup"]) == (3, 1)
        assert "3 runs are too few" in row["noise"]
    one, two = (row["macs"] for row in document["rows"])
    assert 2 * one == two
    assert run("profile", *at, *QUICK, "-o", str(file)).code == 0
    assert latency(file) == json.loads(file.read_text())["rows"][0]["latency"]


def test_the_environment_is_recorded():
    where = rows(SMALL, "--threads", "1", "--channels-last")["environment"]
    assert where["threads"] == 1
    assert where["torch"] == torch.__version__
    assert (where["dtype"], where["tf32"], where["layout"]) == ("fp32", "off", "channels_last")
    assert where["device"]


@pytest.mark.parametrize("format", ["table", "markdown", "latex", "html", "csv", "json"])
def test_every_format(format):
    got = run("profile", SMALL, *QUICK, "--per", "layer", "--format", format)
    assert got.code == 0
    assert "body" in got.out


@pytest.mark.parametrize("per", [None, "layer", "kernel"])
def test_the_terminal_has_80_columns(per):
    more = () if per is None else ("--per", per)
    got = run("profile", "resnet-18", "--image-size", "32", *QUICK, *more)
    assert max(map(len, got.out.splitlines())) <= 80
    several = run("profile", SMALL, "--input", "1x3x8x8", *QUICK)
    assert max(map(len, several.out.splitlines())) <= 80


def test_exact_peak_memory_of_inference():
    # An independent watcher of storages sees the same peak, beside the weights.
    document = rows(SMALL)
    model, x = Small().eval(), torch.rand(2, 3, 8, 8)
    with torch.no_grad(), Watch(x) as watch:
        model(x)
    held = sum(t.nbytes for t in (*model.parameters(), *model.buffers()))
    row = document["rows"][0]
    assert row["held_memory"] == held
    assert row["peak_memory"] == held + max(r.live for r in watch.rows)


def test_memory_of_training_holds_the_optimizer_s_state():
    # SGD with momentum keeps one buffer for each parameter.
    row = rows(SMALL, "--mode", "train")["rows"][0]
    model = Small()
    weights = sum(p.nbytes for p in model.parameters())
    buffers = sum(b.nbytes for b in model.buffers())
    assert row["held_memory"] == 2 * weights + buffers
    # Gradients of all parameters are alive at once before the step.
    assert row["peak_memory"] >= 3 * weights + buffers


@pytest.mark.parametrize(("dtype", "size"), [("fp16", 2), ("bf16", 2), ("fp32", 4)])
def test_formats_halve_the_weights(dtype, size):
    row = rows("squeezenet-1.1", "--image-size", "32", "--dtype", dtype)["rows"][0]
    assert row["held_memory"] == 1_235_496 * size


def test_mixed_precision_runs_products_in_bfloat16():
    document = rows(SMALL, "--dtype", "amp", "--per", "kernel", "--mode", "train")
    assert document["environment"]["amp_format"] == "bfloat16"
    assert any(row["kernel"] == "aten::copy_" for row in document["rows"])  # the casts


def test_cold_caches_and_a_trace(tmp_path):
    file = tmp_path / "trace.json"
    document = rows(SMALL, "--cold", "--trace", str(file))
    assert document["environment"]["caches"] == "cold"
    events = json.loads(file.read_text())["traceEvents"]
    assert any(e.get("name") == "effcalc::layer::body.0.conv" for e in events)


# --- what stays as it was ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_the_model_and_torch_stay_as_they_were(mode):
    model, x = Small(), torch.rand(2, 3, 8, 8)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    owners = torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.mkldnn.matmul
    call, threads, grad = nn.Module.__call__, torch.get_num_threads(), torch.is_grad_enabled()
    precision = [owner.fp32_precision for owner in owners]
    got = effcalc.profile(model, x, mode=mode, repeat=3, warmup=1, threads=1, device="cpu")
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert nn.Module.__call__ is call
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, grad)
    assert [owner.fp32_precision for owner in owners] == precision
    assert profile_table(got).kind == "profile"
    assert breakdown_table(got, "layer").total


def test_everything_is_put_back_where_the_model_fails():
    call, threads = nn.Module.__call__, torch.get_num_threads()
    with pytest.raises(effcalc.RunError, match=r"in its module 1: .*mat1 and mat2"):
        effcalc.profile(
            nn.Sequential(nn.Flatten(), nn.Linear(2, 2)), torch.rand(1, 3), threads=1, device="cpu"
        )
    assert nn.Module.__call__ is call
    assert torch.get_num_threads() == threads


def test_float32_products_are_exact_while_a_profile_runs(monkeypatch):
    seen = []

    class Look(Small):
        def forward(self, x):
            backends = torch.backends
            seen.append(
                {
                    owner.fp32_precision
                    for owner in (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.conv)
                }
            )
            return super().forward(x)

    effcalc.profile(Look(), torch.rand(2, 3, 8, 8), repeat=1, warmup=0, device="cpu")
    assert seen
    assert all(values == {"ieee"} for values in seen)


# --- failures ----------------------------------------------------------------------------------


def test_out_of_memory_says_which_batch_fits_and_keeps_the_others():
    target = "tests.profile_targets:Limited"
    got = run("profile", target, "--batch", "1,2,13", *QUICK, "--format", "csv")
    assert got.code == 4
    assert "memory ran out at batch 13; batch 3 fits" in got.err  # 13, 6, 3
    assert [row["batch"] for row in csv.DictReader(io.StringIO(got.out))] == ["1", "2"]


# The model runs once to be traced, once to warm up, then for each of the samples.
@pytest.mark.parametrize(("kind", "code"), [("interrupt", 130), ("value", 4)])
@pytest.mark.parametrize(("n", "kept"), [(2, False), (5, True), (7, True)])
def test_what_was_measured_is_kept_and_marked_partial(kind, code, n, kept):
    settings = ("--arg", f"n={n}", "--arg", f"kind={kind}")
    got = run("profile", "tests.profile_targets:later", *settings, "--device", "cpu",
              "--repeat", "3", "--warmup", "1", "--format", "json")  # fmt: skip
    assert got.code == code
    assert bool(got.out) == kept
    if kept:
        (row,) = json.loads(got.out)["rows"]
        assert row["runs"] == min(n - 3, 3)
        assert row["partial"].startswith("interrupted" if kind == "interrupt" else "tests.")
        assert any("PARTIAL" in note for note in json.loads(got.out)["notes"])
    if kind == "value":
        assert "it fell" in got.err


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--device", "tpu"), 2, "--device: 'tpu' is not one of cpu, cuda"),
        (("--dtype", "fp8"), 2, "--dtype: 'fp8' is not one of fp32"),
        (("--dtype", "tf32", "--device", "cpu"), 3, "needs an NVIDIA GPU"),
        (("--mode", "test"), 2, "--mode: 'test' is not infer or train"),
        (("--per", "layers"), 2, "(did you mean 'layer'?)"),
        (("--per", "kernel", "--max-level", "2"), 2, "--max-level is for"),
        (("--per", "layer", "--compile"), 2, "--compile fuses layers"),
        (("--per", "layer", "--batch", "1,2"), 2, "for one batch size"),
        (("--batch", "0"), 2, "--batch: 0 is not a whole number from 1"),
        (("--phi", "0,1"), 2, "profile is for one scaling"),
        (("model.onnx",), 2, "model.onnx: there is no such file"),
        ((SMALL, "--width", "2"), 2, "scaling options are for networks"),
        ((SMALL, "--batch", "4"), 2, "is 2x3x8x8; give it as --input 4x3x8x8"),
        (("--arg", "a=1"), 2, "--arg is for a model in code"),
    ],
)
def test_requests_that_cannot_be(args, code, said):
    got = run("profile", *args)
    assert got.code == code
    assert said in got.error()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_gpu_is_said():
    got = run("profile", "--device", "cuda")
    assert got.code == 3
    assert "no cuda device is attached" in got.error()


def test_a_compiler_is_needed_to_compile(monkeypatch):
    monkeypatch.setenv("PATH", "")
    got = run("profile", "--compile", "--device", "cpu")
    assert got.code == 3
    assert "needs a C++ compiler" in got.error()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mode", ["infer", "train"])
def test_a_gpu_s_rows_sum_to_its_time(mode):
    got = effcalc.profile(Small(), torch.rand(2, 3, 8, 8), mode=mode, device="cuda")
    (m,) = got.measurements
    assert m.device is not None
    assert m.profiled is not None
    assert sum(m.profiled.parts.values()) == pytest.approx(m.profiled.time)
    assert any(p.owner == Owner("layer", "body.0.conv") for p in m.profiled.parts)
