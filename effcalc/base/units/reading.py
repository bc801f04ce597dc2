"""Read numbers, counts, sizes, pixels and ranges as users type them.

Reading is exact: a number is kept as `mantissa * 10**exponent` in Python ints until the last
step, so "0:7:0.1" does not drift and "1e999999999" is refused before anything is computed.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Mapping

from effcalc.base.errors import InputError, one_line
from effcalc.base.units.writing import SI, format_count, ten

_NUMBER = re.compile(
    r"([+-]?)([0-9][0-9_]*)?(?:\.([0-9][0-9_]*)?)?(?:[eE]([+-]?[0-9]+))?\s*([A-Za-zµμ/]*)"
)
_MAX_LENGTH = 600  # digits of one number; Python itself reads 640 under any setting
_MAX_POWER = 1000  # |exponent of ten| of a count or a size; a float has its own, smaller limit


def parse_number(text: str, what: str = "value") -> float:
    """Read a finite number such as `0.5`, `-3` or `1e-4`; `what` names it in the error."""
    mantissa, exponent = _split(text, what, "a number such as 3, 0.5 or 1e-4")
    return float(_to_value(mantissa, exponent, text, what))


def parse_count(text: str, what: str = "count") -> int:
    """Read a whole number that is not negative: `5000000`, `400_000`, `1e9`, `5M` or `1.8G`.

    Suffixes are powers of a thousand in either case: k, M, G (or B, billion), T, P and E.
    """
    right = "a whole number such as 400_000, 1e9, 5M or 1.8G"
    factors = {"": 1, "B": 10**9} | {s.upper(): 1000**i for i, s in enumerate(SI[:7])}
    value, rest = _scaled(text, what, right, factors)
    if rest:
        raise InputError(f"{what}: {_quote(text)} is not a whole number; write {right}")
    return value


def parse_bytes(text: str, what: str = "size") -> int:
    """Read a size in bytes, rounded down: `1000`, `8.5MB` (10^6) or `6MiB` (2^20)."""
    right = "a size such as 1000, 8.5MB (10^6 bytes) or 6MiB (2^20 bytes)"
    factors = {"": 1, "B": 1}
    for i, prefix in enumerate(SI[1:7], start=1):
        factors[f"{prefix}B".upper()] = 1000**i
        factors[f"{prefix}iB".upper()] = 1024**i
    return _scaled(text, what, right, factors)[0]


_BIT_UNITS, _BYTE_UNITS = ("bps", "b/s", "bit/s"), ("Bps", "B/s")
_BITS = {f"{prefix}{unit}": 1000**i for i, prefix in enumerate(SI[:5]) for unit in _BIT_UNITS}
_BYTES = {f"{prefix}{unit}": 1000**i for i, prefix in enumerate(SI[:5]) for unit in _BYTE_UNITS}
_SECONDS = {"s": 0, "ms": -3, "us": -6, "µs": -6, "μs": -6, "ns": -9}


def parse_bandwidth(text: str, what: str = "bandwidth") -> float:
    """Read a bandwidth as bytes per second: `100Gbps` is 12.5e9 bytes/s, `25GB/s` 25e9 bytes/s.

    A small b is bits, a large B bytes, as everywhere in the field; so case matters here.
    """
    right = "a bandwidth such as 100Gbps (bits) or 25GB/s (bytes)"
    mantissa, exponent, suffix = _read(text, what, right)
    suffix = suffix.replace("K", "k")
    factor = _BITS.get(suffix) or _BYTES.get(suffix)
    if factor is None or mantissa <= 0:
        raise InputError(f"{what}: {_quote(text)} is not {right}")
    value = _to_value(mantissa * factor, exponent, text, what)
    return value / 8 if suffix in _BITS else float(value)


def parse_seconds(text: str, what: str = "time") -> float:
    """Read a time in seconds: `120ms`, `5us`, `1.5s`; a number alone is in seconds."""
    right = "a time such as 120ms, 5us or 1.5s"
    mantissa, exponent, suffix = _read(text, what, right)
    if (suffix or "s") not in _SECONDS or mantissa < 0:
        raise InputError(f"{what}: {_quote(text)} is not {right}")
    return float(_to_value(mantissa, exponent + _SECONDS[suffix or "s"], text, what))


def parse_share(text: str, what: str = "share") -> float:
    """Read a share above 0 and up to 1: `40%` or `0.4`."""
    right = "a share such as 40% or 0.4, above 0 and up to 1"
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    mantissa, exponent = _split(number, what, right)
    value = float(_to_value(mantissa, exponent - 2 * percent, text, what))
    if not 0 < value <= 1:
        raise InputError(f"{what}: {_quote(text)} is not {right}")
    return value


def parse_image_size(text: str, what: str = "image size") -> tuple[int, int]:
    """Read pixels as `320` (square) or `320x480` (height x width); both are at least 1."""
    sides = text.strip().lower().replace("×", "x").split("x")
    if len(sides) > 2 or not all(s.isascii() and s.isdigit() and len(s) <= 18 for s in sides):
        raise InputError(
            f"{what}: {_quote(text)} is not a size in pixels; write 320, or 320x480 for "
            "height x width"
        )
    height, width = int(sides[0]), int(sides[-1])
    if height < 1 or width < 1:
        raise InputError(f"{what}: {_quote(text)} is under one pixel; write at least 1")
    return height, width


class Values:
    """The numbers that `parse_values` read: counted and computed on demand, never held in memory.

    Each is an int where it is whole and otherwise the float nearest to the exact decimal value.
    """

    __slots__ = ("_length", "_runs")

    def __init__(self, runs: tuple[tuple[int, int, int, int], ...]) -> None:
        """Take runs of (first, step, how many, exponent of ten)."""
        self._runs = runs
        self._length = sum(count for _, _, count, _ in runs)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int | float]:
        for first, step, count, exponent in self._runs:
            for i in range(count):
                yield _from_power(first + i * step, exponent)

    def __getitem__(self, index: int) -> int | float:
        at = index + self._length if index < 0 else index
        if not 0 <= at < self._length:
            raise IndexError(f"index {index} is outside of {self._length} values")
        for first, step, count, exponent in self._runs:
            if at < count:
                return _from_power(first + at * step, exponent)
            at -= count
        raise AssertionError("the runs are shorter than their length")

    def __repr__(self) -> str:
        return f"<{self._length} values>"


def parse_values(text: str, what: str = "values") -> Values:
    """Read a list of numbers and ranges: `3`, `0,1,2`, `0:7`, `0:7:0.5` or `0:3,5`.

    A range is `first:last` or `first:last:step`, the step 1 unless given, both ends included
    (the last where a step lands on it).
    """
    right = "a number, a list such as 0,1,2 or a range such as 0:7 or 0:7:0.5"
    runs: list[tuple[int, int, int, int]] = []
    for item in text.split(","):
        parts = item.split(":")
        if len(parts) > 3 or not item.strip():
            raise InputError(f"{what}: {_quote(text)} cannot be read; write {right}")
        numbers = [_split(part, what, right) for part in parts]
        for part, (mantissa, exponent) in zip(parts, numbers, strict=True):
            _to_value(mantissa, exponent, part, what)
        runs.append(_run(numbers, item, what))
    values = sum(count for _, _, count, _ in runs)
    if values > sys.maxsize:
        raise InputError(f"{what}: {_quote(text)} asks for {format_count(values)} values")
    return Values(tuple(runs))


def _run(numbers: list[tuple[int, int]], item: str, what: str) -> tuple[int, int, int, int]:
    """Bring first, last and step to one power of ten, and count."""
    if len(numbers) == 1:
        (first, exponent), step, count = numbers[0], 0, 1
    else:
        exponent = min(e for _, e in (*numbers, (1, 0)))
        first, last, *more = (m * ten(e - exponent) for m, e in numbers)
        step = more[0] if more else ten(-exponent)
        if step <= 0:
            raise InputError(f"{what}: the step of {_quote(item)} must be above 0")
        if last < first:
            raise InputError(
                f"{what}: the range {_quote(item)} runs backwards; write the smaller end first"
            )
        count = (last - first) // step + 1
    return first, step, count, exponent


def _split(text: str, what: str, right: str) -> tuple[int, int]:
    """Read `text` as mantissa * 10**exponent, both ints."""
    mantissa, exponent, suffix = _read(text, what, right)
    if suffix:
        raise InputError(f"{what}: {_quote(text)} is not {right}")
    return mantissa, exponent


def _read(text: str, what: str, right: str) -> tuple[int, int, str]:
    """Read `text` as mantissa * 10**exponent and a suffix of letters."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None or not (match[2] or match[3]):
        raise InputError(f"{what}: {_quote(text)} is not {right}")
    sign, whole, fraction, power, suffix = match.groups(default="")
    digits = (whole + fraction).replace("_", "")
    if not digits.strip("0"):
        return 0, 0, suffix
    if len(digits) > _MAX_LENGTH or len(power.lstrip("+-0")) > 5:
        raise InputError(f"{what}: {_quote(text)} is out of range")
    mantissa, exponent = int(sign + digits), int(power or "0") - len(fraction.replace("_", ""))
    while exponent < 0 and mantissa % 10 == 0:
        mantissa, exponent = mantissa // 10, exponent + 1
    return mantissa, exponent, suffix


