"""Choosing and ordering what a table holds."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import effcalc
from effcalc.base.errors import InputError
from effcalc.output import table as table_module
from effcalc.output.table import Column, Table, select, sorted_by, stream, take

COLUMNS = (
    Column("name", "Name"),
    Column("params", "Params", "count"),
    Column("macs", "MACs", "count", default=False),
)


def make(rows, **more) -> Table:
    return Table("demo", "Demo", COLUMNS, rows, **more)


def test_columns_need_keys_of_their_own() -> None:
    for columns in ((), (Column("a", "A"), Column("a", "B"))):
        with pytest.raises(ValueError, match="its own key"):
            Table("demo", "", columns, [])


def test_select_takes_columns_in_the_order_asked_for() -> None:
    chosen = select(make([]), "macs, name,macs")
    assert [c.key for c in chosen.columns] == ["macs", "name"]
    assert all(c.default for c in chosen.columns)
    assert [c.key for c in select(make([]), "all").columns] == ["name", "params", "macs"]
    assert select(make([]), None).columns == COLUMNS


@pytest.mark.parametrize("act", [select, sorted_by])
def test_an_unknown_column_is_named_with_the_nearest(act) -> None:
    with pytest.raises(InputError) as error:
        act(make([]), "parms")
    assert "'parms' (did you mean 'params'?); known: name, params, macs" in str(error.value)


def test_sorting_puts_missing_figures_last_and_keeps_ties_in_order() -> None:
    figures = [3, None, 1, math.nan, 10**400, 1]
    rows = [{"name": str(i), "params": p} for i, p in enumerate(figures)]

    def order(key: str) -> str:
        return "".join(str(row["name"]) for row in sorted_by(make(rows), key).rows)

    assert order("params") == "250413"
    assert order("-params") == "402513"
    assert order("-name") == "543210"
    assert sorted_by(make(rows), None).rows is rows


@given(st.lists(st.none() | st.integers() | st.floats() | st.text()))
def test_anything_can_be_sorted(values) -> None:
    rows = [{"params": value} for value in values]
    for key in ("params", "-params"):
        assert len(list(sorted_by(make(rows), key).rows)) == len(rows)


def test_a_row_limit_reads_no_further_than_it_must() -> None:
    read = itertools.count()
    rows = ({"params": i} for i in read)
    with pytest.raises(InputError, match="at most 5 rows and this has more; `format` csv"):
        take(rows, 5, "--format table")
    assert next(read) == 6
    with pytest.raises(InputError, match=r"has 1\.000M;"):
        take([{}] * 1_000_000, 5, "--format table")
    assert take([{}] * 5, 5, "--format table") == [{}] * 5


def test_sorting_has_a_limit(monkeypatch) -> None:
    monkeypatch.setattr(table_module, "SORT_LIMIT", 3)
    with pytest.raises(InputError, match="sorting holds at most 3 rows"):
        sorted_by(make([{}] * 4), "name")


def test_streaming_makes_rows_as_they_are_read() -> None:
    rows = ({"name": str(i), "params": i} for i in itertools.count())
    assert list(itertools.islice(stream(make(rows)), 2)) == [["0", 0, None], ["1", 1, None]]


def test_a_notebook_shows_tables_that_it_can_show_again() -> None:
    rows = [{"name": "a", "params": 1}]
    assert "<table>" in str(make(rows)._repr_html_())
    assert "| Name |" in str(make(rows)._repr_markdown_())
    once = make(iter(rows))
    assert once._repr_html_() is once._repr_markdown_() is None
    assert list(once.rows) == rows


def test_results_show_themselves_in_a_notebook():
    torch = pytest.importorskip("torch")
    at = effcalc.scale("efficientnet-b0", phi=3)
    counted = effcalc.count(torch.nn.Linear(3, 4), torch.ones(2, 3, device="meta"))
    for result, title, figures in (
        (at, "EfficientNet-B0 at φ = 3", ("16.35M", "16,350,296", "3.251G")),
        (at.network, at.network.name, ("16,350,296",)),
        (counted, "Linear", ("24", "16")),  # 2 · 3 · 4 MACs; 3 · 4 weights and 4 biases
    ):
        html, markdown = result._repr_html_(), result._repr_markdown_()
        assert html.startswith("<figure")
        assert f"<caption>{title}</caption>" in html
        assert markdown.startswith(f"**{title}**")
        for figure in figures:
            assert figure in html
            assert figure in markdown
