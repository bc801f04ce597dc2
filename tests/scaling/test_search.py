"""STEP 1: candidates, the objective, and that no candidate is lost or counted twice."""

from __future__ import annotations

import collections
import itertools
import json
import math
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from effcalc.base.errors import InputError
from effcalc.scaling.scale import scale
from effcalc.scaling.search.candidates import Candidate, filled, grid, ranking, reward
from effcalc.scaling.search.study import read_progress
from tests.cli_helpers import run

ROOT = Path(__file__).parents[2]

# The accuracy is best at the paper's own bases; what was begun and finished goes to a file.
TRAIN = """
import os, sys, time
a, b, g = map(float, sys.argv[1:4])
def tell(what):
    with open("log", "a") as file:
        file.write(f"{what} {a} {b} {g}\\n")
tell("begun")
time.sleep(float(sys.argv[4]))
tell("done")
print("epoch 1: loss 0.1")
print(0.8 - (a - 1.2) ** 2 - (b - 1.1) ** 2 - (g - 1.15) ** 2)
"""
BASES = ["--alpha", "1.2", "--beta", "1:1.2:0.05", "--gamma", "1:1.3:0.05"]
COUNT = 9  # from 1.2 · 1.05² · 1.2² = 1.905 to 1.2 · 1.15² · 1.15² = 2.099


