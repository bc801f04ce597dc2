"""What a user asks for in text, as networks and scalings: `--phi 0:7`, `efficientnet-b0@phi=3`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Generic, NamedTuple, TypeVar

from effcalc.base.errors import InputError, one_line, suggest
from effcalc.base.units import (
    Values,
    format_count,
    parse_count,
    parse_image_size,
    parse_number,
    parse_values,
)
from effcalc.network.arch import Arch, Variant
from effcalc.network.archfile import load
from effcalc.scaling.scale import (
    ALPHA,
    BETA,
    GAMMA,
    Scaled,
    Scaling,
    by_phi,
    by_ratios,
    released,
    scaled,
)

T = TypeVar("T", covariant=True)


@dataclass(frozen=True, slots=True)
class Many(Generic[T]):
    """A known number of values that are made as they are read: a request of any size."""

    length: int
    make: Callable[[], Iterator[T]]

    def __len__(self) -> int:
        """Number of values."""
        return self.length

    def __iter__(self) -> Iterator[T]:
        """Make the values."""
        return self.make()


def _grid(axes: Sequence[Iterable[Any]], make: Callable[..., Scaling]) -> Many[Scaling]:
    """Return the product of some axes, none of which is held in memory."""
    length = prod(map(len, axes))  # type: ignore[arg-type]
    if length > sys.maxsize:
        raise InputError(f"the values given have {format_count(length)} combinations; give fewer")
    return Many(length, lambda: (make(*point) for point in _points(axes)))


class ScalingText(NamedTuple):
    """The scaling options as typed; each may be a list or a range."""

    phi: str | None = None
    alpha: float = ALPHA
    beta: float = BETA
    gamma: float = GAMMA
    depth: str | None = None
    width: str | None = None
    resolution: str | None = None
    image_size: str | None = None
    variant: str | None = None


def scalings(arch: Arch, named: Variant | None, text: ScalingText) -> Many[Scaling]:
    """Read which scalings are asked for: every combination of the values given.

    `named` is the variant that the network's own name means. Without any option the network is
    taken as it is. Raises `InputError`.
    """
    ratios = (text.depth, text.width, text.resolution, text.image_size)
    given = [
        option
        for option, is_given in (
            ("`phi`", text.phi is not None),
            ("`depth`, `width`, `resolution` or `image_size`", any(r is not None for r in ratios)),
            ("`variant`", text.variant is not None),
        )
        if is_given
    ]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} exclude each other; give one of them")
    if given and named is not None:
        raise InputError(
            f"{arch.name.rpartition('-')[0]}-{named.name} is a released scaling of {arch.name}; "
            f"give {arch.name} with {given[0]}"
        )
    if text.phi is not None:
        phis = parse_values(text.phi, "`phi`")
        return Many(
            len(phis), lambda: (by_phi(arch, p, text.alpha, text.beta, text.gamma) for p in phis)
        )
    if (text.alpha, text.beta, text.gamma) != (ALPHA, BETA, GAMMA):
        raise InputError("`alpha`, `beta` and `gamma` are the bases of `phi`; give `phi` too")
    if named is not None:
        return Many(1, lambda: iter([released(arch, named)]))
    if text.variant is not None:
        variants = [arch.variant(name.strip()) for name in text.variant.split(",")]
        return Many(len(variants), lambda: (released(arch, v) for v in variants))
    if text.resolution is not None and text.image_size is not None:
        raise InputError("`resolution` and `image_size` say the same thing; give one of them")
    depths = _values(text.depth, "`depth`")
    widths = _values(text.width, "`width`")
    if text.image_size is not None:
        sizes = [parse_image_size(size, "`image_size`") for size in text.image_size.split(",")]
        return _grid(
            (depths, widths, sizes), lambda d, w, size: by_ratios(arch, d, w, image_size=size)
        )
    rs = _values(text.resolution, "`resolution`")
    return _grid((depths, widths, rs), lambda d, w, r: by_ratios(arch, d, w, r))


def _values(text: str | None, option: str) -> Sequence[float] | Values:
    return [1.0] if text is None else parse_values(text, option)


def _points(axes: Sequence[Iterable[Any]]) -> Iterator[tuple[Any, ...]]:
    if not axes:
        yield ()
        return
    for value in axes[0]:
        for rest in _points(axes[1:]):
            yield (value, *rest)


def settings(pairs: Iterable[str]) -> dict[str, str]:
    """Read `--set key=value` options."""
    knobs = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise InputError(f"`knobs`: {one_line(repr(pair))} is not KEY=VALUE, such as sr=0.75")
        knobs[key.strip()] = value.strip()
    return knobs


_NUMBERS = ("alpha", "beta", "gamma")
_TEXTS = ("phi", "depth", "width", "resolution", "image_size", "variant")


def network_at(spec: str, workers: int) -> Scaled:
    """Read `NETWORK@key=value,key=value`: one network at one scaling.

    Keys are the scaling options, and `classes`, without their dashes; any other is a knob of the
    network.
    """
    name, _, options = spec.partition("@")
    given: dict[str, str] = {}
    for pair in options.split(",") if options else ():
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(
                f"{one_line(spec)}: {one_line(repr(pair))} is not key=value; "
                "write for example efficientnet-b0@phi=3"
            )
        given[key.strip().replace("-", "_")] = value.strip()
    classes = given.pop("classes", None)
    texts: dict[str, str] = {k: given.pop(k) for k in _TEXTS if k in given}
    numbers = {k: parse_number(given.pop(k), k) for k in _NUMBERS if k in given}
    arch, named = _load(spec, name, given, classes)
    wanted = scalings(arch, named, ScalingText(**texts, **numbers))  # type: ignore[arg-type]
    if len(wanted) != 1:
        raise InputError(f"{one_line(spec)}: give one scaling for each network, not {len(wanted)}")
    return scaled(arch, next(iter(wanted)), workers)


def _load(
    spec: str, name: str, knobs: Mapping[str, str], classes: str | None
) -> tuple[Arch, Variant | None]:
    arch, named = load(name, classes=None if classes is None else parse_count(classes, "classes"))
    known = [knob.name for knob in arch.knobs]
    for key in knobs:
        if key not in known:
            keys = [*_TEXTS, *_NUMBERS, "classes", *known]
            raise InputError(
                f"{one_line(spec)}: there is no key {one_line(repr(key))}{suggest(key, keys)}; "
                f"known: {', '.join(keys)}"
            )
    return load(name, knobs, arch.classes) if knobs else (arch, named)
