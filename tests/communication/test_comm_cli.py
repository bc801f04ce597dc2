"""`effcalc comm` as a user meets it."""

from __future__ import annotations

import json
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from effcalc.communication.collectives import ALGORITHMS
from effcalc.communication.strategies import STRATEGIES
from tests.cli.test_cli_commands import VALIDATOR, table
from tests.cli_helpers import run


def row(*args: str) -> dict:
    [only] = table("comm", *args)["rows"]
    return only


def test_bytes_are_proportional_to_parameters() -> None:
    """SqueezeNet's point: 60,965,224 parameters over 1,248,424, in DDP and in compare."""
    sent = [row(n, "--workers", "8")["sent"] for n in ("alexnet", "squeezenet-1.0")]
    assert sent[0] / sent[1] == 60_965_224 / 1_248_424
    alexnet, squeezenet = table("compare", "alexnet", "squeezenet-1.0")["rows"]
    assert [alexnet["gradient_bytes"], squeezenet["gradient_bytes"]] == sent
    assert alexnet["params"] / squeezenet["params"] == sent[0] / sent[1]


def test_every_combination_has_a_row_by_workers_first() -> None:
    axes = (["2", "4"], ["ddp", "zero-3"], ["fp32", "bf16"], ["ring", "gloo"])
    names = ("--workers", "--strategy", "--dtype", "--algorithm")
    args = [
        word for name, values in zip(names, axes, strict=True) for word in (name, ",".join(values))
    ]
    rows = table("comm", "squeezenet-1.1", *args)["rows"]
    keys = [(r["workers"], r["strategy"], r["dtype"], r["algorithm"]) for r in rows]
    full = {"fp32": "float32", "bf16": "bfloat16"}
    assert keys == [(int(n), s, full[d], a) for n, s, d, a in product(*axes)]


def test_textbook_and_gloo_stand_side_by_side() -> None:
    sharded = row("squeezenet-1.1", "--strategy", "zero-3", "--workers", "4")
    # 3·(3/4)·S by the textbook; gloo's reduce-scatter counts double.
    assert sharded["sent"] == 3 * 3 / 4 * 4 * 1_235_496
    assert sharded["gloo_ratio"] == pytest.approx(4 / 3)


def saved(path, **row) -> str:
    units = {"batch": "int", "mode": "text", "latency": "seconds"}
    document = {
        "schema": "urn:effcalc:table:1",
        "kind": "profile",
        "title": "t",
        "effcalc": "0",
        "command": "",
        "conventions": {},
        "columns": [{"key": k, "title": k, "unit": units[k], "help": ""} for k in row],
        "rows": [row],
        "notes": [],
    }
    path.write_text(json.dumps(document))
    return str(path)


def test_compute_from_a_saved_profile(tmp_path) -> None:
    path = saved(tmp_path / "run.json", batch=32, mode="train", latency=0.25)
    same = [row("resnet-18", "--workers", "8", "--compute", c) for c in (path, "250ms")]
    assert same[0] == same[1]
    assert same[0]["step"] == pytest.approx(0.25 + same[0]["exposed"])
    # Four batches to a step, and the same communication.
    four = row("resnet-18", "--workers", "8", "--compute", "250ms", "--accumulate", "4")
    assert four["step"] == pytest.approx(1 + four["exposed"])
    assert four["sent"] == same[0]["sent"]


def test_a_profile_of_something_else_is_refused(tmp_path) -> None:
    infer = saved(tmp_path / "infer.json", batch=32, mode="infer", latency=0.1)
    result = run("comm", "--compute", infer)
    assert (result.code, "infer.json: is not of training; save one" in result.error()) == (2, True)
    small = saved(tmp_path / "small.json", batch=8, mode="train", latency=0.1)
    result = run("comm", "--compute", small)
    assert (result.code, "is of another batch; give --batch 8" in result.error()) == (2, True)
    assert run("comm", "--compute", small, "--batch", "8").code == 0


def test_compute_from_a_device() -> None:
    """B0: 385,814,752 MACs, 2·3 FLOPs each, 32 images; the A100's 312 TFLOP/s of bf16, 30%."""
    args = ["--workers", "1", "--device", "a100-40gb", "--mfu", "30%"]
    seconds = 385_814_752 * 6 * 32 / (0.3 * 312e12)
    assert row(*args, "--dtype", "bf16")["step"] == pytest.approx(seconds)
    assert row(*args, "--precision", "bf16")["step"] == pytest.approx(seconds)


