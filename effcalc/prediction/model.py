"""The time of a network on a device: for each operator call the larger of arithmetic and traffic.

A device file gives the peak of dense arithmetic and the bandwidth of main memory. No kernel
reaches them, so each is multiplied by a factor of the call's class; the factors are plain numbers,
fitted to published measurements (`factors/`), with few corrections: narrow and misaligned channels
of products, a fused attention, and the time that every call takes whatever its size.

The same lines run on numbers here and on arrays in `benchmarks/fit_prediction.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from effcalc.prediction.work import PRODUCTS, Work

Precision: TypeAlias = Literal["fp32", "tf32", "amp", "fp16", "bf16"]
Mode: TypeAlias = Literal["infer", "train"]

PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "amp", "fp16", "bf16")
ARITHMETIC = {"amp": "fp16", "fp32": "fp32", "tf32": "tf32", "fp16": "fp16", "bf16": "bf16"}
"""The numeric format of products in each precision, of which a device file has the peak."""

FLOAT32_IN_AMP = frozenset(("layer_norm", "group_norm", "softmax"))
"""Classes that torch.autocast runs in float32."""


class Setting(NamedTuple):
    """How a network runs, on which its factors depend."""

    precision: Precision = "amp"
    channels_last: bool = False
    compiled: bool = False
    mode: Mode = "infer"

    @property
    def name(self) -> str:
        """Its name for people and files: "amp, channels last, train"."""
        words: list[str] = [self.precision]
        words += ["channels last"] * self.channels_last + ["compiled"] * self.compiled
        return ", ".join([*words, *(["train"] if self.mode == "train" else [])])

    @property
    def stem(self) -> str:
        """The name as part of a file's: "amp-channels-last-train"."""
        return self.name.replace(", ", "-").replace(" ", "-")


class Limits(NamedTuple):
    """What a device could do at most: operations a second of products, bytes a second."""

    flops: float
    bandwidth: float


@dataclass(frozen=True, slots=True)
class Factors:
    """How many times longer calls take than at a device's limits.

    `compute` and `memory` are by class. Products of c channels take (c/256)^-`narrow` times as long
    for convolutions, `narrow_linear` for linear layers, and `misaligned` times where channels are
    no multiple of 8. Of a fused attention, the traffic between its products remains to a share of
    `attention_inner`, and that of the products to `attention_product`. `launch` is in seconds.
    """

    compute: Mapping[str, float]
    memory: Mapping[str, float]
    narrow: float
    narrow_linear: float
    misaligned: float
    attention_inner: float
    attention_product: float
    launch: float


def element_bytes(kind: str, precision: Precision) -> tuple[int, int]:
    """Bytes of an element of an activation and of a weight, as read by a call of this class.

    With autocast a product's float32 weights are read, written in half precision, and read again.
    """
    if precision in ("fp16", "bf16"):
        return 2, 2
    if precision != "amp":
        return 4, 4
    if kind in PRODUCTS:
        return 2, 8
    return (4, 4) if kind in FLOAT32_IN_AMP else (2, 4)


def narrowness(channels: Any, exponent: Any) -> Any:
    """How many times longer a product of few channels takes; `channels` are within 4 and 512."""
    return (channels / 256) ** -exponent


def call_seconds(
    arithmetic: Any, traffic: Any, launch: Any, maximum: Callable[[Any, Any], Any] = max
) -> Any:
    """Seconds of one call: the larger of its arithmetic and its traffic, and the launch."""
    return maximum(arithmetic, traffic) + launch


def work_seconds(work: Work, limits: Limits, factors: Factors, precision: Precision) -> float:
    """Seconds of one call of a work, not times its `repeats`."""
    activation, weight = element_bytes(work.kind, precision)
    moved = (work.inputs + work.outputs) * activation + work.weights * weight
    traffic = moved / limits.bandwidth * factors.memory[work.kind]
    launch = factors.launch
    if work.attention and work.kind == "product":
        traffic *= factors.attention_product
    elif work.attention:
        traffic, launch = traffic * factors.attention_inner, launch * factors.attention_inner
    arithmetic = 2 * work.macs / limits.flops * factors.compute.get(work.kind, 1.0)
    if work.misaligned:
        arithmetic *= factors.misaligned
    if work.kind in ("conv", "conv_1x1", "conv_grouped", "linear"):
        exponent = factors.narrow_linear if work.kind == "linear" else factors.narrow
        arithmetic *= narrowness(min(max(work.channels, 4), 512), exponent)
    seconds: float = call_seconds(arithmetic, traffic, launch)
    return seconds
