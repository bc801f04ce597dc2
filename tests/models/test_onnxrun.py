"""ONNX graphs that torch runs: against ONNX's own test cases, onnxruntime, and the count."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

import numpy as np  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from torch import nn  # noqa: E402

from effcalc.base.errors import InputError  # noqa: E402
from effcalc.models.inputs import InputSpec  # noqa: E402
from effcalc.models.onnxrun.load import OPERATORS, load_module  # noqa: E402
from effcalc.models.target import target_network  # noqa: E402
from effcalc.models.trace import trace  # noqa: E402
from effcalc.network.ops import BY_ONNX  # noqa: E402
from effcalc.scaling.figures import figures  # noqa: E402
from tests.cli_helpers import run  # noqa: E402

# --- each operator, against ONNX's own cases -----------------------------------------------------

# Where torch's result is another one, at the same cost. Ties: which of equal values is the largest,
# which of two neighbours is the nearest. Antialiasing: what lies outside has no weight.
DIFFERS = {
    *("test_top_k_same_values", "test_top_k_same_values_2d", "test_top_k_same_values_largest"),
    *("test_resize_upsample_sizes_nearest", "test_resize_upsample_sizes_nearest_axes_2_3"),
    *("test_resize_upsample_sizes_nearest_axes_3_2", "test_resize_downsample_sizes_nearest"),
    *(
        "test_resize_downsample_scales_linear_antialias",
        "test_resize_downsample_sizes_cubic_antialias",
    ),
    *(
        "test_resize_downsample_sizes_linear_antialias",
        "test_resize_downsample_scales_cubic_antialias",
    ),
}
NOT_TORCH_S = {  # torch stores some of them, and computes with none
    *("uint16", "uint32", "uint64", "object"),
    *("uint2", "uint4", "int2", "int4", "float4_e2m1fn", "float8_e8m0fnu"),
}
UNCOVERED = {
    *("Upsample", "SimplifiedLayerNormalization"),  # no operators of today's ONNX
    "GRU",  # the cases reset before the product, torch after it: see below
}


def cases() -> Iterator[Any]:
    """Yield ONNX's cases of one node that torch runs, of numbers that torch computes with."""
    from onnx.backend.test.case.node import collect_testcases

    for case in collect_testcases():
        nodes = case.model.graph.node
        plain = not any(isinstance(x, list | dict) or x is None for x in case.data_sets[0][0])
        if len(nodes) != 1 or nodes[0].op_type not in OPERATORS or nodes[0].domain or not plain:
            continue
        if not {x.dtype.name for x in arrays(case)} & NOT_TORCH_S:
            yield case


def array(value: Any) -> Any:
    is_proto = isinstance(value, TensorProto)
    return numpy_helper.to_array(value) if is_proto else np.asarray(value)


def arrays(case: Any) -> list[Any]:
    return [array(x) for x in (*case.data_sets[0][0], *case.data_sets[0][1])]


def tensor(value: Any) -> Any:
    if value.dtype.isbuiltin == 1:
        return torch.from_numpy(value.copy())
    bits = torch.from_numpy(value.view(f"u{value.itemsize}").copy())
    return bits.view(getattr(torch, value.dtype.name))


def outputs(case: Any, path: Path, fed: int) -> list[Any]:
    """Run a case, whose first `fed` inputs are the graph's and whose others are in the file."""
    ins = [array(x) for x in case.data_sets[0][0]]
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    names = [v.name for v in model.graph.input]
    for name, value in list(zip(names, ins, strict=False))[fed:]:
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    del model.graph.input[fed:]
    path.write_bytes(model.SerializeToString())
    specs = [InputSpec("", x.shape, x.dtype.name) for x in ins[:fed]]
    module = load_module(path, "case.onnx", specs).module
    with torch.no_grad():
        result = module(*(tensor(x) for x in ins[:fed]))
    return list(result) if isinstance(result, tuple) else [result]


def first_or_none(case: Any, path: Path) -> list[Any]:
    """Run a case on its first input, or where that has to be known beforehand on none."""
    try:
        return outputs(case, path, 1)
    except InputError:
        return outputs(case, path, 0)