def test_breakdowns_sum_to_the_row() -> None:
    args = ("resnet-18", "--workers", "5")
    whole = row(*args)
    ranks = table("comm", *args, "--per", "rank")["rows"]
    assert sum(r["steady_step_sent"] for r in ranks) / 5 == whole["sent"]
    listed = table("comm", *args, "--per", "collective")["rows"]
    steady = [r for r in listed if r["phase"] == "steady step"]
    assert sum(r["sent"] for r in steady) == pytest.approx(whole["sent"])
    stages = table("comm", *args, "--strategy", "pipeline", "--per", "stage")
    assert len(stages["rows"]) == 5
    for key in ("macs", "layers", "cut"):
        assert sum(r[key] for r in stages["rows"]) == stages["total"][key]


def test_a_server_is_a_rank_of_its_own() -> None:
    args = ("--strategy", "parameter-server", "--workers", "3", "--per", "rank")
    ranks = table("comm", *args)["rows"]
    assert [r["rank"] for r in ranks] == ["0", "1", "2", "server"]
    assert ranks[3]["steady_step_received"] == 3 * ranks[0]["steady_step_sent"]


@pytest.mark.parametrize(
    "args",
    [
        "",
        "--compute 40ms",
        "--workers 8 --compute 40ms",
        "--strategy ddp,parameter-server,pipeline --workers 8,64 --compute 40ms",
        "--strategy parameter-server,fully-shard --algorithm ring,halving-doubling --compute 40ms",
        "--strategy parameter-server,ddp --algorithm ring,halving-doubling --dtype fp16,bf16",
        "--algorithm ring,halving-doubling --dtype fp16,bf16 --compute 40ms",
        "--workers 3 --per rank",
        "--workers 3 --per collective",
        "resnet-50 --workers 4 --strategy pipeline --per stage",
        "resnet-50 --workers 512000000,1000000000 --compute 100ms",
    ],
)
def test_what_people_see_fits_80_columns(args: str) -> None:
    result = run("comm", *args.split())
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("--workers 0", "--workers: 0 is not a whole number from 1 to 1,000,000,000"),
        ("--workers 2.5", "--workers: 2.5 is not a whole number"),
        ("--workers 1e300", "--workers: at most 1,000,000,000"),
        ("--workers eight", "--workers: 'eight' is not a number, a list such as"),
        ("--link ethernet-100", "no link is named 'ethernet-100' (did you mean 'ethernet-100g'?)"),
        ("--link 100Gbs", "'100Gbs' is not a bandwidth such as 100Gbps (bits) or 25GB/s (bytes)"),
        ("--link 100Gbps:5m", "'5m' is not a time such as 120ms"),
        ("--link nvlink-4,ethernet-10g", "--link INNER,OUTER needs the workers of a node"),
        ("--link 1GB/s,1GB/s,1GB/s", "3 links; give one, or INNER,OUTER"),
        ("--link a100-40gb", "is a device, not a link"),
        ("--per-node 0", "--per-node: 0 is not a whole number from 1"),
        (
            "--algorithm hierarchical --per-node 3 --workers 8",
            "8 workers are no whole number of nodes of 3",
        ),
        ("--compute soon", "--compute: 'soon' is not a time such as"),
        ("--compute 0", "--compute must be above zero"),
        ("--compute none.json", "none.json: cannot be read"),
        ("--compute 1s --device a100-40gb", "--compute and --device both say the compute time"),
        ("--mfu 30%", "--mfu and --precision are for --device NAME"),
        ("--device a100-40gb", "--device needs the share of its peak that is reached: --mfu 40%"),
        ("--device a100-40gb --mfu 0%", "'0%' is not a share such as 40% or 0.4"),
        ("--device a100-40gb --mfu 140%", "'140%' is not a share such as 40% or 0.4"),
        ("--device a100-40gb --mfu 1 --precision fp8", "a100-40gb has no fp8 peak"),
        ("--strategy dpp", "there is no strategy 'dpp' (did you mean 'ddp'?)"),
        ("--algorithm rng", "there is no algorithm 'rng' (did you mean 'ring'?)"),
        ("--dtype int8", "gradients are sent as fp32, fp16 or bf16, not int8"),
        ("--unit blok", "--unit: 'blok' is not one of stage, block, all (did you mean 'block'?)"),
        ("--strategy pipeline --workers 400", "400 pipeline stages are more than the 249 layers"),
        ("--strategy pipeline --accumulate 2", "a pipeline has micro-batches of its own"),
        ("--micro-batches 3", "--micro-batches is for --strategy pipeline"),
        (
            "--strategy pipeline --micro-batches 9 --batch 1 --workers 2",
            "9 are more than the 2 images of 2 workers",
        ),
        ("--accumulate 0", "--accumulate: 0 is not a whole number from 1 to 1,000"),
        ("--batch 0", "--batch: 0 is not a whole number from 1"),
        ("--per rank", "--per is for one prediction, and this asks for 4"),
        ("--per rnk --workers 2", "--per: 'rnk' is not one of rank, collective, stage"),
        ("--per stage --workers 2", "--per stage is for --strategy pipeline"),
        ("--phi 60", "has 14,255,992 operator calls; communication is predicted for up to 200,000"),
        ("--phi 0:2", "comm is for one scaling, and this asks for 3"),
    ],
)
def test_what_cannot_be_is_one_line_and_2(args: str, says: str) -> None:
    result = run("comm", *args.split())
    assert (result.code, says in result.error()) == (2, True), result.err


