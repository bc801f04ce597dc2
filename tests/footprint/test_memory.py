"""The memory that is predicted is what torch has alive, to the byte, on fake and real tensors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchgen
from hypothesis import given, settings
from hypothesis import strategies as st
from torchgen.packaged.autograd.load_derivatives import load_derivatives
from torchvision import models

from effcalc.base.errors import InputError
from effcalc.footprint.fit import fit_batch, fit_phi
from effcalc.footprint.predict import predict
from effcalc.footprint.step import StepSettings
from effcalc.footprint.tape import CATEGORIES
from effcalc.models.build import build as build_module
from effcalc.models.build import recompute
from effcalc.models.mode import RunMode
from effcalc.models.target import target_network
from effcalc.network.catalog import built_in_names, index
from effcalc.network.network import Network, OperatorCall, Param, Tensor, unroll
from effcalc.network.ops import OPS
from effcalc.scaling.figures import figures
from effcalc.scaling.scale import Scaled, build, scale
from tests.step_watch import inferred, trained

FAMILIES = sorted({entry.path.stem for entry in index().values()})
# One small member of every family: name -> image size. ResNet-164 stands for ResNet-1001.
SMALL = {
    "alexnet": 67,
    "alexnet-torchvision": 67,
    "efficientnet-b0": 32,
    "mnasnet-a1": 32,
    "mnasnet-b1": 32,
    "mobilenet-v1": 32,
    "mobilenet-v2": 32,
    "resnet-164": 16,
    "resnet-18": 32,
    "resnet-50": 32,
    "squeezenet-1.0": 32,
    "squeezenet-1.0-complex-bypass": 32,
    "squeezenet-1.1": 32,
}
ALL = built_in_names()
GB = 10**9


def small(name: str, batch: int) -> Network:
    at = scale(name, image_size=SMALL[name], classes=10)
    return build(at.arch, at.scaling, batch)


def full(name: str, batch: int) -> Network:
    at = scale(name)
    return build(at.arch, at.scaling, batch)


def differences(network: Network, step: StepSettings, device: str = "cpu") -> tuple[int, int]:
    """Predicted and measured peak of a step of the built module."""
    with torch.device(device):
        model = build_module(network)
    if step.dtype == "bf16":
        model.to(torch.bfloat16)
    recompute(model, step.checkpoint)
    shape, amp = network.inputs[0].shape, step.dtype == "amp"
    if step.train:
        watch = trained(model, shape, optimizer=step.optimizer, amp=amp)
    else:
        watch = inferred(model, shape, amp=amp)
    return predict(network, replace(step, watched=True)).peak.total, watch.peak


# --- against torch ------------------------------------------------------------------------------


QUICK = {"alexnet", "efficientnet-b0", "mnasnet-a1", "mobilenet-v2", "resnet-18", "squeezenet-1.1"}


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ALL],
)
def test_every_architecture_at_full_size_on_fake_tensors(name):
    """All of the step runs on the meta device: shapes and lifetimes are real, values are not."""
    predicted, measured = differences(full(name, 32), StepSettings(optimizer="sgd"), "meta")
    assert predicted == measured


@pytest.mark.parametrize(
    ("name", "batch", "step", "device"),
    [
        ("efficientnet-b0", 3, StepSettings(optimizer="adam"), "meta"),
        ("efficientnet-b0", 2, StepSettings(checkpoint="block"), "meta"),
        ("mnasnet-a1", 2, StepSettings(checkpoint="stage", optimizer="adamw"), "meta"),
        ("mobilenet-v2", 2, StepSettings(dtype="bf16", optimizer="momentum"), "cpu"),
        ("efficientnet-b0", 3, StepSettings(train=False, dtype="amp"), "cpu"),
        ("squeezenet-1.1", 2, StepSettings(dtype="amp", optimizer="adam"), "cpu"),
        ("squeezenet-1.0-complex-bypass", 3, StepSettings(optimizer="adam"), "cpu"),
    ],
)
def test_a_step(name, batch, step, device):
    predicted, measured = differences(small(name, batch), step, device)
    assert predicted == measured


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "amp"])
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("batch", [2, 5])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_family(name, batch, optimizer, dtype):
    step = StepSettings(optimizer=optimizer, dtype=dtype)
    predicted, measured = differences(small(name, batch), step)
    assert predicted == measured


@pytest.mark.slow
@pytest.mark.parametrize(
    "step", [StepSettings(checkpoint="stage"), StepSettings(checkpoint="block")]
)
@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_family_with_checkpoints(name, step):
    predicted, measured = differences(small(name, 2), step)
    assert predicted == measured


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "amp"])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_familys_inference(name, dtype):
    predicted, measured = differences(small(name, 2), StepSettings(train=False, dtype=dtype))
    assert predicted == measured


def test_small_has_a_member_of_every_family():
    assert {index()[name].path.stem for name in SMALL} | {"resnet-1001"} >= set(FAMILIES)


# Models of torchvision's that no architecture file describes; ConvNeXt's convolutions read a
# permuted input, which makes torch copy the gradients of their weights: see docs/memory.md.
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("shufflenet_v2_x0_5", 0),
        pytest.param("mobilenet_v3_small", 0, marks=pytest.mark.slow),
        pytest.param("convnext_tiny", 0.003, marks=pytest.mark.slow),
    ],
)
def test_a_traced_model(name, tolerance):
    network = target_network(f"torchvision:{name}", inputs=["2x3x64x64"], mode=RunMode(train=True))
    step = StepSettings(optimizer="momentum", watched=True)
    measured = trained(getattr(models, name)(), (2, 3, 64, 64), optimizer="momentum").peak
    assert abs(predict(network, step).peak.total - measured) <= tolerance * measured


# --- what autograd keeps, against torch's own table ---------------------------------------------


def _derivatives() -> dict[str, tuple[list[str], set[str], set[str], int]]:
    """Torch operator -> its tensor arguments, which of them and of its results its backward reads,
    and how many results there are.

    From torch's derivatives.yaml, as torch's own code generator reads it.
    """
    root = Path(torchgen.__file__).parent / "packaged"
    functions = root / "ATen/native/native_functions.yaml"
    infos, _ = load_derivatives(
        str(root / "autograd/derivatives.yaml"), str(functions), str(root / "ATen/native/tags.yaml")
    )
    table = {}
    for by_key in infos.values():
        info = by_key.get("Default")
        if info is None:
            continue
        function = info.func.func
        tensors = [a.name for a in function.arguments.flat_non_out if "Tensor" in str(a.type)]
        read = {s.expr for d in info.derivatives for s in d.saved_inputs} & set(tensors)
        made = {s.expr for d in info.derivatives for s in d.saved_outputs}
        table[str(function.name)] = (tensors, read, made, len(function.returns))
    return table


DERIVATIVES = _derivatives()
# Records whose rule is checked by what torch really runs, above: of normalisations, pools and
# look-ups derivatives.yaml names running statistics, sizes and lists that are no tensors here.
# Of nested and sparse tensors; and three that torch refuses to differentiate in place.
OTHER = ("_nested_get_values", "values", "acosh_", "asinh_", "atanh_")
ONE_TENSOR = [
    (op.name, name)
    for op in OPS.values()
    if op.saves is not None
    for name in op.torch
    for key in (name.removeprefix("aten::"),)
    if key in DERIVATIVES and len(DERIVATIVES[key][0]) == 1 and key not in OTHER
]


@pytest.mark.parametrize(("record", "name"), ONE_TENSOR)
def test_what_is_kept_is_what_the_derivative_reads(record, name):
    """Of operators of one tensor: kept or not, the operand and the result."""
    _, read, made, _ = DERIVATIVES[name.removeprefix("aten::")]
    x = Tensor(0, (4, 4), storage=0)
    made_by_it = DERIVATIVES[name.removeprefix("aten::")][3]
    results = tuple(Tensor(i, (4, 4), storage=i) for i in range(1, made_by_it + 1))
    inplace = name.endswith("_") and not name.endswith("__")
    attrs = {"padding": (1, 1)} if "tion_pad" in name else {}
    call = OperatorCall("x", record, (x,), results, (), attrs, "inplace" if inplace else "new")
    rule = OPS[record].saves
    assert rule is not None
    saved = rule(call, "cpu")
    if not saved.differentiable:
        assert not read
        assert not made
    else:
        assert bool(saved.operands) == bool(read)
        assert bool(saved.outputs) == bool(made)


def test_most_records_are_checked():
    assert len(ONE_TENSOR) > 150


# --- arithmetic ---------------------------------------------------------------------------------


def linear(features: int, classes: int, batch: int) -> Network:
    """One linear layer without bias on a flat input."""
    x = Tensor(0, (batch, features), storage=0)
    y = Tensor(1, (batch, classes), storage=1)
    weight = Tensor(-1, (classes, features), "float32", -1, "fc.weight")
    param = Param("fc.weight", (classes, features))
    return Network("fc", (x,), (y,), (OperatorCall("fc", "linear", (x, weight), (y,), (param,)),))


def test_one_linear_layer_by_hand():
    """x 2x3, weight 5x3, labels 2: bytes 24, 60, 16."""
    p = predict(linear(3, 5, 2), StepSettings(optimizer="adam"))
    at = {m.op: m for m in p.moments}
    # Adam keeps two moments of the weight and a float32 counter: 2 * 60 + 4.
    assert at[""].alive == (60, 0, 124, 24 + 16, 0, 0, 0)
    assert at["linear"].total == 224 + 40  # logits 2x5
    assert at["log_softmax"].total == 224 + 80
    assert at["nll_loss"].total == 224 + 80 + 4 + 4  # loss and the weight it was divided by
    # The logits are gone; log-probabilities, loss, divisor and the seed of 4 are there.
    assert at["fill"].total == 224 + 40 + 4 + 4 + 4
    assert at["nll_loss_backward"].total == 224 + 40 + 4 + 4 + 4 + 40
    # The divisor is gone with its node.
    assert at["log_softmax_backward"].total == 224 + 40 + 4 + 4 + 40 + 40
    # Only the weight needs a gradient, 60; log-probabilities are gone.
    assert at["linear_backward"].total == 224 + 4 + 4 + 40 + 60
    # Two results of the weight's size in the update: the root, and that divided by a number.
    assert at["adam"].total == 224 + 4 + 60 + 120 + 8
    assert p.peak.op == "adam"
    assert p.gradient_bytes == 60


@pytest.mark.parametrize(
    ("zero", "params", "gradients", "optimizer"),
    [(0, 60, 60, 124), (1, 60, 60, 31), (2, 60, 15, 31), (3, 15, 15, 31)],
)
def test_zero_shards_what_its_paper_says(zero, params, gradients, optimizer):
    """Rajbhandari et al. 2020, figure 1: stage 1 shards optimizer state, 2 also gradients, 3 all.

    At the end of the step of four workers, by the arithmetic above: 124 / 4 = 31, 60 / 4 = 15.
    """
    p = predict(linear(3, 5, 2), StepSettings(optimizer="adam", workers=4, zero=zero))
    alive = dict(zip(CATEGORIES, p.moments[-1].alive, strict=True))
    found = (alive["params"], alive["gradients"], alive["optimizer"])
    assert found == (params, gradients, optimizer)


def test_gathered_weights_are_whole_while_they_are_used():
    p = predict(linear(3, 5, 2), StepSettings(optimizer="sgd", workers=4, zero=3))
    at = {m.op: m.alive[0] for m in p.moments}
    assert at["linear"] == at["linear_backward"] == 15 + 60
    assert at["log_softmax"] == at["sgd"] == 15


def test_master_weights_are_float32_copies():
    step = StepSettings(optimizer="momentum", dtype="bf16", master=True)
    p = predict(linear(3, 5, 2), step)
    # bf16 weights 30; master 60 and momentum 60.
    assert p.moments[0].alive[:3] == (30, 0, 120)
    # The update reads float32 copies of the gradients, 60, beside the bf16 ones, 30.
    last = dict(zip(CATEGORIES, p.moments[-1].alive, strict=True))
    assert last["gradients"] == 30
    assert last["temporary"] == 60 + 2 + 2 - 2


# --- properties ---------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(["efficientnet-b0", "resnet-50", "squeezenet-1.0", "mobilenet-v1"]),
    depth=st.sampled_from([0.5, 1.0, 2.3, 4.0]),
    width=st.sampled_from([0.5, 1.0, 1.7]),
    batch=st.integers(1, 40),
    train=st.booleans(),
    dtype=st.sampled_from(["fp32", "bf16", "amp"]),
    checkpoint=st.sampled_from(["none", "stage", "block"]),
    zero=st.sampled_from([0, 3]),
)
def test_repeats_are_as_if_written_out(name, depth, width, batch, train, dtype, checkpoint, zero):
    """Of many alike blocks a few are looked at; the peak is that of all of them."""
    at = scale(name, depth=depth, width=width)
    network = build(at.arch, at.scaling, batch)
    step = StepSettings(train, dtype, "adam", checkpoint=checkpoint, workers=4, zero=zero)
    folded, written_out = predict(network, step), predict(unroll(network), step)
    assert folded.peak.total == written_out.peak.total
    assert folded.peak.alive == written_out.peak.alive
    assert folded.kept_bytes == written_out.kept_bytes
    assert folded.moments[-1] == written_out.moments[-1]


@pytest.mark.parametrize("name", FAMILIES)
def test_an_inference_is_what_scale_says(name):
    at = scale(name)
    p = predict(at.network, StepSettings(train=False))
    assert p.peak.total == at.weight_bytes + at.buffer_bytes + at.peak_activation_bytes


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("checkpoint", ["none", "stage", "block"])
def test_accounts_balance(name, checkpoint):
    """Nothing is negative, all gradients are there at the end, and what was kept is gone."""
    at = scale(name)
    p = predict(build(at.arch, at.scaling, 4), StepSettings(checkpoint=checkpoint))
    assert all(min(m.alive) >= 0 for m in p.moments)
    last = dict(zip(CATEGORIES, p.moments[-1].alive, strict=True))
    weights = figures(at.network).weights
    assert last["gradients"] == last["params"] == weights.weight_bytes
    assert last["saved"] == 0
    assert last["temporary"] == 4  # the loss
    first_backward = next(m for m in p.moments if m.phase == "backward")
    assert p.kept_bytes == first_backward.alive[CATEGORIES.index("saved")]


def test_depth_costs_nothing():
    at = scale("efficientnet-b0", phi=60)
    assert len(predict(build(at.arch, at.scaling, 32)).moments) < 3000


# --- what fits ----------------------------------------------------------------------------------


def test_the_largest_batch_fits_and_one_more_does_not():
    at, step, limit = scale("resnet-18"), StepSettings(optimizer="adam"), 2 * GB
    fit = fit_batch(lambda batch: build(at.arch, at.scaling, batch), step, limit)
    assert isinstance(fit.value, int)
    assert fit.prediction is not None
    assert fit.prediction.peak.total <= limit
    assert predict(build(at.arch, at.scaling, fit.value + 1), step).peak.total > limit


def test_the_largest_phi_fits_and_a_step_more_does_not():
    at, step, limit = scale("efficientnet-b0"), StepSettings(optimizer="sgd"), 2 * GB
    fit = fit_phi(at.arch, (1.2, 1.1, 1.15), 4, step, limit)
    assert fit.value is not None

    def needs(phi: float) -> int:
        scaled: Scaled = scale("efficientnet-b0", phi=phi)
        return predict(build(scaled.arch, scaled.scaling, 4), step).peak.total

    assert needs(fit.value) <= limit < needs(fit.value + 0.001)


def test_nothing_fits():
    at = scale("efficientnet-b0")
    fit = fit_batch(lambda batch: build(at.arch, at.scaling, batch), StepSettings(), 1000)
    assert fit.value is None


def test_a_network_without_one_result_has_no_training_step():
    network = target_network("torchvision:googlenet", mode=RunMode(train=True))
    with pytest.raises(InputError, match="one result of"):
        predict(network, StepSettings())
