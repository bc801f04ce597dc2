"""Conditions of `--where`: what they mean, and that nothing else is read or run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effcalc.base.condition import LIMIT, condition
from effcalc.base.errors import InputError

KNOWN = ["params", "macs", "depth"]
B0 = {"params": 5_288_548, "macs": 385_814_752, "depth": 1.0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("params < 6M and macs < 500M", True),
        ("params < 5.288548M", False),  # 5,288,548 itself
        ("params <= 5.288548M", True),
        ("params <= 5_288_548 <= params", True),
        ("5M < params < 6M", True),
        ("6M < params < 7M", False),
        ("not params < 5M or macs == 3", True),
        ("not (params < 5M or macs != 3)", False),
        ("params < 5M or macs < 1G and depth > 1", False),  # and binds more tightly
        ("params < 6MiB", True),  # 6 · 2^20 = 6,291,456
        ("params < 5.29MB", True),
        ("macs // params == 72 and macs % params == 5039296", True),  # 72 · 5,288,548 = 380,775,456
        ("macs / params > 72.9", True),  # 72.95
        ("-macs < 0", True),
        ("max(params, 1e9) >= 1G", True),
        ("round(depth * 2.4) == 2 and ceil(1.2 * depth) == 2 and floor(depth * 1.9) == 1", True),
        ("params\n< 6M", True),
    ],
)
def test_meaning(text, expected):
    read = condition(text, KNOWN, "--where")
    assert read.holds(B0) == expected
    arrays = {key: np.array([value, value]) for key, value in B0.items()}
    assert np.broadcast_to(read.holds(arrays), 2).tolist() == [expected] * 2
    ints = {key: np.array([value], object) for key, value in B0.items()}
    assert np.broadcast_to(read.holds(ints), 1).tolist() == [expected]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "character 1, 'the end'"),
        ("params", "character 1, 'params' is not a condition"),
        ("params < 6M macs", "character 13, 'macs'"),
        ("params = 6M", "character 8, '= 6M'"),
        ("params < 6Q", "character 10: '6Q' is not a whole number"),
        ("macs < 0.0001k", "character 8: '0.0001k' is not a whole number"),
        ("macs < 6M and parms < 3", "character 15, 'parms': no figure is named that (did you mean"),
        ("macs < 2 ** 3", "character 8, '2 ** 3' is not allowed"),
        ("macs < 1 << 70", "character 8, '1 << 70' is not allowed"),
        ("macs < abs(3)", "character 8, 'abs(3)' is not allowed"),
        ("macs < max(3)", "character 8, 'max(3)' is not allowed"),
        ("__import__('os').system('id') < 3", "character 1, \"__import__('os').system('id')\""),
        ("macs.real < 3", "character 1, 'macs.real' is not allowed"),
        ("macs < 'a'", "character 8, \"'a'\" is not allowed"),
        ("macs < True", "character 8, 'True' is not allowed"),
        ("macs < 3j", "character 8: '3j'"),
        ("macs in (1, 2)", "character 1, 'macs in (1, 2)' is not a condition"),
        ("(macs < 3) < 4", "character 2, 'macs < 3' is a condition where a number should be"),
        ("macs < 3 and params", "character 14, 'params' is not a condition"),
        ("macs < 3 if depth else 4", "character 1, 'macs < 3 if depth else 4' is not"),
        ("macs < (λ)", "character 9, 'λ'"),
        ("macs < 3;", "character 9, ';'"),
    ],
)
def test_an_error_points_at_its_place(text, place):
    with pytest.raises(InputError) as caught:
        condition(text, KNOWN, "--where")
    assert str(caught.value).startswith(f"--where: {place}")
    assert str(caught.value).isprintable()


def test_bounds():
    for text in ("macs < 1" + "0" * LIMIT, "(" * 240 + "macs" + ")" * 240, "-" * 480 + "1 < 3"):
        try:
            condition(text, KNOWN, "--where").holds(B0)
        except InputError as error:
            assert str(error).startswith("--where: ")  # noqa: PT017 - read or refused, no crash


def test_int64_does_not_wrap():
    big = {"params": np.array([2**40, 3]), "macs": np.array([2**40, 5]), "depth": np.array([1, 1])}

    def holds(text):
        return condition(text, KNOWN, "--where").holds(big).tolist()

    assert holds("params * macs == 1208925819614629174706176") == [True, False]  # 2^80
    assert holds("params * macs * 2 + params * macs > 1e24") == [True, False]  # 3.6e24
    assert holds("-(params * 9E) - 9E < 0") == [True, True]
    assert holds("floor(params * macs / 1) > 1") == [True, True]


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        names = condition(text, KNOWN, "--where").names
    except InputError as error:
        names = set()
        text = str(error)
        assert text.isprintable()
    assert names <= set(KNOWN)


NUMBERS = st.sampled_from(["params", "macs", "depth", "3", "2.5", "6M", "1e3"])
ARITHMETIC = st.recursive(
    NUMBERS,
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(
        lambda t: f"({t[0]} {t[1]} {t[2]})"
    ),
    max_leaves=4,
)
COMPARISONS = ["<", "<=", ">", ">=", "==", "!="]
CONDITIONS = st.recursive(
    st.tuples(ARITHMETIC, st.sampled_from(COMPARISONS), ARITHMETIC).map(" ".join),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map(
            lambda t: f"({t[0]}){t[1]}({t[2]})"
        ),
        inner.map(lambda text: f"not ({text})"),
    ),
    max_leaves=4,
)


@given(CONDITIONS, st.integers(0, 10**12), st.integers(0, 10**12))
def test_same_as_python(text, params, macs):
    values = {"params": params, "macs": macs, "depth": 1.5}
    expected = eval(text.replace("6M", "6000000"), {"__builtins__": {}}, values)
    if len(text) <= LIMIT:
        arrays = {key: np.array([value]) for key, value in values.items()}
        assert condition(text, KNOWN, "--where").holds(values) == expected
        assert np.all(condition(text, KNOWN, "--where").holds(arrays) == expected)
