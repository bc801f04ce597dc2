"""A table written as JSON is read back as it was, and anything else is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effcalc.base.errors import InputError
from effcalc.base.units import UNITS
from effcalc.output.saved import latency, read_saved
from effcalc.output.table import Column, Table

FIGURES = st.one_of(
    st.none(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)


@st.composite
def tables(draw):
    keys = draw(st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True))
    columns = tuple(Column(key, draw(st.text()), draw(st.sampled_from(UNITS))) for key in keys)
    row = st.fixed_dictionaries(dict.fromkeys(keys, FIGURES))
    return Table(
        "profile",
        draw(st.text()),
        columns,
        tuple(draw(st.lists(row, max_size=3))),
        notes=tuple(draw(st.lists(st.text(), max_size=2))),
        total=draw(st.none() | row),
        command="effcalc profile",
        environment=draw(st.none() | st.dictionaries(st.text(), FIGURES, max_size=2)),
    )


@given(tables())
def test_what_was_written_is_read_back(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("saved") / "t.json"
    path.write_text(table.render("json"), encoding="utf-8", errors="surrogatepass")
    assert read_saved(path) == table


def saved(tmp_path, rows, key="latency"):
    table = Table("profile", "T", (Column(key, key, "seconds"),), rows)
    path = tmp_path / "run.json"
    path.write_text(table.render("json"))
    return path


def test_the_one_latency_of_a_profile(tmp_path):
    assert latency(saved(tmp_path, [{"latency": 0.25}])) == 0.25


@pytest.mark.parametrize(
    ("rows", "key", "says"),
    [
        ([{"latency": 1.0}, {"latency": 2.0}], "latency", "holds 2 latencies"),
        ([], "latency", "holds 0 latencies"),
        ([{"macs": 1}], "macs", "holds no latency"),
        ([{"latency": "soon"}], "latency", "is no time"),
        ([{"latency": -1.0}], "latency", "is no time"),
    ],
)
def test_no_latency_or_many_are_refused(tmp_path, rows, key, says):
    with pytest.raises(InputError, match=says):
        latency(saved(tmp_path, rows, key))


GOOD = json.loads(Table("t", "T", (Column("a", "A"),), [{"a": 1}]).render("json"))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "urn:other"},
        {"kind": 3},
        {"notes": "x"},
        {"notes": [1]},
        {"columns": []},
        {"columns": [1]},
        {"columns": [None]},
        {"columns": [{"key": "a", "title": "A", "unit": "furlongs", "help": ""}]},
        {"columns": GOOD["columns"] * 2},
        {"rows": {}},
        {"rows": [1]},
        {"rows": [{"b": 1}]},
        {"rows": [{"a": [1]}]},
        {"total": []},
        {"environment": {"a": {}}},
        {"conventions": None},
    ],
)
def test_a_document_of_another_shape_is_one_clear_line(tmp_path, change):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(InputError) as caught:
        read_saved(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[" * 100_000, b'{"a": NaN}', b"1" * 10_000, b"{}"]
)
def test_what_is_not_json_is_refused(tmp_path, data):
    path = tmp_path / "t.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"t\.json"):
        read_saved(path)


def test_a_file_that_is_not_there():
    with pytest.raises(InputError, match="cannot be read"):
        read_saved("not/there.json")
