"""What other counters say of small modules whose answers are known, and of models of every kind.

Each counter counts each small module of tests/small_modules.py in a process of its own, and each
model cold, as `effcalc count --against` does. What they say, how long they take and why they
differ goes to docs/counters.json, of which docs/generate.py makes docs/counters.md.

    python -m benchmarks.counters [--small] [--models] [--only TARGET ...]
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import signal
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.count import MODELS
from effcalc.base.errors import one_line
from effcalc.models.count import count
from effcalc.models.peers.against import default_limits, prepare, run
from effcalc.models.peers.calls import modules
from effcalc.models.peers.child import Target
from effcalc.models.peers.explain import explain
from effcalc.models.peers.ourselves import EFFCALC
from effcalc.models.peers.record import Peer
from effcalc.models.peers.registry import PEERS
from effcalc.models.targets import load
from effcalc.models.trace import trace
from effcalc.scaling.figures import figures
from tests.small_modules import CASES, Case

RECORD = Path(__file__).parents[1] / "docs" / "counters.json"
SECONDS = 60  # of one counter and one small module


@dataclass(frozen=True)
class Counter:
    """A counter, on real tensors or on meta ones; torch's own is on both."""

    name: str
    peer: Peer
    real: bool


COUNTERS = (
    Counter("effcalc", EFFCALC, False),
    Counter("torch, meta", PEERS["torch"], False),
    Counter("torch, real", PEERS["torch"], True),
    *(
        Counter(name, PEERS[name], PEERS[name].real)
        for name in (
            *("ptflops-aten", "calflops", "torchprofile", "torchinfo", "fvcore", "thop"),
            "ptflops",
        )
    ),
)


def forked(function: Callable[[], Any], seconds: int = SECONDS) -> Any:
    """Return what `function` returns in a process of its own, or {"cause": why there is none}."""
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.alarm(seconds)
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 1)
                os.dup2(nothing.fileno(), 2)
            try:
                answer = function()
            except Exception as error:
                answer = {"cause": one_line(f"{type(error).__name__}: {error}")}
            with os.fdopen(send, "w") as pipe:
                json.dump(answer, pipe)
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if not text:
        return {"cause": f"killed by {signal.Signals(os.WTERMSIG(status)).name}"}
    return json.loads(text)


def on_meta(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to("meta")
    if isinstance(value, dict):
        return {k: on_meta(v) for k, v in value.items()}
    return tuple(map(on_meta, value))


def count_case(counter: Counter, case: Case) -> dict[str, Any]:
    torch.manual_seed(0)
    model, args, kwargs = case.make().eval(), case.inputs(), case.kwargs()
    if not counter.real:
        model, args, kwargs = model.to("meta"), on_meta(args), on_meta(kwargs)
    found = counter.peer.count(model, args, kwargs)
    macs = None if found.macs is None else float(found.macs)
    params = None if found.params is None else int(found.params)
    if macs is None:
        return {"cause": "gives no figure"}
    return {
        "macs": int(macs) if macs == int(macs) else macs,
        "params": params,
        "unassigned": {k: int(n) for k, n in found.unassigned.items()},
    }


def count_cases(counter: Counter) -> dict[str, Any]:
    torch.set_num_threads(1)
    # What a first count imports, the forks have.
    with contextlib.suppress(Exception):
        count_case(counter, next(case for case in CASES if case.name == "linear"))
    return {case.name: forked(lambda: count_case(counter, case)) for case in CASES}  # noqa: B023


def small_modules() -> list[dict[str, Any]]:
    """Return each module's true figures, and what each counter says."""
    said = {}
    for counter in COUNTERS:  # before this process runs anything: a fork inherits no threads
        said[counter.name] = forked(lambda: count_cases(counter), 1200)  # noqa: B023
        print(counter.name, said[counter.name].get("cause", ""), flush=True)
    rows = []
    for case in CASES:
        model, args, kwargs = case.make().eval(), case.inputs(), case.kwargs()
        ours = count(model, args, kwargs)
        # torch's own sees the operators of its device; the others' rules know the CPU's.
        on_cpu = trace(model, args, kwargs, grad=True)
        known = modules(model)
        found = {}
        for counter in COUNTERS:
            one = said[counter.name][case.name]
            if "macs" in one:
                network = on_cpu if counter.name == "torch, real" else ours
                one["why"] = explain(
                    counter.peer.rule, network, known, one["macs"], one.pop("unassigned")
                )
            found[counter.name] = one
        found["effcalc"]["params"] = figures(ours).weights.params
        rows.append({"name": case.name, "macs": case.macs, "params": case.params, "found": found})
        if case.real_macs is not None:
            rows[-1]["real_macs"] = case.real_macs
    return rows


def one_model(name: str) -> dict[str, Any]:
    """Return a model's figures, and each counter's from a cold process."""
    ours = prepare(Target(name))
    loaded = load(name, real=True)
    on_cpu = ours._replace(network=trace(loaded.module.eval(), loaded.args, grad=True))
    totals = figures(ours.network)
    params = sum(p.numel() for p in loaded.module.parameters())
    found = {}
    for counter in COUNTERS:
        as_real = counter.name == "torch, real"
        outcome = run(counter.peer, Target(name, real=as_real), default_limits())
        one: dict[str, Any] = {"seconds": outcome.process_seconds, "peak": outcome.peak}
        if outcome.macs is None:
            one["cause"] = outcome.cause
        else:
            one |= {"macs": outcome.macs, "params": outcome.params}
            subject = on_cpu if as_real else ours
            one["why"] = explain(counter.peer.rule, *subject[1:], outcome.macs, outcome.unassigned)
        found[counter.name] = one
        print(name, counter.name, one, flush=True)
    found["effcalc"]["params"] = totals.weights.params
    return {"name": name, "macs": totals.cost.macs, "params": params, "found": found}


def environment() -> dict[str, str]:
    packages = {c.peer.package for c in COUNTERS} - {"effcalc"} | {"torchvision", "timm"}
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} {platform.machine()} cores, CPU",
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in sorted(packages)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="the small modules alone")
    parser.add_argument("--models", action="store_true", help="the models alone")
    parser.add_argument("--only", nargs="+", default=MODELS, metavar="TARGET")
    options = parser.parse_args()
    both = options.small == options.models
    warnings.simplefilter("ignore")
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"models": []}
    record |= {
        "environment": environment(),
        "conventions": {c.name: c.peer.convention for c in COUNTERS},
    }
    if both or options.small:
        record["small"] = small_modules()
    if both or options.models:
        models = {row["name"]: row for row in record["models"]}
        for name in options.only:
            models[name] = one_model(name)
            record["models"] = [models[name] for name in MODELS if name in models]
            RECORD.write_text(json.dumps(record, indent=1) + "\n")
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