def evaluation(seconds=0.0):
    return ["--evaluate", f"{sys.executable} train.py {{alpha}} {{beta}} {{gamma}} {seconds}"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(TRAIN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_of(*args):
    result = run("search", *args, "--format", "json")
    assert result.code == 0, result.err
    return json.loads(result.out)["rows"]


def bases(row):
    return row["alpha"], row["beta"], row["gamma"]


def log(folder, what="done"):
    path = folder / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in lines if line.startswith(what)]


# --- candidates --------------------------------------------------------------------------------


def test_candidates_are_what_doubles_the_cost():
    found = {bases(row): row for row in rows_of()}
    assert (1.2, 1.1, 1.15) in found  # 1.2 · 1.1² · 1.15² = 1.92027
    assert math.isclose(found[1.2, 1.1, 1.15]["product"], 1.92027)
    tenths, twentieths = ([Fraction(n + i, n) for i in range(k)] for n, k in ((10, 11), (20, 9)))
    points = itertools.product(tenths, twentieths, twentieths)
    expected = [p for p in points if abs(p[0] * p[1] ** 2 * p[2] ** 2 - 2) <= Fraction(1, 10)]
    assert len(found) == len(expected)
    for row in found.values():
        at = scale(phi=1, alpha=row["alpha"], beta=row["beta"], gamma=row["gamma"])
        assert (row["params"], row["macs"], row["growth"]) == (at.params, at.macs, at.growth)


def test_the_tolerance_is_of_the_product():
    # 1.25 · 1.2² · 1.05² = 1.9845; 1.28 · 1.25² = 2 but for the last bits.
    assert grid([1.25], [1.2], [1.05], 0.016) == [Candidate(1.25, 1.2, 1.05)]
    with pytest.raises(InputError, match="no candidate has"):
        grid([1.25], [1.2], [1.05], 0.015)
    assert len(grid([1.28], [1.25], [1.0], 0.0)) == 1


def test_objective():
    # Table 1 of MnasNet's appendix has no such row: 0.8 · (200 / 400)^-0.07 = 0.8 · 2^0.07.
    assert math.isclose(reward(0.8, 200, 400, -0.07), 0.8 * 1.0497166836)
    # "doubling the latency usually brings about 5% relative accuracy gain": 2^-0.07 = 0.9526.
    assert math.isclose(reward(1, 2, 1, -0.07), 0.95263799804)
    costs = [100.0, 200.0, 400.0, 100.0]
    accuracies = {0: 0.70, 1: 0.74, 2: 0.76, 3: 0.70}
    # 0.70, 0.74 · 0.95264 = 0.70495, 0.76 · 0.90752 = 0.68971; equals keep their order.
    assert ranking(costs, accuracies, 100, -0.07) == [1, 0, 3, 2]
    assert ranking(costs, accuracies, 12345, -0.07) == [1, 0, 3, 2]  # T changes no order
    assert ranking(costs, accuracies, 100, 0) == [2, 1, 0, 3]


ACCURACIES = """alpha,beta,gamma,accuracy,note
1.2,1.1,1.15,77.1,the paper's
1.4,1.0,1.2,76.0,deep
1.0,1.4,1.0,75.9,wide
2.0,2.0,2.0,80,far too large
"""


def test_accuracies_from_a_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(ACCURACIES)
    rows = rows_of("--accuracy", str(path), "--target", "800M")
    by = {bases(r): r for r in rows}
    assert len(by) == 3
    for row in rows:
        cost = row["macs"] / 800e6
        assert math.isclose(row["reward"], row["accuracy"] * cost**-0.07)
        assert row["cost"] == row["macs"]
    assert [r["reward"] for r in rows] == sorted((r["reward"] for r in rows), reverse=True)
    # Without a price on cost the most accurate is best.
    assert bases(rows_of("--accuracy", str(path), "--exponent", "0")[0]) == (1.2, 1.1, 1.15)


@pytest.mark.parametrize(
    ("cost", "of"),
    [
        ("params", lambda r: r["params"]),
        ("memory", lambda r: r["weight_bytes"] + r["buffer_bytes"] + r["peak_activation_bytes"]),
        ("communication", lambda r: r["gradient_bytes"]),
    ],
)
def test_costs(tmp_path, cost, of):
    path = tmp_path / "a.csv"
    path.write_text(ACCURACIES)
    for row in rows_of("--accuracy", str(path), "--cost", cost):
        assert row["cost"] == of(row)


def test_latency_of_saved_profiles(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(ACCURACIES)
    from effcalc.output.table import Column, Table

    columns = (Column("batch", "batch", "int"), Column("latency", "latency", "seconds"))
    for name, seconds in (("1.2-1.1", 0.02), ("1.4-1", 0.01), ("1-1.4", 0.04)):
        table = Table("profile", "p", columns, [{"batch": 1, "latency": seconds}])
        (tmp_path / f"{name}.json").write_text(table.render("json"))
    profiles = str(tmp_path / "{alpha}-{beta}.json")
    rows = rows_of("--accuracy", str(path), "--cost", "latency", "--profiles", profiles)
    assert {bases(r): r["cost"] for r in rows} == {
        (1.2, 1.1, 1.15): 0.02,
        (1.4, 1.0, 1.2): 0.01,
        (1.0, 1.4, 1.0): 0.04,
    }
    assert bases(rows[0]) == (1.4, 1.0, 1.2)  # 76.0 · 2^0.07 = 79.8 against 77.1
    (tmp_path / "1-1.4.json").unlink()
    result = run("search", "--accuracy", str(path), "--cost", "latency", "--profiles", profiles)
    assert result.code == 2
    assert "1-1.4.json: cannot be read" in result.error()


def test_the_plot_of_the_front(tmp_path):
    from effcalc.cli.output import captured
    from effcalc.output.plots.style import THEMES, PlotLook

    path, saved = tmp_path / "a.csv", tmp_path / "s.json"
    path.write_text(ACCURACIES)
    assert run("search", "--accuracy", str(path), "-o", str(saved)).code == 0
    rows = json.loads(saved.read_text())["rows"]
    with captured() as plots:
        assert run("plot", "front", str(saved), "-o", str(tmp_path / "f.svg")).code == 0
    data = plots[0].plot.draw(PlotLook(THEMES["light"], 720)).to_dict()["datasets"].values()
    drawn = {r["label"]: r for records in data for r in records}
    assert len(drawn) == 3
    for row in rows:
        label = ", ".join(f"{row[key]:g}" for key in ("alpha", "beta", "gamma"))
        assert (drawn[label]["cost"], drawn[label]["accuracy"]) == (row["macs"], row["accuracy"])
        beaten = any(o["macs"] <= row["macs"] and o["accuracy"] > row["accuracy"] for o in rows)
        assert (drawn[label]["kind"] == "candidate") == beaten
    assert drawn[", ".join(f"{rows[0][k]:g}" for k in ("alpha", "beta", "gamma"))]["kind"] == (
        "best reward"
    )
    empty = tmp_path / "e.json"
    for args, message in (
        ([], "no candidate has an accuracy"),
        (None, "no table of effcalc search"),
    ):
        made = (
            run("search", *args, "-o", str(empty))
            if args is not None
            else run("scale", "-o", str(empty))
        )
        assert made.code == 0
        result = run("plot", "front", str(empty), "-o", str(tmp_path / "f.svg"))
        assert result.code == 2
        assert message in result.error()


def test_then_scale_is_the_family_of_the_best(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(ACCURACIES)
    rows = rows_of("--accuracy", str(path), "--exponent", "0", "--then-scale", "0:7")
    assert [row["phi"] for row in rows] == list(range(8))
    # The paper's bases: the family is the one that `effcalc scale` has by default.
    theirs = json.loads(run("scale", "--phi", "0:7", "--format", "json").out)["rows"]
    assert rows == theirs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column alpha, beta, gamma, accuracy"),
        ("alpha,beta,gamma\n", "has no column accuracy"),
        ("alpha,beta,gamma,accuracy\n1.2,1.1,1.15,\n", "line 2: accuracy: '' is not a number"),
        ("alpha,beta,gamma,accuracy\n1.2,1.1,1.15,nan\n", "line 2: accuracy: 'nan' is not a"),
        ("alpha,beta,gamma,accuracy\n1.2,1.1,1.15,101\n", "line 2: an accuracy is from 0 to 1"),
        ("alpha,beta,gamma,accuracy\n" + "1.2,1.1,1.15,1\n" * 2, "line 3: is the second for α"),
        ("alpha,beta,gamma,accuracy\n3,1,1,1\n", "no candidate has |α·β²·γ² − 2| <= 0.1"),
        ('alpha,beta,gamma,accuracy\n"1.2', "is not CSV"),
    ],
)
def test_a_bad_file_is_one_line_that_says_where(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    result = run("search", "--accuracy", str(path))
    assert result.code == 2
    assert message in result.error()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["--cost", "mac"],
            "'mac' is not one of macs, params, memory, communication, latency (did",
        ),
        (["--cost", "latency"], "--profiles"),
        (["--evaluate", "x", "--accuracy", "y.csv"], "exclude each other"),
        (["--resume"], "--evaluate is missing"),
        (["--evaluate", "x", "--worker"], "--worker joins a search in a database"),
        (["--evaluate", "x {wide}"], "there is no value {wide}"),
        (["--evaluate", "x 'y"], "cannot be split"),
        (["--evaluate", ""], "give a command"),
        (["--then-scale", "0:7"], "needs a best candidate"),
        (["--alpha", "0.9", "--tolerance", "3"], "--alpha must be a finite number of at least 1"),
        (["--evaluate", "x", "--storage", "sqlite:///a"], "give postgresql://"),
        (["--evaluate", "x", "--storage", "postgresql://127.0.0.1:1/x"], "--storage: "),
        (["--evaluate", "x", "--status", "--study", "nowhere"], "there is no file 'nowhere'"),
    ],
)
def test_bad_options_are_one_line(folder, args, message):
    result = run("search", *args)
    assert result.code in (2, 3)
    assert message in result.error()


