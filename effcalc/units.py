"""The only place that parses or formats numbers, sizes and dtypes.

Reading is exact: a number is kept as `mantissa * 10**exponent` in Python ints until the last
step, so "0:7:0.1" does not drift and "1e999999999" is refused before anything is computed.
Writing is for people (`16.35M`, `65.40 MB`); the exact values live in CSV and JSON.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias, get_args

from effcalc.errors import InputError, one_line, suggest

Value: TypeAlias = int | float | str | None
"""What one cell of a table holds: an exact Python value, or None where there is no figure."""

Unit: TypeAlias = Literal[
    "text",
    "int",
    "count",
    "bytes",
    "ratio",
    "relative",
    "percent",
    "change",
    "number",
    "pixels",
    "seconds",
]
"""The closed set of units that a column may have; `format_value` knows each."""

UNITS: tuple[Unit, ...] = get_args(Unit)

DEFAULT_DIGITS = 4
MAX_DIGITS = 17

_MISSING = "–"
_SI = ("", "k", "M", "G", "T", "P", "E", "Z", "Y", "R", "Q")
_NUMBER = re.compile(
    r"([+-]?)([0-9][0-9_]*)?(?:\.([0-9][0-9_]*)?)?(?:[eE]([+-]?[0-9]+))?\s*([A-Za-z]*)"
)
_MAX_LENGTH = 600  # digits of one number; Python itself reads 640 under any setting
_MAX_POWER = 1000  # |exponent of ten| of a count or a size; a float has its own, smaller limit


# --- reading -----------------------------------------------------------------------------------


def parse_number(text: str, what: str = "value") -> float:
    """Read a finite number such as `0.5`, `-3` or `1e-4`; `what` names it in the error."""
    mantissa, exponent = _split(text, what, "a number such as 3, 0.5 or 1e-4")
    return float(_to_value(mantissa, exponent, text, what))


def parse_count(text: str, what: str = "count") -> int:
    """Read a whole number that is not negative: `5000000`, `400_000`, `1e9`, `5M` or `1.8G`.

    Suffixes are powers of a thousand in either case: k, M, G (or B, billion), T, P and E.
    """
    right = "a whole number such as 400_000, 1e9, 5M or 1.8G"
    factors = {"": 1, "B": 10**9} | {s.upper(): 1000**i for i, s in enumerate(_SI[:7])}
    value, rest = _scaled(text, what, right, factors)
    if rest:
        raise InputError(f"{what}: {_quote(text)} is not a whole number; write {right}")
    return value


def parse_bytes(text: str, what: str = "size") -> int:
    """Read a size in bytes, rounded down: `1000`, `8.5MB` (10^6) or `6MiB` (2^20)."""
    right = "a size such as 1000, 8.5MB (10^6 bytes) or 6MiB (2^20 bytes)"
    factors = {"": 1, "B": 1}
    for i, prefix in enumerate(_SI[1:7], start=1):
        factors[f"{prefix}B".upper()] = 1000**i
        factors[f"{prefix}iB".upper()] = 1024**i
    return _scaled(text, what, right, factors)[0]


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
    """The numbers that `parse_values` read: counted and made on demand, never held in memory.

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
        first, last, *more = (m * _ten(e - exponent) for m, e in numbers)
        step = more[0] if more else _ten(-exponent)
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


def _ten(power: int) -> int:
    return int(10**power)


def _from_power(mantissa: int, exponent: int) -> int | float:
    if exponent >= 0:
        return mantissa * _ten(exponent)
    power = _ten(-exponent)
    if mantissa % power == 0:
        return mantissa // power
    try:
        return mantissa / power  # ints divide to the nearest float
    except OverflowError:
        return math.inf


def _scaled(text: str, what: str, right: str, factors: dict[str, int]) -> tuple[int, int]:
    """Return the whole part of number * factor of its suffix, and the rest (0 or not 0)."""
    mantissa, exponent, suffix = _read(text, what, right)
    factor = factors.get(suffix.upper())
    if factor is None:
        raise InputError(f"{what}: {_quote(text)} is not {right}")
    if abs(exponent) > _MAX_POWER:
        raise InputError(f"{what}: {_quote(text)} is out of range (up to 1e{_MAX_POWER})")
    if mantissa < 0:
        raise InputError(f"{what}: {_quote(text)} is negative; write {right}")
    return divmod(mantissa * factor * _ten(max(exponent, 0)), _ten(max(-exponent, 0)))


