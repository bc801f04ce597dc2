"""A child process ends with its limits, its parent and its answer, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from effcalc.base.process import Limits, peak_rss, run, run_all

MB = 10**6
AMPLE = Limits(seconds=60, memory=2000 * MB)

PARENT = """
import sys
sys.path[:0] = {path!r}
from effcalc.base.process import Limits, run
run("tests.process_child", {{"do": "hang", "pid_file": {pid_file!r}}}, Limits(120, 10**9))
"""


def ask(limits=AMPLE, **request):
    return run("tests.process_child", request, limits)


def gone(pid, seconds=20):
    """Whether a process ends within `seconds`; one that is dead but not reaped counts as ended."""
    for _ in range(int(seconds / 0.05)):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def written(path, seconds=30):
    for _ in range(int(seconds / 0.05)):
        if path.exists() and (text := path.read_text()):
            return int(text)
        time.sleep(0.05)
    raise AssertionError(f"nothing in {path}")


def test_an_answer_comes_back_with_seconds_and_peak():
    ended = ask(do="echo", value=[1, 10**30, "é"])
    assert ended.answer == {"value": [1, 10**30, "é"]}
    assert ended.cause == ""
    assert ended.seconds > 0
    # A bare interpreter has a few MB; the peak of this test process, which a forked child would
    # inherit in its resource usage, is not taken for the child's.
    assert 3 * MB < ended.peak < 200 * MB


def test_the_peak_is_the_childs_not_the_parents():
    ballast = bytearray(400 * MB)
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert peak_rss() > 400 * MB
    assert ask(do="echo", value=1).peak < 200 * MB


def test_what_a_child_prints_does_not_reach_its_answer():
    ended = ask(do="chat", value=7)
    assert ended.answer == {"value": 7}
    assert ended.said == "the last word"


def test_a_child_that_hangs_is_stopped():
    ended = ask(Limits(seconds=1, memory=2000 * MB), do="hang")
    assert ended.answer is None
    assert ended.cause == "stopped after 1.000 s (`time_limit`)"


def test_a_child_that_grows_is_stopped():
    ended = ask(Limits(seconds=60, memory=150 * MB), do="hog")
    assert ended.cause == "stopped at 150.0 MB of memory (`memory_limit`)"
    assert 150 * MB < ended.peak < 1000 * MB


@pytest.mark.parametrize(
    ("do", "cause"),
    [
        ("refuse", "no such thing; write another"),  # an effcalc error is its own sentence
        ("raise", "ValueError: two lines"),
        ("exit", "exit code 3: the reason"),
        ("segfault", "killed by SIGSEGV"),
    ],
)
def test_a_child_that_fails_says_why_in_one_line(do, cause):
    ended = ask(do=do)
    assert ended.answer is None
    assert ended.cause == cause


def test_nobody_answers_a_prompt():
    assert ask(do="prompt").answer == {"value": ""}


def test_the_working_directory_is_not_searched_for_modules(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('a stranger ran')")
    monkeypatch.chdir(tmp_path)
    ended = ask(do="modules")
    assert ended.answer is not None, ended.cause
    assert str(tmp_path) not in ended.answer["value"]


def test_a_grandchild_does_not_stay(tmp_path):
    pid_file = tmp_path / "pid"
    assert ask(do="spawn", pid_file=str(pid_file)).answer == {"value": 1}
    assert gone(written(pid_file))


def test_several_run_at_the_same_time_and_each_answers(tmp_path):
    """Each waits for the other's file, so neither would end alone."""
    names = [str(tmp_path / name) for name in "ab"]
    requests = [
        {"do": "meet", "pid_file": mine, "other": other} for mine, other in (names, reversed(names))
    ]
    ended = run_all("tests.process_child", requests, AMPLE)
    assert [e.answer for e in ended] == [{"value": 2}, {"value": 2}]


@pytest.mark.parametrize(
    ("do", "cause"),
    [("raise", "ValueError: two lines"), ("exit", "exit code 3: the reason")],
)
def test_where_one_fails_the_others_are_ended(tmp_path, do, cause):
    files = [tmp_path / "a", tmp_path / "b"]
    requests = [
        {"do": "hang", "pid_file": str(files[0])},
        {"do": do, "pid_file": str(files[1]), "wait_for": str(files[0])},
    ]
    first, second = run_all("tests.process_child", requests, AMPLE)
    assert (first.cause, second.cause) == ("stopped with the others", cause)
    assert min(first, second, key=lambda e: e.failed) is second
    assert all(gone(written(path)) for path in files)


def test_none_is_left_where_one_hangs(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    requests = [{"do": "hang", "pid_file": str(path)} for path in files]
    ended = run_all("tests.process_child", requests, Limits(seconds=1.5, memory=2000 * MB))
    assert "stopped after 1.500 s (`time_limit`)" in [e.cause for e in ended]
    assert all(gone(written(path)) for path in files)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_child_ends_with_its_parent(tmp_path, sign):
    pid_file = tmp_path / "pid"
    program = PARENT.format(path=[p for p in sys.path if p], pid_file=str(pid_file))
    parent = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    try:
        child = written(pid_file)
        assert os.getpgid(child) == child  # in a group of its own, so that no signal reaches it
        parent.send_signal(sign)
        parent.wait(20)
        assert gone(child)
    finally:
        parent.kill()
