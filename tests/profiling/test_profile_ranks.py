"""Profiles of several ranks: what torchrun says, one merged table, communication as a row."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from effcalc.base.errors import InputError
from effcalc.profiling.live.ranks import Ranks, launched
from effcalc.profiling.live.run import measurements, prepared
from effcalc.profiling.live.subject import from_module
from effcalc.profiling.parts import breakdown_table
from effcalc.profiling.records import COMMUNICATION, Owner, TimeKey
from effcalc.profiling.results import Measurement, Profile, Profiled, mean_of
from effcalc.profiling.settings import ProfileSettings
from effcalc.profiling.statistics import summarize
from effcalc.profiling.summary import profile_table
from tests.profile_targets import Small

CONV = Owner("layer", "conv")


def recorded(computing, talking):
    parts = {
        TimeKey(CONV, "forward", "aten::x"): computing,
        TimeKey(COMMUNICATION, "", "gloo:all_reduce"): talking,
    }
    calls = dict.fromkeys(parts, 1.0)
    samples = {CONV: (computing,) * 2, COMMUNICATION: (talking,) * 2}
    return Profiled(computing + talking, computing + talking, parts, calls, samples, 2)


def test_ranks_are_averaged_and_the_slowest_is_said():
    # Rank 0 computes 1 s and waits 3 for rank 1, which computes 3 s: 4 s each.
    ranks = [recorded(1.0, 3.0), recorded(3.0, 1.0)]
    mean = mean_of(ranks)
    assert mean.time == 4
    assert mean.parts[TimeKey(CONV, "forward", "aten::x")] == 2
    rows = [
        Measurement(8, "fp32", "train", summarize([4.0]), profiled=p, rank=i)
        for i, p in enumerate(ranks)
    ]
    profile = Profile("net", tuple(rows), {"ranks": 2, "backend": "gloo"})
    table = breakdown_table(profile, "layer")
    by_name = {row["name"]: row for row in table.rows}
    assert (by_name["conv"]["time"], by_name["conv"]["slowest"]) == (2, 3)
    assert by_name["(communication)"]["time"] == 2
    assert table.total is not None
    assert table.total["time"] == 4
    assert [row["rank"] for row in profile_table(profile).rows] == [0, 1]


def test_what_torchrun_says(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert launched() is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="run under torchrun"):
        launched()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert launched() == Ranks(1, 2, 1)
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(InputError, match="RANK=2 is not below"):
        launched()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_a_rank_trains_through_ddp(monkeypatch):
    # One rank alone: the same code, whose all-reduce is with itself.
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_ADDR", "127.0.0.1"),
                        ("MASTER_PORT", str(free_port()))):  # fmt: skip
        monkeypatch.setenv(name, value)
    settings = ProfileSettings("train", device="cpu", repeat=3, warmup=1, ranks=Ranks(0, 1, 0))
    source = from_module(Small(), torch.rand(2, 3, 8, 8), None)
    with prepared(settings) as (device, where):
        (m,) = measurements("Small", source, (None,), settings, device)
    assert (where["ranks"], where["backend"]) == (1, "gloo")
    assert m.profiled is not None
    assert sum(m.profiled.parts.values()) == pytest.approx(m.profiled.time)
    owners = {part.owner for part in m.profiled.parts}
    assert {COMMUNICATION, Owner("layer", "body.0.conv"), Owner("optimizer")} <= owners
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
def test_torchrun_prints_one_table():
    program = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
               f"--master-port={free_port()}", "-m", "effcalc", "profile",
               "tests.profile_targets:small", "--device", "cpu", "--mode", "train",
               "--per", "layer", "--repeat", "6", "--format", "json"]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(program, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)  # one, though two ran
    by_name = {row["name"]: row for row in document["rows"]}
    assert by_name["(communication)"]["time"] > 0
    assert by_name["head"]["slowest"] >= by_name["head"]["time"]
    assert document["environment"]["ranks"] == 2
