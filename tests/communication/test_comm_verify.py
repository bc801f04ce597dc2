"""Predicted bytes against those of real gloo ranks: to the byte, and told where they differ."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from effcalc.base import sockets
from effcalc.base.errors import NeedsError, RunError
from effcalc.cli import comm_verify
from effcalc.communication import buckets
from effcalc.communication.core import Collective, Phase
from effcalc.communication.model import training_model
from effcalc.communication.strategies import STRATEGIES, Setup
from effcalc.communication.verify import alone, compare, difference, phases
from effcalc.scaling.request import ScalingRequest, one_network
from tests.base.test_process import gone
from tests.cli_helpers import run

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO is Linux's")

SQUEEZENET = ("squeezenet-1.1", ScalingRequest(image_size="64", classes=10))
RESNET = ("resnet-18", ScalingRequest(image_size="32", width="0.25"))
B0 = ("efficientnet-b0", ScalingRequest(image_size="32", width="0.5"))
SMALL = [
    (*SQUEEZENET, "ddp", Setup()),
    (*RESNET, "ddp", Setup("float16", accumulate=2)),
    (*RESNET, "ddp", Setup("bfloat16")),
    (*B0, "ddp", Setup(accumulate=3)),
    (*RESNET, "fully-shard", Setup()),
    (*RESNET, "fully-shard", Setup(reshard=False, unit="stage", accumulate=2)),
    (*SQUEEZENET, "fully-shard", Setup("bfloat16", unit="all")),
    (*B0, "fully-shard", Setup(unit="stage")),
]
MIB = 1 << 20


def collectives(n: int) -> list[tuple[str, int, int, int]]:
    """Each collective: uneven, and over 2n segments of 1 MiB."""
    made = []
    for elements, element in ((1001, 2), (7 * MIB // 4 + 3, 4)):
        whole = n * elements * element
        made += [("all_reduce", elements * element, element, 0)]
        made += [(op, elements * element, element, n - 1) for op in ("broadcast", "reduce")]
        made += [("reduce", elements * element, element, 0)]
        made += [(op, whole, element, 0) for op in ("all_gather", "reduce_scatter", "all_to_all")]
        made += [(op, whole, element, 1) for op in ("gather", "scatter")]
    return [*made, ("barrier", 0, 1, 0)]


def asked(network: str, scaling: ScalingRequest, strategy: str, setup: Setup) -> dict:
    return {
        "network": network,
        "scaling": asdict(scaling),
        "strategy": strategy,
        "setup": asdict(setup),
    }


def expected(runs: list, run: int, answers: list):
    """What is predicted for a run: every phase of the plan was run, and perhaps others."""
    network, scaling, strategy, setup = runs[run]
    model = training_model(one_network(network, scaling, "test").network)
    plan = STRATEGIES[strategy].plan(model, setup, len(answers))
    ran = phases(plan, answers[0], run)
    assert {phase.name for phase in plan.phases} <= {phase.name for phase in ran}
    return ran


@pytest.fixture(scope="module", params=[2, 3])
def answers(request):
    """What real ranks answered to all of the small runs, and to each collective alone."""
    runs = [asked(*one) for one in SMALL]
    return comm_verify.start(
        [*runs, {"collectives": collectives(request.param)}], request.param, 240
    )


@pytest.mark.parametrize("run", range(len(SMALL)), ids=lambda i: f"{SMALL[i][0]}-{SMALL[i][2]}-{i}")
def test_every_rank_and_phase_is_to_the_byte(answers, run):
    rows = compare(expected(SMALL, run, answers), answers, run)
    assert [(r.phase, r.rank, r.off) for r in rows if r.off] == []
    assert [r.differs for r in rows if r.differs] == []
    assert {r.rank for r in rows} == set(range(len(answers)))
    steady = [r for r in rows if r.phase == "steady step"]
    assert all(r.sent > 0 and r.received > 0 for r in steady)


def test_each_collective_alone_is_to_the_byte(answers):
    n = len(answers)
    single = [
        Phase(f"{op} of {size}", (Collective(op, size, "", element, root=root),))
        for op, size, element, root in collectives(n)
    ]
    rows = compare(single, answers, len(SMALL))
    assert [(r.phase, r.rank, r.wire, r.predicted) for r in rows if r.off] == []
    assert [r.differs for r in rows if r.differs] == []
    assert len(rows) == n * len(single)


def cli(monkeypatch, answers, *args, again=None):
    """Run the command on answers that real ranks gave before."""
    given = iter([answers, again])
    monkeypatch.setattr(comm_verify, "start", lambda runs, ranks, seconds: next(given))
    return run("comm", "squeezenet-1.1", "--image-size=64", "--classes=10", "--verify", *args)


def test_what_holds_is_a_table_and_0(answers, monkeypatch):
    result = cli(monkeypatch, answers, "-n", str(len(answers)), "--tolerance", "0")
    assert result.code == 0, result.err
    phases_ = 4 * len(answers)
    assert f"{phases_} of {phases_} to the byte" in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_a_wrong_prediction_is_named_and_1(answers, monkeypatch):
    """Were buckets of 1 MB, SqueezeNet's 2.9 MB would be cut where torch does not cut them."""
    monkeypatch.setattr(buckets, "BUCKET", 10**6)
    result = cli(monkeypatch, answers, "--tolerance", "100%")
    assert result.code == 1
    assert "second step, collective 2: predicted broadcast of" in result.err
    assert "(sizes of buckets), torch ran broadcast of" in result.err
    assert "steady step" in result.out  # the table comes all the same