def _to_value(mantissa: int, exponent: int, text: str, what: str) -> int | float:
    """Return the number as an int or a float, and refuse one that no float can hold."""
    if abs(exponent) <= _MAX_POWER:
        value = _from_power(mantissa, exponent)
        if (value != 0) == (mantissa != 0) and abs(value) <= sys.float_info.max:
            return value
    raise InputError(f"{what}: {_quote(text)} is out of range (about 1e-308 to 1e308)")


def _from_power(mantissa: int, exponent: int) -> int | float:
    if exponent >= 0:
        return mantissa * ten(exponent)
    power = ten(-exponent)
    if mantissa % power == 0:
        return mantissa // power
    try:
        return mantissa / power  # ints divide to the nearest float
    except OverflowError:
        return math.inf


def _scaled(text: str, what: str, right: str, factors: Mapping[str, int]) -> tuple[int, int]:
    """Return the whole part of number * factor of its suffix, and the rest (0 or not 0)."""
    mantissa, exponent, suffix = _read(text, what, right)
    factor = factors.get(suffix.upper())
    if factor is None:
        raise InputError(f"{what}: {_quote(text)} is not {right}")
    if abs(exponent) > _MAX_POWER:
        raise InputError(f"{what}: {_quote(text)} is out of range (up to 1e{_MAX_POWER})")
    if mantissa < 0:
        raise InputError(f"{what}: {_quote(text)} is negative; write {right}")
    return divmod(mantissa * factor * ten(max(exponent, 0)), ten(max(-exponent, 0)))


def _quote(text: str) -> str:
    return repr(one_line(text, limit=60))
