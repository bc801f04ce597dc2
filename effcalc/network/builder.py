"""The builder with which blocks add layers to a network, and the smallest layer helpers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from effcalc.base.errors import InputError
from effcalc.base.num import uniform
from effcalc.network.network import OperatorCall, Param, Shape, Tensor


class Builder:
    """Collects the operator calls of one network, stage by stage.

    `width` rounds a scaled width of the stage under construction; a block calls it for every
    channel count of its own.
    """

    def __init__(self, shape: Shape) -> None:
        """Start from an input of `shape` (N, C, H, W)."""
        self.calls: list[OperatorCall] = []
        self.input = Tensor(0, shape, storage=0)
        self.width: Callable[..., int] = lambda channels, groups=1: channels
        self._values = 1
        self._stage = self._block = ""
        self._count = 1

    def enter(self, stage: str, block: str, count: int) -> None:
        """Begin a block: what is added until the next call belongs to `count` copies of it."""
        self._stage, self._block, self._count = stage, block, count

    def add(
        self,
        name: str,
        op: str,
        operands: Sequence[Tensor],
        shape: Shape,
        *,
        params: Sequence[tuple[str, Shape]] = (),
        buffers: Sequence[tuple[str, Shape]] = (),
        counter: bool = False,
        memory: Literal["new", "inplace", "view"] = "new",
        extra_outputs: Sequence[tuple[Shape, str]] = (),
        **attrs: Any,
    ) -> Tensor:
        """Add one operator call and return its result, a float32 tensor of `shape`.

        `params` and `buffers` are read by the operator after its operands, in that order;
        `counter` adds a batch norm's `num_batches_tracked`, which evaluation does not read.
        An in-place result and a view share the memory of the first operand.
        """
        path = f"{self._block}.{name}" if name else self._block
        held = [Param(f"{path}.{n}", s) for n, s in params]
        held += [Param(f"{path}.{n}", s, trainable=False, buffer=True) for n, s in buffers]
        read = [Tensor(-1, p.shape, p.dtype, -1, p.key) for p in held]
        if counter:
            held.append(Param(f"{path}.num_batches_tracked", (), "int64", False, True))
        out = self._value(shape, "float32", -1 if memory == "new" else operands[0].storage)
        extra = [self._value(s, dtype, -1) for s, dtype in extra_outputs]
        self.calls.append(
            OperatorCall(
                path,
                op,
                (*operands, *read),
                (out, *extra),
                tuple(held),
                attrs,
                memory,
                self._stage,
                self._block,
                self._count,
            )
        )
        return out

    def _value(self, shape: Shape, dtype: str, storage: int) -> Tensor:
        number = self._values
        self._values += 1
        return Tensor(number, shape, dtype, number if storage < 0 else storage)

    def spatial(self, size: Any, where: str) -> Any:
        """Return an output side, refusing one that is under one pixel."""
        if not uniform(size >= 1):
            raise InputError(
                f"the image is too small, {where} would leave no pixel; "
                "give a larger `image_size`, `resolution` or `phi`"
            )
        return size


def _window(size: Any, kernel: int, stride: int, padding: int) -> Any:
    return (size + 2 * padding - kernel) // stride + 1


class Kernel(NamedTuple):
    """The window of a convolution; `padding` None makes its output side the input's over stride."""

    size: int = 1
    stride: int = 1
    padding: int | None = None
    groups: int = 1


def add_conv(
    net: Builder,
    x: Tensor,
    name: str,
    channels: int,
    kernel: Kernel = Kernel(),  # noqa: B008 (immutable)
    bias: bool = False,
) -> Tensor:
    """Add a 2-d convolution; refuses no channels, and channels that the groups do not divide."""
    n, c, h, w = x.shape
    size, stride, padding, groups = kernel
    if not uniform(channels >= 1):
        raise InputError(f"{name} would have no channels; choose larger factors")
    if padding is None:
        padding = (size - 1) // 2
    if not uniform(c % groups == 0) or not uniform(channels % groups == 0):
        raise InputError(
            f"{name}: {c} input and {channels} output channels cannot be split into {groups} "
            "groups; choose channels that the groups divide"
        )
    height = net.spatial(_window(h, size, stride, padding), name)
    width = net.spatial(_window(w, size, stride, padding), name)
    return net.add(
        name,
        "conv",
        (x,),
        (n, channels, height, width),
        params=[
            ("weight", (channels, c // groups, size, size)),
            *([("bias", (channels,))] if bias else []),
        ],
        stride=(stride, stride),
        padding=(padding, padding),
        dilation=(1, 1),
        groups=groups,
    )


def add_norm(net: Builder, x: Tensor, name: str) -> Tensor:
    """Add a 2-d batch normalisation with affine parameters and running statistics."""
    channels = (x.shape[1],)
    return net.add(
        name,
        "batch_norm",
        (x,),
        x.shape,
        params=[("weight", channels), ("bias", channels)],
        buffers=[("running_mean", channels), ("running_var", channels)],
        counter=True,
    )


Activation = Literal["relu", "relu6", "silu"]
OptionalActivation = Literal["none", Activation]

ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {  # the operator and attributes of each
    "relu": ("relu", {}),
    "relu6": ("hardtanh", {"min_val": 0.0, "max_val": 6.0}),
    "silu": ("silu", {}),
}


def add_act(net: Builder, x: Tensor, name: str, activation: str) -> Tensor:
    """Add an activation that overwrites its input, or nothing for "none"."""
    if activation == "none":
        return x
    op, attrs = ACTIVATIONS[activation]
    return net.add(name, op, (x,), x.shape, memory="inplace", **attrs)


def add_sum(net: Builder, x: Tensor, other: Tensor) -> Tensor:
    """Add a residual sum that overwrites `x`."""
    return net.add("add", "add", (x, other), x.shape, memory="inplace")


def add_dropout(net: Builder, x: Tensor, name: str, rate: float, kind: str = "dropout") -> Tensor:
    """Add dropout (or stochastic depth): at evaluation it is the identity and costs nothing."""
    if not rate:
        return x
    return net.add(name, kind, (x,), x.shape, memory="view", rate=rate)


def add_mean(net: Builder, x: Tensor, name: str) -> Tensor:
    """Add a global average pool that keeps two spatial axes of one pixel."""
    n, c, *_ = x.shape
    return net.add(name, "mean", (x,), (n, c, 1, 1), dim=(-1, -2), keepdim=True)


def pool_side(size: Any, kernel: int, stride: int, padding: int, ceil_mode: bool) -> Any:
    """Output side of a pool; with `ceil_mode` a last window must still start inside the image."""
    if not ceil_mode:
        return _window(size, kernel, stride, padding)
    out = -(-(size + 2 * padding - kernel) // stride) + 1
    return out - 1 * ((out - 1) * stride >= size + padding)
