"""`effcalc deploy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effcalc.cli.options import DEFAULT_NETWORK, Network, OutputOptions
from effcalc.cli.scaling import ScalingOptions
from effcalc.cli.shipping import DeployOptions

if TYPE_CHECKING:
    from effcalc.deployment.sizes import Storage
    from effcalc.output.table import Table
    from effcalc.scaling.scale import Scaled


def deploy(
    network: Network, scaling: ScalingOptions, options: DeployOptions, output: OutputOptions
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
    from effcalc.cli.output import write_table

    table = options.table()
    if table in ("--paper", "--read") and not (network == DEFAULT_NETWORK and scaling.plain):
        raise InputError(f"{table} is about networks of its own; leave out network and scaling")
    count, storages = options.receivers(), options.storages()
    if options.read is not None:
        result = _file(options.read, options.restore)
    elif options.paper:
        result = _paper()
    elif options.fit_device is not None:
        result = _largest(network, scaling, options.fit_device, storages)
    else:
        result = _of_network(network, scaling, options, storages, count)
    write_table(result, output)


def _of_network(
    network: str,
    scaling: ScalingOptions,
    options: DeployOptions,
    storages: list[Storage],
    count: int,
) -> Table:
    """Size one network in its storages, on chips, or with weights that are given."""
    from effcalc.base.errors import InputError
    from effcalc.deployment.sizes import parse_compression
    from effcalc.deployment.tables import sizes_table
    from effcalc.hardware.files import load_link
    from effcalc.scaling.request import one_network

    if options.weights is not None:
        compression = parse_compression(options.deep_compression or "")
        if not compression.huffman:
            raise InputError("--weights are always Huffman-coded; leave out huffman=no")
        scaled = one_network(network, scaling, "deploy")
        return _compressed(scaled, options.weights, compression, options.write)
    scaled = one_network(network, scaling, "deploy")
    if options.on_chip is not None:
        return _chips(scaled, options.on_chip, storages)
    link = None if options.link is None else load_link(options.link)
    parts = options.deep_compression is not None and link is None
    return sizes_table(scaled, storages, f"{scaled.title}, stored", link, count, parts)


def _paper() -> Table:
    from effcalc.deployment.papers import claims
    from effcalc.deployment.tables import paper_table

    return paper_table(list(claims("SqueezeNet, table 2")))


def _chips(scaled: Scaled, names: str, storages: list[Storage]) -> Table:
    from effcalc.deployment.onchip import chips
    from effcalc.deployment.tables import chips_table

    return chips_table(scaled, storages, chips(names), f"{scaled.title}, on a chip")


def _largest(network: str, scaling: ScalingOptions, name: str, storages: list[Storage]) -> Table:
    """Find the largest networks that fit a chip."""
    from effcalc.base.errors import InputError
    from effcalc.deployment.onchip import chip, largest_on
    from effcalc.deployment.tables import chip_fit_table
    from effcalc.scaling.request import load_unscaled, settings

    device = chip(name, "--fit-device")
    if scaling.scales:
        raise InputError("--fit-device finds the scaling itself; give none")
    knobs, sizes = settings(scaling.knobs), (scaling.classes, scaling.in_channels)
    arch = load_unscaled(network, knobs, *sizes, "give {} with --fit-device")
    fits = largest_on(device, arch, storages, scaling.bases, not scaling.no_head)
    return chip_fit_table(fits, device, f"{arch.title}, the largest on {device.title}")


def _compressed(scaled: Scaled, weights: str, compression: Storage, write: str | None) -> Table:
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
    how = matched({name: e.shape for name, e in file.entries.items()}, scaled.network, weights)
    count = len(file.entries)
    shipped = compress(file, compression, lambda names: progress(names, "tensors", count))
    if write is not None:
        with open_output(write, "--write", binary=True) as out:
            out.write(shipped.data)
    return shipped_table(scaled, compression, shipped, how, f"{scaled.title}, compressed", write)


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
