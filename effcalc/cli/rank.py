"""A rank of `effcalc comm --verify`: the child process that trains."""

from __future__ import annotations

from typing import Any


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Train as the request says, and answer what this rank sent and ran."""
    from effcalc.cli.networks import one_network
    from effcalc.cli.options import ScalingOptions
    from effcalc.torch.ranks.rank import Place, run

    network = None
    if request["network"] is not None:
        scaling = ScalingOptions(**request["scaling"])
        network = one_network(request["network"], scaling, "--verify").network
    return run(network, request, Place(**request["place"]))


if __name__ == "__main__":
    from effcalc.process import serve

    serve(answer)
