"""A rank of `effcalc comm --verify`: the child process that trains."""

from __future__ import annotations

from typing import Any


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Run what the request says, and answer what this rank ran and sent.

    Each of its `runs` has a network with its scaling options, a strategy and its setup, or
    collectives to run alone, as (op, bytes, bytes of an element, root).
    """
    from effcalc.cli.networks import one_network
    from effcalc.cli.options import ScalingOptions
    from effcalc.comm.strategies import Setup
    from effcalc.torch.ranks.listing import Listed
    from effcalc.torch.ranks.rank import Place, Run, run

    runs = []
    for one in request["runs"]:
        if "collectives" in one:
            runs.append(Run(collectives=[Listed(*c) for c in one["collectives"]]))
            continue
        at = one_network(one["network"], ScalingOptions(**one["scaling"]), "--verify")
        runs.append(Run(at.network, one["strategy"], Setup(**one["setup"])))
    return run(runs, Place(**request["place"]))


if __name__ == "__main__":
    from effcalc.process import serve

    serve(answer)
