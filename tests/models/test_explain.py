"""Explanations of another counter's figure: only what adds up to it exactly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from effcalc.models.peers.calls import HookedModule, calls
from effcalc.models.peers.explain import UNEXPLAINED, explain
from effcalc.models.peers.registry import PEERS
from effcalc.network.network import Network, OperatorCall, Tensor

_numbers = iter(range(1, 10**6))


def value(*shape, param=""):
    number = next(_numbers)
    return Tensor(number, shape, storage=number, param=param)


def layer(name, op, operands, *outputs, memory="new", **attrs):
    return OperatorCall(name, op, tuple(operands), tuple(outputs), attrs=attrs, memory=memory)


def network(*layers):
    return Network("net", (), (), layers)


ROOT = {"": HookedModule("user.Net", leaf=False)}


def conv(path, *, bias=True, transposed=False):
    """3 to 4 channels, 3x3, 8x8 to 6x6: 4 x 36 results of 27 MACs, 3,888 in all."""
    operands = [value(1, 3, 8, 8), value(4, 3, 3, 3, param=f"{path}.weight")]
    if bias:
        operands.append(value(4, param=f"{path}.bias"))
    stride = (1, 1)
    return layer(path, "conv", operands, value(1, 4, 6, 6), stride=stride, transposed=transposed)


def tokens(path, *, bias=True):
    """A linear layer 6 to 5 on 2 x 7 tokens: 14 x 5 results of 6 MACs, 420 in all."""
    x, flat, out = value(2, 7, 6), value(14, 6), value(14, 5)
    weight = value(6, 5, param=f"{path}.weight")
    operands = [flat, weight, *([value(5, param=f"{path}.bias")] if bias else [])]
    return (
        layer(path, "view", [x], flat, memory="view"),
        layer(path, "linear", operands, out),
        layer(path, "view", [out], value(2, 7, 5), memory="view"),
    )


def norm(path, op="batch_norm", affine=True):
    """144 elements."""
    names = ["weight", "bias"] if affine else []
    if op == "batch_norm":
        names += ["running_mean", "running_var"]
    operands = [value(1, 4, 6, 6), *(value(4, param=f"{path}.{name}") for name in names)]
    return layer(path, op, operands, value(1, 4, 6, 6))


def product(path, batch=2):
    """`batch` products of 3x4 and 4x5: 60 MACs each."""
    return layer(path, "bmm", [value(batch, 3, 4), value(batch, 4, 5)], value(batch, 3, 5))


def why(tool, net, counted, modules=ROOT, unassigned=None):
    return explain(PEERS[tool].rule, net, modules, counted, unassigned)


def test_a_figure_that_agrees_needs_no_explanation():
    assert why("thop", network(conv("c")), 3888, {**ROOT, "c": HookedModule("Conv2d")}) == ""


def test_a_figure_off_by_one_is_unexplained():
    known = {**ROOT, "c": HookedModule("Conv2d"), "b": HookedModule("BatchNorm2d")}
    net = network(conv("c"), norm("b"))
    # thop counts 4 for each of the 144 elements that an affine normalisation returns: 576.
    assert why("thop", net, 3888 + 576, known) == "adds 4 per result of batch_norm ×1 (+576)"
    assert why("thop", net, 3888 + 577, known) == UNEXPLAINED
    assert explain(None, net, known, 3888 + 576) == UNEXPLAINED


@pytest.mark.parametrize(
    ("tool", "counted", "text"),
    [
        ("thop", 4 * 144, "adds 4 per result of batch_norm ×1 (+576)"),
        ("fvcore", 2 * 144, "adds 2 per result of batch_norm ×1 (+288)"),
        ("ptflops", 2 * 144, "adds 2 per result of batch_norm ×1 (+288)"),
        ("torchprofile", 144, "adds 1 per result of batch_norm ×1 (+144)"),
        ("torchinfo", 8, "adds 8 for batch_norm ×1"),  # its weight and bias, for one image
        ("ptflops-aten", 0, ""),
        ("calflops", 0, ""),
        ("torch", 0, ""),
    ],
)
def test_what_each_counter_makes_of_a_batch_norm(tool, counted, text):
    assert (
        why(tool, network(norm("b")), counted, {**ROOT, "b": HookedModule("BatchNorm2d")}) == text
    )


@pytest.mark.parametrize(
    ("tool", "counted", "text"),
    [
        ("ptflops", 420 + 70, "adds 1 per result to linear ×1 (+70)"),
        ("ptflops-aten", 420 + 70, "adds 1 per result to linear ×1 (+70)"),
        # Weight and bias, 35 parameters, for each of two rows: the tokens are not seen.
        ("torchinfo", 2 * 35, "counts 70 of 420 in linear ×1"),
    ],
)
def test_what_counters_make_of_a_linear_layer_on_tokens(tool, counted, text):
    assert why(tool, network(*tokens("l")), counted, {**ROOT, "l": HookedModule("Linear")}) == text


def test_hooks_want_the_exact_class():
    net = network(conv("c", bias=False))
    known = {**ROOT, "c": HookedModule("user.WideConv2d")}
    for tool in ("thop", "ptflops"):
        assert why(tool, net, 0, known) == "misses conv ×1 (−3,888)"
    assert why("torchinfo", net, 3888, known) == ""  # it looks for "Conv" in the name


def test_hooks_miss_functional_calls():
    net = network(conv("", bias=False), *tokens("", bias=False))
    for tool in ("thop", "ptflops", "torchinfo"):
        assert why(tool, net, 0) == "misses conv ×1 (−3,888); misses linear ×1 (−420)"


def test_a_product_may_be_written_so_that_a_patch_sees_it_or_not():
    net = network(product("a"), product("a"), product("b"))
    known = {**ROOT, "a": HookedModule("user.Attention"), "b": HookedModule("user.Mix")}
    assert why("calflops", net, 0, known) == "misses bmm ×3 (−360)"
    assert why("calflops", net, 120, known) == "misses bmm ×2 (−240)"  # `b` calls torch.matmul
    assert why("calflops", net, 240, known) == "misses bmm ×1 (−120)"
    assert why("calflops", net, 180, known) == UNEXPLAINED  # half of a call


def test_calls_in_one_class_may_differ_by_their_shapes():
    """As where a fused kernel takes some inputs and steps take the others."""
    known = {**ROOT, "a": HookedModule("user.Attention")}
    net = network(product("a", 1), product("a", 1), product("a", 7))
    assert why("ptflops-aten", net, 420, known) == "misses bmm ×2 (−120)"
    assert why("ptflops-aten", net, 120, known) == "misses bmm ×1 (−420)"


def test_a_transposed_convolution_is_counted_by_output_positions():
    """Channels 3 to 4, 8x8 to 10x10. By input: 3 x 64 elements x 4 x 9 = 6,912 MACs."""
    weight = value(3, 4, 3, 3, param="c.weight")
    up = layer(
        "c", "conv", [value(1, 3, 8, 8), weight], value(1, 4, 10, 10), stride=(1, 1), transposed=1
    )
    known = {**ROOT, "c": HookedModule("ConvTranspose2d")}
    by_output = 4 * 100 * 3 * 9  # 10,800
    for tool in ("thop", "torchprofile", "torchinfo"):
        assert why(tool, network(up), by_output, known) == "adds 3,888 to conv ×1"
    for tool in ("torch", "fvcore", "calflops", "ptflops"):
        assert why(tool, network(up), 6912, known) == ""


def test_a_module_registered_twice_is_counted_over_and_over():
    """Two calls of 420 MACs; thop hooks it twice and sums it twice, the others sum it twice."""
    known = {**ROOT, "l": HookedModule("Linear", times=2)}
    net = network(*tokens("l", bias=False), *tokens("l", bias=False))
    text = "counts linear ×2 registered 2 times {} times (+{})"
    assert why("thop", net, 4 * 840, known) == text.format(4, "2,520")
    assert why("calflops", net, 2 * 840, known) == text.format(2, "840")


def test_what_is_no_operator_is_set_aside():
    net = network(*tokens("l"), norm("n", "layer_norm"))
    known = {**ROOT, "l": HookedModule("Linear"), "n": HookedModule("LayerNorm")}
    text = "adds 1 per result of layer_norm ×1 (+144); adds products of sizes (+3)"
    assert why("torchprofile", net, 420 + 144 + 3, known, {"products of sizes": 3}) == text
    assert why("torchprofile", net, 420 + 144 + 3, known) == UNEXPLAINED


def test_the_largest_differences_come_first_and_the_small_ones_together():
    known = {"": HookedModule("user.Net", False), "c": HookedModule("user.Conv")}
    ops = ["layer_norm", "group_norm"]
    net = network(
        *(norm(f"n{i}", op) for i, op in enumerate(ops)),
        product("p"),
        conv("c", bias=False),
        *tokens("t", bias=False),
        layer("u", "upsample", [value(1, 2, 4, 4)], value(1, 2, 8, 8)),
        layer("m", "mean", [value(1, 2, 4, 4)], value(1, 2, 1, 1)),
    )
    # fvcore: 5 for each element of the norms, 4 for one of bilinear interpolation (128 results),
    # 1 for each that a pool reads (32); attention's products are none.
    text = (
        "adds 5 per result of layer_norm ×1 (+720); adds 5 per result of group_norm ×1 (+720); "
        "adds 4 per result of upsample ×1 (+512); misses bmm ×1 (−120); "
        "adds 1 per input of mean ×1 (+32)"
    )
    true = 120 + 3888 + 420
    assert why("fvcore", net, true + 2 * 720 + 512 - 120 + 32, known) == text


def test_repeated_layers_count_as_often_as_they_run():
    known = {**ROOT, "b": HookedModule("BatchNorm2d")}
    net = network(replace(norm("b"), count=3))
    assert why("thop", net, 3 * 576, known) == "adds 4 per result of batch_norm ×3 (+1,728)"


def test_a_modules_calls_and_what_each_returned():
    net = network(*tokens("l"), *tokens("l"))
    known = {**ROOT, "l": HookedModule("Linear")}
    found = [call for call in calls(net, known) if call.op == "linear"]
    assert [(call.main, call.result, call.kind) for call in found] == [
        (True, (2, 7, 5), "Linear")
    ] * 2
    assert [module.kind for module in found[0].within] == ["user.Net", "Linear"]
    assert dict(found[0].params) == {"weight": 30, "bias": 5}
