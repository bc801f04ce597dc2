"""Predicted times: by hand, as they must grow, and beside what timm measured."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import effcalc
from effcalc.base.errors import InputError
from effcalc.hardware.files import load_device
from effcalc.network.network import Network, OperatorCall, Tensor
from effcalc.prediction.factors import FOLDER, fitted, nearest
from effcalc.prediction.measured import FOLDER as MEASURED
from effcalc.prediction.measured import Identity, measured
from effcalc.prediction.model import Factors, Limits, Setting, element_bytes, work_seconds
from effcalc.prediction.predict import TimePrediction, predict_time, subject
from effcalc.prediction.tables import PER, per_table
from effcalc.prediction.work import CLASSES, PRODUCTS, Work, classify, grown, works
from effcalc.scaling.scale import build, scale
from tests.cli_helpers import run

PLAIN = Factors(
    compute=dict.fromkeys(PRODUCTS, 2.0),
    memory=dict.fromkeys(CLASSES, 3.0),
    narrow=0.5,
    narrow_linear=0.0,
    misaligned=1.5,
    attention_inner=0.25,
    attention_product=0.5,
    launch=1e-6,
)
LIMITS = Limits(flops=1e12, bandwidth=1e9)
CONV = Work("c", "conv", 1, macs=10**9, inputs=1000, weights=100, outputs=1000, channels=256)
GPUS = ("rtx-3090", "rtx-4090", "rtx-pro-6000-max-q", "l4", "a100-40gb", "b200")


def predicted(
    name: str, device: str, batch: int, setting: Setting | None = None, **scaling: float
) -> TimePrediction:
    scaled = scale(name, **scaling)
    network = build(scaled.arch, scaled.scaling, 1, scaled.head)
    return predict_time(subject(name, network), load_device(device), setting or Setting(), batch)


def test_a_call_takes_the_larger_of_arithmetic_and_traffic() -> None:
    # 2e9 operations at 1e12 a second, times 2: 4 ms; (2000 · 2 + 100 · 8) bytes: 14.4 µs.
    assert work_seconds(CONV, LIMITS, PLAIN, "amp") == pytest.approx(4e-3 + 1e-6)
    small = CONV._replace(macs=0)
    assert work_seconds(small, LIMITS, PLAIN, "amp") == pytest.approx(4800 / 1e9 * 3 + 1e-6)
    # 64 channels: (64/256)^-0.5 = 2 times as long; one that is no multiple of 8: 1.5 times.
    narrow = CONV._replace(channels=64, misaligned=True)
    assert work_seconds(narrow, LIMITS, PLAIN, "amp") == pytest.approx(4e-3 * 3 + 1e-6)


def test_bytes_follow_the_precision() -> None:
    assert element_bytes("conv", "fp32") == (4, 4)
    assert element_bytes("conv", "bf16") == (2, 2)
    # autocast reads a float32 weight, writes it in half precision, and reads it: 4 + 2 + 2
    assert element_bytes("conv", "amp") == (2, 8)
    assert element_bytes("layer_norm", "amp") == (4, 4)
    assert element_bytes("batch_norm", "amp") == (2, 4)


def test_works_sum_to_the_network() -> None:
    network = scale("efficientnet-b0").network
    asked = works(network)
    assert sum(w.macs * w.repeats for w in asked) == 385_814_752
    kinds = {w.kind for w in asked}
    assert kinds >= {"conv_stem", "conv_depthwise", "conv_1x1", "linear", "batch_norm"}
    assert "other" not in kinds


def test_what_no_image_reaches_does_not_grow() -> None:
    weight, image = Tensor(1, (8, 4, 1, 1), param="w"), Tensor(0, (1, 4, 6, 6), storage=0)
    scaled = Tensor(2, (8, 4, 1, 1), storage=2)
    out = Tensor(3, (1, 8, 6, 6), storage=3)
    calls = (
        OperatorCall("w", "mul", (weight,), (scaled,)),
        OperatorCall("c", "conv", (image, scaled), (out,), attrs={"groups": 1}),
    )
    fixed, conv = works(Network("n", (image,), (out,), calls))
    assert (fixed.fixed, conv.fixed) == (True, False)
    assert (conv.inputs, conv.weights) == (4 * 36, 32)
    twice = list(grown([fixed, conv], 2))
    assert twice[0] == fixed
    assert (twice[1].inputs, twice[1].weights) == (2 * 4 * 36, 32)


def test_attention_is_one_kernel_where_torch_fuses_it() -> None:
    torch = pytest.importorskip("torch")
    from effcalc.models.count import count

    class Attention(torch.nn.Module):
        def __init__(self, fused: bool) -> None:
            super().__init__()
            self.fused = fused

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.fused:
                return torch.nn.functional.scaled_dot_product_attention(x, x, x)
            return (x @ x.transpose(-1, -2) / 4).softmax(-1) @ x

    x = torch.empty(1, 2, 8, 16, device="meta")
    assert any(work.attention for work in works(count(Attention(True), x)))
    assert not any(work.attention for work in works(count(Attention(False), x)))


@settings(max_examples=30, deadline=None)
@given(
    device=st.sampled_from(GPUS),
    name=st.sampled_from(("resnet-50", "efficientnet-b0", "squeezenet-1.1", "mobilenet-v2")),
    batch=st.integers(1, 512),
    more=st.integers(1, 64),
    pixels=st.integers(64, 320),
)
def test_time_grows_with_the_batch_and_the_image(
    device: str, name: str, batch: int, more: int, pixels: int
) -> None:
    arch = scale(name).arch
    at = [scale(name, image_size=side).scaling for side in (pixels, pixels + more)]
    small, large = (subject(name, build(arch, scaling, 1, True)) for scaling in at)
    gpu = load_device(device)
    nobody = Identity(0, 0, 0)  # the factors alone, not what was measured of one size
    seconds = predict_time(small._replace(identity=nobody), gpu, Setting(), batch).seconds
    other = predict_time(small._replace(identity=nobody), gpu, Setting(), batch + more).seconds
    assert other >= seconds
    assert predict_time(large._replace(identity=nobody), gpu, Setting(), batch).seconds >= seconds


def test_the_function_is_the_command() -> None:
    data = run("predict", "resnet-18", "--device", "l4", "--batch", "8", "--format", "json").out
    p = effcalc.predict(scale("resnet-18").network, "l4", 8, name="ResNet-18")
    assert json.loads(data)["rows"][0]["seconds"] == p.seconds
    with pytest.raises(InputError, match="`batch` 0 is not a multiple"):
        effcalc.predict(scale("resnet-18").network, "l4", 0)
    with pytest.raises(InputError, match="`precision`: 'fp64' is not one of"):
        effcalc.predict(scale("resnet-18").network, "l4", precision="fp64")


def test_parts_sum_to_the_time() -> None:
    p = predicted("resnet-50", "l4", 64)
    assert sum(seconds for _, seconds in p.parts) == pytest.approx(p.seconds)
    for per in PER:
        rows = per_table("parts", p, per).rows
        assert sum(row["seconds"] for row in rows) == pytest.approx(p.seconds)


def rows_of(device: str, setting: Setting) -> list[dict[str, str]]:
    path = next(MEASURED.glob(f"{device}-{setting.stem}.csv"))
    return list(csv.DictReader(path.open(encoding="utf-8")))


def test_what_was_measured_is_the_answer() -> None:
    row = next(r for r in rows_of("rtx-4090", Setting()) if r["name"] == "efficientnet_b0")
    assert (row["px"], row["params"], row["macs"]) == ("224", "5288548", "385814752")
    batch, rate = int(row["batch"]), float(row["images_per_second"])
    network = scale("efficientnet-b0").network
    p = predict_time(subject("efficientnet_b0", network), load_device("rtx-4090"), Setting(), batch)
    assert p.images_per_second == pytest.approx(rate)
    assert p.basis.startswith("measured by timm (efficientnet_b0")
    assert predicted("resnet-50", "rtx-4090", 64).basis.startswith("measured by timm (resnet50")
    far = predict_time(subject("efficientnet_b0", network), load_device("rtx-4090"), Setting(), 8)
    assert far.basis.endswith("× ratio")
    assert far.quantiles == fitted(Setting()).quantiles["table"]
    # Of equal figures and another name nobody can tell which network it is, unless it is alone.
    key = Identity(224, 5288548, 385814752)
    same = [r["name"] for r in rows_of("rtx-4090", Setting()) if r["params"] == row["params"]]
    found = measured("rtx-4090", Setting(), key, "mine")
    assert (found is None) == (len(same) > 1)


def test_networks_that_timm_measured_lie_in_the_interval() -> None:
    """Of the factors alone; their families were fitted to, so 90% is the least to expect."""
    inside = total = 0
    for name, timm in (("resnet-50", "resnet50"), ("mobilenet-v2", "mobilenetv2_100")):
        for device in ("rtx-3090", "rtx-4090", "rtx-pro-6000-max-q"):
            for row in rows_of(device, Setting()):
                if row["name"].split(".")[0] != timm:
                    continue
                network = scale(name, image_size=int(row["px"])).network
                of = subject("nobody's", network)._replace(identity=Identity(0, 0, 0))
                p = predict_time(of, load_device(device), Setting(), int(row["batch"]))
                seconds = int(row["batch"]) / float(row["images_per_second"])
                inside += p.intervals["low90"] <= seconds <= p.intervals["high90"]
                total += 1
    assert total >= 6
    assert inside / total >= 0.8


def test_a_measurement_elsewhere_serves_by_the_ratio() -> None:
    known = predicted("resnet-50", "rtx-pro-6000-max-q", 64)
    assert known.basis.startswith("measured by timm (resnet50")
    l4 = predicted("resnet-50", "l4", 64)
    assert l4.basis == "measured by timm on rtx-3090 × ratio, data sheet only"
    # Nothing was measured on an L4, so the interval is that of devices that were held out.
    assert l4.quantiles == fitted(Setting()).quantiles["data_sheet"]


def test_every_setting_is_whole() -> None:
    for path in FOLDER.glob("*.toml"):
        name = path.stem
        setting = next(
            s
            for s in (
                Setting(),
                Setting("amp", True),
                Setting(compiled=True),
                Setting(mode="train"),
                Setting("fp32", compiled=True),
            )
            if s.stem == name
        )
        read = fitted(setting)
        assert read.setting == setting
        for factors in (read.common, *read.devices.values()):
            assert set(factors.memory) == set(CLASSES)
            assert set(factors.compute) == PRODUCTS
        for low90, low80, high80, high90 in read.quantiles.values():
            assert low90 < low80 < 1 < high80 < high90


def test_a_setting_that_nobody_measured_says_so() -> None:
    served, assumed = nearest(Setting("fp32"), load_device("rtx-4090"))
    assert (served, assumed) == (Setting("amp"), ("fp32",))
    wide = predicted("resnet-18", "rtx-4090", 8, Setting("fp32"), width=0.5)
    known = predicted("resnet-18", "rtx-4090", 8, width=0.5)
    assert "nobody measured fp32" in wide.notes[0]
    assert wide.quantiles[3] == pytest.approx(known.quantiles[3] ** 1.5)


def test_devices_that_cannot_answer_are_refused() -> None:
    with pytest.raises(InputError, match="no dense peak of fp32"):
        predicted("resnet-18", "rp2040", 1, Setting("fp32"))
    bare = replace(load_device("rtx-4090"), bandwidth=None)
    with pytest.raises(InputError, match="no memory bandwidth"):
        predict_time(subject("x", scale("resnet-18").network), bare, Setting())


def test_the_command_prints_a_family_with_intervals() -> None:
    result = run("predict", "--phi", "0:7", "--device", "rtx-4090", "--dtype", "amp")
    assert result.code == 0
    assert "φ = 7" in result.out
    data = json.loads(
        run("predict", "resnet-18", "--device", "rtx-4090,t4", "--format", "json").out
    )
    first, second = data["rows"]
    assert (first["device"], second["device"]) == ("rtx-4090", "t4")
    keys = ("seconds", "images_per_second", "low80", "high80", "low90", "high90", "basis")
    assert all(key in first for key in keys)
    assert first["low90"] < first["low80"] < first["seconds"] < first["high80"] < first["high90"]
    assert first["images_per_second"] == pytest.approx(256 / first["seconds"])


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--device", "nope"), "no device is named 'nope'"),
        (("--device", "ethernet-10g"), "is a link, not a device"),
        (("--batch", "0"), "--batch: 0 is not"),
        (("--dtype", "fp64"), "--dtype: 'fp64' is not one of"),
        (("--mode", "eval"), "--mode: 'eval' is not one of"),
        (("--per", "stage"), "--per: 'stage' is not one of"),
        (("--phi", "0:2", "--per", "class"), "--per is for one prediction"),
        (("--arg", "a=1"), "--arg and --input are for a target"),
    ],
)
def test_bad_usage_is_one_line(args: tuple[str, ...], says: str) -> None:
    result = run("predict", *args)
    assert result.code == 2
    assert says in result.error()


def test_a_prediction_loads_neither_torch_nor_numpy() -> None:
    program = (
        "import sys; from effcalc.cli.main import main; main(['predict', '--phi', '3']);"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_classes_of_operators() -> None:
    def conv(channels: int, out: int, groups: int, k: int) -> str:
        x, w = Tensor(0, (1, channels, 8, 8)), Tensor(1, (out, channels // groups, k, k), param="w")
        y = Tensor(2, (1, out, 8, 8))
        return classify(OperatorCall("c", "conv", (x, w), (y,), attrs={"groups": groups}))

    assert conv(3, 8, 1, 3) == "conv_stem"
    assert conv(8, 8, 1, 3) == "conv"
    assert conv(8, 8, 1, 1) == "conv_1x1"
    assert conv(8, 8, 2, 3) == "conv_grouped"
    assert conv(8, 16, 8, 3) == "conv_depthwise"
