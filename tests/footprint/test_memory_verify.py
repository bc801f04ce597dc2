"""`effcalc memory --verify`, and the timeline's plot: a prediction beside what really ran."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

import effcalc.footprint.live as measuring
from effcalc.base.errors import InputError
from effcalc.footprint import plot
from effcalc.footprint.live import Measured, measure
from effcalc.footprint.predict import predict
from effcalc.footprint.step import StepSettings
from effcalc.footprint.tables import timeline
from effcalc.footprint.tape import CATEGORIES
from effcalc.models.build import build as build_module
from effcalc.models.build import recompute
from effcalc.network.network import Network
from effcalc.output.plots.style import THEMES, PlotLook
from effcalc.scaling.scale import build, scale
from tests.cli_helpers import run


def small(name: str, batch: int = 2, pixels: int = 64) -> Network:
    at = scale(name, image_size=pixels, classes=10)
    return build(at.arch, at.scaling, batch)


def measured(network: Network, step: StepSettings) -> Measured:
    model = build_module(network)
    recompute(model, step.checkpoint)
    x = torch.randn(network.inputs[0].shape)
    if step.dtype == "bf16":
        model, x = model.to(torch.bfloat16), x.to(torch.bfloat16)
    return measure(model, (x,), {}, step)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("squeezenet-1.1", StepSettings(optimizer="adam")),
        ("squeezenet-1.1", StepSettings(optimizer="momentum", dtype="amp")),
        ("squeezenet-1.1", StepSettings(train=False, dtype="amp")),
        pytest.param("efficientnet-b0", StepSettings(optimizer="adamw"), marks=pytest.mark.slow),
        pytest.param("efficientnet-b0", StepSettings(checkpoint="block"), marks=pytest.mark.slow),
        pytest.param("efficientnet-b0", StepSettings(train=False), marks=pytest.mark.slow),
        pytest.param(
            "mobilenet-v2", StepSettings(dtype="bf16", master=True), marks=pytest.mark.slow
        ),
        pytest.param(
            "resnet-18", StepSettings(dtype="amp", optimizer="adam"), marks=pytest.mark.slow
        ),
        pytest.param("mnasnet-a1", StepSettings(checkpoint="stage"), marks=pytest.mark.slow),
    ],
)
def test_every_allocation_of_a_real_step(name, step):
    """The profiler's account of allocations, not a dispatch mode: torch runs as it always does."""
    network = small(name)
    p, m = predict(network, step), measured(network, step)
    start = dict(zip(CATEGORIES, p.moments[0].alive, strict=True))
    assert (m.params, m.buffers) == (start["params"], start["buffers"])
    assert m.inputs == start["inputs"]
    assert m.peak == p.peak.total
    assert m.within is not None
    assert m.within >= m.peak
    if step.train:
        assert m.optimizer == start["optimizer"]
        assert m.gradients == p.gradient_bytes
        backward = next(moment.total for moment in p.moments if moment.phase == "backward")
        seed = 2 if step.dtype == "bf16" else 4
        assert m.before_backward == backward - seed


class Pair(nn.Module):
    """Returns two tensors, for which there is no loss."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x):
        return self.linear(x), x


def test_a_result_that_is_no_logits_is_refused():
    with pytest.raises(InputError, match=r"not one tensor of \(batch, classes\)"):
        measure(Pair(), (torch.randn(2, 3),), {}, StepSettings())


ARGS = ("memory", "squeezenet-1.1", "--image-size", "64", "--verify")


def test_verify_holds_and_says_where_it_ran():
    result = run(*ARGS, "--batch", "2", "--tolerance", "0", "--format", "json")
    assert (result.code, result.err) == (0, "")
    data = json.loads(result.out)
    assert data["environment"]["torch"] == torch.__version__
    peaks = [row for row in data["rows"] if row["what"] == "peak at operators' ends"]
    assert [(row["mode"], row["difference"]) for row in peaks] == [("infer", 0), ("train", 0)]
    scratch = [row for row in data["rows"] if row["what"] == "scratch inside operators"]
    assert all(row["predicted"] is None and row["measured"] >= 0 for row in scratch)


@pytest.mark.filterwarnings("ignore")
def test_a_file_is_verified_as_its_graph_runs(tmp_path):
    path = tmp_path / "net.pt2"
    at = ("squeezenet-1.1", "--image-size", "64", "--classes", "10", "--batch", "2")
    assert run("export", *at, "--output", str(path)).code == 0
    got = run("memory", str(path), "--mode", "train", "--batch", "2", "--verify", "--tolerance",
              "1", "--format", "json")  # fmt: skip
    assert got.code == 0, got.err


@pytest.mark.filterwarnings("ignore")
def test_an_onnx_file_is_not_verified(tmp_path):
    path = tmp_path / "net.onnx"
    at = ("squeezenet-1.1", "--image-size", "64", "--classes", "10", "--batch", "2")
    assert run("export", *at, "--output", str(path)).code == 0
    got = run("memory", str(path), "--mode", "infer", "--batch", "2", "--verify")
    assert got.code == 2
    assert "torch does not run an ONNX file; give the model in code, or a .pt2" in got.error()


def test_above_the_tolerance_verify_ends_in_1(monkeypatch):
    real = measuring.measure

    def off(*args):
        found = real(*args)
        return replace(found, peak=found.peak * 2)

    monkeypatch.setattr("effcalc.cli.memory_verify.measure", off)
    result = run(*ARGS, "--mode", "infer", "--tolerance", "3%")
    assert result.code == 1
    assert "the predicted peak is -50.00% off, and --tolerance allows 3%" in result.err
    assert "peak at operators' ends" in result.out  # the table is there all the same


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--tolerance", "-1"], "--tolerance: -1 is below zero"),
        (["--tolerance", "some"], "--tolerance: 'some' is not"),
        (["--fit", "1GB"], "--fit finds what fits"),
        (["--per", "stage", "--mode", "train"], "--verify measures the whole step"),
        (["--zero", "1", "--workers", "2"], "--verify runs one worker"),
    ],
)
def test_what_cannot_be_verified(args, message):
    result = run(*ARGS, *args)
    assert result.code == 2
    assert message in result.err


def test_a_step_larger_than_the_machine_is_refused():
    result = run("memory", "resnet-50", "--batch", "1000000", "--verify", "--mode", "train")
    assert result.code == 4
    assert "are free; give a smaller --batch" in result.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_code_3():
    result = run(*ARGS, "--device", "cuda")
    assert result.code == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["efficientnet-b0", "resnet-18"])
def test_cuda_within_5_percent(name):
    network, step = small(name, 32, 224), StepSettings(optimizer="adam", device="cuda")
    model = build_module(network).cuda()
    m = measure(model, (torch.randn(network.inputs[0].shape, device="cuda"),), {}, step)
    assert m.allocated is not None
    assert abs(predict(network, step).peak.total - m.allocated) <= 0.05 * m.allocated


# --- the plot -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step", [StepSettings(), StepSettings(checkpoint="block"), StepSettings(train=False)]
)
def test_the_stack_adds_up_at_every_moment(step):
    p = predict(small("efficientnet-b0"), step)
    spec = plot.memory(timeline(p, "t")).draw(PlotLook(THEMES["light"], 720)).to_dict()
    heights: dict[float, float] = {}
    for records in spec["datasets"].values():
        for record in records:
            if "category" in record:
                at = record["moment"]
                heights[at] = heights.get(at, 0) + record["bytes"]
    assert [heights[i] for i in range(len(p.moments))] == [m.total for m in p.moments]
