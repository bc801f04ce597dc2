"""`effcalc deploy`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from effcalc.cli.options import DEFAULT_NETWORK, Network, OutputOptions, ScalingOptions

if TYPE_CHECKING:
    from effcalc.deployment.sizes import Storage
    from effcalc.output.table import Table
    from effcalc.scaling.scale import Scaled

Bits = Annotated[
    str | None,
    typer.Option(
        "--bits", metavar="NUMBERS", help="Bits of codebooks, 1 to 8; 8,6,4 unless given."
    ),
]
Density = Annotated[
    str | None,
    typer.Option(
        "--density", metavar="NUMBERS", help="Also pruned, to these shares of weights: 0.33."
    ),
]
IndexBits = Annotated[
    str | None,
    typer.Option(
        "--index-bits",
        metavar="N",
        help="Bits of a kept weight's index, relative to the one before; 4 unless given.",
    ),
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
        help="The steps to density=0.33,bits=6 (also index_bits=4, huffman=no), and their bytes.",
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
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="Compress the network's .safetensors weights, by --deep-compression.",
    ),
]
Write = Annotated[
    str | None,
    typer.Option("--write", metavar="FILE", help="Write the compressed --weights: my.effz."),
]
Read = Annotated[
    str | None,
    typer.Option("--read", metavar="FILE", help="Check an .effz file and say what it holds."),
]
Restore = Annotated[
    str | None,
    typer.Option("--restore", metavar="FILE", help="Decode --read into a .safetensors file."),
]


def deploy(
    network: Network,
    scaling: ScalingOptions,
    output: OutputOptions,
    bits: Bits = None,
    density: Density = None,
    index_bits: IndexBits = None,
    huffman: Huffman = False,
    deep_compression: DeepCompression = None,
    link: LinkOption = None,
    clients: Clients = "1",
    on_chip: OnChip = None,
    fit_device: FitDevice = None,
    paper: Paper = False,
    weights: Weights = None,
    write: Write = None,
    read: Read = None,
    restore: Restore = None,
) -> None:
    """Size a network for shipping: in every storage, over a link, on a chip.

    Storages are float32, float16, int8, int4, codebooks of --bits, and with --density those
    pruned too, with relative indices and their padding. Sizes are of parameters and running
    statistics. A chip holds a network in its own memory, without any other.

    --weights really prunes (by magnitude, in each tensor), clusters and codes given weights, and
    reads them back; --write keeps the result, and --read and --restore need no network. These
    need effcalc[deploy].

    Examples:
    effcalc deploy squeezenet-1.0
    effcalc deploy squeezenet-1.0 --deep-compression density=0.33,bits=6
    effcalc deploy --phi 3 --density 0.5,0.33 --bits 8 --huffman
    effcalc deploy squeezenet-1.0 --link 10Mbps --clients 1M
    effcalc deploy mobilenet-v2 --width 0.5 --on-chip all
    effcalc deploy squeezenet-1.1 --fit-device virtex-7
    effcalc deploy --paper
    effcalc deploy --weights my-w.safetensors --deep-compression bits=6
    effcalc deploy --read my-w.effz --restore my-restored.safetensors
    """
    from effcalc.base.errors import InputError
    from effcalc.base.units import parse_count, parse_values
    from effcalc.cli.networks import one_network
    from effcalc.cli.output import write_table
    from effcalc.deployment.sizes import parse_compression, standard, steps
    from effcalc.deployment.tables import sizes_table
    from effcalc.hardware.files import load_link

    asked = {
        "--deep-compression": deep_compression is not None,
        "--on-chip": on_chip is not None,
        "--fit-device": fit_device is not None,
        "--paper": paper,
        "--read": read is not None,
    }
    modes = [option for option, is_given in asked.items() if is_given]
    if len(modes) > 1:
        raise InputError(f"{' and '.join(modes)} are tables of their own; give one of them")
    [mode] = modes or [""]
    if weights is not None and mode != "--deep-compression":
        raise InputError("--weights needs --deep-compression, such as density=0.33,bits=6")
    mode = "--weights" if weights is not None else mode
    # Each option with those that it is for: what would be ignored is refused.
    sizes = ("", "--on-chip", "--fit-device")
    for option, value, use in (
        ("--bits", bits, sizes),
        ("--density", density, sizes),
        ("--index-bits", index_bits, sizes),
        ("--huffman", huffman or None, sizes),
        ("--link", link, ("", "--deep-compression")),
        ("--write", write, ("--weights",)),
        ("--restore", restore, ("--read",)),
    ):
        if value is not None and mode not in use:
            instead = f"leave out {mode}" if "" in use else f"it is for {use[0]}"
            raise InputError(f"{option} is not for this table; {instead}")
    if mode in ("--paper", "--read") and (network, scaling) != (DEFAULT_NETWORK, ScalingOptions()):
        raise InputError(f"{mode} is about networks of its own; leave out network and scaling")
    count = parse_count(clients, "--clients")
    if count < 1 or (count > 1 and link is None):
        raise InputError("--clients is how many the network is sent to over --link: at least 1")
    if deep_compression is not None:
        storages = steps(parse_compression(deep_compression))
    else:
        shares = None if density is None else parse_values(density, "--density")
        if shares is None and index_bits is not None:
            raise InputError("--index-bits is for pruned weights; give --density 0.33 too")
        index = parse_count(index_bits or "4", "--index-bits")
        storages = standard(parse_values(bits or "8,6,4", "--bits"), shares, index, huffman)
    if read is not None:
        table = _file(read, restore)
    elif weights is not None:
        compression = parse_compression(deep_compression or "")
        if not compression.huffman:
            raise InputError("--weights are always Huffman-coded; leave out huffman=no")
        at = one_network(network, scaling, "deploy")
        table = _compressed(at, weights, compression, write)
    elif paper:
        table = _paper()
    elif fit_device is not None:
        table = _largest(network, scaling, fit_device, storages)
    elif on_chip is not None:
        table = _chips(one_network(network, scaling, "deploy"), on_chip, storages)
    else:
        at = one_network(network, scaling, "deploy")
        over = None if link is None else load_link(link)
        parts = deep_compression is not None and over is None
        table = sizes_table(at, storages, f"{at.title}, stored", over, count, parts)
    write_table(table, output)


def _paper() -> Table:
    from effcalc.deployment.papers import claims
    from effcalc.deployment.tables import paper_table

    return paper_table(list(claims("SqueezeNet, table 2")))


def _chips(at: Scaled, names: str, storages: list[Storage]) -> Table:
    from effcalc.deployment.onchip import chips
    from effcalc.deployment.tables import chips_table

    return chips_table(at, storages, chips(names), f"{at.title}, on a chip")


def _largest(network: str, scaling: ScalingOptions, name: str, storages: list[Storage]) -> Table:
    """Find the largest networks that fit a chip."""
    from effcalc.base.errors import InputError
    from effcalc.deployment.onchip import chip, largest_on
    from effcalc.deployment.tables import chip_fit_table
    from effcalc.network.archfile import load
    from effcalc.scaling.request import settings

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


def _compressed(at: Scaled, weights: str, compression: Storage, write: str | None) -> Table:
    """Compress weights, read them back, and write the file where one is asked for."""
    from effcalc.base.errors import need
    from effcalc.base.files import check_output, open_output
    from effcalc.cli.output import progress
    from effcalc.deployment.tables import shipped_table

    need("numpy", "--weights", "deploy")
    need("safetensors", "--weights", "deploy")
    from effcalc.deployment import safetensors
    from effcalc.deployment.match import matched
    from effcalc.deployment.ship import compress

    if write is not None:
        check_output(write, "--write")
    file = safetensors.read(weights)
    how = matched({name: e.shape for name, e in file.entries.items()}, at.network, weights)
    count = len(file.entries)
    shipped = compress(file, compression, lambda names: progress(names, "tensors", count))
    if write is not None:
        with open_output(write, "--write", binary=True) as out:
            out.write(shipped.data)
    return shipped_table(at, compression, shipped, how, f"{at.title}, compressed", write)


def _file(read: str, restore: str | None) -> Table:
    """Decode an .effz file, to a .safetensors file where one is asked for."""
    from effcalc.base.errors import need, one_line
    from effcalc.base.files import check_output, open_output
    from effcalc.deployment.tables import effz_table

    need("numpy", "--read", "deploy")
    need("safetensors", "--read", "deploy")
    from effcalc.deployment import effz, safetensors

    if restore is not None:
        check_output(restore, "--restore")
    tensors = effz.read(read)
    decoded = (flat for _, flat in effz.restore(tensors, read))
    if restore is None:
        for _ in decoded:
            pass
    else:
        with open_output(restore, "--restore", binary=True) as out:
            safetensors.write(out, [(t.name, t.dtype, t.shape) for t in tensors], decoded)
    return effz_table(tensors, one_line(read))
