"""`effcalc compare`."""

from __future__ import annotations

from effcalc.cli.options import Networks, OutputOptions, Workers


def compare(networks: Networks, workers: Workers, output: OutputOptions) -> None:
    """Compare networks, each at a scaling of its own, with ratios to the first.

    A scaling follows an @: NETWORK@phi=3, NETWORK@depth=2,width=1.5,image-size=300,
    NETWORK@variant=b3; any other key is a knob of the network, as --set has it. Accuracy is what
    papers published, where the network's file has it; none is computed.

    Examples:
    effcalc compare alexnet squeezenet-1.0
    effcalc compare resnet-152 efficientnet-b1
    effcalc compare efficientnet-b0@phi=3 efficientnet-b3 efficientnet-b4
    effcalc compare squeezenet-1.0 squeezenet-1.0@sr=0.75 --columns all
    """
    from effcalc.cli.output import write_table
    from effcalc.scaling.request import network_at
    from effcalc.scaling.tables.comparison import compare_table

    write_table(compare_table(networks, [network_at(n, workers) for n in networks]), output)
