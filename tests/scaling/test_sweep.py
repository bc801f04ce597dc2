"""A sweep's figures are those of `effcalc scale`, however many points are computed together."""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effcalc.base.errors import InputError
from effcalc.network.archfile import load
from effcalc.network.catalog import built_in_names
from effcalc.scaling.request import ScalingRequest as Request
from effcalc.scaling.scale import by_phi, by_ratios, scaled
from effcalc.scaling.sweep import chunks as chunking
from effcalc.scaling.sweep import evaluate
from effcalc.scaling.sweep.chunks import Sweep
from effcalc.scaling.sweep.points import space, uniform
from effcalc.scaling.sweep.select import Front, Order, Top, front
from effcalc.scaling.sweep.tables import FIGURES, Reasons
from effcalc.scaling.tables.scaling import COSTS, GROWTH, NEAREST, SCALING
from tests.cli_helpers import run

ROOT = Path(__file__).parents[2]
KEYS = [f.key for f in (*SCALING[1:], *COSTS, *GROWTH, *NEAREST[1:])]
VALUE = {f.key: f.value for f in (*SCALING, *COSTS, *GROWTH, *NEAREST)}


def make(name, text, knobs=(), random=None, seed=0, **more):
    points = space(replace(text, knobs=list(knobs)), random, seed)
    return Sweep(points, tuple(load(name, s)[0] for s in points.settings), **more)


def alone(sweep, chunk, i):
    """The same point by `effcalc scale`'s own way, None where it cannot be built."""
    points = chunk.points
    arch = sweep.archs[points.setting[i]]
    if sweep.space.compound:
        scaling = by_phi(arch, *(points.given[k][i] for k in ("phi", "alpha", "beta", "gamma")))
    elif sweep.space.sizes:
        size = int(points.height[i]), int(points.wide[i])
        scaling = by_ratios(arch, float(points.depth[i]), float(points.width[i]), image_size=size)
    else:
        ratios = (points.depth[i], points.width[i], points.resolution[i])
        scaling = by_ratios(arch, *map(float, ratios))
    try:
        return scaled(arch, scaling, sweep.workers, sweep.head)
    except InputError:
        return None


def assert_same(sweep, chunk, places):
    for i in places:
        at = alone(sweep, chunk, i)
        assert bool(chunk.built[i]) == (at is not None)
        if at is None:
            continue
        for key in KEYS:
            mine, theirs = chunk[key][i], VALUE[key](at)
            if key == "pixels":
                theirs = at.scaling.image_size[0]
            mine = mine.item() if isinstance(mine, np.generic) else mine
            if theirs is None:
                assert mine is None or math.isnan(mine), key
            else:
                assert mine == theirs, (key, at.scaling)
                assert type(mine) is type(theirs), key


def compare(sweep, samples):
    """Compare some points of every chunk, drawn without regard to the order."""
    pick = np.random.default_rng(5)
    compared = 0
    for chunk in sweep.chunks():
        assert_same(sweep, chunk, pick.permutation(len(chunk))[:samples])
        compared += min(samples, len(chunk))
    return compared


RANDOM = Request("0.3:3", "0.2:2.5", "0.2:2.5")


@pytest.mark.parametrize("name", built_in_names())
def test_random_points_of_every_architecture(name):
    # 2,000 points are computed on arrays one by one; every tenth architecture of the default run
    # has few compared, all of them in the slow test.
    assert compare(make(name, RANDOM, random=2000), 12) == 12


@pytest.mark.slow
@pytest.mark.parametrize("name", built_in_names())
def test_ten_thousand_random_points_over_every_architecture(name):
    # 20 networks x 500 points each way.
    assert compare(make(name, RANDOM, random=10_000), 500) == 500
    assert compare(make(name, Request("0.5:2", "0.5:2", None, "64:96"), random=120_000), 500)


def test_random_points_by_classes(monkeypatch):
    # So many points that costs are computed once for each class of width and of image.
    used = []
    look_up = evaluate.Classes.look_up
    monkeypatch.setattr(
        evaluate.Classes, "look_up", lambda self, *a: used.append(1) or look_up(self, *a)
    )
    for name in ("efficientnet-b0", "mobilenet-v2"):  # the second has a least width of 1
        assert compare(make(name, Request("0.5:3", "0.4:2", "0.3:1.5"), random=300_000), 40) == 120
    sizes = Request("0.5:3", "0.5:2.5", None, "64:300")
    compare(make("efficientnet-b0", sizes, random=150_000), 40)
    assert len(used) == 3 + 3 + 2