def test_values_go_into_words_and_nothing_else():
    values = {"d": "1.2", "px": "258"}
    assert filled("a{d}b{px}", values, "o") == "a1.2b258"
    assert filled('{"lr": 0.1} {} {0} {d!r} ${d}', values, "o") == '{"lr": 0.1} {} {0} {d!r} $1.2'


# --- evaluation --------------------------------------------------------------------------------


def test_every_candidate_is_evaluated_once(folder):
    rows = rows_of(*BASES, *evaluation(), "--jobs", "3", "--exponent", "0")
    assert bases(rows[0]) == (1.2, 1.1, 1.15)
    assert math.isclose(rows[0]["accuracy"], 0.8)
    assert len(rows) == len(log(folder)) == len(set(log(folder))) == COUNT
    assert rows_of(*BASES, *evaluation(), "--resume", "--exponent", "0") == rows
    assert len(log(folder)) == COUNT


def test_no_shell_sees_the_command(folder):
    words = ["--evaluate", f"{sys.executable} -c 'print(0.5)' ; touch shell $HOME > out"]
    rows_of(*BASES, *words)
    assert sorted(p.name for p in folder.iterdir()) == ["efficientnet-b0.search", "train.py"]


@pytest.mark.parametrize(
    ("program", "cause"),
    [
        ("pass", "the last line of stdout must be the accuracy: it printed nothing"),
        ("print('acc 0.5')", "must be the accuracy: the last line: 'acc 0.5' is not a number"),
        ("print(float('nan'))", "'nan' is not a number"),
        ("print(-0.5)", "an accuracy is from 0 to 1"),
        ("import sys; print(0.5); sys.exit('no data')", "exit code 1: no data"),
        ("import os; print(0.5, flush=True); os.kill(os.getpid(), 9)", "exit code -9: 0.5"),
    ],
)
def test_a_command_without_an_accuracy(folder, program, cause):
    (folder / "bad.py").write_text(f"open('log', 'a').write('done\\n')\n{program}\n")
    result = run("search", *BASES, "--evaluate", f"{sys.executable} bad.py")
    assert result.code == 4
    assert "--evaluate: nothing but failures; the first: α = 1.2, β = 1" in result.error()
    assert cause in result.error()
    assert len(log(folder)) == 3


