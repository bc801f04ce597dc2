"""Scaling a network by φ or by (d, w, r), and what the scaled network costs.

Tan & Le 2019 (arXiv:1905.11946), equation 3: d = α^φ, w = β^φ, r = γ^φ, with α·β²·γ² ≈ 2, so that
FLOPs grow by about 2^φ. What a real network costs differs, for its repeats, channels and pixels
are whole numbers; both are given.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from operator import le
from typing import Any

from effcalc.base.display import shown
from effcalc.base.errors import InputError, one_line
from effcalc.base.num import round_pixels
from effcalc.base.ring import ring_all_reduce
from effcalc.network.arch import Arch, Size, Variant, build_network
from effcalc.network.archfile import load
from effcalc.network.network import Network
from effcalc.scaling.figures import Figures, figures, macs

ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15
"""Depth, width and resolution bases that the paper's grid search found for EfficientNet-B0."""

WORKERS = 8


@dataclass(frozen=True, slots=True)
class Scaling:
    """Depth, width and resolution ratios, and the pixels (height, width) that they come to.

    `theory` is what the paper's rule says MACs grow by: (α·β²·γ²)^φ, or d·w²·r².
    """

    depth: float
    width: float
    resolution: float
    image_size: tuple[int, int]
    theory: float
    phi: float | None = None
    variant: str = ""


@dataclass(frozen=True)
class Scaled:
    """A network at one scaling, with the figures that `effcalc scale` shows.

    MACs are multiply-accumulates of convolutions, linear layers and matrix products for one image,
    FLOPs twice that. Sizes are bytes; parameters and buffers are separate. `gradient_bytes` is what
    each of `workers` ranks sends in a data-parallel step with a ring all-reduce, rounded up.
    """

    arch: Arch
    scaling: Scaling
    network: Network
    workers: int
    head: bool = True

    def _repr_html_(self) -> str | None:
        html: str | None = shown(self)._repr_html_()
        return html

    def _repr_markdown_(self) -> str | None:
        markdown: str | None = shown(self)._repr_markdown_()
        return markdown

    @property
    def title(self) -> str:
        """Its name for people: `EfficientNet-B0 at φ = 3`."""
        scaling, name = self.scaling, self.arch.title
        if scaling.variant:
            return f"{name.rpartition('-')[0]}-{scaling.variant.upper()}"
        if scaling.phi is not None:
            return f"{name} at φ = {scaling.phi:g}"
        if (scaling.depth, scaling.width, scaling.image_size) == (1, 1, self.arch.image_size):
            return name
        return f"{name}, scaled"

    @cached_property
    def figures(self) -> Figures:
        """Totals: weights, cost, activation memory."""
        return figures(self.network)

    @property
    def params(self) -> int:
        """Parameters, a shared one once."""
        return self.figures.weights.params

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return self.figures.cost.macs

    @property
    def flops(self) -> int:
        """2 x MACs, plus arithmetic that is no multiply-accumulate and not element-wise."""
        return self.figures.cost.flops

    @property
    def weight_bytes(self) -> int:
        """Bytes of the parameters."""
        return self.figures.weights.weight_bytes

    @property
    def buffer_bytes(self) -> int:
        """Bytes of the buffers, such as running statistics."""
        return self.figures.weights.buffer_bytes

    @property
    def activation_bytes(self) -> int:
        """Bytes that all operators together allocate for results, in-place ones once."""
        return self.figures.activation_bytes

    @property
    def peak_activation_bytes(self) -> int:
        """The most activation bytes alive at once in a batch-1 inference."""
        return self.figures.peak_activation_bytes

    @property
    def gradient_bytes(self) -> int:
        """Bytes that each worker sends per step: 2(n − 1)/n of the gradients."""
        return math.ceil(ring_all_reduce(self.figures.weights.gradient_bytes, self.workers))

    @property
    def growth(self) -> float | None:
        """MACs relative to the unscaled network's, where that has any."""
        base = base_macs(self.arch, self.head)
        return ratio(self.macs, base) if base else None

    @cached_property
    def nearest(self) -> tuple[str, float] | None:
        """The released variant nearest by the ratio of MACs, and this network's MACs over its."""
        macs = _around(self.arch, self.macs) if self.head and self.macs else {}
        if not macs:
            return None
        name = nearest_variant(macs, self.macs)
        return name, ratio(self.macs, macs[name])

    @property
    def is_released(self) -> bool:
        """Whether this is the nearest released variant itself, layer by layer."""
        if self.nearest is None or self.nearest[1] != 1:
            return False
        scaling = released(self.arch, self.arch.variant(self.nearest[0]))
        return build(self.arch, scaling).calls == self.network.calls