@pytest.mark.filterwarnings("ignore")
def test_operators_give_the_results_of_onnx_s_own_cases(tmp_path: Path) -> None:
    right: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for case in cases():
        op = case.model.graph.node[0].op_type
        try:
            found = first_or_none(case, tmp_path / "case.onnx")
        except InputError:
            refused[op] += 1
            continue
        if case.name in DIFFERS:
            continue
        for got, wanted in zip(found, map(array, case.data_sets[0][1]), strict=False):
            assert str(got.dtype) == f"torch.{wanted.dtype}", case.name
            # half a digit of 16-bit formats, whose sums are made in another order
            near = 1e-2 if got.is_floating_point() and got.itemsize < 4 else 1e-4
            torch.testing.assert_close(
                *(t.double() if t.is_floating_point() else t for t in (got, tensor(wanted))),
                rtol=near, atol=near, equal_nan=True, msg=case.name,
            )  # fmt: skip
        right[op] += 1
    assert set(OPERATORS) - set(right) <= UNCOVERED
    # Variants that torch does not have are refused. Three in four are not.
    assert sum(refused.values()) < sum(right.values()) / 3


def test_what_is_counted_can_be_run() -> None:
    counted = set(BY_ONNX)
    assert counted <= set(OPERATORS)


# --- whole graphs -------------------------------------------------------------------------------


