"""Every kind of model in the zoos: no crash, and products equal to torch's own counter's.

FlopCounterMode on meta tensors is right on all of these; tests/small_modules.py has what it does
not count. The slow tests run all models, the others one of each kind.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("timm")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from effcalc.base.errors import RunError  # noqa: E402
from effcalc.models.count import count_owned  # noqa: E402
from effcalc.models.mode import RunMode  # noqa: E402
from effcalc.models.targets import load  # noqa: E402
from effcalc.network.ops import cost  # noqa: E402
from tests.zoo import (  # noqa: E402
    COUNTED_BY_TORCH,
    compare,
    compare_training,
    detection_targets,
    timm_targets,
    torchvision_targets,
)

FEW = [
    *("torchvision:resnet18", "torchvision:googlenet", "torchvision:mobilenet_v3_small"),
    *("torchvision:swin_t", "torchvision:lraspp_mobilenet_v3_large", "torchvision:r3d_18"),
    *("torchvision:regnet_y_400mf", "torchvision:shufflenet_v2_x0_5", "torchvision:squeezenet1_0"),
    *(
        "timm:vit_tiny_patch16_224",
        "timm:convnext_atto",
        "timm:mixer_s32_224",
        "timm:xcit_nano_12_p16_224",
    ),
    *(
        "timm:eva02_tiny_patch14_224",
        "timm:coatnet_0_rw_224",
        "timm:gmlp_s16_224",
        "timm:levit_128s",
    ),
]


def check(target: str) -> None:
    result = compare(target)
    assert result.macs == result.torch_macs
    assert not result.other  # nothing that torch has no formula for
    assert result.params == result.torch_params
    assert not result.uncounted


@pytest.mark.parametrize("target", FEW)
def test_products_equal_torchs_own_count(target: str) -> None:
    check(target)


@pytest.mark.slow
@pytest.mark.parametrize("target", torchvision_targets())
def test_all_of_torchvision(target: str) -> None:
    check(target)


@pytest.mark.slow
@pytest.mark.parametrize("target", timm_targets())
def test_two_hundred_of_timm(target: str) -> None:
    check(target)


def check_training(target: str) -> None:
    result = compare_training(target)
    assert result.macs + result.grouped == result.torch_macs
    assert not result.uncounted


@pytest.mark.parametrize(
    "target", ["torchvision:resnet18", "torchvision:mobilenet_v3_small", "timm:levit_128s"]
)
def test_a_training_step_is_torchs_own_but_for_grouped_weights(target: str) -> None:
    check_training(target)


@pytest.mark.slow
@pytest.mark.parametrize("target", [*torchvision_targets(), *timm_targets()])
def test_training_steps_of_all(target: str) -> None:
    check_training(target)


def check_detection(target: str) -> None:
    """Refused on meta; with real tensors the same products as torch counts beside it."""
    with pytest.raises(RunError, match=r"depends on the values of tensors.*`real`"):
        count_owned(*load(target)[1:], name=target)
    name, module, args, kwargs = load(target, real=True)
    # The heads see as many boxes as the random weights propose, so one seed serves both.
    torch.manual_seed(0)
    network = count_owned(module, args, kwargs, RunMode(real=True), name)
    torch.manual_seed(0)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*args)
    macs = {call.op: 0 for call in network.calls}
    for call in network.calls:
        macs[call.op] += cost(call).macs
    assert sum(n for op, n in macs.items() if op in COUNTED_BY_TORCH) == (
        counter.get_total_flops() // 2
    )
    assert sum(p.numel for call in network.calls for p in call.params if not p.buffer) == sum(
        p.numel() for p in module.parameters()
    )
    assert not network.uncounted


def test_detection_is_refused_and_then_right_with_real() -> None:
    check_detection("torchvision:ssdlite320_mobilenet_v3_large")


@pytest.mark.slow
@pytest.mark.parametrize("target", detection_targets())
def test_all_detection_models(target: str) -> None:
    check_detection(target)
