"""Arithmetic that runs unchanged on Python numbers and on NumPy arrays.

Python ints are exact at any size; arrays make a sweep over millions of points fast. Every formula
in effcalc is written once, with these functions and Python's own operators. NumPy is never
imported here unless the caller already passed an array.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

# Annotations elsewhere say `int`; a sweep passes int64 arrays through the same lines.


class Split(Exception):  # noqa: N818 - control flow of a sweep, not an error
    """Points of an array call take different branches; the caller parts them by `mask`."""

    def __init__(self, mask: Any) -> None:
        """Keep the bool array `mask`."""
        super().__init__("the points differ")
        self.mask = mask


def uniform(condition: Any) -> bool:
    """Return a condition as one bool; raise `Split` where an array holds both."""
    if isinstance(condition, bool):
        return condition
    if condition.all():
        return True
    if not condition.any():
        return False
    raise Split(condition)


def floor(x: Any) -> Any:
    """Round down to an integer (exact for any finite float)."""
    if isinstance(x, int | float):
        return math.floor(x)
    import numpy as np

    if x.dtype == object:  # Python's own numbers, where int64 would not do
        return np.array([math.floor(value) for value in x.tolist()], object)
    return np.floor(x).astype(np.int64)


def ceil(x: Any) -> Any:
    """Round up to an integer (exact for any finite float)."""
    return -floor(-x)


def maximum(a: Any, b: Any) -> Any:
    """Return the larger of two values, element by element on arrays."""
    if isinstance(a, int | float) and isinstance(b, int | float):
        return max(a, b)
    import numpy as np

    return np.maximum(a, b)


def exact(op: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    """Apply an operator to whole numbers so that it cannot wrap: + - * of int64 arrays.

    Where the result could pass int64, Python's own ints take the place of int64.
    """
    if not any(getattr(x, "dtype", None) == "int64" for x in (a, b)):
        return op(a, b)
    if any(isinstance(x, float) or getattr(x, "dtype", None) == "float64" for x in (a, b)):
        return op(a, b)
    largest = [_magnitude(a), _magnitude(b)]
    if max(sum(largest), math.prod(largest)) < 1 << 63:
        return op(a, b)
    return op(*(x.astype(object) if hasattr(x, "dtype") else x for x in (a, b)))


def _magnitude(x: Any) -> int:
    if not hasattr(x, "dtype"):
        return abs(int(x))
    return max(abs(int(x.max())), abs(int(x.min()))) if len(x) else 0


def round_channels(channels: Any, divisor: int, keep: float = 0.9) -> Any:
    """Round a width to the nearest multiple of `divisor`, at least one, losing at most 10%.

    Halves round up, and one more step is taken where rounding kept less than `keep` of the
    width: the rule of the authors' released EfficientNet, MobileNetV2 and MnasNet code.
    """
    nearest = maximum(divisor, floor(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor * (nearest < keep * channels)


def round_repeats(repeats: int, depth: Any) -> Any:
    """Repeats of a stage at depth d: ceil(n·d).

    The 1e-9 keeps a product that is whole but for its last bit from gaining a block (√2²·3 is
    6.000000000000001 in floating point).
    """
    return ceil(repeats * depth - 1e-9)


def round_pixels(pixels: int, resolution: Any) -> Any:
    """Pixels of one side at resolution r: the nearest whole number, halves up."""
    return floor(pixels * resolution + 0.5)