def test_a_grid(monkeypatch):
    monkeypatch.setattr(chunking, "CHUNK", 500)
    monkeypatch.setattr(chunking, "SLAB", 60)
    for text, knobs in (
        (Request("0.5:3:0.5", "0.5:2.5:0.1", "0.5:2:0.1"), ()),
        (Request("0.5:3:0.5", "1,0.3", None, "32:160"), ()),  # more images than fit a slab
        (
            Request("0.01:8:0.01", "1:1.2:0.1", None, "224,320x480"),
            (),
        ),  # more depths than a chunk
        (Request("1:3", "0.5:1.5:0.5"), ("sr=0.125,0.5", "freq=1:3")),
    ):
        name = "squeezenet-1.0" if knobs else "efficientnet-b0"
        sweep = make(name, text, knobs)
        index = np.concatenate([chunk.index for chunk in sweep.chunks()])
        assert (index == np.arange(sweep.space.length)).all()
        compare(sweep, 5)


def test_compound_points():
    bases = Request(phi="-2:60", alpha="1:1.3", beta="1:1.2", gamma="1:1.2")
    compare(make("efficientnet-b0", bases, random=300), 30)
    compare(make("efficientnet-b0", Request(phi="0:7:0.5", alpha="1.1:1.3:0.1")), 60)
    compare(make("resnet-50", Request(beta="1.1:1.3:0.1")), 3)


def test_knobs_at_random():
    sweep = make("squeezenet-1.0", RANDOM, ("sr=0.1:1:0.1", "bypass=none,complex"), random=2000)
    compare(sweep, 40)
    # 20 settings, each drawn about as often as the others.
    counts = np.bincount(next(sweep.chunks()).points.setting)
    assert len(counts) == 20
    assert counts.min() > 60


def test_no_head_and_workers():
    sweep = make("alexnet", Request("1:2:0.5", "0.5:1.5:0.5", "1:2:0.5"), head=False, workers=3)
    compare(sweep, 27)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(["efficientnet-b0", "resnet-50", "alexnet", "squeezenet-1.0-complex-bypass"]),
    st.floats(0.05, 1e7),
    st.floats(0.05, 1e7),
    st.floats(0.5, 1e7),
)
def test_sums_beyond_int64_are_pythons_own(name, depth, width, resolution):
    # Ranges that end where MACs are up to 1e50 and begin where they are small: every part of
    # them, whichever way it is computed, is what Python's ints give.
    text = Request(f"1:{1 + depth!r}", f"1:{1 + width!r}", f"1:{1 + resolution!r}")
    compare(make(name, text, random=64), 10)


def test_where_int64_ends():
    # The same width and image at depths up to 2^60: MACs pass 2^57, 2^63 and 2^64 on the way.
    depths = ",".join(str(1 << n) for n in range(10, 61, 2))
    sweep = make("efficientnet-b0", Request(depths, "1,1.5", "1"))
    chunk = next(sweep.chunks())
    assert_same(sweep, chunk, range(len(chunk)))
    assert max(chunk["macs"]) > 1 << 64


def test_too_small_an_image_is_left_out_and_said():
    # AlexNet's pools need 63 pixels: 0.2 · 227 = 45 are too few, 0.3 · 227 = 68 are not.
    sweep = make("alexnet", Request("1:2:0.01", "1", "0.2:0.4:0.1"))
    chunk = next(sweep.chunks())
    assert_same(sweep, chunk, range(0, len(chunk), 10))
    assert (~chunk.built).sum() == 101
    assert "the image is too small" in sweep.reasons.first


