"""A profile against a saved one: what is slower, what is noise, what ends with 1."""

from __future__ import annotations

import json

import pytest

from effcalc.output.table import Column, Table
from effcalc.profiling.against import against_table, slower
from tests.cli_helpers import run

QUICK = ("--repeat", "3", "--warmup", "1", "--device", "cpu")
SMALL = "tests.profile_targets:small"
LAYERS = (Column("name", "layer"), Column("time", "time", "seconds"))
BATCHES = (Column("batch", "batch", "int"), Column("dtype", "dtype"), Column("mode", "mode"))


def layers(total=None, **times):
    """A table of layers: name=(low, time, high)."""
    rows = [{"name": n, "low": t[0], "time": t[1], "high": t[2]} for n, t in times.items()]
    end = None if total is None else {"low": total[0], "time": total[1], "high": total[2]}
    return Table("profile-layers", "t", LAYERS, rows, total=end, environment={"threads": 2})


def compare(old, new):
    return {row["name"]: row for row in against_table(old, new, "old.json").rows}


def test_intervals_that_do_not_overlap_are_a_difference():
    got = compare(
        layers(same=(9, 10, 11), slow=(9, 10, 11), fast=(9, 10, 11), gone=(1, 1, 1)),
        layers(same=(10.5, 12, 13), slow=(11.5, 12, 13), fast=(7, 8, 8.9), new=(1, 1, 1)),
    )
    verdicts = {name: row["verdict"] for name, row in got.items()}
    assert verdicts == {
        "same": "within noise",  # 20% more, but 10.5 to 11 may be both
        "slow": "slower",
        "fast": "faster",
        "gone": "gone",
        "new": "new",
    }
    assert got["slow"]["change"] == pytest.approx(20)
    assert got["fast"]["change"] == pytest.approx(-20)


def test_a_limit_holds_for_what_is_slower_beyond_the_noise():
    old, new = layers((9, 10, 11), a=(9, 10, 11)), layers((11.5, 12, 13), a=(30, 40, 50))
    table = against_table(old, new, "old.json")
    # Of layers the run as a whole counts: 12 against 10.
    assert slower(table, 19) == ["total +20.0%"]
    assert slower(table, 21) == []
    assert slower(against_table(old, layers((10, 12, 13)), "old.json"), 5) == []  # noise


def test_batches_are_compared_one_by_one():
    def summary(*rows):
        made = [
            {"batch": b, "dtype": "fp32", "mode": "infer", "latency": t, "low": t, "high": t}
            for b, t in rows
        ]
        return Table("profile", "t", (*BATCHES, Column("latency", "l", "seconds")), made)

    table = against_table(summary((1, 1.0), (8, 2.0)), summary((1, 1.5), (8, 2.0)), "old.json")
    assert slower(table, 5) == ["batch 1 +50.0%"]


def test_differences_of_place_are_said():
    new = layers(a=(1, 1, 1))
    old = Table("profile-layers", "t", LAYERS, new.rows, environment={"threads": 4, "torch": "1"})
    (note,) = against_table(old, new, "old.json").notes
    assert note == "not the same: torch 1 → unset, threads 4 → 2"


def test_values_of_a_stranger_s_file_are_no_figures():
    old = Table("profile-layers", "t", LAYERS, [{"name": "a", "time": "soon", "low": -1}])
    assert compare(old, layers(a=(1, 1, 1)))["a"]["verdict"] == "no figure"


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    """Return what saves a profile with its times multiplied."""

    def save(factor, *more):
        path = tmp_path / "old.json"
        assert run("profile", SMALL, *QUICK, *more, "-o", str(path)).code == 0
        document = json.loads(path.read_text())
        for row in [*document["rows"], *([document["total"]] if "total" in document else [])]:
            for key in ("latency", "time", "low", "high"):
                if row.get(key) is not None:
                    row[key] *= factor
        path.write_text(json.dumps(document))
        return str(path)

    return save


@pytest.mark.parametrize("per", [(), ("--per", "layer")])
def test_a_profile_that_is_slower_ends_with_1(saved, per):
    got = run("profile", SMALL, *QUICK, *per, "--against", saved(1e-3, *per),
              "--fail-slower", "5%", "--format", "json")  # fmt: skip
    assert got.code == 1
    assert "--fail-slower 5%: " in got.err
    document = json.loads(got.out)
    assert document["kind"] == "profile-against"
    assert document["rows"][0]["verdict"] == "slower"


def test_one_that_is_not_ends_with_0(saved):
    old = saved(1e3)
    got = run("profile", SMALL, *QUICK, "--against", old, "--fail-slower", "5%")
    assert got.code == 0
    assert "faster" in got.out
    assert max(map(len, got.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--fail-slower", "5%"), "--fail-slower needs something"),
        (("--against", "OLD", "--fail-slower", "-1"), "must not be negative"),
        (("--against", "OLD", "--fail-slower", "much"), "--fail-slower: 'much' is not"),
        (("--against", "OLD", "--per", "layer"), "save one with effcalc profile --per layer"),
        (("--against", "OLD", "--per", "kernel"), "compares latencies or layers"),
        (("--against", "no-such.json"), "cannot be read"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(saved, args, said):
    old = saved(1)
    got = run("profile", SMALL, *QUICK, *(old if arg == "OLD" else arg for arg in args))
    assert got.code == 2
    assert said in got.error()
