"""What a report holds: of one network, or of several compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from effcalc.base.units import format_exact, format_value
from effcalc.output.page import Folded, Item, Page, Paragraph, Section, Tile
from effcalc.output.table import CONVENTIONS, Table, select
from effcalc.scaling.figures import PER
from effcalc.scaling.plots.compare import compare as accuracy_plot
from effcalc.scaling.plots.costs import costs as costs_plot
from effcalc.scaling.plots.scaling import scaling as scaling_plot
from effcalc.scaling.plots.stages import stages as stages_plot
from effcalc.scaling.scale import Scaled, by_phi, released, scaled
from effcalc.scaling.tables.comparison import compare_table
from effcalc.scaling.tables.networks import arch_table
from effcalc.scaling.tables.scaling import COSTS, breakdown_table, pixels, scale_table

_TILES = {
    "params": "Parameters",
    "macs": "MACs",
    "weight_bytes": "Weights",
    "peak_activation_bytes": "Peak activations",
}

_PHIS = 7  # as far as the paper's family goes, B0 to B7


def network_page(network: Scaled, name: str, digits: int, command: str, plots: bool = True) -> Page:
    """Report on one network at one scaling; `name` is what to call it."""
    arch = network.arch
    breakdowns = {per: _bare(breakdown_table(network.network, per, name)) for per in PER}
    by_stage = breakdowns["stage"]
    sits: list[Item] = [stages_plot(replace(by_stage, title=name))] if plots else []
    sits += [by_stage]
    sits += [Folded(f"By {per}", table) for per, table in breakdowns.items() if per != "stage"]
    figures = replace(_bare(scale_table(arch, [network], "", network.workers)), layout="record")
    sections = [
        Section("summary", "Summary", [_tiles(network, digits), figures]),
        Section("parts", "Where the cost sits", sits),
        Section("stages", "Its stages", [_bare(arch_table(network))]),
        Section("scaling", "How it scales", _scaling(network, plots)),
    ]
    lead = f"One image of {pixels(network.scaling.image_size)} px, in float32. {arch.source}"
    return Page(name, lead, sections, _words(), command)


def comparison_page(
    labels: Sequence[str], networks: Sequence[Scaled], digits: int, command: str, plots: bool = True
) -> Page:
    """Report on several networks, each with its ratio to the first."""
    table = compare_table(labels, networks)
    first: list[Item] = [costs_plot(table)] if plots else []
    has_accuracy = any(row.get("top1") is not None for row in table.rows)
    sections = [Section("summary", "Summary", [*first, _bare(table)])]
    if has_accuracy:
        shown = select(table, "network,top1,top5,macs,params,weight_bytes,source")
        pictures = [accuracy_plot(table), accuracy_plot(table, "params")] if plots else []
        note = Paragraph("As papers print it, for exactly this network; none is computed.")
        items: list[Item] = [note, *pictures, replace(_bare(shown), notes=())]
        sections.append(Section("accuracy", "Published accuracy", items))
    for i, (label, network) in enumerate(zip(labels, networks, strict=True)):
        by_stage = _bare(breakdown_table(network.network, "stage", label))
        plot = [stages_plot(replace(by_stage, title=label))] if plots else []
        items = [_tiles(network, digits), *plot, Folded("By stage", by_stage)]
        sections.append(Section(f"network-{i + 1}", label, items))
    lead = f"{len(networks)} networks, one image each, in float32; ratios are to the first."
    return Page(" · ".join(labels), lead, sections, _words(), command)


def _bare(table: Table) -> Table:
    """The table without title and conventions, which the page gives elsewhere."""
    return replace(table, title="", conventions={})


def _tiles(network: Scaled, digits: int) -> list[Tile]:
    tiles = []
    for figure in COSTS:
        if figure.key in _TILES:
            value = figure.value(network)
            exact = format_exact(value, figure.unit) + (" bytes" if figure.unit == "bytes" else "")
            name = _TILES[figure.key]
            tiles.append(Tile(name, format_value(value, figure.unit, digits), exact))
    return tiles


def _scaling(network: Scaled, plots: bool) -> list[Item]:
    """The network at φ = 0 to 7, and what its authors released."""
    arch = network.arch

    def by(phi: float) -> Scaled:
        return scaled(arch, by_phi(arch, phi), network.workers, network.head)

    family = [by(phi) for phi in range(_PHIS + 1)]
    variants = [scaled(arch, released(arch, v), network.workers) for v in arch.variants]
    others = scale_table(arch, variants, "Released", network.workers) if variants else None
    items: list[Item] = []
    if plots:
        fine = [family[i // 4] if i % 4 == 0 else by(i / 4) for i in range(4 * _PHIS + 1)]
        curve = scale_table(arch, fine, arch.title, network.workers)
        items.append(scaling_plot(curve, others if network.head else None))
    items.append(_bare(scale_table(arch, family, "", network.workers)))
    if others is not None:
        named = "nearest_name,depth,width,pixels,params,macs,growth,peak_activation_bytes"
        items.append(Folded("Released variants", _bare(select(others, named))))
    return items


def _words() -> list[tuple[str, str]]:
    """What the words mean: the conventions of every table, and each cost."""
    costs = [(figure.title, figure.help) for figure in COSTS if figure.title not in CONVENTIONS]
    return [*CONVENTIONS.items(), *costs]
