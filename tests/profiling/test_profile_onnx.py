"""ONNX files under onnxruntime: whose time each node is, sums, settings, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import numpy as np  # noqa: E402
from onnx import TensorProto, numpy_helper  # noqa: E402

from effcalc.models.onnxfused import joined_name  # noqa: E402
from effcalc.models.target import target_network  # noqa: E402
from effcalc.network.ops import cost  # noqa: E402
from effcalc.profiling.live import onnx as live  # noqa: E402
from effcalc.profiling.records import OUTSIDE  # noqa: E402
from effcalc.scaling.figures import figures  # noqa: E402
from tests.cli_helpers import run  # noqa: E402
from tests.onnx_helpers import NODE, elsewhere, exported, floats, written  # noqa: E402

SHORT = ("--repeat", "3", "--warmup", "0", "--device", "cpu")


@pytest.fixture(scope="module", params=["torch.export", "TorchScript"])
def export(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    exported(path, dynamo=request.param == "torch.export", dynamic=True)
    return str(path)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    exported(path, dynamo=True, dynamic=True)
    return str(path)


def rows(*args: str) -> dict[str, Any]:
    got = run("profile", *args, *SHORT, "--format", "json")
    assert got.code == 0, got.err
    return dict(json.loads(got.out))


@pytest.mark.parametrize("level", live.LEVELS)
def test_every_level_attributes_all_nodes(export: str, level: str) -> None:
    file = live._loaded(export, [], 3)
    network, steps = live.recorded(file, 2, level=level)
    names = {call.name for call in network.calls}
    timed: set[str] = set()
    for step in steps:
        assert sum(step.parts.values()) == step.time > 0
        # What passes between nodes alone is outside; each node has a row that the network has.
        assert {key.kernel for key in step.parts if key.owner == OUTSIDE} == {""}
        assert {key.owner.path for key in step.parts if key.owner != OUTSIDE} <= names
        timed |= {key.owner.path for key in step.parts}
    assert len(steps) == 2
    # Every multiplication is in a row that took time.
    macs = sum(cost(call).macs * call.count for call in network.calls if call.name in timed)
    assert macs == figures(target_network(export, batch=3)).cost.macs > 0


def test_a_fused_node_names_its_layers_and_rows_sum_to_the_total(net: str) -> None:
    table = rows(net, "--batch", "2", "--per", "layer")
    by_name = {row["name"]: row for row in table["rows"]}
    # A batch norm is folded into its convolution as the file is exported. The sum of x and the
    # convolution, and the ReLU of the model itself, are fused into the convolution's node.
    assert by_name["conv"]["macs"] == 2 * 8 * 64 * 72
    assert by_name["stem.1"]["macs"] == 2 * 8 * 64 * 27
    total = table["total"]
    assert sum(row["time"] for row in table["rows"]) == pytest.approx(total["time"], rel=1e-9)
    assert table["environment"]["runtime"].startswith("onnxruntime ")
    kernels = rows(net, "--batch", "2", "--per", "kernel")
    time = sum(row["time"] for row in kernels["rows"])
    assert time == pytest.approx(kernels["total"]["time"], rel=1e-9)
    assert {"Conv", "MatMul"} & {row["kernel"] for row in kernels["rows"]}


def test_a_fused_activation_and_the_layers_that_share_a_row(tmp_path: Path) -> None:
    nodes = [
        NODE("Unsqueeze", ["x", "axes"], ["i"], name="/first/Unsqueeze"),
        NODE("Conv", ["i", "w"], ["c"], name="/block/conv/Conv", kernel_shape=[1, 1]),
        NODE("Relu", ["c"], ["r"], name="/block/act/Relu"),
        NODE("Flatten", ["r"], ["y"], name="/last/Flatten"),
    ]
    axes = numpy_helper.from_array(np.array([0, 1]), "axes")
    path = written(tmp_path / "g.onnx", nodes, axes, floats("w", 8, 1, 1, 1))
    names = {row["name"] for row in rows(path, "--per", "layer")["rows"]}
    assert "block.conv.Conv+act.Relu" in names
    assert "block.act.Relu" not in names


@pytest.mark.parametrize(
    ("names", "joined"),
    [
        (["a.b.c"], "a.b.c"),
        (["a.b.c", "a.b.d", "a.b.c"], "a.b.c+d"),
        (["a.b.c", "a.b"], "a.b.c"),
        (["a.b", "c.d"], "a.b+c.d"),
        (["", "a"], "a"),
        ([""], ""),
    ],
)
def test_names_of_several_layers(names: list[str], joined: str) -> None:
    assert joined_name(names) == joined


def test_nodes_inside_a_loop_belong_to_it() -> None:
    def event(name: str, ts: int, dur: int, op: str = "", cat: str = "Node") -> dict[str, Any]:
        return {"cat": cat, "name": name, "ts": ts, "dur": dur, "args": {"op_name": op}}

    events = [
        event("model_run", 0, 100, cat="Session"),
        event("inner_kernel_time", 20, 30, "Add"),
        event("loop_kernel_time", 10, 60, "Loop"),
        event("end_kernel_time", 70, 20, "Relu"),
    ]
    nodes = [SimpleNamespace(name=n, op_type=op) for n, op in (("end", "Relu"), ("loop", "Loop"))]
    (step,) = live.attribute_nodes(events, nodes, ["last", "loop"])
    times = {(key.owner.path, key.kernel): time for key, time in step.parts.items()}
    assert times == {("loop", "Loop"): 60_000, ("last", "Relu"): 20_000, ("", ""): 20_000}


def test_threads_trace_and_comparison(net: str, tmp_path: Path) -> None:
    before, trace = tmp_path / "before.json", tmp_path / "trace.json"
    args = ("profile", net, "--per", "layer", *SHORT, "--threads", "1")
    got = run(*args, "--trace", str(trace), "--output", str(before))
    assert got.code == 0, got.err
    assert json.loads(before.read_text())["environment"]["threads"] == 1
    assert any(event["name"] == "model_run" for event in json.loads(trace.read_text()))
    got = run(*args, "--against", str(before), "--fail-slower", "100000%")
    assert got.code == 0, got.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--mode", "train"), "onnxruntime has no --mode train; export it so from torch, or"),
        (("--compile",), "onnxruntime has no --compile; export"),
        (("--channels-last",), "onnxruntime has no --channels-last; export"),
        (("--dtype", "bf16"), "holds fp32, not --dtype bf16; export"),
        (("--arg", "a=1"), "--arg is for a model in code, and this is a .onnx"),
        (("--input", "z=1"), "has the inputs x; --input z is not"),
        (("--batch", "3", "--input", "2x3x16x16"), "is 2x3x16x16; give it as --input 3x3x16x16"),
        (("--device", "mps"), "an ONNX file runs on cpu or cuda"),
    ],
)
def test_refusals(net: str, args: tuple[str, ...], said: str) -> None:
    got = run("profile", net, *args)
    assert got.code == 2
    assert said in got.error()


@pytest.mark.parametrize(
    "node",
    [
        NODE("Unheard", ["x"], ["y"]),
        NODE("Relu", ["x"], ["y"], domain="mine"),
        NODE("Relu", ["nowhere"], ["y"]),
    ],
)
def test_what_cannot_be_loaded_is_said(tmp_path: Path, node: Any) -> None:
    got = run("profile", written(tmp_path / "g.onnx", [node]), *SHORT)
    assert got.code == 2
    assert "g.onnx: onnxruntime cannot run it: " in got.error()


def test_what_fails_as_it_runs_is_said(tmp_path: Path) -> None:
    # The new shape is 7 times the values of x, which are below 1 and round up to 1.
    nodes = [
        NODE("Ceil", ["x"], ["up"]),
        NODE("Cast", ["up"], ["ones"], to=TensorProto.INT64),
        NODE("Squeeze", ["ones"], ["flat"]),
        NODE("Mul", ["flat", "seven"], ["s"]),
        NODE("Reshape", ["x", "s"], ["y"]),
    ]
    seven = numpy_helper.from_array(np.array(7), "seven")
    got = run("profile", written(tmp_path / "g.onnx", nodes, seven), *SHORT)
    assert got.code == 4
    assert "g.onnx: onnxruntime failed: " in got.error()


def test_a_damaged_file_is_one_line(net: str, tmp_path: Path) -> None:
    raw = Path(net).read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(raw[: len(raw) // 2])
    got = run("profile", str(path), *SHORT)
    assert got.code == 2
    assert "cut.onnx: is not an ONNX file" in got.error()


@pytest.mark.filterwarnings("ignore")
def test_weights_are_read_beside_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    exported(path, dynamo=True, external=True)
    got = run("profile", str(path), *SHORT)
    assert got.code == 0, got.err
    (tmp_path / "net.onnx.data").unlink()
    assert "not a file in its folder" in run("profile", str(path), *SHORT).error()
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(64))
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "link").symlink_to(secret)
    for location in ("../secret", str(secret), "link"):
        add = [NODE("Add", ["x", "w"], ["y"])]
        outside = written(inner / "g.onnx", add, elsewhere("w", location, 1, 4))
        assert "not a file in its folder" in run("profile", outside, *SHORT).error()


def test_a_file_in_half_precision_is_not_reported_as_fp32(tmp_path: Path) -> None:
    half = numpy_helper.from_array(np.ones((4, 4), np.float16), "w")
    nodes = [
        NODE("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        NODE("MatMul", ["h", "w"], ["m"]),
        NODE("Cast", ["m"], ["y"], to=TensorProto.FLOAT),
    ]
    path = written(tmp_path / "g.onnx", nodes, half)
    assert [row["dtype"] for row in rows(path)["rows"]] == ["fp16"]
    assert run("profile", path, "--dtype", "fp16", *SHORT).code == 0


def test_a_provider_that_is_not_there_is_said(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(live._runtime(), "get_available_providers", list)
    got = run("profile", net, "--device", "cuda")
    assert got.code == 3
    assert "this onnxruntime has no CUDA" in got.error()
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(live._runtime(), "get_available_providers", lambda: both)
    got = run("profile", net, "--device", "cuda", "--per", "layer")
    assert got.code == 2
    assert "on cuda onnxruntime says when a node is launched" in got.error()