def test_a_command_that_takes_too_long(folder):
    args = [*BASES, *evaluation(60), "--time-limit", "0.5", "--jobs", "3"]
    result = run("search", *args)
    assert result.code == 4
    assert "stopped after 500.0 ms (--time-limit)" in result.error()


def test_a_program_that_is_not_there(folder):
    result = run("search", *BASES, "--evaluate", "no-such-program {d}", "--retries", "0")
    assert result.code == 4
    assert "cannot run 'no-such-program': No such file or directory" in result.error()


def test_what_is_done_is_kept_when_some_fail(folder):
    # The two candidates with γ of at least 1.25 fail, until there is a file that says otherwise.
    (folder / "some.py").write_text(
        "import os, sys\n"
        "if float(sys.argv[1]) >= 1.25 and not os.path.exists('fixed'): sys.exit('too large')\n"
        "open('log', 'a').write(f'done {sys.argv[1:]}\\n')\n"
        "print(0.5)\n"
    )
    args = [*BASES, "--evaluate", f"{sys.executable} some.py {{gamma}} {{beta}}", "--retries", "0"]
    result = run("search", *args, "--format", "json")
    assert result.code == 4
    rows = json.loads(result.out)["rows"]
    bad = [row for row in rows if row["failed"]]
    assert sorted(row["gamma"] for row in bad) == [1.25, 1.3]
    assert bad[0]["failed"] == "exit code 1: too large"
    assert f"{len(bad)} of {COUNT} candidates have no result" in result.err
    good = len(log(folder))
    assert good == COUNT - len(bad) > 0
    (folder / "fixed").touch()
    args[-1] = "1"
    rows = rows_of(*args, "--resume")
    assert all(row["accuracy"] == 0.5 for row in rows)
    assert len(log(folder)) == COUNT


def test_status_changes_nothing(folder):
    args = [*BASES, *evaluation()]
    rows_of(*args)
    before = (folder / "efficientnet-b0.search").read_bytes()
    result = run("search", *args, "--status", "--format", "json")
    assert (
        f"{COUNT} of {COUNT} evaluated, 0 under way, 0 waiting, 0 given up"
        in json.loads(result.out)["notes"]
    )
    assert (folder / "efficientnet-b0.search").read_bytes() == before


def test_a_study_of_something_else_is_refused(folder):
    rows_of(*BASES, *evaluation())
    for args, what in (
        ([*BASES, *evaluation()], "is there already; give --resume"),
        ([*BASES, *evaluation(1), "--resume"], "another evaluate"),
        ([*BASES, *evaluation(), "--phi", "2", "--resume"], "another phi"),
        ([*BASES, *evaluation(), "--tolerance", "0.2", "--resume"], "another candidates"),
        ([*evaluation(), "--study", "train.py", "--resume"], "is not the file of a search"),
    ):
        result = run("search", *args)
        assert result.code == 2
        assert what in result.error()
    assert (folder / "train.py").read_text() == TRAIN


# --- death -------------------------------------------------------------------------------------


def start(folder, *args):
    command = [sys.executable, "-m", "effcalc", "search", *BASES, *args, "--format", "json"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=env, stdout=pipe, stderr=pipe, text=True)


def wait_for(condition, process, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.02)


def kill(process):
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()


