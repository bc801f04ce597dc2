"""Reading and writing numbers: exact, never slow, never a surprise."""

from __future__ import annotations

import itertools
import math
from decimal import Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effcalc.base.errors import InputError
from effcalc.base.units import (
    DTYPE_BYTES,
    UNITS,
    dtype_bytes,
    format_bytes,
    format_change,
    format_count,
    format_exact,
    format_number,
    format_percent,
    format_ratio,
    format_relative,
    format_seconds,
    format_value,
    int_text,
    parse_bandwidth,
    parse_bytes,
    parse_count,
    parse_dtype,
    parse_image_size,
    parse_number,
    parse_seconds,
    parse_share,
    parse_values,
)

READERS = [parse_number, parse_count, parse_bytes, parse_image_size, parse_values, parse_dtype]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.8G", 1_800_000_000),
        ("5M", 5_000_000),
        ("5 m", 5_000_000),
        ("1.2B", 1_200_000_000),
        ("400_000", 400_000),
        ("1e9", 10**9),
        ("2E", 2 * 10**18),
        ("2e3", 2000),
        ("1e-2k", 10),
        ("+7", 7),
        ("0", 0),
        ("1e300", 10**300),
    ],
)
def test_counts_are_read_exactly(text: str, value: int) -> None:
    assert parse_count(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1000", 1000),
        ("12B", 12),
        ("8.5MB", 8_500_000),
        ("8.5mb", 8_500_000),
        ("6MiB", 6 * 2**20),
        ("24GiB", 24 * 2**30),
        ("1.5KiB", 1536),
        ("3EB", 3 * 10**18),
        ("0.0001kB", 0),  # a tenth of a byte, rounded down
    ],
)
def test_sizes_are_read_exactly(text: str, value: int) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize(
    ("reader", "text", "says"),
    [
        (parse_count, "0.5", "not a whole number"),
        (parse_count, "-5", "negative"),
        (parse_count, "5MB", "such as 400_000"),
        (parse_count, "1,000", "such as 400_000"),
        (parse_count, "1e999999999", "out of range"),
        (parse_count, "9" * 5000, "out of range"),
        (parse_bytes, "8.5M", "8.5MB"),
        (parse_bytes, "", "6MiB"),
        (parse_bytes, "1e99999GB", "out of range"),
        (parse_number, "nan", "not a number"),
        (parse_number, "inf", "not a number"),
        (parse_number, "1e309", "out of range"),
        (parse_number, "1e-999", "out of range"),
        (parse_number, "٣", "not a number"),
        (parse_image_size, "0", "at least 1"),
        (parse_image_size, "320x", "320x480"),
        (parse_image_size, "1x2x3", "320x480"),
        (parse_image_size, "-3", "320x480"),
        (parse_image_size, "9" * 30, "320x480"),
        (parse_values, "7:0", "runs backwards"),
        (parse_values, "0:7:0", "step"),
        (parse_values, "0:7:-1", "step"),
        (parse_values, "1:2:3:4", "0:7:0.5"),
        (parse_values, "0,,1", "0:7:0.5"),
        (parse_values, "", "0:7:0.5"),
        (parse_values, "0:1e30", "1.000Q values"),
        (parse_dtype, "flaot32", "did you mean 'float32'"),
    ],
)
def test_bad_input_says_what_would_be_right(reader, text: str, says: str) -> None:
    with pytest.raises(InputError, match=r"^--option: ") as error:
        reader(text, "--option")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@given(st.text(max_size=30) | st.from_regex(r"[-+]?[0-9_.]{0,9}e?[0-9]{0,9}[kMGB:,x]{0,3}"))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    for reader in READERS:
        try:
            reader(text, "--option")
        except InputError as error:
            assert str(error).isprintable()  # noqa: PT017


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_read_as_python_reads_it(value: float) -> None:
    if abs(value) >= 1e-307 or value == 0:
        assert parse_number(repr(value)) == value


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("3", [3]),
        ("0,1,2", [0, 1, 2]),
        ("0:3", [0, 1, 2, 3]),
        ("0:1:0.1", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]),
        ("0:1:0.3", [0, 0.3, 0.6, 0.9]),
        ("0:2,5", [0, 1, 2, 5]),
        ("-1:1:5e-1", [-1, -0.5, 0, 0.5, 1]),
        ("0.5:2", [0.5, 1.5]),
        ("2:2", [2]),
    ],
)
def test_values_are_lists_and_ranges(text: str, values: list[float]) -> None:
    read = parse_values(text)
    assert list(read) == values
    assert len(read) == len(values)
    assert [read[i] for i in range(len(read))] == values
    assert read[-1] == values[-1]
    assert all(isinstance(v, int) == float(v).is_integer() for v in read)


@given(st.integers(-(10**6), 10**6), st.integers(1, 999), st.integers(0, 50), st.integers(0, 6))
def test_a_range_does_not_drift(first: int, step: int, count: int, places: int) -> None:
    power = 10**places
    texts = [Decimal(n).scaleb(-places) for n in (first, first + step * count, step)]
    read = list(parse_values(":".join(f"{text:f}" for text in texts)))
    assert read == [float(Fraction(first + step * i, power)) for i in range(count + 1)]


def test_a_range_of_10_to_the_12_takes_no_memory() -> None:
    values = parse_values("0:1e12")
    assert len(values) == 10**12 + 1
    assert values[-1] == 10**12
    assert list(itertools.islice(values, 3)) == [0, 1, 2]
    with pytest.raises(IndexError):
        values[10**12 + 1]


def test_image_sizes() -> None:
    assert parse_image_size("320") == (320, 320)
    assert parse_image_size(" 320X480 ") == parse_image_size("320×480") == (320, 480)