def test_bytes_that_differ_alone_are_named(answers, monkeypatch):
    """The right collectives, but a gloo of other segments: which one is it that sends more?"""
    import copy

    changed = copy.deepcopy(answers)
    for phase in changed[0]["runs"][0]:
        if phase["name"] == "first step":
            phase["wire"] = (phase["wire"][0] + 48_000, phase["wire"][1])
    single = alone(expected(SMALL, 0, answers))
    again = [{"runs": [[]], "environment": a["environment"]} for a in answers]
    for rank, answer in enumerate(again):
        for phase in single:
            [c] = phase.collectives
            [row] = [r for r in compare([phase], _exact(phase, len(answers))) if r.rank == rank]
            more = 48_000 if c.op == "all_reduce" and rank == 0 else 0
            answer["runs"][0].append(
                {
                    "wire": (row.wire[0] + more, row.wire[1]),
                    "listed": [(c.op, c.size, c.element, c.root)],
                    "recorded": [(c.op, c.size, c.element, 0)],
                }
            )
    result = cli(monkeypatch, changed, again=again)
    assert result.code == 1
    assert "first step, rank 0: off by +48,000 bytes; all_reduce of" in result.err
    assert "alone, rank 0: off by +48,000 bytes" in result.err


def _exact(phase, n):
    """Answers that are what is predicted, for their wire figures."""
    from effcalc.communication import gloo
    from effcalc.communication.core import Cluster
    from effcalc.hardware.files import Link

    link = Link("", "", "", 1.0, 0.0)
    [c] = phase.collectives
    made = []
    for rank in range(n):
        wire = gloo.wire(gloo.rank(c, Cluster(n, n, link, link), rank))
        seen = {"wire": wire, "listed": [], "recorded": []}
        made.append({"runs": [[seen]], "environment": {"backend": "gloo"}})
    return made


# --- lists of collectives ----------------------------------------------------------------------

TWO = Phase("step", (Collective("all_reduce", 8, "bucket 1"), Collective("reduce_scatter", 4, "u")))
RAN = [("all_reduce", 8, 4, 0), ("reduce_scatter", 4, 4, 0)]
RECORDED = [("all_reduce", 8, 4, 0), ("all_reduce", 4, 4, 0)]  # gloo's reduce-scatter is one


@pytest.mark.parametrize(
    ("listed", "recorded", "says"),
    [
        (RAN, RECORDED, ""),
        (RAN[:1], RECORDED, "step, collective 2: predicted reduce_scatter of 4 bytes (u), torch "
         "ran nothing"),
        ([*RAN, ("barrier", 0, 1, 0)], RECORDED, "collective 3: predicted nothing, torch ran "
         "barrier of 0 bytes"),
        ([("all_reduce", 12, 4, 0), RAN[1]], RECORDED, "collective 1: predicted all_reduce of 8 "
         "bytes (bucket 1), torch ran all_reduce of 12 bytes"),
        (RAN, RECORDED[:1], "collective 2: the dispatcher saw all_reduce of 4 bytes, the flight "
         "recorder nothing"),
    ],
)  # fmt: skip
def test_the_first_difference_is_named(listed, recorded, says):
    said = difference(TWO, listed, recorded)
    assert says in said
    assert bool(said) == bool(says)


def test_a_broadcast_from_another_rank_differs():
    phase = Phase("step", (Collective("broadcast", 8, "b", root=0),))
    said = difference(phase, [("broadcast", 8, 4, 1)], [("broadcast", 8, 4, 0)])
    assert said.endswith(
        "predicted broadcast of 8 bytes (b), torch ran broadcast of 8 bytes from rank 1"
    )


def test_payload_of_nccl_is_the_flight_recorders():
    """Entries as NCCL's recorder writes them; not run on a GPU. 2 ranks: half of 4 KB twice."""
    from effcalc.communication.live.listing import recorded

    entries = [
        {
            "profiling_name": f"nccl:{name}",
            "input_sizes": [[taken]],
            "output_sizes": [[made]],
            "input_dtypes": ["Float"],
            "output_dtypes": ["Float"],
        }
        for name, taken, made in (
            ("all_reduce", 1000, 1000),
            ("_all_gather_base", 500, 1000),
            ("_reduce_scatter_base", 1000, 500),
        )
    ]
    found = recorded(entries)
    assert [(r.op, r.size) for r in found] == [
        ("all_reduce", 4000),
        ("all_gather", 4000),
        ("reduce_scatter", 4000),
    ]
    phase = Phase("step", tuple(Collective(r.op, r.size) for r in found))
    seen = {"name": "step", "wire": None, "listed": [tuple(r) for r in found]}
    answer = {
        "runs": [[seen | {"recorded": [tuple(r) for r in found]}]],
        "environment": {"backend": "nccl"},
    }
    rows = compare([phase], [answer, answer])
    assert [(r.sent, r.off, r.differs, r.wire) for r in rows] == [(8000, 0, "", None)] * 2