@pytest.mark.parametrize("name", ["efficientnet-b0", "mobilenet-v2", "squeezenet-1.0"])
def test_a_class_ends_at_the_very_float(name):
    sweep = make(name, Request("0.5:3", "0.4:1.7", "0.5:1"), random=1000)
    arch = sweep.archs[0]
    job = sweep.job(0)
    found = evaluate.width_bounds(job, 0.4, 1.7, 1 << 20)

    def channels(width):
        net = scaled(arch, by_ratios(arch, width=width)).network
        return [p.shape for call in net.calls for p in call.params]

    for bound in np.random.default_rng(2).permutation(found[1:])[:12].tolist():
        # One class up to the float before the bound, another from it on.
        before = np.nextafter(bound, 0)
        assert channels(before) != channels(bound)
        place = np.searchsorted(found, [before, bound], side="right") - 1
        assert place[1] == place[0] + 1
        assert channels(float(found[place[0]])) == channels(before)
    for bound in evaluate.depth_bounds(job, 0.5, 3.0, 1 << 20)[1:].tolist():
        at = [scaled(arch, by_ratios(arch, d)).params for d in (np.nextafter(bound, 0), bound)]
        assert at[0] < at[1]


def test_random_numbers_depend_on_seed_axis_and_index_alone():
    def mix(z):
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return z ^ z >> 31

    golden = 0x9E3779B97F4A7C15
    index = [0, 1, 5, 10**15]
    for seed, stream in ((0, 0), (1, 2), (2**70 + 3, 7)):
        start = mix((mix((seed % 2**64 ^ seed >> 64) + golden) + (stream + 1) * golden) % 2**64)
        expected = [(mix((start + (i + 1) * golden) % 2**64) >> 11) * 2**-53 for i in index]
        assert uniform(seed, stream, np.array(index)).tolist() == expected
    many = uniform(3, 1, np.arange(100_000))
    assert len(np.unique(many)) == 100_000
    assert abs(many.mean() - 0.5) < 0.005  # five standard deviations of 1 / sqrt(12 · 100,000)


# --- selections --------------------------------------------------------------------------------

VALUES = st.lists(st.integers(0, 6), min_size=3, max_size=3)


@given(st.lists(VALUES, max_size=40), st.integers(1, 3), st.booleans())
def test_front_is_what_no_point_beats(rows, columns, ints):
    rows = [tuple(row[:columns]) for row in rows]
    kind = np.int64 if ints else object
    values = [np.array([row[i] for row in rows], kind) for i in range(columns)]

    def beaten(a, i):
        for j, b in enumerate(rows):
            less = all(x <= y for x, y in zip(b, a, strict=True))
            if less and (b != a or j < i):
                return True
        return False

    expected = {i for i, row in enumerate(rows) if not beaten(row, i)}
    assert set(front(values).tolist()) == expected


class Columns:
    """A stand-in for a chunk: columns of values, numbered from `start`."""

    def __init__(self, start, **columns):
        self.columns = {k: np.array(v) for k, v in columns.items()}
        self.index = np.arange(start, start + len(next(iter(self.columns.values()))))

    def __getitem__(self, key):
        return self.columns[key]


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=60), st.integers(1, 8), st.booleans())
def test_top_of_chunks_is_the_top_of_all(values, count, down):
    top = Top(count, Order("a", down))
    for start in range(0, len(values), 7):
        chunk = Columns(start, a=values[start : start + 7])
        top.add(chunk, np.arange(len(chunk.index)))
    order = sorted(range(len(values)), key=lambda i: (-values[i] if down else values[i], i))
    assert top.index.tolist() == order[:count]


@given(st.lists(VALUES, min_size=1, max_size=60))
def test_front_of_chunks_is_the_front_of_all(rows):
    kept = Front([Order("a"), Order("b", True), Order("c")])
    for start in range(0, len(rows), 7):
        part = rows[start : start + 7]
        chunk = Columns(start, **{k: [row[i] for row in part] for i, k in enumerate("abc")})
        kept.add(chunk, np.arange(len(part)))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    assert set(kept.index.tolist()) == set(front([columns[0], -columns[1], columns[2]]).tolist())


# --- the command -------------------------------------------------------------------------------

GRID = ["--depth", "1:2:0.5", "--width", "0.5:1.5:0.5", "--image-size", "160,224x320"]


def rows_of(*args):
    result = run("sweep", *args, "--format", "json")
    assert result.code == 0, result.err
    return json.loads(result.out)["rows"]


