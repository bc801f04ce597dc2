"""The roofline picture: what is in it, and what it needs."""

from __future__ import annotations

import json

import pytest

from effcalc.base.errors import InputError
from effcalc.output.plots.stamp import data_hash
from effcalc.output.plots.style import THEMES, svg
from effcalc.output.table import Column, Table
from effcalc.profiling.plot import BARS, roofline
from effcalc.profiling.roofline import Ceilings, Level, Roofs, saved_ceilings
from tests.cli_helpers import run

ROOFS = Roofs(1e11, ((1000, 2e11), (9000, 2e10)), (Level("L1", 1000.0), Level("L2", 8000.0)))
COLUMNS = (
    Column("name", "layer"),
    Column("time", "time", "seconds"),
    Column("share", "% time", "percent"),
    Column("flops_rate", "achieved", "flops_per_second"),
    Column("intensity", "FLOP/B", "number"),
    Column("bound", "bound"),
    Column("efficiency", "of roof", "percent"),
)


def table(count=3, kind="profile-layers"):
    rows = [
        {"name": f"conv{i}", "time": 1e-3, "share": 10.0, "flops_rate": 1e10 * (i + 1),
         "intensity": 10.0 * (i + 1), "bound": "compute", "efficiency": 50.0}
        for i in range(count)
    ]  # fmt: skip
    rows.append({"name": "pool", "time": 5e-3, "share": 50.0, "bound": "L2", "efficiency": 3.0})
    rows.append({"name": "(between layers)", "time": 1e-4, "share": 1.0})
    return Table(kind, "A net, by layer", COLUMNS, rows)


def drawn(count=3, roofs=ROOFS):
    return roofline(table(count), roofs.ceilings())


def test_roofs_are_kept_with_a_profile():
    # What L1 does not hold has at most the 9000-byte point's bandwidth.
    kept = ROOFS.ceilings()
    assert kept == Ceilings(1e11, (("L1", 2e11), ("L2", 2e10), ("memory", 2e10)))
    assert saved_ceilings(kept.saved()) == kept


@pytest.mark.parametrize(
    "environment",
    [None, {}, {"roof_flops": 1.0}, {"roof_flops": "1", "roof_bandwidths": "L1:1"},
     {"roof_flops": -1.0, "roof_bandwidths": "L1:1"},
     {"roof_flops": 1.0, "roof_bandwidths": "L1:inf memory:nan x"}],
)  # fmt: skip
def test_a_stranger_s_roofs_are_none(environment):
    assert saved_ceilings(environment) is None


@pytest.mark.parametrize("theme", THEMES)
def test_layers_roofs_and_times_are_drawn(theme):
    pytest.importorskip("altair")
    picture = svg(drawn(), theme)
    for text in ("conv2", "pool", "(between layers)", "5.000 ms, 50.0%", "100 GFLOP/s", "bound by"):
        assert text in picture
    # L2 and memory have one bandwidth here, and share a line.
    assert "L2, memory 20.0 GB/s" in picture


def test_many_layers_share_the_last_bar():
    pytest.importorskip("altair")
    picture = svg(drawn(BARS + 5), "light")
    assert "7 others" in picture  # 30 convolutions, a pool and a row between, less 25


def test_what_is_drawn_decides_the_hash(tmp_path):
    assert drawn().hash == drawn().hash
    assert drawn().hash != drawn(2).hash
    faster = Roofs(2e11, ROOFS.bandwidth, ROOFS.levels)
    assert drawn().hash != drawn(roofs=faster).hash


def test_what_cannot_be_drawn():
    with pytest.raises(InputError, match="run effcalc device first"):
        roofline(table(), None)
    with pytest.raises(InputError, match="is of layers"):
        roofline(table(kind="profile"), ROOFS.ceilings())


def test_a_profile_draws_itself_and_a_saved_one_is_drawn_alike(tmp_path, monkeypatch):
    pytest.importorskip("altair")
    import torch

    from effcalc.profiling.devices import device_table
    from effcalc.profiling.live import roofs
    from tests.profiling.test_roofline import LEVELS, POINTS

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cpu = torch.device("cpu")
    roofs.keep(device_table(POINTS, LEVELS, roofs.identity(cpu)), cpu)
    first, second, saved = (str(tmp_path / name) for name in ("a.svg", "b.png", "a.json"))
    got = run("profile", "tests.profile_targets:small", "--device", "cpu", "--repeat", "3",
              "--per", "layer", "--plot", first, "--output", saved)  # fmt: skip
    assert (got.code, got.err) == (0, "")
    assert run("plot", "roofline", saved, "--output", second).code == 0
    assert data_hash(first) == data_hash(second)
    assert "body.0.conv" in json.dumps((tmp_path / "a.svg").read_text())


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--plot", "a.svg"), "--plot draws layers: give --per layer"),
        (("--plot", "a.txt", "--per", "layer"), "ends in none of .svg"),
        (("--plot", "no/such/a.svg", "--per", "layer"), "there is no folder"),
    ],
)
def test_a_picture_that_cannot_be_is_refused_before_anything_runs(args, said):
    got = run("profile", *args)
    assert got.code == 2
    assert said in got.error()