# --- sockets -----------------------------------------------------------------------------------


def test_the_kernel_counts_what_a_connection_carries():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as one, server.accept()[0] as other:
            before = sockets.settled()
            assert len(sockets.carried(leave_out=port)) == len(before) - 2
            one.sendall(b"x" * 12_345)
            other.sendall(b"y" * 67)
            while (
                len(one.recv(100, socket.MSG_PEEK)) < 67
                or len(other.recv(20_000, socket.MSG_PEEK)) < 12_345
            ):
                time.sleep(0.01)
            # Both ends are this process's: each byte is sent once and received once.
            assert sockets.between(before, sockets.settled()) == (12_412, 12_412)
        with pytest.raises(RunError, match="a connection was closed"):
            sockets.between(before, sockets.carried())


def test_elsewhere_it_needs_linux(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(NeedsError, match="needs Linux"):
        sockets.carried()
    result = run("comm", "squeezenet-1.1", "--verify")
    assert (result.code, "--verify needs Linux" in result.error()) == (3, True)


# --- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("--strategy zero-3", "--verify --strategy: 'zero-3' is not one of ddp, fully-shard"),
        ("--strategy ddp,fully-shard", "--verify is for one strategy and one dtype"),
        ("--dtype fp16,bf16", "--verify is for one strategy and one dtype"),
        ("-n 0", "--ranks: 0 is not a whole number from 1 to 64"),
        ("-n 65", "--ranks: 65 is not a whole number from 1 to 64"),
        ("--tolerance x", "--tolerance: 'x' is not a share such as 40% or 0.4"),
        ("--time-limit 0", "--time-limit must be above zero"),
        ("--time-limit x", "--time-limit: 'x' is not a time such as"),
        ("--backend mpi", "--backend: 'mpi' is not one of gloo, nccl"),
        ("--backend nccl", "--backend nccl is for a rank of torchrun"),
    ],
)
def test_what_cannot_be_is_one_line_and_2(args, says):
    result = run("comm", "squeezenet-1.1", "--verify", *args.split())
    assert (result.code, says in result.error()) == (2, True), result.err


def test_other_options_than_verify_want_it():
    result = run("comm", "squeezenet-1.1", "-n", "2")
    assert (result.code, "-n, --tolerance, " in result.error()) == (2, True), result.err


def test_ranks_that_hang_are_ended_and_4():
    result = run("comm", "resnet-50", "--verify", "-n", "3", "--time-limit", "300ms")
    assert result.code == 4
    assert "failed: stopped after 300.0 ms (--time-limit)" in result.error()


def test_a_ranks_own_error_is_shown():
    with pytest.raises(RunError, match=r"rank \d failed: no network is named 'resnet-7'"):
        comm_verify.start([asked("resnet-7", ScalingRequest(), "ddp", Setup())], 2, 120)


def ranks_of(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


def test_a_rank_that_dies_ends_the_others():
    command = [sys.executable, "-m", "effcalc", "comm", "resnet-50", "--verify", "-n", "2"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
    try:
        while len(ranks := ranks_of(process.pid)) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(ranks[1], signal.SIGSEGV)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 4
    assert said.startswith("effcalc: error: --verify: rank ")
    assert "failed: killed by SIGSEGV" in said
    assert all(gone(pid) for pid in ranks)


# --- the real networks -------------------------------------------------------------------------

FULL = [
    (name, ScalingRequest(image_size="64"), strategy, setup)
    for name in ("squeezenet-1.1", "efficientnet-b0", "resnet-50")
    for strategy, setup in (
        ("ddp", Setup()),
        ("ddp", Setup("float16")),
        ("ddp", Setup(accumulate=2)),
        ("fully-shard", Setup()),
        ("fully-shard", Setup(reshard=False)),
    )
]


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3])
def test_the_real_networks_are_to_the_byte(n):
    answers = comm_verify.start([asked(*one) for one in FULL], n, 900)
    for i, one in enumerate(FULL):
        rows = compare(expected(FULL, i, answers), answers, i)
        assert [(one, r.phase, r.rank, r.off) for r in rows if r.off or r.differs] == []


@pytest.mark.slow
def test_under_torchrun_each_process_is_a_rank():
    args = ["comm", "squeezenet-1.1", "--image-size", "64", "--verify", "--tolerance", "0"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "effcalc"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [*command, *args], capture_output=True, text=True, env=env, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("8 of 8 to the byte, sent and received") == 1
