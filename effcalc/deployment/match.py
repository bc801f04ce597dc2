"""Whether the tensors of a file are those of a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from effcalc.base.errors import InputError, one_line
from effcalc.network.network import Network, Shape, unroll

_MOST_LAYERS = 1_000_000


def matched(shapes: Mapping[str, Shape], network: Network, path: str) -> str:
    """Return how a file's tensors match a network's: "names", or "shapes" alone.

    Names of other libraries do not match; then each shape must be there as often as in the
    network. A norm's step counter, a scalar, may be missing. Raises `InputError` that names the
    tensor.
    """
    where = one_line(path)
    if sum(call.count for call in network.calls) > _MOST_LAYERS:
        raise InputError(f"{where}: {network.name} has over a million layers, no file has those")
    wanted = {p.key: p.shape for call in unroll(network).calls for p in call.params}
    common = wanted.keys() & shapes.keys()
    if 2 * len(common) > len(wanted):
        for name in wanted:
            if name not in shapes and wanted[name]:
                raise InputError(
                    f"{where}: has no {one_line(name)} ({_x(wanted[name])}) of {network.name}"
                )
            if name in shapes and shapes[name] != wanted[name]:
                raise InputError(
                    f"{where}: {one_line(name)} is {_x(shapes[name])}, and {network.name} has it "
                    f"as {_x(wanted[name])}; give the network and scaling of the weights"
                )
        more = next((name for name in shapes if name not in wanted), None)
        if more is not None:
            raise InputError(f"{where}: {network.name} has no tensor {one_line(repr(more), 80)}")
        return "names"
    mine = Counter(shape for shape in shapes.values() if shape)
    theirs = Counter(shape for shape in wanted.values() if shape)
    if mine != theirs:
        odd = min((mine - theirs) + (theirs - mine), key=lambda shape: (-len(shape), shape))
        example = next((name for name in shapes if shapes[name] == odd), None)
        named = f", such as {one_line(repr(example), 80)}" if example else ""
        raise InputError(
            f"{where}: of shape {_x(odd)} it has {mine[odd] or 'no'} tensors{named}, and "
            f"{network.name} {theirs[odd] or 'none'}; give the network and scaling of the weights"
        )
    return "shapes"


def _x(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a scalar"
