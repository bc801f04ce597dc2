"""`effcalc deploy`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from effcalc.cli.options import Network, OutputOptions, ScalingOptions

if TYPE_CHECKING:
    from effcalc.deploy.sizes import Storage
    from effcalc.scaling import Scaled
    from effcalc.table import Table

Bits = Annotated[
    str, typer.Option("--bits", metavar="NUMBERS", help="Bits of codebooks, 1 to 8: 8,6,4.")
]
Density = Annotated[
    str | None,
    typer.Option(
        "--density", metavar="NUMBERS", help="Also pruned, to these shares of weights: 0.33."
    ),
]
IndexBits = Annotated[
    str,
    typer.Option("--index-bits", metavar="N", help="Bits of a kept weight's relative index."),
]
Huffman = Annotated[
    bool,
    typer.Option("--huffman", help="Also with Huffman codes; needs --density.", show_default=False),
]
DeepCompression = Annotated[
    str | None,
    typer.Option(
        "--deep-compression",
        metavar="KEYS",
        help="The steps to density=0.33,bits=6 (also index_bits=4), and what each byte is.",
    ),
]
LinkOption = Annotated[
    str | None,
    typer.Option(
        "--link", metavar="LINK", help="Time over a link: 10Mbps, 1GB/s:20ms, a name or a file."
    ),
]
Clients = Annotated[
    str, typer.Option("--clients", metavar="N", help="Clients to send it to over --link: 1M.")
]
OnChip = Annotated[
    str | None,
    typer.Option(
        "--on-chip", metavar="NAMES", help="Which chips hold it: all, or virtex-7,my.toml."
    ),
]
FitDevice = Annotated[
    str | None,
    typer.Option(
        "--fit-device", metavar="NAME", help="The largest φ and width that fit this chip."
    ),
]
Paper = Annotated[
    bool,
    typer.Option("--paper", help="SqueezeNet's table 2, as printed and by arithmetic."),
]


def deploy(
    network: Network,
    scaling: ScalingOptions,
    output: OutputOptions,
    bits: Bits = "8,6,4",
    density: Density = None,
    index_bits: IndexBits = "4",
    huffman: Huffman = False,
    deep_compression: DeepCompression = None,
    link: LinkOption = None,
    clients: Clients = "1",
    on_chip: OnChip = None,
    fit_device: FitDevice = None,
    paper: Paper = False,
) -> None:
    """Size a network for shipping: in every storage, over a link, on a chip.

    Storages are float32, float16, int8, int4, codebooks of --bits, and with --density those
    pruned too, with relative indices and their padding. Sizes are of parameters and running
    statistics. A chip holds a network in its own memory, without any other.

    Examples:
    effcalc deploy squeezenet-1.0
    effcalc deploy squeezenet-1.0 --deep-compression density=0.33,bits=6
    effcalc deploy --phi 3 --density 0.5,0.33 --bits 8 --huffman
    effcalc deploy squeezenet-1.0 --link 10Mbps --clients 1M
    effcalc deploy mobilenet-v2 --width 0.5 --on-chip all
    effcalc deploy squeezenet-1.1 --fit-device virtex-7
    effcalc deploy --paper
    """
    from effcalc.cli.networks import one_network, title
    from effcalc.cli.output import write_table
    from effcalc.deploy.sizes import parse_compression, standard, steps
    from effcalc.errors import InputError
    from effcalc.hardwarefile import load_link
    from effcalc.units import parse_count, parse_values
    from effcalc.views.deploy import sizes_table

    asked = {
        "--deep-compression": deep_compression is not None,
        "--on-chip": on_chip is not None,
        "--fit-device": fit_device is not None,
        "--paper": paper,
    }
    modes = [option for option, is_given in asked.items() if is_given]
    if len(modes) > 1:
        raise InputError(f"{' and '.join(modes)} are tables of their own; give one of them")
    if link is not None and modes and deep_compression is None:
        raise InputError(f"--link is for sizes; leave out {modes[0]}")
    count = parse_count(clients, "--clients")
    if count < 1 or (count > 1 and link is None):
        raise InputError("--clients is how many the network is sent to over --link: at least 1")
    if deep_compression is not None:
        storages = steps(parse_compression(deep_compression))
    else:
        shares = None if density is None else parse_values(density, "--density")
        index = parse_count(index_bits, "--index-bits")
        storages = standard(parse_values(bits, "--bits"), shares, index, huffman)
    if paper:
        table = _paper()
    elif fit_device is not None:
        table = _largest(network, scaling, fit_device, storages)
    elif on_chip is not None:
        table = _chips(one_network(network, scaling, "deploy"), on_chip, storages)
    else:
        at = one_network(network, scaling, "deploy")
        over = None if link is None else load_link(link)
        parts = deep_compression is not None and over is None
        table = sizes_table(at, storages, f"{title(at)}, stored", over, count, parts)
    write_table(table, output)


def _paper() -> Table:
    from effcalc.published import claims
    from effcalc.views.deploy import paper_table

    return paper_table(list(claims("SqueezeNet, table 2")))


def _chips(at: Scaled, names: str, storages: list[Storage]) -> Table:
    from effcalc.cli.networks import title
    from effcalc.deploy.onchip import chips
    from effcalc.views.deploy import chips_table

    return chips_table(at, storages, chips(names), f"{title(at)}, on a chip")


def _largest(network: str, scaling: ScalingOptions, name: str, storages: list[Storage]) -> Table:
    """Find the largest networks that fit a chip."""
    from effcalc.archfile import load
    from effcalc.deploy.onchip import chip, largest_on
    from effcalc.errors import InputError
    from effcalc.request import settings
    from effcalc.views.deploy import chip_fit_table

    device = chip(name, "--fit-device")
    asked = (scaling.phi, scaling.depth, scaling.width, scaling.resolution)
    if any(v is not None for v in (*asked, scaling.image_size, scaling.variant)):
        raise InputError("--fit-device finds the scaling itself; give none")
    arch, named = load(network, settings(scaling.settings), scaling.classes, scaling.in_channels)
    if named is not None:
        raise InputError(f"{network} is a released scaling; give {arch.name} with --fit-device")
    bases = (scaling.alpha, scaling.beta, scaling.gamma)
    fits = largest_on(device, arch, storages, bases, not scaling.no_head)
    return chip_fit_table(fits, device, f"{arch.title}, the largest on {device.title}")
