"""What `effcalc export` writes runs without effcalc, and gives the built module's results."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from effcalc.base.errors import InputError
from effcalc.models import export
from effcalc.models.build import build
from effcalc.models.pycode.write import write
from effcalc.network.network import unroll
from effcalc.scaling.scale import scale
from tests.cli_helpers import run
from tests.models.test_build import FAMILIES, SMALL, calibrated, images

# Runs each written module on an image, with nothing but torch and the standard library.
CHILD = """
import importlib.util, pathlib, sys, torch
folder = pathlib.Path(sys.argv[1])
for path in sorted(folder.glob("*.py")):
    before = set(sys.modules)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    model = module.Model()
    given = torch.load(path.with_suffix(".pt"), weights_only=True)
    model.load_state_dict(given["state"])
    torch.manual_seed(0)
    trained = model(given["image"])
    evaluated = model.eval()(given["image"])
    torch.save([trained.detach(), evaluated.detach()], path.with_suffix(".out"))
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"effcalc", "torchvision", "timm", "typer"}, loaded
"""


def loaded(source: str) -> types.ModuleType:
    module = types.ModuleType("written")
    sys.modules["written"] = module  # a NamedTuple looks its annotations up there
    exec(compile(source, "written.py", "exec"), module.__dict__)
    return module


# --- Python -------------------------------------------------------------------------------------


def test_written_modules_give_the_built_results_in_a_process_of_their_own(tmp_path):
    """Names, evaluation, and training with the same dropout: bit for bit."""
    models = {}
    for name in SMALL:
        at = scale(name, width=0.5, image_size=SMALL[name], classes=10)
        file = name.replace("-", "_").replace(".", "_")
        tmp_path.joinpath(f"{file}.py").write_text(write(at, at.title), encoding="utf-8")
        model = build(at.network)
        calibrated(model, images(at.network))
        image = images(at.network)
        torch.save({"state": model.state_dict(), "image": image}, tmp_path / f"{file}.pt")
        models[file] = (model, image)
    # -I: neither this folder nor PYTHONPATH, so effcalc cannot be found by accident.
    subprocess.run([sys.executable, "-I", "-c", CHILD, str(tmp_path)], check=True, timeout=300)
    for file, (model, image) in models.items():
        torch.manual_seed(0)
        trained = model.train()(image)
        evaluated = model.eval()(image)
        theirs = torch.load(tmp_path / f"{file}.out", weights_only=True)
        assert torch.equal(theirs[0], trained), file
        assert torch.equal(theirs[1], evaluated), file


@pytest.mark.parametrize("name", FAMILIES)
def test_written_modules_at_random_scalings(name):
    """On the meta device: the same names and shapes, layer by layer the same operators."""

    @settings(
        max_examples=4, deadline=None, derandomize=True, database=None, phases=[Phase.generate]
    )
    @given(depth=st.floats(0.05, 2.0), width=st.floats(0.2, 2.0), side=st.integers(67, 150))
    def check(depth, width, side):
        depth = min(depth, 0.1) if name == "resnet-1001" else depth
        at = scale(name, depth=depth, width=width, image_size=side)
        with torch.device("meta"):
            written = loaded(write(at, name)).Model()
            model = build(at.network)
        assert {k: v.shape for k, v in written.state_dict().items()} == {
            k: v.shape for k, v in model.state_dict().items()
        }
        ours = dict(model.named_modules())
        for path, module in written.named_modules():
            if not list(module.children()) and not isinstance(module, torch.nn.Identity):
                assert repr(module) == repr(ours[path]), path
        x = images(at.network, 2, "meta")
        assert written.eval()(x).shape == model.eval()(x).shape

    check()


def test_weights_start_the_same():
    at = scale("mobilenet-v2", image_size=64)
    torch.manual_seed(3)
    written = loaded(write(at, "")).Model()
    torch.manual_seed(3)
    model = build(at.network)
    for a, b in zip(written.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)


MIXED = """
name = "mixed"
title = TITLE
[input]
size = 40
classes = 7
[[stage]]
name = "class"
block = "convolution"
kernel = 3
stride = 2
channels = 16
bias = true
norm = false
activation = "none"
[[stage]]
name = "first"
block = "fire"
expand = 32
pct_3x3 = 0.0
squeeze_ratio = 0.25
repeats = 2
[[stage]]
name = "second"
block = "fire"
expand = 32
pct_3x3 = 0.5
squeeze_ratio = 0.25
bypass = "simple"
repeats = 2
[[stage]]
name = "third"
block = "fire"
expand = 48
pct_3x3 = 1.0
squeeze_ratio = 0.25
bypass = "complex"
repeats = 2
[[stage]]
name = "fourth"
block = "mbconv"
kernel = 5
channels = 24
expansion = 3
se_ratio = 0.5
drop = 0.5
activation = "silu"
repeats = 3
[[stage]]
name = "fifth"
block = "mbconv"
kernel = 3
stride = 2
channels = 24
expansion = 1
drop = 0.25
repeats = 3
[[stage]]
name = "norm"
block = "local_response_norm"
size = 4
[[stage]]
name = "norm2"
block = "local_response_norm"
size = 3
alpha = 0.5
[[stage]]
name = "sixth"
block = "preact_bottleneck"
channels = 8
repeats = 2
[[stage]]
name = "seventh"
block = "bottleneck"
channels = 16
groups = 2
stride = 2
repeats = 2
[[stage]]
name = "pool"
block = "adaptive_avg_pool"
size = 2
[[stage]]
name = "eighth"
block = "linear"
channels = 12
activation = "relu6"
dropout = 0.3
[[stage]]
name = "classifier"
block = "linear"
channels = "= classes"
channel_scales = false
"""


def test_every_block_in_one_network(tmp_path):
    """Structures that no one class can hold get one each, and a title stays a title."""
    file = tmp_path / "mixed.toml"
    title_text = 'Mixed """\nimport os; os.abort()\n""" \\\\'
    file.write_text(MIXED.replace("TITLE", json.dumps(title_text)), encoding="utf-8")
    at = scale(str(file))
    assert at.arch.title == title_text
    source = write(at, at.title)
    model = build(at.network)
    module = loaded(source)
    written = module.Model()
    assert "class Fire2(" in source
    written.load_state_dict(model.state_dict())
    x = images(at.network)
    torch.manual_seed(0)
    expected = model(x)
    torch.manual_seed(0)
    assert torch.equal(written(x), expected)
    assert torch.equal(written.eval()(x), model.eval()(x))


@pytest.mark.parametrize("name", ["efficientnet-b3", "resnet-50", "squeezenet-1.0-complex-bypass"])
def test_written_code_is_tidy(name, tmp_path):
    """Ruff's own rules hold, and its format, but for the table that stays a table."""
    at = scale(name)
    file = tmp_path / "b.py"
    file.write_text(write(at, at.title), encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    more = ["--isolated", "--line-length", "100", str(file)]
    subprocess.run([*ruff, "check", "--select", "E,F,I,W,B,UP,SIM,RUF100", *more], check=True)
    subprocess.run([*ruff, "format", "--check", *more], check=True)


def test_repeats_are_a_number_in_the_table():
    """Depth is one number to edit: 111 units a stage are two rows."""
    source = write(scale("resnet-1001"), "")
    assert 'Row("stage2", 110, PreactBottleneck, dict(in_channels=128' in source
    assert len(source.splitlines()) < 200


def test_the_docs_show_what_is_written():
    page = Path(__file__).parents[2] / "docs" / "build-and-export.md"
    table = page.read_text(encoding="utf-8").partition("STAGES = (\n")[2].partition("```")[0]
    source = write(scale("efficientnet-b0", phi=3), "")
    pieces = table.split("    ...\n")
    assert len(pieces) == 2
    assert all(piece in source for piece in pieces)


# --- torch.export -------------------------------------------------------------------------------


def reference(at, x):
    """Results of the module that is exported: `build`'s, from seed 0."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(at.network).eval()
    with torch.no_grad():
        return model(x)


def check_pt2(at, tmp_path, dynamic=False):
    file = tmp_path / "b.pt2"
    with file.open("wb") as out:
        export.write_pt2(at.network, out, dynamic)
    again = torch.export.load(file).module()
    for batch in (1, 2, 5) if dynamic else (1,):
        x = images(at.network, batch)
        assert torch.equal(again(x), reference(at, x))
    content = file.read_bytes()
    assert b"site-packages" not in content
    assert export.__file__.rpartition("/effcalc/")[0].encode() not in content
    return again


def test_pt2_is_bit_equal_after_reload(tmp_path):
    at = scale("efficientnet-b0", depth=0.5, width=0.5, image_size=64)
    again = check_pt2(at, tmp_path)
    keys = {p.key for call in unroll(at.network).calls for p in call.params}
    assert set(again.state_dict()) == keys
    check_pt2(at, tmp_path, dynamic=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SMALL))
def test_pt2_of_every_family(name, tmp_path):
    check_pt2(scale(name, image_size=SMALL[name]), tmp_path, dynamic=True)


# --- ONNX ---------------------------------------------------------------------------------------


def check_onnx(at, tmp_path, dynamic=False):
    ort = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    file = tmp_path / "b.onnx"
    with file.open("wb") as out:
        export.write_onnx(at.network, out, dynamic)
    onnx.checker.check_model(str(file), full_check=True)
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for batch in (1, 2, 5) if dynamic else (1,):
        x = images(at.network, batch)
        (result,) = session.run(["output"], {"images": x.numpy()})
        expected = reference(at, x).numpy()
        error = np.abs(result - expected).max() / np.abs(expected).max()
        assert error < 1e-5
    assert b"site-packages" not in file.read_bytes()
    return file


def test_onnx_gives_the_same_results(tmp_path):
    at = scale("efficientnet-b0", depth=0.5, width=0.5, image_size=64)
    check_onnx(at, tmp_path)
    file = check_onnx(at, tmp_path, dynamic=True)
    # The file, counted: the network's own MACs.
    counted = run("count", str(file), "--input", "1x3x64x64", "--format", "json")
    assert f'"macs": {at.macs}' in counted.out.replace("  ", " "), counted.err or counted.out[:2000]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SMALL))
def test_onnx_of_every_family(name, tmp_path):
    check_onnx(scale(name, image_size=SMALL[name]), tmp_path, dynamic=True)


def test_onnx_refuses_more_than_a_file_holds():
    at = scale("efficientnet-b0", width=30)
    with pytest.raises(InputError, match=r"GB of weights do not fit in an ONNX file"):
        export.write_onnx(at.network, None)


# --- the command --------------------------------------------------------------------------------


def test_the_command_writes_python_without_torch(tmp_path):
    file = tmp_path / "b.py"
    program = (
        "import sys; from effcalc.cli.main import main;"
        f"code = main(['export', '--phi', '3', '-o', {str(file)!r}]);"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    text = file.read_text(encoding="utf-8")
    assert text.startswith('"""EfficientNet-B0 at φ = 3\n\nd = 1.728, w = 1.331, 341 x 341 pixels:')
    assert "16,350,296 parameters" in text


@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
def test_the_command_writes_programs(suffix, tmp_path):
    file = tmp_path / f"b.{suffix}"
    options = ["--depth", "0.3", "--width", "0.3", "--image-size", "40", "--classes", "5"]
    result = run("export", "mobilenet-v2", *options, "--batch", "3", "-o", str(file))
    assert (result.code, result.out) == (0, "")
    if suffix == "pt2":
        x = torch.zeros(3, 3, 40, 40)
        assert torch.export.load(file).module()(x).shape == (3, 5)
    assert [p.name for p in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-o", "b"], 2, "says no format; end it in .onnx, .pt2 or .py"),
        (["-o", "b.txt"], 2, "'b.txt' says no format; end it in .onnx, .pt2 or .py"),
        (["-o", "no/b.py"], 2, "there is no folder"),
        (["-o", "b.py", "--batch", "2"], 2, "takes batches of any size"),
        (["-o", "b.py", "--phi", "0:3"], 2, "is for one scaling, and this asks for 4"),
        (["-o", "b.onnx", "--width", "30"], 2, "of weights do not fit in an ONNX file"),
    ],
)
def test_what_cannot_be_written_is_one_line(arguments, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("export", *arguments)
    assert result.code == code
    assert message in result.error()
    assert list(tmp_path.iterdir()) == []


def test_an_output_is_asked_for():
    result = run("export")
    assert result.code == 2
    assert "--output" in result.err


@pytest.mark.parametrize(
    ("suffix", "missing", "extra"),
    [("pt2", "torch", "torch"), ("onnx", "torch", "torch"), ("onnx", "onnxscript", "onnx")],
)
def test_what_is_not_installed_is_named(suffix, missing, extra, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == missing else find(name)
    )
    result = run("export", "-o", str(tmp_path / f"b.{suffix}"))
    assert result.code == 3
    assert f"needs {missing}; pip install 'effcalc[{extra}]'" in result.error()


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    def fail(network, file, dynamic_batch):
        file.write(b"half")
        raise InputError("it fell")

    monkeypatch.setattr(export, "write_pt2", fail)
    file = tmp_path / "b.pt2"
    file.write_bytes(b"old")
    assert run("export", "-o", str(file)).error() == "it fell"
    assert file.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