def test_the_owner_of_a_local_study_may_be_killed_at_any_time(folder):
    args = [*evaluation(0.3), "--jobs", "2", "--exponent", "0"]
    file = folder / "efficientnet-b0.search"
    done = 0
    for more in ([], ["--resume"]):
        process = start(folder, *args, *more)
        wait_for(lambda done=done: len(log(folder)) > done, process)
        other = run("search", *BASES, *args, "--resume")
        assert other.code == 2
        assert "another search is at work" in other.error()
        kill(process)
        time.sleep(0.6)  # an evaluation that outlived its owner would be done by now
        done = len(log(folder))
        time.sleep(0.6)
        assert len(log(folder)) == done
        with file.open("ab") as end:
            end.write(b'{"op_code":5,"worker')  # killed in the middle of a line
    rows = rows_of(*BASES, *args, "--resume")
    assert bases(rows[0]) == (1.2, 1.1, 1.15)
    assert all(row["accuracy"] is not None for row in rows)
    journal = optuna.storages.journal.JournalFileBackend(str(file))
    study = optuna.load_study(study_name="effcalc", storage=optuna.storages.JournalStorage(journal))
    assert_each_counts_once(study, COUNT)
    # What was done before a kill is not done again, but for what was not told yet: 2 jobs each.
    counts = collections.Counter(log(folder))
    assert len(counts) == COUNT
    assert sum(counts.values()) <= COUNT + 2 * 2


def assert_each_counts_once(study, count):
    complete = [t for t in study.get_trials() if t.state == TrialState.COMPLETE]
    assert sorted(t.user_attrs["candidate"] for t in complete) == list(range(count))
    found = read_progress(study, count, 1)
    assert (found.running, found.waiting, found.failed) == (0, 0, {})


def test_interrupted_evaluations_end(folder):
    process = start(folder, *evaluation(30), "--jobs", "2")
    wait_for(lambda: len(log(folder, "begun")) == 2, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert process.stderr.read() == ""
    assert log(folder) == []


@pytest.fixture(scope="module")
def postgres():
    """A PostgreSQL server of its own, by Debian's package `postgresql`."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not homes:
        pytest.skip("needs the server programs of PostgreSQL")
    pytest.importorskip("psycopg")
    folder = Path(tempfile.mkdtemp(prefix="effcalc-"))
    who = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    data, tools = folder / "data", homes[-1]
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder, **who}
    subprocess.run([tools / "initdb", "-D", data, "-A", "trust", "-U", "me"], **quiet)
    options = f"-c listen_addresses= -c unix_socket_directories={folder}"
    control = [tools / "pg_ctl", "-D", data, "-w", "-o", options, "-l", folder / "log"]
    subprocess.run([*control, "start"], **quiet)
    try:
        yield f"postgresql://me@/postgres?host={folder}", control, quiet
    finally:
        subprocess.run([tools / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(folder)


@pytest.mark.slow
def test_workers_on_postgresql_may_be_killed(folder, postgres):
    url, *_ = postgres
    shared = [*evaluation(1), "--storage", url, "--heartbeat", "1", "--exponent", "0"]
    workers = [start(folder, *shared, "--worker") for _ in range(4)]
    try:
        wait_for(lambda: len(log(folder, "begun")) >= 4, workers[0])
        for worker in workers[:2]:
            kill(worker)
        workers[:2] = [start(folder, *shared, "--worker") for _ in range(2)]
        for worker in workers:
            out, err = worker.communicate(timeout=120)
            assert (worker.returncode, out, err) == (0, "", "")
    finally:
        for worker in workers:
            worker.kill()
    rows = rows_of(*BASES, *shared)
    assert bases(rows[0]) == (1.2, 1.1, 1.15)
    assert all(row["accuracy"] is not None for row in rows)
    study = optuna.load_study(
        study_name="effcalc-efficientnet-b0", storage=url.replace("://", "+psycopg://")
    )
    assert_each_counts_once(study, COUNT)
    counts = collections.Counter(log(folder))
    assert len(counts) == COUNT
    assert sum(counts.values()) <= COUNT + 2  # two were killed, perhaps between done and told
    status = run("search", *BASES, *shared, "--status", "--format", "json")
    assert f"{COUNT} of {COUNT} evaluated" in status.out


@pytest.mark.slow
def test_a_database_may_be_away_for_a_while(folder, postgres):
    url, control, quiet = postgres
    process = start(
        folder, *evaluation(1), "--storage", url, "--study", "away", "--heartbeat", "1",
        "--jobs", "2",
    )  # fmt: skip
    wait_for(lambda: len(log(folder, "begun")) >= 2, process)
    subprocess.run([*control, "-m", "immediate", "restart"], **quiet)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert all(row["accuracy"] is not None for row in json.loads(out)["rows"])
    assert len(set(log(folder))) == COUNT
