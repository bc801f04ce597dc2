"""An architecture as the papers' tables write it, and the network it becomes at (d, w, pixels)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from effcalc.base.errors import InputError, one_line, suggest
from effcalc.base.num import maximum, round_channels, round_repeats, uniform
from effcalc.network.blocks import BLOCKS
from effcalc.network.builder import Builder
from effcalc.network.network import Network, Tensor


class Knob(NamedTuple):
    """A metaparameter of a family, such as SqueezeNet's squeeze ratio."""

    name: str
    default: Any
    help: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()


class Stage(NamedTuple):
    """One row of a stage table; `keys` are the block's own."""

    name: str
    block: str
    keys: Mapping[str, Any]
    repeats: int = 0  # 0: a single block, its layers named after the stage alone
    repeat_scales: bool = True
    channel_scales: bool = True
    divisor: int = 8
    min_width: float = 0.0
    head: bool = False


class Variant(NamedTuple):
    """A network that the authors released, by its own coefficients."""

    name: str
    depth: float
    width: float
    image_size: tuple[int, int]
    source: str = ""


class Published(NamedTuple):
    """Figures as a paper prints them, for one network and scaling; texts keep their digits.

    `storage` is how the paper compressed the weights (`density=0.33,bits=8`), and `reduction` how
    many times smaller than its baseline it prints them to be ("363x").
    """

    table: str
    label: str
    network: str
    depth: float = 1.0
    width: float = 1.0
    resolution: float = 1.0
    variant: str = ""
    knobs: Mapping[str, Any] = MappingProxyType({})
    params: str = ""
    macs: str = ""
    weights: str = ""
    storage: str = ""
    reduction: str = ""
    top1: float | None = None
    top5: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Arch:
    """A family member, its knobs set: what `scale` scales. Compared by identity."""

    name: str
    title: str
    source: str
    stages: tuple[Stage, ...]
    image_size: tuple[int, int]
    in_channels: int = 3
    classes: int = 1000
    rule: str = ""
    keep: float = 0.9
    notes: tuple[str, ...] = ()
    knobs: tuple[Knob, ...] = ()
    preset: Mapping[str, Any] = field(default_factory=dict)  # knobs of this network, as filed
    settings: Mapping[str, Any] = field(default_factory=dict)  # all knobs, as they are now
    variants: tuple[Variant, ...] = ()
    published: tuple[Published, ...] = ()
    file: str = ""

    def variant(self, name: str) -> Variant:
        """Return a released variant by name; raise `InputError` for an unknown one."""
        for variant in self.variants:
            if variant.name.lower() == name.lower():
                return variant
        names = [v.name for v in self.variants]
        known = f"known: {', '.join(names)}" if names else "it has no released variants"
        raise InputError(
            f"{self.name} has no variant {one_line(name)!r}{suggest(name, names)}; {known}"
        )


class Size(NamedTuple):
    """What a network is built at: depth and width ratios, pixels (height, width), batch."""

    depth: float
    width: float
    image_size: tuple[int, int]
    batch: int = 1


Rounding = Callable[..., Any]
"""Rounds a scaled channel count: `rounded(channels, groups=1)`."""


def rounding(stage: Stage, width: float, keep: float) -> Rounding:
    """Return the stage's rounding of a channel count, to a multiple that groups divide."""
    ratio = maximum(stage.min_width, width) if stage.channel_scales else 1

    def rounded(channels: int, groups: int = 1) -> int:
        step = math.lcm(stage.divisor, groups)
        scaled = round_channels(channels * ratio, step, keep)
        # At exactly 1 the table's own width stands, multiple of the divisor or not.
        return channels + (scaled - channels) * (ratio != 1)  # type: ignore[no-any-return]

    return rounded


def repeats_at(stage: Stage, depth: Any) -> Any:
    """Blocks of a stage at depth d, at least one."""
    if not stage.repeats or not stage.repeat_scales:
        return max(1, stage.repeats)
    return maximum(1, round_repeats(stage.repeats, depth))


def build_network(
    arch: Arch,
    size: Size,
    head: bool = True,
    rounding: Callable[[Stage, float, float], Rounding] = rounding,
) -> Network:
    """Build an architecture's network at a size; without `head`, features alone.

    Identical consecutive blocks become layers with a `count`, so depth costs nothing: the block
    of those after a stage's first one ends in ".1". Raises `InputError`, which names file and
    stage, where the image is too small, groups do not divide the channels, or a block cannot
    follow the one before it. `rounding` may watch which channel counts are asked for.
    """
    height, width = size.image_size
    net = Builder((size.batch, arch.in_channels, height, width))
    x = net.input
    for stage in arch.stages:
        if stage.head and not head:
            continue
        net.width = rounding(stage, size.width, arch.keep)
        try:
            x = _build_stage(net, x, stage, size.depth)
        except InputError as error:
            place = f"{arch.file}: " if arch.file else ""
            raise InputError(f"{place}stage {stage.name}: {error}") from None
        except OverflowError:
            raise InputError(
                f"stage {stage.name} is too large: it has over 10^308 repeats or channels; "
                "scale it less"
            ) from None
    if not net.calls:
        raise InputError(f"{arch.name} is all head; without it no layer is left")
    return Network(arch.name, (net.input,), (x,), tuple(net.calls))


def _build_stage(net: Builder, x: Tensor, stage: Stage, depth: Any) -> Tensor:
    """Add one stage's calls and return its result."""
    if len(x.shape) == 2 and stage.block != "linear":
        raise InputError(
            f"{stage.block} needs an image, and a linear layer before it left none; "
            "only linear can follow linear"
        )
    function = BLOCKS[stage.block]
    if not stage.repeats:
        net.enter(stage.name, stage.name, 1)
        return function(net, x, **stage.keys)
    repeats = repeats_at(stage, depth)
    net.enter(stage.name, f"{stage.name}.0", 1)
    x = function(net, x, **stage.keys)
    if uniform(repeats > 1):
        net.enter(stage.name, f"{stage.name}.1", repeats - 1)
        rest = {**stage.keys, "stride": 1} if "stride" in stage.keys else stage.keys
        x = function(net, x, **rest)
    return x


def merge_equal(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Join neighbouring stages that are alike into one run that repeats as a whole.

    SqueezeNet's table writes each Fire module by itself; a run of equal ones that no pool
    interrupts scales its depth together.
    """
    merged: list[Stage] = []
    for stage in stages:
        if (
            merged
            and stage.repeats
            and merged[-1]._replace(name="", repeats=1) == stage._replace(name="", repeats=1)
        ):
            first = merged[-1]
            tail = stage.name.removeprefix(stage.name.rstrip("0123456789"))
            name = f"{first.name.partition('_')[0]}_{tail}"
            merged[-1] = first._replace(name=name, repeats=first.repeats + stage.repeats)
        else:
            merged.append(stage)
    return tuple(merged)