class Net(nn.Module):
    """A convolution with shape arithmetic, a block, attention over positions, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU()
        )
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        x = self.pool(self.stem(x))
        x = x + nn.functional.interpolate(x[..., ::2, ::2], scale_factor=2.0)
        t = x.reshape(x.shape[0], x.shape[1], -1).transpose(1, 2)
        t = self.norm(t + self.attention(t, t, t, need_weights=False)[0])
        return self.head(t.mean(1))


def exported(path: Path, *, dynamo: bool, dynamic: bool = False, external: bool = False) -> Any:
    torch.manual_seed(1)
    model = Net().eval()
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.uniform_()
            m.running_var.uniform_(0.5, 2)
    shapes: dict[str, Any] = {}
    if dynamic and dynamo:
        shapes["dynamic_shapes"] = {"x": {0: torch.export.Dim("batch")}}
    elif dynamic:
        shapes = {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
    torch.onnx.export(
        model, (torch.rand(2, 3, 16, 16),), str(path), dynamo=dynamo, verbose=False,
        external_data=external, **shapes,
    )  # fmt: skip
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("dynamo", [False, True])
def test_an_exported_model_runs_as_in_onnxruntime(
    tmp_path: Path, dynamo: bool, dynamic: bool
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "net.onnx"
    model = exported(path, dynamo=dynamo, dynamic=dynamic)
    batch = 3 if dynamic else 2
    loaded = load_module(path, "net.onnx", [], batch)
    (x,) = loaded.args
    assert x.shape == (batch, 3, 16, 16)
    with torch.no_grad():
        got = loaded.module(x)
        torch.testing.assert_close(got, model(x), rtol=1e-4, atol=1e-5)
    session = runtime.InferenceSession(str(path))
    (wanted,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(got, torch.from_numpy(wanted), rtol=1e-4, atol=1e-5)
    # What torch runs has the MACs that the graph is counted with, from the same file.
    ran = figures(trace(loaded.module, loaded.args, {})).cost
    assert ran.macs == figures(target_network(str(path), batch=batch)).cost.macs > 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_run_as_torch_s(tmp_path: Path, kind: Any, bidirectional: bool) -> None:
    path = tmp_path / "net.onnx"
    torch.manual_seed(2)
    model = kind(6, 5, 2, bidirectional=bidirectional).eval()
    x = torch.rand(7, 2, 6)
    torch.onnx.export(model, (x,), str(path), dynamo=False)
    module = load_module(path, "net.onnx", []).module
    with torch.no_grad():
        torch.testing.assert_close(module(x)[0], model(x)[0])


@pytest.mark.filterwarnings("ignore")
def test_layers_of_a_profile_are_the_modules_of_the_count(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    exported(path, dynamo=True, dynamic=True)
    args = (
        "profile",
        str(path),
        "--batch",
        "2",
        "--per",
        "layer",
        "--repeat",
        "3",
        "--warmup",
        "0",
    )
    got = run(*args, "--format", "json")
    assert got.code == 0, got.err
    rows = {row["name"]: row for row in json.loads(got.out)["rows"]}
    counted = json.loads(run("count", str(path), "--per", "module", "--format", "json").out)["rows"]
    macs = {row["name"]: row["macs"] for row in counted if row["macs"]}
    assert {"stem.1", "head"} < set(macs) < set(rows)
    # 2 images, 8x8 positions of 8 channels, 3x3x3 weights each; the norm is folded into it
    assert rows["stem.1"]["macs"] == 2 * 8 * 64 * 27
    train = run(*args, "--mode", "train", "--dtype", "amp", "--format", "json")
    assert train.code == 0, train.err
    by_name = {row["name"]: row for row in json.loads(train.out)["rows"]}
    assert by_name["stem.1"]["backward"] > 0


@pytest.mark.filterwarnings("ignore")
def test_weights_in_another_file_are_made_up_and_the_file_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    exported(path, dynamo=True, external=True)
    data = tmp_path / "net.onnx.data"
    data.unlink()  # whatever the name says: a device, a secret, nothing
    module = load_module(path, "net.onnx", []).module
    large = [p for p in module.parameters() if p.numel() > 64]
    assert large
    assert all(bool((p == 0.01).all()) for p in large)
    got = run("profile", str(path), "--repeat", "1", "--warmup", "0")
    assert got.code == 0, got.err


# --- what cannot be run ---------------------------------------------------------------------------


def written(
    path: Path, nodes: list[Any], *initializers: Any, shape: tuple[Any, ...] = (1, 4)
) -> str:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, (1, 4))], [value("y", TensorProto.FLOAT, None)],
        list(initializers),
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())
    return str(path)


NODE = helper.make_node


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([NODE("Unheard", ["x"], ["y"])], "has Unheard, which torch does not run here; give"),
        ([NODE("Relu", ["x"], ["y"], domain="mine")], "has mine.Relu, which torch does not run"),
        ([NODE("NonZero", ["x"], ["y"], name="/a/nz")], "NonZero a.nz cannot be run: how many"),
        ([NODE("Reshape", ["x", "x"], ["y"])], "Reshape y cannot be run: its shape is not known"),
        ([NODE("Relu", ["x"], ["y"], slope=2)], "Relu y cannot be run: slope is not supported"),
        ([NODE("Add", ["x", "w"], ["y"])], "Add y cannot be run: "),
        ([NODE("Cast", ["x"], ["y"], to=TensorProto.STRING)], "Cast y cannot be run: type 8"),
        ([NODE("Relu", ["nowhere"], ["y"])], "Relu y cannot be run: "),
    ],
)
def test_what_cannot_be_run_is_said(tmp_path: Path, nodes: list[Any], said: str) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, (3,), [0.0] * 3)
    path = written(tmp_path / "g.onnx", nodes, weight)
    got = run("profile", path)
    assert got.code == 2
    assert said in got.error()


def test_inputs_and_batch_are_those_of_the_graph(tmp_path: Path) -> None:
    path = written(tmp_path / "g.onnx", [NODE("Relu", ["x"], ["y"])])
    assert "is 1x4; give it as --input 3x4" in run("profile", path, "--batch", "3").error()
    assert (
        "--arg is for a model in code, and this is a .onnx"
        in run("profile", path, "--arg", "a=1").error()
    )
    assert "has the inputs x; --input z is not" in run("profile", path, "--input", "z=1").error()
    fixed = numpy_helper.from_array(np.array([1, 4]), "s")
    path = written(tmp_path / "f.onnx", [NODE("Reshape", ["x", "s"], ["y"])], fixed)
    error = run("profile", path, "--input", "3x4").error()
    assert "its shape is written in the file: export it for these inputs" in error
    assert "there is no such file" in run("profile", "nowhere.onnx").error()
    assert "no trainable parameter" in run("profile", path, "--mode", "train").error()


def test_a_weight_is_held_once_and_a_constant_follows_the_format(tmp_path: Path) -> None:
    # w is read twice, by its name and by another; c is made by the graph, of constants alone.
    w = numpy_helper.from_array(np.full((4, 4), 0.5, np.float32), "w")
    one = numpy_helper.from_array(np.array(1.0, np.float32), "one")
    nodes = [
        NODE("Identity", ["w"], ["v"]),
        NODE("Add", ["one", "one"], ["c"]),
        NODE("MatMul", ["x", "w"], ["a"], name="/first/MatMul"),
        NODE("MatMul", ["a", "v"], ["b"], name="/second/MatMul"),
        NODE("Mul", ["b", "c"], ["y"]),
    ]
    loaded = load_module(Path(written(tmp_path / "g.onnx", nodes, w, one)), "g.onnx", [])
    (held,) = loaded.module.parameters()
    assert held.shape == (4, 4)
    x = torch.ones(1, 4)
    # each product with 0.5 everywhere sums four: 1 -> 2 -> 4, then times 1 + 1
    assert loaded.module(x).tolist() == [[8.0] * 4]
    half = loaded.module.to(torch.bfloat16)
    assert half(x.bfloat16()).dtype == torch.bfloat16


def floats(name: str, *shape: int) -> Any:
    values = np.random.default_rng(len(shape)).normal(size=shape)
    return numpy_helper.from_array(values.astype(np.float32), name)


def longs(name: str, *values: int) -> Any:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def model(nodes: list[Any], shape: tuple[int, ...], weights: list[Any], opset: int = 18) -> Any:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, shape)], [value("y", TensorProto.FLOAT, None)],
        weights,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


RECURRENT = {"hidden_size": 3, "direction": "bidirectional"}
LSTM_WEIGHTS = [floats("w", 2, 12, 5), floats("r", 2, 12, 3), floats("b", 2, 24)]
RESIZE = NODE("Resize", ["x", "", "s"], ["y"], mode="nearest", nearest_mode="floor",
              coordinate_transformation_mode="asymmetric")  # fmt: skip


@pytest.mark.parametrize(
    ("node", "shape", "weights", "opset"),
    [
        # Variants of older opsets, and corners, that ONNX's cases do not have.
        (NODE("Hardmax", ["x"], ["y"]), (2, 3, 4), [], 11),
        (NODE("Softmax", ["x"], ["y"]), (2, 3, 4), [], 11),
        (NODE("ReduceSumSquare", ["x"], ["y"], noop_with_empty_axes=1), (2, 3), [], 18),
        (NODE("ReduceL1", ["x"], ["y"], noop_with_empty_axes=1), (2, 3), [], 18),
        (NODE("ReduceSum", ["x"], ["y"], axes=[1], keepdims=0), (2, 3), [], 11),
        (NODE("Squeeze", ["x"], ["y"], axes=[1]), (2, 1, 3), [], 11),
        (NODE("Unsqueeze", ["x"], ["y"], axes=[0, -1]), (2, 3), [], 11),
        (NODE("Clip", ["x"], ["y"], min=-0.5, max=0.5), (2, 3), [], 6),
        (NODE("Slice", ["x"], ["y"], starts=[1], ends=[9], axes=[1]), (2, 4), [], 9),
        (NODE("Pad", ["x"], ["y"], pads=[0, 1, 0, 2]), (2, 3), [], 10),
        (NODE("Split", ["x"], ["y", "z"], split=[1, 3], axis=1), (2, 4), [], 12),
        (NODE("Gather", ["x", "i"], ["y"], axis=1), (2, 4), [longs("i", -1, 0)], 18),
        (NODE("MatMul", ["x", "w"], ["y"]), (2, 3, 4), [floats("w", 4, 5)], 9),
        (NODE("PRelu", ["x", "w"], ["y"]), (2, 3, 4, 4), [floats("w", 3, 1, 1)], 16),
        (NODE("LRN", ["x"], ["y"], size=3), (2, 5, 4, 4), [], 13),
        (NODE("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1],
              ceil_mode=1), (1, 2, 8, 8), [], 18),
        (NODE("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
         (1, 2, 5, 5), [], 18),
        (RESIZE, (1, 2, 3, 3), [numpy_helper.from_array(np.array([1, 1, 2, 2], "f4"), "s")], 18),
        (NODE("Attention", ["x", "x", "x"], ["y"]), (2, 2, 4, 8), [], 23),
    ],
)  # fmt: skip
def test_a_node_gives_what_onnxruntime_gives(
    tmp_path: Path, node: Any, shape: tuple[int, ...], weights: list[Any], opset: int
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    made = model([node], shape, weights, opset)
    path = tmp_path / "g.onnx"
    path.write_bytes(made.SerializeToString())
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    with torch.no_grad():
        got = load_module(path, "g.onnx", []).module(torch.from_numpy(x))
    (wanted,) = runtime.InferenceSession(str(path)).run(["y"], {"x": x})
    torch.testing.assert_close(got, torch.from_numpy(wanted), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("node", "shape", "weights", "said"),
    [
        (NODE("LRN", ["x"], ["y"], size=4), (1, 5, 4, 4), [], "size=4"),
        (NODE("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1],
              ceil_mode=1), (1, 2, 8, 8), [], "ceil_mode=1 is not supported"),
        (NODE("LpPool", ["x"], ["y"], kernel_shape=[2, 2], ceil_mode=1), (1, 2, 5, 5), [],
         "ceil_mode=1"),
        (NODE("Conv", ["x", "w"], ["y"], auto_pad="BOGUS"), (1, 3, 5, 5), [floats("w", 2, 3, 3, 3)],
         "auto_pad=BOGUS is not supported"),
        (NODE("Softmax", ["x"], ["y"], axis=7), (2, 3), [], "7 is not one of 2"),
        (NODE("Gather", ["x", "i"], ["y"], axis=0), (4, 3), [longs("i", 9)], "9 is not one of 4"),
        (NODE("LSTM", ["x", "w", "r", "b"], ["", "y"], **RECURRENT,
              activations=["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Relu", "Tanh"]),
         (2, 1, 5), LSTM_WEIGHTS, "activations="),
        (NODE("Resize", ["x", "", "s"], ["y"], mode="nearest",
              coordinate_transformation_mode="half_pixel_symmetric"), (1, 2, 3, 3),
         [numpy_helper.from_array(np.array([1, 1, 2, 2], "f4"), "s")], "half_pixel_symmetric"),
        (NODE("Relu", ["x"], ["y"]), (2,), [floats("y", 2)], "'y' is made twice"),
        (NODE("Relu", ["y"], ["y"]), (2,), [], "reads 'y', which no node before it makes"),
        (NODE("Identity", [], ["y"]), (2,), [], "Identity y cannot be run"),
        (NODE("Relu", ["x"], ["y"], name="/a" * 60), (2,), [], "its name has over 50 parts"),
    ],
)  # fmt: skip
def test_a_variant_that_torch_has_not_is_refused(
    tmp_path: Path, node: Any, shape: tuple[int, ...], weights: list[Any], said: str
) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(model([node], shape, weights).SerializeToString())
    with pytest.raises(InputError) as refused:
        load_module(path, "g.onnx", [])
    assert said in str(refused.value)


def elsewhere(name: str, kind: int, *dims: int) -> Any:
    """An initializer whose data is in a file that must not be opened."""
    made = TensorProto(name=name, data_type=kind, dims=dims)
    made.data_location = TensorProto.EXTERNAL
    made.external_data.add(key="location", value="../secret")
    return made


def test_what_another_file_decides_is_refused(tmp_path: Path) -> None:
    repeats = elsewhere("n", TensorProto.INT64, 2)
    path = written(tmp_path / "g.onnx", [NODE("Tile", ["x", "n"], ["y"])], repeats)
    error = run("profile", path).error()
    assert "is not known before it runs: the graph computes it, or the file keeps it in" in error


def test_a_count_allocates_no_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A shape that inference does not know makes the count follow the graph in torch. The weight
    # has 4 TB, and the constant 400 GB.
    huge = elsewhere("w", TensorProto.FLOAT, 4, 250_000_000_000)
    nodes = [
        NODE("Shape", ["x"], ["s"]),
        NODE("Reshape", ["x", "s"], ["a"]),
        NODE("Unheard", ["x"], ["u"], domain="mine"),
        NODE("ConstantOfShape", ["d"], ["c"]),
        NODE("Add", ["c", "c"], ["e"]),
        NODE("MatMul", ["a", "w"], ["y"]),
    ]
    path = written(tmp_path / "g.onnx", nodes, huge, longs("d", 100_000, 1_000_000))
    assert figures(target_network(path)).cost.macs == 4 * 250_000_000_000


def test_constants_are_buffers_and_dead_nodes_do_not_run(tmp_path: Path) -> None:
    nodes = [
        NODE("Add", ["x", "c"], ["y"], name="/conv@1/Add"),
        NODE("MatMul", ["x", "w"], ["nobody"]),
    ]
    table = numpy_helper.from_array(np.array(2.0, np.float32), "c")
    path = Path(written(tmp_path / "g.onnx", nodes, table, floats("w", 4, 4)))
    module = load_module(path, "g.onnx", []).module
    assert [b.item() for b in module.buffers()] == [2.0]
    assert not list(module.parameters())
    # The scope has the name that the count has.
    names = [name for name, _ in module.named_modules() if name]
    assert names == ["conv@1", "conv@1.Add"]


def test_a_file_in_half_precision_is_not_reported_as_fp32(tmp_path: Path) -> None:
    half = numpy_helper.from_array(np.ones((4, 4), np.float16), "w")
    cast = NODE("Cast", ["x"], ["h"], to=TensorProto.FLOAT16)
    path = written(tmp_path / "g.onnx", [cast, NODE("MatMul", ["h", "w"], ["y"])], half)
    assert "the model's weights are float16; give --dtype fp16" in run("profile", path).error()
    short = ("--repeat", "1", "--warmup", "0")
    assert run("profile", path, "--dtype", "fp16", *short).code == 0


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    nodes = [
        NODE("Identity", ["w"], ["v"], name="/a/Identity"),
        NODE("MatMul", ["x", "v"], ["a"], name="/a/MatMul"),
        NODE("Shape", ["a"], ["s"]),
        NODE("Expand", ["a", "s"], ["e"]),
        NODE("Softmax", ["e"], ["y"], axis=1),
    ]
    path = Path(written(folder / "g.onnx", nodes, floats("w", 4, 4)))
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(raw))
    for read in (target_network, lambda p: load_module(Path(p), "g.onnx", [])):
        with suppress(InputError):
            read(str(path))
