"""What an ONNX file counts as: shapes that inference alone does not know, weights, damage."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from effcalc.base.errors import InputError  # noqa: E402
from effcalc.models.count import count  # noqa: E402
from effcalc.models.target import target_network  # noqa: E402
from effcalc.scaling.figures import figures  # noqa: E402
from tests.onnx_helpers import NODE, elsewhere, exported, floats, longs, written  # noqa: E402


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("dynamo", [False, True])
def test_an_export_counts_as_its_module(tmp_path: Path, dynamo: bool, dynamic: bool) -> None:
    path = tmp_path / "net.onnx"
    model = exported(path, dynamo=dynamo, dynamic=dynamic)
    batch = 3 if dynamic else 2
    network = target_network(str(path), batch=batch)
    assert not [name for name in network.uncounted if "unknown shape" in name]
    of_module = count(model, torch.empty(batch, 3, 16, 16, device="meta"))
    assert figures(network).cost.macs == figures(of_module).cost.macs > 0


def test_a_shape_follows_from_computed_ones_and_no_weight_is_allocated(tmp_path: Path) -> None:
    # Inference of the whole graph ends at a node that it does not know. The weight has 4 TB, and
    # the constant 400 GB.
    nodes = [
        NODE("Shape", ["x"], ["s"]),
        NODE("Cast", ["s"], ["f"], to=1),
        NODE("Mul", ["f", "one"], ["g"]),
        NODE("Cast", ["g"], ["i"], to=7),
        NODE("Reshape", ["x", "i"], ["a"]),
        NODE("Unheard", ["x"], ["u"], domain="mine"),
        NODE("ConstantOfShape", ["d"], ["c"]),
        NODE("Add", ["c", "c"], ["e"]),
        NODE("MatMul", ["a", "w"], ["y"]),
    ]
    huge = elsewhere("w", "../secret", 4, 250_000_000_000)
    d, one = longs("d", 100_000, 1_000_000), floats("one")
    one.raw_data = b"\x00\x00\x80\x3f"
    network = target_network(written(tmp_path / "g.onnx", nodes, huge, d, one))
    assert figures(network).cost.macs == 4 * 250_000_000_000
    assert network.uncounted == {"onnx::mine.Unheard of unknown shape": 1}


def test_a_contradiction_has_no_shape(tmp_path: Path) -> None:
    path = written(tmp_path / "g.onnx", [NODE("Add", ["x", "w"], ["y"])], floats("w", 3))
    assert target_network(path).uncounted == {"onnx::Add of unknown shape": 1}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    nodes = [
        NODE("Identity", ["w"], ["v"], name="/a/Identity"),
        NODE("MatMul", ["x", "v"], ["a"], name="/a/MatMul"),
        NODE("Shape", ["a"], ["s"]),
        NODE("Expand", ["a", "s"], ["e"]),
        NODE("Softmax", ["e"], ["y"], axis=1),
    ]
    path = tmp_path_factory.mktemp("damaged") / "g.onnx"
    raw = bytearray(Path(written(path, nodes, floats("w", 4, 4))).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(raw))
    with suppress(InputError):
        target_network(str(path))


def test_torch_is_not_needed(tmp_path: Path) -> None:
    import subprocess

    path = written(tmp_path / "g.onnx", [NODE("Unheard", ["x"], ["y"], domain="mine")])
    code = (
        f"import sys; sys.modules['torch'] = None; from effcalc.models.target import "
        f"target_network; print(target_network({path!r}).uncounted)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "mine.Unheard" in done.stdout