def ratio(a: int, b: int) -> float:
    """Divide ints of any size; beyond a float's range the result is infinite."""
    try:
        return a / b
    except OverflowError:
        return math.inf


def _finite(value: float, what: str) -> float:
    if not math.isfinite(value) or value <= 0:
        raise InputError(f"{what} must be a finite number above zero, not {value:g}")
    return float(value)


def _check_pixels(height: int, width: int, what: str) -> tuple[int, int]:
    if height < 1 or width < 1:
        raise InputError(
            f"{what} gives an image of {height} x {width} pixels; at least 1 is needed"
        )
    return height, width


def _pixels(arch: Arch, resolution: float, what: str) -> tuple[int, int]:
    try:
        height, width = (round_pixels(side, resolution) for side in arch.image_size)
    except OverflowError:
        raise InputError(f"{what} is too large: the image passes 10^308 pixels a side") from None
    return _check_pixels(height, width, what)


def by_phi(
    arch: Arch, phi: float, alpha: float = ALPHA, beta: float = BETA, gamma: float = GAMMA
) -> Scaling:
    """Compound scaling (equation 3). φ may be any finite number; a negative one shrinks.

    Raises `InputError` for bases under 1, which the paper excludes, or not finite.
    """
    if not math.isfinite(phi):
        raise InputError(f"`phi` must be a finite number, not {phi:g}")
    for base, name in ((alpha, "`alpha`"), (beta, "`beta`"), (gamma, "`gamma`")):
        if not math.isfinite(base) or base < 1:
            raise InputError(f"{name} must be a finite number of at least 1, not {base:g}")
    try:
        depth, width, resolution = alpha**phi, beta**phi, gamma**phi
    except OverflowError:
        depth = width = resolution = math.inf
    if math.isinf(max(depth, width, resolution)):
        raise InputError(
            f"`phi` {phi:g} is too large: the coefficients pass 10^308; try a few thousand at most"
        )
    try:
        theory = (alpha * beta**2 * gamma**2) ** phi
    except OverflowError:
        theory = math.inf
    if min(depth, width, resolution) == 0:
        raise InputError(f"`phi` {phi:g} is too small: the coefficients vanish")
    size = _pixels(arch, resolution, f"`phi` {phi:g}")
    return Scaling(depth, width, resolution, size, theory, phi)


def by_ratios(
    arch: Arch,
    depth: float = 1.0,
    width: float = 1.0,
    resolution: float | None = None,
    image_size: tuple[int, int] | None = None,
) -> Scaling:
    """Scale each dimension by its own ratio; pixels may be given instead of a resolution."""
    _finite(depth, "`depth`")
    _finite(width, "`width`")
    base_height, base_width = arch.image_size
    if image_size is not None:
        if resolution is not None:
            raise InputError("`resolution` and `image_size` say the same thing; give one")
        height, width_px = _check_pixels(*image_size, "`image_size`")
        try:
            resolution = math.sqrt(height * width_px / (base_height * base_width))
        except OverflowError:
            raise InputError("`image_size` is too large: at most 10^150 pixels a side") from None
    else:
        resolution = _finite(1.0 if resolution is None else resolution, "`resolution`")
        height, width_px = _pixels(arch, resolution, f"`resolution` {resolution:g}")
    size = (height, width_px)
    theory = growth_rule(float(depth), float(width), resolution)
    return Scaling(float(depth), float(width), resolution, size, theory)


def growth_rule(depth: Any, width: Any, resolution: Any) -> Any:
    """What MACs grow by in theory, d·w²·r² (equation 3); also on arrays."""
    return depth * (width * width) * (resolution * resolution)


def released(arch: Arch, variant: Variant) -> Scaling:
    """Scaling of a released variant, by its own hand-rounded coefficients."""
    scaling = by_ratios(arch, variant.depth, variant.width, image_size=variant.image_size)
    return replace(scaling, variant=variant.name)


