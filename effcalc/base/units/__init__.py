"""The only place that parses or formats numbers, sizes and dtypes.

Reading is in `reading`, writing in `writing`, dtypes in `dtypes`; import all of it from here.
"""

from __future__ import annotations

from effcalc.base.units.dtypes import DTYPE_BYTES, dtype_bytes, parse_dtype
from effcalc.base.units.reading import (
    Values,
    parse_bandwidth,
    parse_bytes,
    parse_count,
    parse_image_size,
    parse_number,
    parse_seconds,
    parse_share,
    parse_values,
)
from effcalc.base.units.writing import (
    DEFAULT_DIGITS,
    MAX_DIGITS,
    UNITS,
    Unit,
    Value,
    format_bandwidth,
    format_bytes,
    format_change,
    format_count,
    format_exact,
    format_flops,
    format_number,
    format_percent,
    format_ratio,
    format_relative,
    format_seconds,
    format_value,
    int_text,
)

__all__ = [
    "DEFAULT_DIGITS",
    "DTYPE_BYTES",
    "MAX_DIGITS",
    "UNITS",
    "Unit",
    "Value",
    "Values",
    "dtype_bytes",
    "format_bandwidth",
    "format_bytes",
    "format_change",
    "format_count",
    "format_exact",
    "format_flops",
    "format_number",
    "format_percent",
    "format_ratio",
    "format_relative",
    "format_seconds",
    "format_value",
    "int_text",
    "parse_bandwidth",
    "parse_bytes",
    "parse_count",
    "parse_dtype",
    "parse_image_size",
    "parse_number",
    "parse_seconds",
    "parse_share",
    "parse_values",
]