number = st.one_of(st.integers(-2, 40).map(str), st.sampled_from(["1,2", "1:4", "x", "1e9", "nan"]))
OPTIONS = {
    "--workers": number,
    "--strategy": st.sampled_from([*STRATEGIES, "ddp,zero-2", "x", ""]),
    "--algorithm": st.sampled_from([*ALGORITHMS, "ring,gloo", "x"]),
    "--dtype": st.sampled_from(["fp32", "fp16", "bf16,fp16", "int4", "x"]),
    "--batch": number,
    "--accumulate": number,
    "--micro-batches": number,
    "--unit": st.sampled_from(["stage", "block", "all", "x"]),
    "--link": st.sampled_from(["nvlink-4", "1Gbps", "1GB/s:1ms,2Gbps", "5", "x", "nvlink-4,x"]),
    "--per-node": number,
    "--compute": st.sampled_from(["1s", "2us", "-1s", "1e300s", "1e-300s", "x"]),
    "--per": st.sampled_from(["rank", "collective", "stage", "x"]),
    "--format": st.sampled_from(["csv", "json", "table"]),
}


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_options(data: st.DataObject) -> None:
    """Whatever is given ends well or in one line, and JSON has no NaN and no infinity."""
    chosen = data.draw(st.lists(st.sampled_from(sorted(OPTIONS)), max_size=5, unique=True))
    args = [f"{option}={data.draw(OPTIONS[option])}" for option in chosen]
    result = run("comm", "squeezenet-1.1", "--image-size=64", *args)
    assert result.code in (0, 2), (args, result.err)
    if result.code == 2:
        assert result.err.startswith("effcalc: error: ")
        assert result.err.count("\n") == 1
    elif "--format=json" in args:

        def refuse(word: str) -> None:
            raise AssertionError(f"{word} is not JSON")

        VALIDATOR.validate(json.loads(result.out, parse_constant=refuse))


def test_any_target_has_its_traffic() -> None:
    pytest.importorskip("torchvision")
    target = json.loads(
        run("comm", "torchvision:resnet50", "--workers", "8", "--format", "json").out
    )["rows"][0]
    built_in = json.loads(run("comm", "resnet-50", "--workers", "8", "--format", "json").out)[
        "rows"
    ][0]
    # All-reduced gradients of 25,557,032 parameters, and broadcast buffers: 53,120 float32 values
    # and 53 int64 counters.
    sent = 2 * 7 / 8 * 4 * 25_557_032 + 7 / 8 * (53_120 * 4 + 53 * 8)
    assert target["sent"] == built_in["sent"] == sent
    refused = run("comm", "torchvision:resnet50", "--verify", "-n", "2")
    assert refused.code == 2
    assert "--verify trains networks of effcalc archs" in refused.error()
    assert run("comm", "torchvision:resnet50", "--phi", "1").code == 2
