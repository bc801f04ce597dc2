"""Inputs of a model as text: `1x3x224x224`, `tokens=1x128:int64`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from effcalc.base.errors import InputError, one_line
from effcalc.base.units import parse_dtype
from effcalc.network.network import Shape

_MAX_ELEMENTS = 1 << 48


class InputSpec(NamedTuple):
    """One tensor: the parameter of `forward` that it is for ("" for the next), shape, dtype."""

    name: str
    shape: Shape
    dtype: str = "float32"


def parse_inputs(texts: Iterable[str]) -> list[InputSpec]:
    """Read `--input` options; unnamed ones come first, and no name twice."""
    specs: list[InputSpec] = []
    for text in texts:
        spec = parse_input(text)
        if spec.name and spec.name in {s.name for s in specs}:
            raise InputError(f"`input`: {spec.name} is given twice")
        if not spec.name and specs and specs[-1].name:
            raise InputError(f"`input`: {one_line(text)} has no name; unnamed inputs come first")
        specs.append(spec)
    return specs


def by_name(specs: Iterable[InputSpec], names: Sequence[str], where: str) -> dict[str, InputSpec]:
    """Return the inputs by the names that a model has for them, unnamed ones in its order.

    Raises `InputError`, which begins with `where`, for one that the model does not have.
    """
    unnamed = iter(names)
    matches: dict[str, InputSpec] = {}
    for spec in specs:
        name = spec.name or next(unnamed, "")
        if name not in names:
            raise InputError(
                f"{where}: has the inputs {', '.join(names) or 'none'}; `input` "
                f"{spec.name or 'x'.join(map(str, spec.shape))} is not for one of them"
            )
        matches[name] = spec
    return matches


def parse_input(text: str) -> InputSpec:
    """Read `[name=]SHAPE[:dtype]`, SHAPE being sizes with x between, or `scalar`."""
    head, equals, rest = text.partition("=")
    name = head.strip() if equals else ""
    shape, colon, dtype = (rest if equals else text).strip().partition(":")
    sizes = shape.strip().lower().replace("×", "x")
    if (equals and not name.isidentifier()) or not re.fullmatch(
        r"scalar|[0-9]{1,15}(x[0-9]{1,15})*", sizes
    ):
        raise InputError(
            f"`input`: {one_line(text)!r} is not an input; write 1x3x224x224, or with a name and "
            "a dtype tokens=1x128:int64"
        )
    sides = () if sizes == "scalar" else tuple(int(side) for side in sizes.split("x"))
    spec = InputSpec(name, sides, parse_dtype(dtype, "`input`") if colon else "float32")
    elements = 1
    for side in sides:
        elements *= side
    if elements > _MAX_ELEMENTS:
        raise InputError(f"`input`: {one_line(text)!r} is too large; at most 2^48 elements")
    return spec
