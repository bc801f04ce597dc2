"""Statistics of timings, and what counts as a disturbance."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from effcalc.profiling.noise import Counters, disturbances, read_counters
from effcalc.profiling.statistics import percentile, summarize


def outside(n, k):
    """Probability that the median is not between the k-th smallest and the k-th largest of n."""
    return 2 * sum(math.comb(n, i) for i in range(k)) / 2**n


@pytest.mark.parametrize("n", [6, 7, 8, 9, 10, 20, 37, 100, 400])
def test_the_interval_is_the_narrowest_of_order_statistics_that_holds_95_percent(n):
    samples = [float(i) for i in range(n)]
    got = summarize(samples[::-1])
    k = int(got.low) + 1
    assert got.high == n - k  # as many are outside on either side
    assert outside(n, k) <= 0.05 < outside(n, k + 1)


def test_fewer_than_six_samples_have_their_range():
    # Even the extremes of five hold the median with 1 - 2/32 = 93.75% only.
    assert outside(5, 1) > 0.05 >= outside(6, 1)
    assert summarize([3.0, 1.0, 2.0, 5.0, 4.0])[3:] == (1.0, 5.0, 5)


def test_many_samples():
    # n = 10,000: np/2 - 0.98·sqrt(n) = 5000 - 98 below, by the normal approximation.
    assert summarize([float(i) for i in range(10_000)]).low == 4902


def test_percentiles_are_interpolated():
    # Five samples have their 10th percentile 0.4 of the way from the first to the second.
    assert percentile([0, 10, 20, 30, 40], 0.1) == 4
    assert percentile([0, 10, 20, 30, 40], 0.5) == 20
    assert percentile([7], 0.9) == 7
    got = summarize([1.0, 3.0])
    assert (got.median, got.precision) == (2.0, 0.5)


QUIET = Counters(own=0, faults=0, switches=0, busy=0, stolen=0, all=0, throttled=0)
STEADY = [1.0, 1.01, 1.02, 0.99, 0.98, 1.0, 1.01, 1.0, 0.99, 1.0, 1.0, 1.0]


def after(**changes):
    """Counters after twelve runs of 1 s on two processors with nothing else going on."""
    return replace(QUIET, own=24, busy=24, all=24, **changes)


def test_a_quiet_machine_says_nothing():
    assert disturbances(QUIET, after(), STEADY, 2) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"busy": 24, "own": 12}, "other processes used 50% of the processors"),
        ({"stolen": 2.4}, "the hypervisor took 10% of the processors' time (steal)"),
        ({"throttled": 3}, "the processor was throttled 3 times"),
        # 12 runs x 400,000 faults x 0.25 µs = 0.1 s of each second.
        ({"faults": 4_800_000}, "400,000 page faults a run, roughly 10% of the time"),
        ({"switches": 1200}, "100 involuntary context switches a run"),
    ],
)
def test_what_the_system_counts(changes, said):
    counted = replace(after(), **changes)
    assert any(text.startswith(said) for text in disturbances(QUIET, counted, STEADY, 2))


def test_spinning_threads_are_named_where_others_want_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    busy = replace(after(), own=12)
    assert any("OMP_WAIT_POLICY=PASSIVE" in t for t in disturbances(QUIET, busy, STEADY, 2))
    assert not any("OMP_WAIT" in t for t in disturbances(QUIET, busy, STEADY, 1))
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    assert not any("OMP_WAIT" in t for t in disturbances(QUIET, busy, STEADY, 2))


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([1.0, 1.0], "2 runs are too few"),
        ([1.0, 1.2, 0.8, 1.1, 0.9, 1.0], "the median is known to ±20% only"),
        ([1.0] * 8 + [2.0] * 4, "runs differ by 100% (p10 to p90)"),
        ([1.0] * 6 + [1.2] * 6, "the second half of the runs is +20% against the first"),
    ],
)
def test_what_the_samples_say(samples, said):
    assert any(said in text for text in disturbances(QUIET, after(), samples, 1))


def test_counters_are_read_from_the_system(tmp_path):
    (tmp_path / "proc").mkdir()
    # user 100, nice 0, system 50, idle 800, iowait 20, irq 5, softirq 5, steal 20: 1000 ticks.
    text = "cpu  100 0 50 800 20 5 5 20 0 0\ncpu0 1 1 1\n"
    (tmp_path / "proc/stat").write_text(text)
    cpu = tmp_path / "sys/devices/system/cpu/cpu0/thermal_throttle"
    cpu.mkdir(parents=True)
    (cpu / "core_throttle_count").write_text("2\n")
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "cpu.stat").write_text("usage_usec 5\nnr_periods 3\nnr_throttled 4\n")
    got = read_counters(tmp_path)
    assert (got.all, got.stolen, got.busy, got.throttled) == (10, 0.2, pytest.approx(1.6), 6)
    assert got.own > 0


def test_a_system_that_says_nothing_is_no_disturbance(tmp_path):
    got = read_counters(tmp_path)
    assert (got.all, got.busy, got.throttled) == (None, None, None)
    assert disturbances(got, got, STEADY, 2) == []
