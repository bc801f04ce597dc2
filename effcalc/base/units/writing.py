"""Write values for people: `16.35M`, `65.40 MB`. The exact values live in CSV and JSON."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

from effcalc.base.errors import one_line

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
    "bytes_per_second",
    "flops_per_second",
]
"""The closed set of units that a column may have; `format_value` knows each."""

UNITS: tuple[Unit, ...] = get_args(Unit)

DEFAULT_DIGITS = 4
MAX_DIGITS = 17

SI = ("", "k", "M", "G", "T", "P", "E", "Z", "Y", "R", "Q")
"""Suffixes of powers of a thousand."""

_MISSING = "–"


def ten(power: int) -> int:
    """Return 10**power for a power that is not negative."""
    return int(10**power)


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


def format_bandwidth(value: int | float, digits: int = DEFAULT_DIGITS) -> str:
    """Write a bandwidth in bytes: `12.50 GB/s`, where 1 GB = 10^9 bytes."""
    return _suffixed(value, digits, " ", "B/s")


def format_flops(value: int | float, digits: int = DEFAULT_DIGITS) -> str:
    """Write a throughput of arithmetic: `101.3 GFLOP/s`."""
    return _suffixed(value, digits, " ", "FLOP/s")


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
    "bytes_per_second": format_bandwidth,
    "flops_per_second": format_flops,
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
    while size >= ten(power + 1):
        power += 1
    shift = power + 1 - digits
    if shift <= 0:
        return sign, str(size) + "0" * -shift, power
    whole, rest = divmod(size, ten(shift))
    twice = 2 * rest - ten(shift)
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
    if step >= len(SI) or power < -3:
        return f"{_scientific(sign, text, power)}{space}{unit}"
    return f"{_place(sign, text, power - 3 * step)}{space}{SI[step]}{unit}"


def _hundredths(value: int | float, digits: int, sign: str) -> str:
    decimals = max(digits - 2, 0)
    if abs(value) >= 1e6:
        return (sign if value > 0 else "") + _plain(value, digits)
    text = f"{value:{sign}.{decimals}f}"
    return text if float(text) or not value else text.replace("-", "").replace("+", "")
