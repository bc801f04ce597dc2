"""The blocks of an architecture file: each is a function that adds its layers to a network.

A block's keyword-only parameters are the keys that a `[[stage]]` of its kind takes; their
annotations are the types and limits of the file's values (`effcalc.network.keys`). Every channel
count goes through `net.width`, which scales and rounds as the file says.
"""

from collections.abc import Callable
from typing import Annotated, Literal

from effcalc.base.errors import InputError
from effcalc.base.num import floor, maximum, uniform
from effcalc.network.builder import (
    Activation,
    Builder,
    Kernel,
    OptionalActivation,
    add_act,
    add_conv,
    add_dropout,
    add_mean,
    add_norm,
    add_sum,
    pool_side,
)
from effcalc.network.keys import AtLeast, Positive, PositiveFloat, Share
from effcalc.network.network import Tensor

Block = Callable[..., Tensor]
BLOCKS: dict[str, Block] = {}


def block(function: Block) -> Block:
    """Make a function available to architecture files under its name."""
    BLOCKS[function.__name__] = function
    return function


def _conv_norm_act(
    net: Builder, x: Tensor, name: str, channels: int, kernel: Kernel, activation: str
) -> Tensor:
    x = add_conv(net, x, f"{name}.conv", channels, kernel)
    return add_act(net, add_norm(net, x, f"{name}.norm"), f"{name}.act", activation)


@block
def convolution(
    net: Builder,
    x: Tensor,
    *,
    channels: Positive,
    kernel: Positive,
    stride: Positive = 1,
    padding: Annotated[int, AtLeast(-1)] = -1,
    groups: Positive = 1,
    bias: bool = False,
    norm: bool = True,
    activation: OptionalActivation = "relu",
    dropout: Share = 0.0,
) -> Tensor:
    """Convolution, then optionally a batch norm and an activation.

    `padding` -1 keeps the image's size at stride 1. `dropout` acts on the input.
    """
    x = add_dropout(net, x, "dropout", dropout)
    window = Kernel(kernel, stride, None if padding < 0 else padding, groups)
    x = add_conv(net, x, "conv", net.width(channels, groups), window, bias)
    if norm:
        x = add_norm(net, x, "norm")
    return add_act(net, x, "act", activation)


@block
def max_pool(
    net: Builder,
    x: Tensor,
    *,
    kernel: Positive,
    stride: Positive,
    padding: Annotated[int, AtLeast(0)] = 0,
    ceil_mode: bool = False,
) -> Tensor:
    """Max pool; torch also writes the int64 index of each maximum."""
    n, c, h, w = x.shape
    height = net.spatial(pool_side(h, kernel, stride, padding, ceil_mode), "pool")
    width = net.spatial(pool_side(w, kernel, stride, padding, ceil_mode), "pool")
    shape = (n, c, height, width)
    return net.add(
        "",
        "max_pool",
        (x,),
        shape,
        extra_outputs=[(shape, "int64")],
        kernel=kernel,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
    )


@block
def global_avg_pool(net: Builder, x: Tensor) -> Tensor:
    """Mean over all pixels of each channel."""
    return add_mean(net, x, "")


@block
def adaptive_avg_pool(net: Builder, x: Tensor, *, size: Positive) -> Tensor:
    """Average pool to `size` x `size` pixels, whatever the input's."""
    n, c, *_ = x.shape
    return net.add("", "adaptive_avg_pool", (x,), (n, c, size, size), size=size)


@block
def local_response_norm(
    net: Builder,
    x: Tensor,
    *,
    size: Positive = 5,
    alpha: PositiveFloat = 1e-4,
    beta: PositiveFloat = 0.75,
    k: PositiveFloat = 2.0,
) -> Tensor:
    """Normalise across `size` neighbouring channels (Krizhevsky et al. 2012, section 3.3).

    Step by step as torch computes it: x / (k + alpha · mean of squares)^beta.
    """
    n, c, h, w = x.shape
    stack = (n, 1, c, h, w)
    square = net.add("square", "mul", (x, x), x.shape)
    square = net.add("stack", "view", (square,), stack, memory="view")
    padded = net.add("pad", "pad", (square,), (n, 1, c + size - 1, h, w), size=size)
    average = net.add("average", "avg_pool", (padded,), stack, size=size)
    average = net.add("squeeze", "view", (average,), (n, c, h, w), memory="view")
    scaled = net.add("alpha", "mul", (average,), x.shape, value=alpha)
    shifted = net.add("k", "add", (scaled,), x.shape, value=k)
    power = net.add("beta", "pow", (shifted,), x.shape, value=beta)
    return net.add("divide", "div", (x, power), x.shape)