def _quote(text: str) -> str:
    return repr(one_line(text, limit=60))


# --- dtypes ------------------------------------------------------------------------------------

DTYPE_BYTES: dict[str, int] = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
    "complex64": 8,
    "complex128": 16,
}
"""Bytes of one element of each dtype, by torch's names."""

_DTYPE_SHORT = {
    "fp64": "float64",
    "f64": "float64",
    "double": "float64",
    "fp32": "float32",
    "f32": "float32",
    "float": "float32",
    "fp16": "float16",
    "f16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "i64": "int64",
    "long": "int64",
    "i32": "int32",
    "int": "int32",
    "i16": "int16",
    "i8": "int8",
    "u8": "uint8",
}


def parse_dtype(text: str, what: str = "dtype") -> str:
    """Return torch's name for a dtype: `float32` for `fp32`, `torch.float32` or itself."""
    name = text.strip().lower().removeprefix("torch.")
    name = _DTYPE_SHORT.get(name, name)
    if name not in DTYPE_BYTES:
        near = suggest(name, [*DTYPE_BYTES, *_DTYPE_SHORT])
        raise InputError(
            f"{what}: there is no dtype {_quote(text)}{near}; known: {', '.join(DTYPE_BYTES)}"
        )
    return name


def dtype_bytes(dtype: str) -> int:
    """Return the bytes of one element of `dtype`, which may be a short name."""
    return DTYPE_BYTES.get(dtype) or DTYPE_BYTES[parse_dtype(dtype)]


# --- writing -----------------------------------------------------------------------------------


def int_text(value: int, separator: str = "") -> str:
    """Write an int exactly, of any size, with `separator` between groups of three digits.

    Python refuses to print ints of more than 4,300 digits; a Decimal has no such limit.
    """
    spec = separator and ","
    if value.bit_length() <= 13_000:
        text = format(value, f"{spec}d")
    else:
        from decimal import Decimal

        text = format(Decimal(value), f"{spec}f")
    return text.replace(",", separator) if spec else text


def format_count(value: int | float, digits: int = DEFAULT_DIGITS) -> str:
    """Write a count: exact under 10,000, otherwise `digits` digits and a suffix (`16.35M`)."""
    if isinstance(value, int) and abs(value) < 10_000:
        return int_text(value, ",")
    return _suffixed(value, digits, "", "")


def format_bytes(value: int | float, digits: int = DEFAULT_DIGITS) -> str:
    """Write a size with decimal units, as the papers do: 1 MB = 10^6 bytes (`65.40 MB`)."""
    if isinstance(value, int) and abs(value) < 1000:
        return f"{value} B"
    return _suffixed(value, digits, " ", "B")


def format_number(value: int | float, digits: int = DEFAULT_DIGITS) -> str:
    """Write a plain number: a whole one exactly, any other to `digits` digits, zeros dropped."""
    if isinstance(value, int) and abs(value) < 10**15:
        return int_text(value)
    text = _plain(value, digits)
    if "e" in text or "." not in text:
        return text
    return text.rstrip("0").rstrip(".")


def format_ratio(value: int | float, digits: int = DEFAULT_DIGITS) -> str:
    """Write how many times as much: `7.525×`."""
    return f"{_plain(value, digits)}×"


def format_relative(value: int | float, digits: int = DEFAULT_DIGITS) -> str:
    """Write a ratio to a reference, a small one as a fraction: `1.130×`, `1/48.83`."""
    if 1e-300 < value < 1:
        return f"1/{_plain(1 / value, digits)}"
    return format_ratio(value, digits)


def format_percent(value: int | float, digits: int = DEFAULT_DIGITS) -> str:
    """Write a share that is given in percent: `12.35%`."""
    return f"{_hundredths(value, digits, '')}%"


def format_change(value: int | float, digits: int = DEFAULT_DIGITS) -> str:
    """Write a difference that is given in percent, with its sign: `+3.20%`."""
    return f"{_hundredths(value, digits, '+')}%"