def test_dtypes_have_short_names() -> None:
    assert [parse_dtype(t) for t in ("fp32", "BF16", "torch.int8", "half")] == [
        "float32",
        "bfloat16",
        "int8",
        "float16",
    ]
    assert dtype_bytes("fp16") == 2
    assert all(dtype_bytes(name) == size for name, size in DTYPE_BYTES.items())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (format_count(9_999), "9,999"),
        (format_count(10_000), "10.00k"),
        (format_count(16_349_672), "16.35M"),
        (format_count(16_349_672, 6), "16.3497M"),
        (format_count(16_349_672, 17), "16.349672M"),
        (format_count(999_999), "1.000M"),
        (format_count(3_250_500_000), "3.250G"),  # half to even
        (format_count(3_251_500_000), "3.252G"),
        (format_count(-16_349_672), "-16.35M"),
        (format_count(10**40), "1.000e40"),
        (format_count(10**5000), "1.000e5000"),
        (format_count(1234.5), "1.234k"),
        (format_bytes(65_400_000), "65.40 MB"),
        (format_bytes(999), "999 B"),
        (format_bytes(1000), "1.000 kB"),
        (format_bytes(0), "0 B"),
        (format_number(3), "3"),
        (format_number(1.2), "1.2"),
        (format_number(1.2**3), "1.728"),
        (format_number(0.00012345), "0.0001234"),
        (format_number(1e-9), "1.000e-9"),
        (format_ratio(7.5252), "7.525×"),
        (format_relative(1.13), "1.130×"),
        (format_relative(0.02048), "1/48.83"),
        (format_relative(5e-324), "4.941e-324×"),
        (format_percent(12.345678), "12.35%"),
        (format_change(3.2), "+3.20%"),
        (format_change(-3.2), "-3.20%"),
        (format_change(-0.0001), "0.00%"),
        (format_seconds(0.01235), "12.35 ms"),
        (format_seconds(1.5), "1.500 s"),
        (format_seconds(2.5e-8), "25.00 ns"),
        (format_value(None, "count"), "–"),
        (format_value("a\nb\x1b[1m", "text"), "a b [1m"),
        (format_value(True, "int"), "yes"),
        (format_value(math.inf, "ratio"), "inf"),
        (format_value(1234567, "int"), "1,234,567"),
        (format_value(320, "pixels"), "320"),
        (format_exact(16_349_672, "count"), "16,349,672"),
        (format_exact(1.5, "count"), ""),
    ],
)
def test_figures_for_people(text: str, value: str) -> None:
    assert text == value


@given(st.integers(10_000, 10**40), st.integers(1, 17))
def test_counts_are_rounded_like_decimal(value: int, digits: int) -> None:
    text = format_count(value, digits)
    exact = Context(prec=digits).create_decimal(value)
    suffixes = dict(zip("kMGTPEZYRQ", range(3, 33, 3), strict=True))
    number, power = (text[:-1], suffixes[text[-1]]) if text[-1] in suffixes else (text, 0)
    assert Decimal(number).scaleb(power) == exact


@given(st.integers() | st.floats(), st.integers(1, 17), st.integers(0, 5000))
def test_every_number_can_be_written_in_every_unit(value: float, digits: int, power: int) -> None:
    for unit in UNITS:
        assert format_value(value, unit, digits).isprintable()
        assert format_value(7 * 10**power, unit, digits).isprintable()


@given(st.integers(), st.integers(0, 6000))
def test_ints_of_any_size_are_written_exactly(small: int, power: int) -> None:
    value = small * 10**power + small
    assert Decimal(int_text(value)) == Decimal(value)
    assert int_text(value, ",").replace(",", "") == int_text(value)


@pytest.mark.parametrize(
    ("text", "bytes_per_second"),
    [
        ("100Gbps", 12.5e9),  # 100e9 bits / 8
        ("100 Gb/s", 12.5e9),
        ("10Mbit/s", 1.25e6),
        ("25GB/s", 25e9),
        ("1kbps", 125.0),
        ("0.5TB/s", 0.5e12),
    ],
)
def test_a_small_b_is_bits_and_a_large_one_bytes(text, bytes_per_second):
    assert parse_bandwidth(text) == bytes_per_second


@pytest.mark.parametrize("text", ["", "100", "100G", "100GHz", "0Gbps", "-1Gbps", "100gbPs"])
def test_what_is_no_bandwidth_is_refused(text):
    with pytest.raises(InputError, match="100Gbps"):
        parse_bandwidth(text)


def test_times_are_read_in_seconds():
    texts = ("120ms", "5us", "5µs", "1.5s", "2", "0", "7 ns")
    assert [*map(parse_seconds, texts)] == [0.12, 5e-6, 5e-6, 1.5, 2.0, 0.0, 7e-9]


@pytest.mark.parametrize("text", ["", "-1s", "5m", "5 hours", "1e999s"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(InputError):
        parse_seconds(text)


def test_rates_are_written_with_decimal_suffixes():
    assert format_value(12.5e9, "bytes_per_second") == "12.50 GB/s"
    assert format_value(101.26e9, "flops_per_second") == "101.3 GFLOP/s"


@pytest.mark.parametrize(
    ("text", "value"),
    [("40%", 0.4), ("0.4", 0.4), ("100%", 1.0), (" 12.5% ", 0.125), ("1e-3", 1e-3)],
)
def test_shares(text: str, value: float) -> None:
    assert parse_share(text) == value


@pytest.mark.parametrize("text", ["0", "0%", "101%", "40", "-1%", "%", "40%%", "forty", ""])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(InputError, match="above 0 and up to 1"):
        parse_share(text, "--mfu")