def build(arch: Arch, scaling: Scaling, batch: int = 1, head: bool = True) -> Network:
    """Build the network at a scaling."""
    return build_network(arch, Size(scaling.depth, scaling.width, scaling.image_size, batch), head)


@lru_cache(maxsize=1024)
def base_macs(arch: Arch, head: bool) -> int:
    """MACs of the unscaled network."""
    return macs(build(arch, by_ratios(arch), head=head))


@lru_cache(maxsize=1024)
def _macs_of(arch: Arch, variant: Variant) -> int:
    """MACs of a released variant."""
    try:
        return macs(build(arch, released(arch, variant)))
    except InputError as error:
        raise InputError(f"variant {one_line(variant.name)}: {error}") from None


def variant_macs(arch: Arch) -> Mapping[str, int]:
    """MACs of each released variant that has any."""
    return {v.name: macs for v in arch.variants if (macs := _macs_of(arch, v))}


def _around(arch: Arch, macs: int) -> Mapping[str, int]:
    """MACs of the released variants that may be nearest to a network of so many.

    Where each variant is at least as deep, wide and large as the one before it, as B0 to B7 are,
    MACs grow along them, for rounding keeps the order: the two around `macs` are enough, and a
    few of them are built instead of all.
    """
    sizes = [(v.depth, v.width, *v.image_size) for v in arch.variants]
    grow = all(all(map(le, a, b)) for a, b in pairwise(sizes))
    if not grow or not sizes or not _macs_of(arch, arch.variants[0]):
        return variant_macs(arch)
    above = bisect_left(arch.variants, macs, key=lambda v: _macs_of(arch, v))
    return {v.name: _macs_of(arch, v) for v in arch.variants[max(above - 1, 0) : above + 1]}


def nearest_variant(macs: Mapping[str, int], value: int) -> str:
    """Name of the variant whose MACs have the smallest ratio to `value`, either way."""
    # Logarithms of ints of any size; their ratio may be beyond a float.
    return min(macs, key=lambda name: abs(math.log(value) - math.log(macs[name])))


def scale(
    network: str = "efficientnet-b0",
    *,
    phi: float | None = None,
    alpha: float = ALPHA,
    beta: float = BETA,
    gamma: float = GAMMA,
    depth: float | None = None,
    width: float | None = None,
    resolution: float | None = None,
    image_size: int | tuple[int, int] | None = None,
    variant: str | None = None,
    knobs: Mapping[str, object] | None = None,
    classes: int | None = None,
    in_channels: int | None = None,
    head: bool = True,
    workers: int = WORKERS,
) -> Scaled:
    """Return what `network` costs at one scaling: the values that `effcalc scale` shows.

    `network` is a built-in name or an architecture file. Give `phi` (with its bases), or ratios
    (pixels instead of `resolution` if you like), or a released `variant`; nothing is the network
    as it is. Raises `InputError` for what cannot be.

    >>> effcalc.scale("efficientnet-b0", phi=3).params
    16350296
    """
    arch, named = load(network, {k: str(v) for k, v in (knobs or {}).items()}, classes, in_channels)
    pixels = (image_size, image_size) if isinstance(image_size, int) else image_size
    ratios = (depth, width, resolution, pixels)
    chosen = [phi is not None, any(v is not None for v in ratios), variant is not None]
    if named and any(chosen):
        raise InputError(f"{network} is scaled already; scale {arch.name} instead")
    if sum(chosen) > 1:
        raise InputError("give phi, or depth, width and resolution, or a variant: one of the three")
    if phi is not None:
        scaling = by_phi(arch, phi, alpha, beta, gamma)
    elif named or variant:
        scaling = released(arch, named or arch.variant(variant or ""))
    else:
        scaling = by_ratios(
            arch,
            1.0 if depth is None else depth,
            1.0 if width is None else width,
            resolution,
            pixels,
        )
    return scaled(arch, scaling, workers, head)


def scaled(arch: Arch, scaling: Scaling, workers: int = WORKERS, head: bool = True) -> Scaled:
    """Build an architecture at a scaling; see `Scaled`."""
    return Scaled(arch, scaling, build(arch, scaling, head=head), workers, head)