def format_seconds(value: int | float, digits: int = DEFAULT_DIGITS) -> str:
    """Write a time: `12.35 ms`, `1.500 s`; from ns up to s."""
    if abs(value) >= 1 or value == 0:
        return f"{_plain(value, digits)} s"
    for power, unit in ((3, "ms"), (6, "µs")):
        if abs(value) * 10.0**power >= 1:
            return f"{_plain(value * 10.0**power, digits)} {unit}"
    return f"{_plain(value * 1e9, digits)} ns"


def _format_int(value: int | float, digits: int) -> str:
    return int_text(value, ",") if isinstance(value, int) else format_number(value, digits)


def _format_pixels(value: int | float, digits: int) -> str:
    return int_text(value) if isinstance(value, int) else format_number(value, digits)


_WRITERS: dict[str, Callable[[int | float, int], str]] = {
    "text": format_number,
    "int": _format_int,
    "count": format_count,
    "bytes": format_bytes,
    "ratio": format_ratio,
    "relative": format_relative,
    "percent": format_percent,
    "change": format_change,
    "number": format_number,
    "pixels": _format_pixels,
    "seconds": format_seconds,
}


def format_value(value: Value, unit: Unit, digits: int = DEFAULT_DIGITS) -> str:
    """Write one cell for a person; None is a dash, text stays as it is, on one line."""
    if value is None:
        return _MISSING
    if isinstance(value, str):
        return one_line(value, limit=sys.maxsize)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return _WRITERS[unit](value, digits)


def format_exact(value: Value, unit: Unit) -> str:
    """Write an int of a count or a size with all its digits (`16,349,672`); "" for the rest."""
    if isinstance(value, int) and not isinstance(value, bool) and unit in ("count", "bytes"):
        return int_text(value, ",")
    return ""


def _significant(value: int | float, digits: int) -> tuple[str, str, int]:
    """Return sign, exactly `digits` decimal digits, and the power of ten of the first of them.

    Halves go to the even neighbour, and ints of any size are rounded exactly.
    """
    sign = "-" if value < 0 else ""
    if isinstance(value, float) or abs(value) < 2**53:
        text, _, exponent = f"{abs(value):.{digits - 1}e}".partition("e")
        return sign, text.replace(".", ""), int(exponent)
    size = abs(value)
    power = (size.bit_length() - 1) * 301_029 // 1_000_000  # log10, or a little less
    while size >= _ten(power + 1):
        power += 1
    shift = power + 1 - digits
    if shift <= 0:
        return sign, str(size) + "0" * -shift, power
    whole, rest = divmod(size, _ten(shift))
    twice = 2 * rest - _ten(shift)
    if twice > 0 or (twice == 0 and whole % 2 == 1):
        whole += 1
    text = str(whole)
    return sign, text[:digits], power + len(text) - digits


def _place(sign: str, text: str, power: int) -> str:
    """Put the point into `text`, whose first digit stands for 10**power."""
    if power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{text}"
    whole = text[: power + 1].ljust(power + 1, "0")
    fraction = text[power + 1 :]
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def _plain(value: int | float, digits: int) -> str:
    """Write `digits` digits, without an exponent where that stays short."""
    if value == 0:
        return "0"
    sign, text, power = _significant(value, digits)
    if -5 <= power < max(7, digits):
        return _place(sign, text, power)
    return _scientific(sign, text, power)


def _scientific(sign: str, text: str, power: int) -> str:
    return f"{_place(sign, text, 0)}e{power}"


def _suffixed(value: int | float, digits: int, space: str, unit: str) -> str:
    if value == 0:
        return f"0{space}{unit}"
    if isinstance(value, int):
        digits = min(digits, value.bit_length() * 30103 // 100_000 + 1)  # no more than it has
    sign, text, power = _significant(value, digits)
    step = max(power // 3, 0)
    if step >= len(_SI) or power < -3:
        return f"{_scientific(sign, text, power)}{space}{unit}"
    return f"{_place(sign, text, power - 3 * step)}{space}{_SI[step]}{unit}"


def _hundredths(value: int | float, digits: int, sign: str) -> str:
    decimals = max(digits - 2, 0)
    if abs(value) >= 1e6:
        return (sign if value > 0 else "") + _plain(value, digits)
    text = f"{value:{sign}.{decimals}f}"
    return text if float(text) or not value else text.replace("-", "").replace("+", "")