def test_rows_are_those_of_scale():
    mine = rows_of(*GRID)
    theirs = json.loads(run("scale", *GRID, "--format", "json").out)["rows"]
    key = lambda row: (row["depth"], row["width"], row["pixels"])  # noqa: E731
    assert len(mine) == 18
    for a, b in zip(sorted(mine, key=key), sorted(theirs, key=key), strict=True):
        assert a == {k: b[k] for k in a}


def test_where_pareto_and_top_are_what_a_plain_loop_keeps():
    rows = rows_of(*GRID)
    kept = [r for r in rows if 5_000_000 < r["params"] < 9_000_000 and r["macs"] >= 400_000_000]
    where = "5M < params < 9M and not macs < 400M"
    assert rows_of(*GRID, "--where", where) == kept
    assert kept
    most = sorted(rows, key=lambda r: -r["macs"])[:4]
    assert rows_of(*GRID, "--top", "4", "--by", "-macs") == most
    best = [
        r
        for r in rows
        if not any(
            o["params"] <= r["params"]
            and o["peak_activation_bytes"] >= r["peak_activation_bytes"]
            and o != r
            for o in rows
        )
    ]
    found = rows_of(*GRID, "--pareto", "params,-peak_activation_bytes")
    assert sorted(found, key=str) == sorted(best, key=str)


def test_formats_agree():
    as_csv = list(csv.DictReader(run("sweep", *GRID, "--format", "csv").out.splitlines()))
    lines = run("sweep", *GRID, "--format", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == rows_of(*GRID)
    assert [int(row["macs"]) for row in as_csv] == [row["macs"] for row in rows_of(*GRID)]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--where", "params <"], "--where: character 9, 'the end'"),
        (["--where", "prams < 3"], "character 1, 'prams': no figure is named that (did you mean"),
        (["--where", "macs ** 9 ** 9 < 3"], "character 1, 'macs ** 9 ** 9' is not allowed"),
        (["--where", "macs / (depth - 1) < 3"], "has no value: divide by zero"),
        (["--where", "macs"], "'macs' is not a condition"),
        (["--top", "3"], "--top and --by go together"),
        (["--top", "3", "--by", "pixel"], "'pixel' is no column of numbers (did you mean"),
        (["--pareto", "macs", "--top", "3", "--by", "macs"], "exclude each other"),
        (["--phi", "1", "--width", "2"], "exclude each other"),
        (["--alpha", "0.9"], "--alpha must be a finite number of at least 1"),
        (["--width", "-1:2"], "--width must be a finite number above zero"),
        (["--image-size", "16:17:0.5"], "16.5 is not a whole number of pixels"),
        (["--set", "sr=2"], "this network has no knobs"),
        (["--width", "0:1e9:1e-9"], "at most 1,000,000 are held"),
        (["--resume"], "--resume goes on with a file"),
        (["--random", "0"], "--random"),
        (["--width", "2:1", "--random", "3"], "runs backwards"),
    ],
)
def test_an_error_is_one_line_that_says_where(args, message):
    result = run("sweep", *args)
    assert result.code == 2
    assert message in result.error()


def test_where_does_not_wrap():
    # (5,288,548 · 385,814,752)^2 is 4e30: far beyond 2^63, and no less than 1.
    where = "params * macs * params * macs > 1e30"
    assert len(rows_of("--where", where)) == 1


def test_points_that_cannot_be_built_are_told_of():
    result = run("sweep", "alexnet", "--resolution", "0.1:1:0.1", "--format", "csv")
    assert len(result.out.splitlines()) == 1 + 8
    assert "2 of 10 points cannot be built; the first: " in result.err


def test_needs_numpy(monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "numpy" else real(name)
    )
    result = run("sweep")
    assert result.code == 3
    assert result.error() == "effcalc sweep needs numpy; pip install 'effcalc[sweep]'"


# --- interruption ------------------------------------------------------------------------------

BIG = ["--depth", "1:2", "--width", "0.5:1.5", "--resolution", "0.5:1.5", "--seed", "4"]


def start(*args, **more):
    command = [sys.executable, "-m", "effcalc", "sweep", *args]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env, **more)


def wait_for(condition, process):
    until = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.01)


