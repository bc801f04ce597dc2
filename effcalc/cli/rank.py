"""A rank of `effcalc comm --verify`: the child process that trains."""

from __future__ import annotations

from typing import Any


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Run what the request says, and answer what this rank ran and sent.

    Each of its `runs` has a network with its scaling options, a strategy and its setup, or
    collectives to run alone, as (op, bytes, bytes of an element, root).
    """
    from effcalc.communication.strategies import Setup
    from effcalc.scaling.request import ScalingRequest, one_network

    # Bad input is refused before torch is loaded.
    networks = [
        one_network(one["network"], ScalingRequest(**one["scaling"]), "--verify").network
        if "network" in one
        else None
        for one in request["runs"]
    ]
    from effcalc.communication.live.listing import Listed
    from effcalc.communication.live.rank import Place, RankRun, run

    runs = [
        RankRun(collectives=[Listed(*c) for c in one["collectives"]])
        if network is None
        else RankRun(network, one["strategy"], Setup(**one["setup"]))
        for one, network in zip(request["runs"], networks, strict=True)
    ]
    return run(runs, Place(**request["place"]))


if __name__ == "__main__":
    from effcalc.base.process import serve

    serve(answer)
