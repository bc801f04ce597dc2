"""ONNX graphs that torch runs: against ONNX's own test cases, onnxruntime, and the count."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
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

from effcalc import onnxops  # noqa: E402
from effcalc.errors import InputError  # noqa: E402
from effcalc.figures import figures  # noqa: E402
from effcalc.inputs import InputSpec  # noqa: E402
from effcalc.target import target_network  # noqa: E402
from effcalc.torch.onnxrun.load import OPERATORS, load_module  # noqa: E402
from effcalc.torch.trace import trace  # noqa: E402
from tests.cli_helpers import run  # noqa: E402

# --- each operator, against ONNX's own cases -----------------------------------------------------

# Where torch's result is another one by design. Ties: which of equal values is the largest, which
# of two neighbours is the nearest. A Resize to given sizes: torch takes the ratio of the sizes.
DIFFERS = ("top_k_same_values", "resize_downsample_", "resize_upsample_sizes_nearest_")
SINGLE = {"test_resize_upsample_sizes_nearest"}
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
        name = case.name.removeprefix("test_")
        if name.startswith(DIFFERS) or case.name in SINGLE:
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
    counted = {*onnxops._VIEWS, *onnxops._SAME, *onnxops._MAPPERS}
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
        ([NODE("Reshape", ["x", "x"], ["y"])], "Reshape y cannot be run: its shape depends on"),
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
    assert "it was exported for inputs of another size" in error
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


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_runs(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    w = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    nodes = [NODE("MatMul", ["x", "w"], ["a"]), NODE("Softmax", ["a"], ["y"], axis=1)]
    path = Path(written(folder / "g.onnx", nodes, w))
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(raw))
    try:
        loaded = load_module(path, "g.onnx", [])
        loaded.module(*loaded.args)
    except (InputError, RuntimeError):
        pass  # of torch's own errors the command makes one line