def _flatten(net: Builder, x: Tensor, name: str) -> Tensor:
    n, c, h, w = x.shape
    return net.add(name, "view", (x,), (n, c * h * w), memory="view")


@block
def flatten(net: Builder, x: Tensor) -> Tensor:
    """Give an image (N, C, H, W) the shape (N, C·H·W), which costs nothing."""
    return _flatten(net, x, "")


@block
def linear(
    net: Builder,
    x: Tensor,
    *,
    channels: Positive,
    activation: OptionalActivation = "none",
    dropout: Share = 0.0,
) -> Tensor:
    """Fully connected layer with bias; an image is flattened first."""
    if len(x.shape) > 2:
        x = _flatten(net, x, "flatten")
    x = add_dropout(net, x, "dropout", dropout)
    n, features = x.shape
    out = net.width(channels)
    x = net.add(
        "linear", "linear", (x,), (n, out), params=[("weight", (out, features)), ("bias", (out,))]
    )
    return add_act(net, x, "act", activation)


@block
def mbconv(
    net: Builder,
    x: Tensor,
    *,
    channels: Positive,
    kernel: Positive,
    expansion: PositiveFloat,
    stride: Positive = 1,
    se_ratio: Annotated[float, AtLeast(0)] = 0.0,
    skip: bool = True,
    drop: Share = 0.0,
    activation: OptionalActivation = "relu6",
    se_activation: Activation = "relu",
) -> Tensor:
    """Mobile inverted bottleneck (Sandler et al. 2018, table 1), with squeeze-and-excitation.

    Expand 1x1 (none where `expansion` is 1), depthwise, project 1x1 without activation; a sum
    with the input where stride is 1 and the widths are equal, unless `skip` is false. The squeeze
    has `se_ratio` of the block's input channels, at least one. `drop` is stochastic depth.
    """
    entry = x
    inner = x.shape[1]
    if expansion != 1:
        inner = floor(inner * expansion + 0.5)
        x = _conv_norm_act(net, x, "expand", inner, Kernel(), activation)
    x = _conv_norm_act(net, x, "depthwise", inner, Kernel(kernel, stride, groups=inner), activation)
    if se_ratio:
        squeezed = maximum(1, floor(entry.shape[1] * se_ratio))
        gate = add_mean(net, x, "se.pool")
        gate = add_conv(net, gate, "se.reduce", squeezed, bias=True)
        gate = add_act(net, gate, "se.act", se_activation)
        gate = add_conv(net, gate, "se.expand", inner, bias=True)
        gate = net.add("se.gate", "sigmoid", (gate,), gate.shape)
        x = net.add("se.scale", "mul", (gate, x), x.shape)
    x = _conv_norm_act(net, x, "project", net.width(channels), Kernel(), "none")
    if skip and stride == 1 and uniform(entry.shape[1] == x.shape[1]):
        x = add_dropout(net, x, "drop", drop, "stochastic_depth")
        x = add_sum(net, x, entry)
    return x


@block
def separable(
    net: Builder,
    x: Tensor,
    *,
    channels: Positive,
    stride: Positive = 1,
    activation: OptionalActivation = "relu",
) -> Tensor:
    """Depthwise separable convolution (Howard et al. 2017): depthwise 3x3, then pointwise."""
    c = x.shape[1]
    x = _conv_norm_act(net, x, "depthwise", c, Kernel(3, stride, groups=c), activation)
    return _conv_norm_act(net, x, "pointwise", net.width(channels), Kernel(), activation)


def _projection(net: Builder, x: Tensor, channels: int, stride: int) -> Tensor:
    """Return the shortcut: the input itself, or a 1x1 convolution where its shape changes."""
    if stride == 1 and uniform(x.shape[1] == channels):
        return x
    return _conv_norm_act(net, x, "shortcut", channels, Kernel(1, stride), "none")


@block
def basic(net: Builder, x: Tensor, *, channels: Positive, stride: Positive = 1) -> Tensor:
    """Residual block of two 3x3 convolutions (He et al. 2016, figure 5 left)."""
    entry, width = x, net.width(channels)
    x = _conv_norm_act(net, x, "conv1", width, Kernel(3, stride), "relu")
    x = _conv_norm_act(net, x, "conv2", width, Kernel(3), "none")
    x = add_sum(net, x, _projection(net, entry, width, stride))
    return add_act(net, x, "act", "relu")