def killed(process):
    process.kill()
    process.wait()
    process.stderr.close()


def chunks_done(path):
    return json.loads(path.read_text())["chunks"] if path.exists() else 0


def test_an_interrupted_sweep_says_how_to_go_on(tmp_path):
    process = start(*BIG, "--random", "10000000", "--output", str(tmp_path / "a.csv"))
    wait_for(lambda: chunks_done(tmp_path / "a.csv.state") >= 1, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr.read() == "effcalc: stopped; the same with --resume goes on\n"
    assert process.wait() == 130


def test_a_killed_sweep_goes_on_and_ends_as_if_it_had_not(tmp_path):
    # Three chunks of 131,072 points; killed once one is saved.
    args = [*BIG, "--random", "300000", "--columns", "depth,width,pixels,macs"]
    whole, file = tmp_path / "whole.csv", tmp_path / "points.csv"
    process = start(*args, "--output", str(file))
    state = tmp_path / "points.csv.state"
    wait_for(lambda: chunks_done(state) >= 1, process)
    killed(process)
    assert not file.exists()
    # What came after the state was saved does not count: half a line, and garbage.
    with (tmp_path / "points.csv.part").open("a") as part:
        part.write("1.5,0.7,2")
    refused = run("sweep", *args, "--output", str(file))
    assert refused.code == 2
    assert "give --resume" in refused.error()
    other = run(
        "sweep", *args, "--seed", "5", "--where", "macs > 1", "--output", str(file), "--resume"
    )
    assert other.code == 2
    assert "a sweep with another seed, where; give the options" in other.error()
    assert run("sweep", *args, "--output", str(file), "--resume").code == 0
    assert run("sweep", *args, "--output", str(whole)).code == 0
    assert file.read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["points.csv", "whole.csv"]


def test_a_killed_selection_goes_on(tmp_path):
    args = [*BIG, "--random", "15000000", "--pareto", "params,-macs"]
    file = tmp_path / "front.json"
    process = start(*args, "--output", str(file))
    state = tmp_path / "front.json.state"
    wait_for(lambda: chunks_done(state) >= 1, process)
    killed(process)
    assert json.loads(state.read_text())["kept"]
    assert run("sweep", *args, "--output", str(file), "--resume").code == 0
    assert json.loads(file.read_text())["rows"] == rows_of(*args)
    assert [p.name for p in tmp_path.iterdir()] == ["front.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"effcalc": "sweep", "chunks": -1}', "\0" * 9])
def test_a_state_that_is_none_is_refused(tmp_path, text):
    file = tmp_path / "a.csv"
    (tmp_path / "a.csv.state").write_text(text)
    result = run("sweep", "--output", str(file), "--resume")
    assert result.code == 2
    assert "is not the state of a sweep" in result.error()


def test_lost_rows_are_noticed(tmp_path):
    args = [*BIG, "--random", "9000000", "--columns", "macs", "--output", str(tmp_path / "a.csv")]
    process = start(*args)
    wait_for(lambda: chunks_done(tmp_path / "a.csv.state") >= 1, process)
    killed(process)
    (tmp_path / "a.csv.part").write_text("macs\n")
    result = run("sweep", *args, "--resume")
    assert result.code == 2
    assert "has lost rows" in result.error()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_points(tmp_path):
    peaks = []
    for count in (300_000, 3_000_000):
        process = start(*BIG, "--random", str(count), "--output", str(tmp_path / f"{count}.csv"))
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0
        peaks.append(usage.ru_maxrss)
    assert peaks[1] < peaks[0] * 1.15
    with (tmp_path / "3000000.csv").open() as file:
        assert sum(1 for _ in file) == 3_000_001


def test_figures_are_all_asked_for():
    # Every figure that can be wanted is one that a sweep computes, alone as with all others.
    text = Request("0.7:2:0.1", "0.5:1.5:0.1", "1,1.5")
    chunks = list(make("efficientnet-b0", text).chunks())
    for key in FIGURES:
        found = list(make("efficientnet-b0", text, wanted=(key,)).chunks())
        for a, b in itertools.zip_longest(chunks, found):
            assert (a[key] == b[key]).all()
    assert Reasons().first == ""
