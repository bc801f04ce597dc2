"""Targets: what a text leads to, and one clear line where it leads nowhere."""

from __future__ import annotations

import pickle
import sys
from contextlib import suppress
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from effcalc.base.errors import EffcalcError, InputError, NeedsError, RunError  # noqa: E402
from effcalc.base.limits import memory_limited  # noqa: E402
from effcalc.models.count import count  # noqa: E402
from effcalc.models.inputs import InputSpec, parse_inputs  # noqa: E402
from effcalc.models.mode import RunMode  # noqa: E402
from effcalc.models.target import target_network  # noqa: E402
from effcalc.network.ops import cost  # noqa: E402
from effcalc.scaling.figures import figures, macs  # noqa: E402

CODE = '''
import sys
import torch
from torch import nn

print("the user's code prints")

def make(width=4, act="relu"):
    return nn.Sequential(nn.Linear(3, width), nn.ReLU() if act == "relu" else nn.GELU())

def with_input():
    return nn.Linear(3, 2), torch.zeros(5, 3)

def with_names():
    return nn.Bilinear(3, 3, 2), {"input1": torch.zeros(1, 3), "input2": torch.zeros(1, 3)}

class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.fc = nn.Linear(4, 2)
    def forward(self, tokens, mask):
        return self.fc(self.embed(tokens) * mask)

class Values(nn.Module):
    def forward(self, x):
        return x @ x if x.sum() > 0 else x

def counts_itself():
    """Computes its own depth with tensors, as RegNet does."""
    widths = (torch.arange(3) * 2 + 2).tolist()
    return nn.ModuleList(nn.Linear(3, w) for w in widths)[2]

def raises():
    raise ValueError("no weights\\nsecond line")

def leaves():
    sys.exit(3)

def huge():
    return nn.Linear(1 << 20, 1 << 20)

ready = nn.Linear(3, 7)
number = 3
'''


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_models.py").write_text(CODE)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "wants.py").write_text("import not_a_package_of_any_kind\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("my_models", "broken", "wants"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize("place", ["my_models", "my_models.py"])
@pytest.mark.parametrize(
    ("factory", "settings", "inputs", "expected"),
    [
        ("make", [], ["2x3"], 2 * 3 * 4),
        ("make", ["width=10", "act=gelu"], ["2x3"], 2 * 3 * 10),
        ("with_input", [], [], 5 * 3 * 2),
        ("with_input", [], ["7x3"], 7 * 3 * 2),
        ("with_names", [], [], 2 * 3 * 3),
        ("Tokens", [], ["2x6:int64", "mask=2x6x1"], 2 * 6 * 4 * 2),
        ("Tokens", [], ["mask=scalar", "tokens=2x6:int64"], 2 * 6 * 4 * 2),
        ("ready", [], ["2x3"], 2 * 3 * 7),
        ("counts_itself", [], ["2x3"], 2 * 3 * 6),
    ],
)
def test_code(
    code: Path, place: str, factory: str, settings: list[str], inputs: list[str], expected: int
) -> None:
    network = target_network(f"{place}:{factory}", settings=settings, inputs=inputs)
    assert macs(network) == expected
    assert network.name == f"{place}:{factory}"


def test_a_module_that_is_ready_stays_as_it_is(code: Path) -> None:
    target_network("my_models:ready", inputs=["2x3"])
    assert sys.modules["my_models"].ready.weight.device.type == "cpu"
    assert sys.modules["my_models"].ready.training


def test_zoos_know_their_inputs() -> None:
    pytest.importorskip("torchvision")
    pytest.importorskip("timm")
    shapes = {
        target: [t.shape for t in target_network(target, batch=2).inputs]
        for target in ("torchvision:inception_v3", "torchvision:r3d_18", "timm:resnet18")
    }
    assert shapes == {
        "torchvision:inception_v3": [(2, 3, 299, 299)],
        "torchvision:r3d_18": [(2, 3, 16, 112, 112)],
        "timm:resnet18": [(2, 3, 224, 224)],
    }
    assert macs(target_network("timm:resnet18", settings=["num_classes=10"])) < macs(
        target_network("timm:resnet18")
    )


def test_networks_of_effcalcs_own_need_no_torch() -> None:
    assert figures(target_network("efficientnet-b0@phi=3")).weights.params == 16_350_296
    assert macs(target_network("alexnet", batch=3)) == 3 * macs(target_network("alexnet"))


def test_networks_of_effcalcs_own_are_built_to_run_backward_or_for_real() -> None:
    described = figures(target_network("squeezenet-1.1@image-size=96", batch=2))
    network = target_network("squeezenet-1.1@image-size=96", batch=2, mode=RunMode(real=True))
    assert figures(network).cost == described.cost
    network = target_network("squeezenet-1.1@image-size=96", batch=2, mode=RunMode(backward=True))
    assert figures(network).weights == described.weights
    assert network.training
    # Of every convolution the gradients of its weights and of its input, but for the images'.
    first = next(call for call in network.calls if call.op == "conv")
    assert macs(network) == 3 * described.cost.macs - cost(first).macs


BAD: list[tuple[str, dict[str, object], type[EffcalcError], str]] = [
    ("nowhere:make", {}, InputError, "there is no module 'nowhere' here; give package.module"),
    ("nowhere.py:make", {}, InputError, "there is no file nowhere.py"),
    ("my_models.py", {}, InputError, "say what in it makes the model: my_models.py:factory"),
    (":make", {}, InputError, "is not a target; give package.module:factory"),
    ("my_models:mke", {}, InputError, "has no 'mke' (did you mean 'make'?)"),
    ("my_models:number", {}, InputError, "is int, not a torch.nn.Module or a function"),
    ("my_models:make", {}, InputError, "say what goes in, such as `input` 1x3x224x224"),
    ("my_models:make", {"settings": ["depth=3"]}, InputError, "unexpected keyword argument"),
    ("my_models:make", {"settings": ["depth"]}, InputError, "`arg`: 'depth' is not name=value"),
    ("my_models:make", {"inputs": ["1x"]}, InputError, "`input`: '1x' is not an input"),
    ("my_models:make", {"inputs": ["a=2", "3"]}, InputError, "3 has no name; unnamed inputs"),
    (
        *("my_models:make", {"inputs": ["2x3"], "batch": 4}, InputError),
        "`batch` 4: the input of my_models:make is 2x3; give it as `input` 4x3",
    ),
    ("my_models:with_input", {"batch": 4}, InputError, "with_input is 5x3; give it as `input` 4x3"),
    ("my_models:raises", {}, RunError, "cannot be made: ValueError: no weights"),
    ("my_models:leaves", {}, RunError, "cannot be made: SystemExit: 3"),
    (
        *("my_models:make", {"inputs": ["2x5"]}, RunError),
        "my_models:make, in its module 0: failed on an input of 2x5: RuntimeError: ",
    ),
    (
        *("my_models:Values", {"inputs": ["3x3"]}, RunError),
        "it depends on the values of tensors, and a count runs without any (RuntimeError: Tensor."
        "item() cannot be called on meta tensors); `real`",
    ),
    ("broken:make", {}, RunError, "its import failed: ZeroDivisionError: division by zero"),
    ("broken.py:make", {}, RunError, "its import failed: ZeroDivisionError: division by zero"),
    ("wants:make", {}, NeedsError, "needs the package 'not_a_package_of_any_kind'"),
    ("torchvision:resnet51", {}, InputError, "has no model 'resnet51' (did you mean 'resnet50'?)"),
    ("timm:resnet51", {}, InputError, "has no model 'resnet51' (did you mean "),
    ("timm:resnet18", {"settings": ["colour=3"]}, RunError, "unexpected keyword argument 'colour'"),
    ("efficientnet-b99", {}, InputError, "no network is named 'efficientnet-b99'"),
    ("efficientnet-b0", {"settings": ["a=3"]}, InputError, "`arg` is for a model in code"),
    (
        "efficientnet-b0",
        {"settings": ["a=3"], "mode": RunMode(backward=True)},
        InputError,
        "`arg` is for a mode",
    ),
    ("efficientnet-b0", {"inputs": ["3"]}, InputError, "efficientnet-b0@image-size=320, not"),
    ("weights.pth", {}, InputError, "is a file of weights, which is not a model"),
    ("no.onnx", {}, InputError, "no.onnx: there is no such file"),
    ("no.pt2", {}, InputError, "no.pt2: there is no such file"),
    ("text.onnx", {}, InputError, "text.onnx: is not an ONNX file"),
    ("text.pt2", {}, InputError, "is not a .pt2 file; give a file that torch.export.save wrote"),
    ("raw.pt2", {}, InputError, "is a pickle, which can run code when it is read; give a file"),
    ("saved.pt2", {}, InputError, "is what torch.save or torch.jit.save wrote, a pickle, which"),
    ("saved.pt2", {"mode": RunMode(real=True)}, InputError, "`real` is for a model in code"),
]


class Trap:
    """Leaves a file where it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return exec, ("open('trapped', 'w').close()",)


@pytest.mark.parametrize(("target", "options", "kind", "message"), BAD)
def test_bad_targets(
    code: Path, target: str, options: dict[str, object], kind: type[EffcalcError], message: str
) -> None:
    (code / "text.onnx").write_text("hello")
    (code / "text.pt2").write_text("hello")
    (code / "raw.pt2").write_bytes(pickle.dumps(Trap()))
    torch.save({"trap": Trap()}, code / "saved.pt2")
    with pytest.raises(EffcalcError) as caught:
        target_network(target, **options)  # type: ignore[arg-type]
    assert type(caught.value) is kind
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (code / "trapped").exists()


@pytest.mark.parametrize("package", ["torchvision", "timm"])
def test_a_zoo_that_is_not_installed(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    if package == "torchvision":
        monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(NeedsError, match=package):
        target_network(f"{package}:resnet18")


def test_values_count_with_real(code: Path) -> None:
    assert macs(target_network("my_models:Values", inputs=["3x3"], mode=RunMode(real=True))) == 27


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_running_out_of_memory_with_real_is_one_line(code: Path) -> None:
    """4 TiB of weights: allocated for real they fail, on meta they cost nothing."""
    assert macs(target_network("my_models:huge", inputs=["1x1048576"])) == 1 << 40
    out = pytest.raises(RunError, match=r"my_models:huge: memory ran out \(RuntimeError: ")
    with out, memory_limited():
        target_network("my_models:huge", inputs=["1x1048576"], mode=RunMode(real=True))


# --- files -------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.first = nn.Linear(8, 8, bias=False)
        self.second = nn.Linear(8, 8)
        self.second.weight = self.first.weight
        self.second.bias.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.body(x).mean((2, 3))
        return self.second(self.first(x)).split(4, dim=1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "net.pt2"
    batch = torch.export.Dim("batch", max=64)
    image = torch.zeros(2, 3, 6, 6)
    program = torch.export.export(Net().eval(), (image,), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    return path


def test_a_pt2_file_counts_as_the_module_does(exported: Path) -> None:
    network = target_network(str(exported))
    module = count(Net(), torch.zeros(2, 3, 6, 6))
    assert figures(network).cost == figures(module).cost
    # The tied weight once; the bias was frozen when it was exported.
    assert figures(network).weights == figures(module).weights
    assert [call.name for call in network.calls] == [call.name for call in module.calls]
    assert macs(target_network(str(exported), inputs=["5x3x6x6"])) == macs(module) * 5 // 2


def test_a_pt2_file_takes_inputs_that_it_has(exported: Path) -> None:
    with pytest.raises(InputError, match=r"has the inputs x; `input` y is not for one of them"):
        target_network(str(exported), inputs=["y=1x3x6x6"])
    with pytest.raises(InputError, match=r"`batch` 3: .* is 2x3x6x6; give it as `input` 3x3x6x6"):
        target_network(str(exported), batch=3)
    with pytest.raises(RunError, match=r"failed on an input of 1x4x6x6"):
        target_network(str(exported), inputs=["1x4x6x6"])


def test_nothing_in_a_pt2_file_is_unpickled(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zipfile

    changed = tmp_path / "changed.pt2"
    with zipfile.ZipFile(exported) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            graph = name.endswith(".json")
            new.writestr(name, old.read(name) if graph else pickle.dumps(Trap()))
    monkeypatch.chdir(tmp_path)
    assert macs(target_network("changed.pt2")) == macs(target_network(str(exported)))
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("torch.ops.aten.conv2d.default", "os.system"),
        ("torch.ops.aten.conv2d.default", "torch.ops.load_library"),
        ("torch.ops.aten.conv2d.default", "torch.ops.aten.from_file.default"),
        ("torch.ops.aten.conv2d.default", "torch.ops.aten.save.default"),
        ("torch.ops.aten.conv2d.default", "torch.ops.mylib.op.default"),
    ],
)
def test_a_pt2_file_calls_nothing_but_operators(
    exported: Path, tmp_path: Path, old: str, new: str
) -> None:
    import zipfile

    changed = tmp_path / "changed.pt2"
    with zipfile.ZipFile(exported) as source, zipfile.ZipFile(changed, "w") as file:
        for name in source.namelist():
            file.writestr(name, source.read(name).replace(old.encode(), new.encode()))
    with pytest.raises(InputError, match=r"which cannot be counted from a file"):
        target_network(str(changed))


@pytest.mark.parametrize("place", [10, 200, 2000, -40])
def test_a_damaged_pt2_file_is_refused_or_counts(
    exported: Path, tmp_path: Path, place: int
) -> None:
    data = bytearray(exported.read_bytes())
    data[place : place + 8] = b"\x00" * 8
    path = tmp_path / "damaged.pt2"
    path.write_bytes(data)
    # It counts or is refused: no other error.
    with suppress(EffcalcError):
        target_network(str(path))


def test_an_onnx_file_counts_as_the_module_does(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    def weight(name: str, *shape: int) -> object:
        size = 1
        for side in shape:
            size *= side
        return helper.make_tensor(name, TensorProto.FLOAT, shape, [0.0] * size)

    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="/conv/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "s", "o", "m", "v"], ["n"], name="/norm"),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "g", "gb"], ["y"], transB=1),
        helper.make_node("Unheard", ["y"], ["z"], domain="mine"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            *(weight("w", 8, 3, 3, 3), weight("b", 8)),
            *(weight(n, 8) for n in "somv"),
            *(weight("g", 5, 8), weight("gb", 5)),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    path = tmp_path / "net.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())
    network = target_network(str(path), batch=2)
    totals = figures(network)
    assert totals.cost.macs == 2 * (8 * 36 * 27 + 8 * 5)
    assert totals.cost.elementwise == 2 * (2 * 8 * 36 + 8)  # norm, ReLU; pool
    assert totals.weights.params == 8 * 27 + 8 + 16 + 45
    assert totals.weights.buffers == 16  # the running statistics
    assert network.uncounted == {"onnx::mine.Unheard of unknown shape": 1}
    assert [call.op for call in network.calls] == [
        *("conv", "batch_norm", "relu", "mean", "view", "linear")
    ]
    with pytest.raises(InputError, match=r"has the inputs x; `input` y is not for one"):
        target_network(str(path), inputs=["y=1"])
    with pytest.raises(InputError, match=r"input x is float32, not int64"):
        target_network(str(path), inputs=["x=1x3x12x12:int64"])
    assert macs(target_network(str(path), inputs=["1x3x12x12"])) == 4 * 8 * 36 * 27 + 40


def test_inputs_as_text() -> None:
    assert parse_inputs(["1x3x224x224", "tokens=1x128:int64", "t=scalar:bf16"]) == [
        InputSpec("", (1, 3, 224, 224)),
        InputSpec("tokens", (1, 128), "int64"),
        InputSpec("t", (), "bfloat16"),
    ]
    for bad in ("", "x", "1x-3", "a b=1", "1x3:int65", "99999999x99999999999x9", "1e3"):
        with pytest.raises(InputError, match="`input`"):
            parse_inputs([bad])