@block
def bottleneck(
    net: Builder,
    x: Tensor,
    *,
    channels: Positive,
    expansion: Positive = 4,
    stride: Positive = 1,
    groups: Positive = 1,
) -> Tensor:
    """Residual bottleneck 1x1, 3x3, 1x1 (He et al. 2016, figure 5 right).

    `channels` is the inner width, the output has `expansion` times as many. The stride sits on
    the 3x3 convolution, as torchvision has it (v1.5); `groups` split that one (ResNeXt).
    """
    entry, width = x, net.width(channels, groups)
    out = width * expansion
    x = _conv_norm_act(net, x, "conv1", width, Kernel(), "relu")
    x = _conv_norm_act(net, x, "conv2", width, Kernel(3, stride, groups=groups), "relu")
    x = _conv_norm_act(net, x, "conv3", out, Kernel(), "none")
    x = add_sum(net, x, _projection(net, entry, out, stride))
    return add_act(net, x, "act", "relu")


@block
def preact_bottleneck(
    net: Builder, x: Tensor, *, channels: Positive, expansion: Positive = 4, stride: Positive = 1
) -> Tensor:
    """Pre-activation bottleneck (He et al. 2016, Identity Mappings, figure 4e).

    Norm and ReLU come before each convolution. A projection reads the activated input and is a
    convolution alone; without one the shortcut is the untouched input.
    """
    entry, width = x, net.width(channels)
    out = width * expansion
    ready = add_act(net, add_norm(net, x, "norm1"), "act1", "relu")
    x = add_conv(net, ready, "conv1", width)
    x = add_act(net, add_norm(net, x, "norm2"), "act2", "relu")
    x = add_conv(net, x, "conv2", width, Kernel(3, stride))
    x = add_act(net, add_norm(net, x, "norm3"), "act3", "relu")
    x = add_conv(net, x, "conv3", out)
    if stride != 1 or not uniform(entry.shape[1] == out):
        entry = add_conv(net, ready, "shortcut", out, Kernel(1, stride))
    return add_sum(net, x, entry)


@block
def norm_act(net: Builder, x: Tensor, *, activation: OptionalActivation = "relu") -> Tensor:
    """Batch norm and activation: what closes a pre-activation network."""
    return add_act(net, add_norm(net, x, "norm"), "act", activation)


@block
def fire(
    net: Builder,
    x: Tensor,
    *,
    expand: PositiveFloat,
    pct_3x3: Share,
    squeeze_ratio: PositiveFloat,
    bypass: Literal["none", "simple", "complex"] = "none",
) -> Tensor:
    """Fire module (Iandola et al. 2016, section 3.2; metaparameters of section 5.1).

    Of `expand` filters a share `pct_3x3` is 3x3 and the rest 1x1; the squeeze layer has
    `squeeze_ratio` times `expand` filters; each count is rounded to a whole one. `bypass` is
    "none", "simple" (a sum where input and output are alike) or "complex" (that, and a 1x1
    convolution elsewhere; section 6).
    """
    entry = x
    filters = floor(expand + 0.5)
    if not uniform(filters >= 1):
        raise InputError(f"expand {expand:g} comes to no filter; at least 1 is needed")
    three = floor(filters * pct_3x3 + 0.5)
    squeezed = net.width(floor(filters * squeeze_ratio + 0.5))
    x = add_act(net, add_conv(net, x, "squeeze.conv", squeezed, bias=True), "squeeze.act", "relu")
    parts = []
    for name, share, size in (("expand1x1", filters - three, 1), ("expand3x3", three, 3)):
        if uniform(share > 0):
            part = add_conv(net, x, f"{name}.conv", net.width(share), Kernel(size), bias=True)
            parts.append(add_act(net, part, f"{name}.act", "relu"))
    n, _, h, w = x.shape
    channels = sum(part.shape[1] for part in parts)
    x = parts[0]
    if len(parts) > 1:
        x = net.add("concat", "cat", parts, (n, channels, h, w), dim=1)
    if bypass == "none":
        return x
    if not uniform(entry.shape[1] == channels):
        if bypass == "simple":
            return x
        entry = add_conv(net, entry, "bypass", channels, bias=True)
    return add_sum(net, x, entry)
