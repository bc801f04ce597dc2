"""Operators of ONNX that move, choose or make values."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

from effcalc.models.onnxrun.node import Call, Maker, Node, Unsupported

Tensor = torch.Tensor


def _reshape(node: Node) -> Call:
    shape, keeps_zero = list(node.value(1, "shape")), node.attr("allowzero", 0)
    if not keeps_zero:
        shape = [node.shape(0)[i] if side == 0 else side for i, side in enumerate(shape)]
    return lambda x: x.reshape(shape)


def _flatten(node: Node) -> Call:
    shape, axis = node.shape(0), node.attr("axis", 1)
    axis += node.rank if axis < 0 else 0
    flat = (math.prod(shape[:axis]), math.prod(shape[axis:]))
    return lambda x: x.reshape(flat)


def _squeeze(node: Node) -> Call:
    axes = node.value(1, "axes")
    if axes is None:
        return torch.squeeze
    dims = tuple(axes)
    return lambda x: x.squeeze(dims)


def _unsqueeze(node: Node) -> Call:
    axes = node.value(1, "axes")
    rank = node.rank + len(axes)
    places = sorted(node.place(a, rank) for a in axes)

    def call(x: Tensor) -> Tensor:
        for place in places:
            x = x.unsqueeze(place)
        return x

    return call


def _transpose(node: Node) -> Call:
    order = tuple(node.attr("perm", range(node.rank)[::-1]))
    return lambda x: x.permute(order)


def _concat(node: Node) -> Call:
    axis = node.axis(1 if node.opset < 4 else 0)
    return lambda *x: torch.cat(x, axis)


def _split(node: Node) -> Call:
    axis = node.axis()
    sizes = node.value(1, "split")
    if sizes is None:
        side, parts = node.shape(0)[axis], node.outputs
        each = math.ceil(side / parts)
        sizes = [min(each, side - i * each) for i in range(parts)]
    return lambda x: x.split(list(sizes), axis)


def _slice(node: Node) -> Call:
    starts, ends = node.value(1, "starts"), node.value(2, "ends")
    axes = node.value(3, "axes", list(range(len(starts))))
    steps = node.value(4, "steps", [1] * len(starts))
    shape = node.shape(0)
    places: list[slice] = [slice(None)] * node.rank
    flips: list[int] = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = node.place(axis, node.rank)
        chosen = range(*slice(start, end, step).indices(shape[axis]))
        if step < 0:  # torch has no negative step: take them in order, then turn them round
            flips.append(axis)
            chosen = chosen[::-1]
        places[axis] = slice(chosen.start, max(chosen.start, chosen.stop), chosen.step)
    index = tuple(places)
    return (lambda x: x[index].flip(flips)) if flips else lambda x: x[index]


def _expand(node: Node) -> Call:
    shape = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
        node.shape(0), tuple(node.value(1))
    )
    return lambda x: x.expand(shape)


def _tile(node: Node) -> Call:
    repeats = tuple(node.value(1))
    return lambda x: x.repeat(repeats)


_PAD_MODES = {"edge": "replicate", "wrap": "circular"}


def _pad(node: Node) -> Call:
    pads, value = node.value(1, "pads"), node.number(2, "value", 0)
    axes = node.value(3, "axes", list(range(node.rank)))
    mode = node.attr("mode", "constant")
    mode = _PAD_MODES.get(mode, mode)
    flat = [0] * 2 * node.rank  # of the last dimension first, before and after
    for i, axis in enumerate(axes):
        place = 2 * (node.rank - 1 - node.place(axis, node.rank))
        flat[place : place + 2] = pads[i], pads[len(axes) + i]
    while flat and mode != "constant" and flat[-2:] == [0, 0]:
        del flat[-2:]  # the other modes are for the last dimensions alone
    if not any(flat):
        return lambda x: x
    if mode == "constant":
        return lambda x: functional.pad(x, flat, value=value)
    lead = node.rank - len(flat) // 2
    if lead < 1:
        raise Unsupported(f"Pad of every dimension, mode={mode}, is not supported")
    batch = node.shape(0)[:lead]

    def call(x: Tensor) -> Tensor:  # torch takes batch and channels before what it pads
        y = functional.pad(x.reshape(1, -1, *x.shape[lead:]), flat, mode)
        return y.reshape(*batch, *y.shape[2:])

    return call


def _gather(node: Node) -> Call:
    axis = node.axis()
    index = node.known.get(node.inputs[1])
    if index is not None:
        side = node.shape(0)[axis]
        places = [node.place(int(i), side) for i in set(index.flatten().tolist())]
        if index.dim() == 0:
            node.taken.add(1)
            return lambda x: x.select(axis, places[0])
    before = (slice(None),) * axis
    return lambda x, places: x[(*before, places.long())]


def _gather_elements(node: Node) -> Call:
    axis = node.axis()
    side = node.shape(0)[axis]
    return lambda x, places: torch.gather(x, axis, places.long() % side)


def _gather_nd(node: Node) -> Call:
    node.refuse("batch_dims", 0)
    return lambda x, places: x[places.long().unbind(-1)]


def _scatter_elements(node: Node) -> Call:
    axis = node.axis()
    side = node.shape(0)[axis]
    how = node.attr("reduction", "none")
    if how == "none":
        return lambda x, places, y: x.scatter(axis, places.long() % side, y)
    name = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}[how]
    return lambda x, places, y: x.scatter_reduce(axis, places.long() % side, y, name)


def _scatter_nd(node: Node) -> Call:
    node.refuse("reduction", "none", "add")
    add = node.attr("reduction", "none") == "add"
    return lambda x, places, y: x.index_put(places.long().unbind(-1), y, accumulate=add)


def _one_hot(node: Node) -> Call:
    depth = int(node.number(1))
    axis = int(node.attr("axis", -1))

    def call(places: Tensor, values: Tensor) -> Tensor:
        classes = torch.arange(depth, device=places.device)
        places = torch.where(places < 0, places + depth, places).unsqueeze(-1)
        return torch.where(places == classes, values[1], values[0]).movedim(-1, axis)

    return call


def _trilu(node: Node) -> Call:
    k = node.number(1, default=0)
    return (lambda x: x.triu(k)) if node.attr("upper", 1) else lambda x: x.tril(k)


def _non_zero(node: Node) -> Call:
    if node.inputs[0] not in node.known:
        raise Unsupported("how many there are depends on values that the graph computes")
    places = torch.nonzero(node.known[node.inputs[0]]).T
    node.taken.add(0)
    return lambda: places


def _depth_to_space(node: Node) -> Call:
    b = node.attr("blocksize")
    if node.attr("mode", "DCR") == "CRD":
        return lambda x: functional.pixel_shuffle(x, b)
    n, c, h, w = node.shape(0)

    def call(x: Tensor) -> Tensor:
        parts = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return parts.reshape(n, c // b**2, h * b, w * b)

    return call


def _space_to_depth(node: Node) -> Call:
    b = node.attr("blocksize")
    if node.attr("mode", "DCR") == "CRD":
        return lambda x: functional.pixel_unshuffle(x, b)
    n, c, h, w = node.shape(0)

    def call(x: Tensor) -> Tensor:
        parts = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
        return parts.reshape(n, c * b**2, h // b, w // b)

    return call


def _resize(node: Node) -> Call:
    """Interpolation of the spatial dimensions, in the variants that torch has."""
    if node.op == "Upsample" or node.opset < 11:
        scales, sizes = node.value(1, "scales"), None
        where = "asymmetric"
    else:
        node.value(1)  # the region of interest, which only one mode reads
        scales, sizes = node.value(2), node.value(3)
        where = node.attr("coordinate_transformation_mode", "half_pixel")
    mode, smooth = node.attr("mode", "nearest"), bool(node.attr("antialias", 0))
    node.refuse("exclude_outside", 0)
    if mode == "cubic":
        node.refuse("cubic_coeff_a", -0.75)
    node.refuse("keep_aspect_ratio_policy", "stretch")
    shape = node.shape(0)
    axes = list(node.attr("axes", range(node.rank)))
    size = list(shape)
    for i, axis in enumerate(axes):
        size[axis] = sizes[i] if sizes else math.floor(shape[axis] * scales[i])
    if tuple(size[:2]) != shape[:2]:
        raise Unsupported("Resize of batch or channels is not supported")
    if where == "pytorch_half_pixel" and 1 in size[2:]:
        raise Unsupported("Resize to a side of 1 with pytorch_half_pixel is not torch's")
    whole = sizes or all(shape[axis] * scales[i] % 1 == 0 for i, axis in enumerate(axes))
    if where == "align_corners" and not whole:
        raise Unsupported("Resize with align_corners to no whole size is not torch's")
    kind = ("linear", "bilinear", "trilinear")[node.rank - 3]
    corners: bool | None = None
    if mode == "nearest":
        rounding = node.attr("nearest_mode", "round_prefer_floor")
        if node.op == "Upsample" or node.opset < 11 or (where, rounding) == ("asymmetric", "floor"):
            kind = "nearest"
        elif where in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round"):
            kind = "nearest-exact"  # which may take the other neighbour at a tie
        else:
            raise Unsupported(f"Resize {where} with nearest_mode={rounding} is not torch's")
    else:
        if where not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
            raise Unsupported(f"Resize {where} with mode={mode} is not torch's")
        corners = where == "align_corners"
        kind = "bicubic" if mode == "cubic" else kind
    to: dict[str, Any] = {"size": size[2:]}
    if not sizes and axes == list(range(node.rank)):  # a place follows from the scale, not the size
        to = {"scale_factor": tuple(scales[2:])}
    return lambda x: functional.interpolate(
        x, **to, mode=kind, align_corners=corners, antialias=smooth
    )


def _constant(node: Node) -> Call:
    ((name, _),) = node.attrs.items()
    value = node.attr(name)
    tensor = value if isinstance(value, Tensor) else torch.tensor(value)
    return lambda: tensor


def _constant_of_shape(node: Node) -> Call:
    shape = list(node.value(0))
    value = node.attr("value", torch.zeros(1)).reshape(())
    return lambda: value.expand(shape)


def _range(node: Node) -> Call:
    ends: list[Any] = [node.number(i) for i in range(3)]
    dtype = node.dtype(0)
    return lambda: torch.arange(*ends, dtype=dtype)


def _eye_like(node: Node) -> Call:
    rows, columns = node.shape(0)
    dtype, k = node.attr("dtype", node.dtype(0)), node.attr("k", 0)
    # A number's place may lie outside: eye has the main diagonal alone.
    return lambda x: torch.ones(rows, columns, dtype=dtype, device=x.device).triu(k).tril(k)


def _shape(node: Node) -> Call:
    shape = node.shape(0)[node.attr("start", 0) : node.attr("end")]
    node.taken.add(0)
    return lambda: torch.tensor(shape, dtype=torch.int64)


def _size(node: Node) -> Call:
    size = math.prod(node.shape(0))
    node.taken.add(0)
    return lambda: torch.tensor(size)


def _same(node: Node) -> Call:
    if node.op == "Dropout" and node.used > 1:
        raise Unsupported("the mask of a Dropout is not supported")
    old = node.opset < 7 and not node.attr("is_test", 0)
    if node.op == "Dropout" and (old or node.value(2)):
        raise Unsupported("a Dropout that trains is not supported")
    node.taken.update(range(1, len(node.inputs)))
    return lambda x: x


MOVING: dict[str, Maker] = {
    "Identity": _same,
    "Dropout": _same,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "OneHot": _one_hot,
    "Trilu": _trilu,
    "NonZero": _non_zero,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Resize": _resize,
    "Upsample": _resize,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "EyeLike": _eye_like,
    "Shape": _shape,
    "Size": _size,
}
"""How torch computes each, by ONNX's name."""
