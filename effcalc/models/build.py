"""Builds the torch module of a network that blocks described.

Structure. Every layer is a module of its own, at the layer's dotted name: `stage3.1.expand.conv`
is a `Conv2d`, `stage3.1.add` a call of `Tensor.add_`. Every prefix is a module that runs what is
below it (`effcalc.models.modules.Group`): `stage3`, `stage3.1` and `stage3.1.expand` can be
called, hooked, compiled, sharded (`fully_shard`) or recomputed (`recompute`) alone; the root
lists the names of its stages and blocks. So profilers and counters that follow modules see the
network's own names, DDP wraps the root, and a `state_dict` has the network's parameter keys. A
flat interpreter of layers would have been simpler, but nothing above a layer could be wrapped.

Lifetimes. Each value is dropped after its last use, in-place layers overwrite, views share; so
evaluated without gradients, memory alive at operator boundaries is `effcalc.footprint`'s, to the
byte. Nested modules alone would break that, since `Module.__call__` holds its arguments until it
returns: see `Group` for how a value is handed over.

Initialisation, for every family:

- convolutions: normal, standard deviation sqrt(2 / fan-out), fan-out being the kernel's positions
  times the output channels of one group (He et al. 2015; EfficientNet's, MobileNetV2's, MnasNet's
  and ResNet's released code; so a depthwise one has k²); biases 0;
- linear layers: uniform within ±1/sqrt(outputs) as EfficientNet's code, biases 0 (for AlexNet's
  4096 outputs the standard deviation is 0.009 where the paper has 0.01);
- batch norms: weight 1, bias 0, eps 1e-5 and momentum 0.1 (torch's and torchvision's);
- stochastic depth: the rate of the file is that of a block after the last; block i of n, from 0,
  has rate·i/n (Huang et al. 2016, and EfficientNet's code).
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from effcalc.base.errors import InputError
from effcalc.models.modules import Call, Group, resolve
from effcalc.network.network import Network, OperatorCall, unroll
from effcalc.network.ops import OPS, TorchModule
from effcalc.network.tree import ModuleNode, plan, scheduled


class Built(Group):
    """A built network: takes one batch of images (N, C, H, W), returns the last layer's result.

    `stages` and `blocks` are the dotted names of the modules that hold a stage and a block, in
    order; a stage without repeats is a block itself.
    """

    def __init__(self, part: ModuleNode, network: Network) -> None:
        """Run the steps of `part`; the network gives its name and those of its parts."""
        super().__init__(part)
        self.network_name = network.name
        self.stages = tuple(dict.fromkeys(call.stage for call in network.calls))
        self.blocks = tuple(dict.fromkeys(call.block for call in network.calls))

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Return the network's result for the images `x`."""
        result: Tensor = super().forward(x)
        return result


def build(network: Network) -> Built:
    """Build the torch module of a network, initialised, in training mode.

    `with torch.device("meta")` around it allocates nothing. Its `state_dict` has the keys and
    shapes of the network's parameters and buffers. Raises `InputError` for a network that no
    block described (one traced from a model), and for a stage name that torch cannot take.
    """
    network = scheduled(unroll(network))
    part = plan(network)
    model = Built(part, network)
    _fill(model, part)
    initialise(model)
    return model


def recompute(model: Built, per: Literal["stage", "block", "none"]) -> None:
    """Have training compute the activations of each stage or block again instead of saving them.

    A batch norm in it then sees each batch twice, and its running statistics move twice.
    """
    chosen = {"stage": model.stages, "block": model.blocks, "none": ()}[per]
    for name, module in model.named_modules():
        if isinstance(module, Group):
            module.recompute = name in chosen


def initialise(model: nn.Module) -> None:
    """Draw new weights: normal by a convolution's fan-out, uniform by a linear layer's outputs."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            fan_out = module.out_channels // module.groups * math.prod(module.kernel_size)
            nn.init.normal_(module.weight, 0.0, math.sqrt(2 / fan_out))
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.out_features)
            nn.init.uniform_(module.weight, -bound, bound)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _fill(group: Group, part: ModuleNode) -> None:
    """Add the modules of a part's children to its group."""
    for name, child in part.children.items():
        if child.call is not None:
            group.add_module(name, _leaf(child.call))
        else:
            below = Group(child)
            _fill(below, child)
            group.add_module(name, below)


def _leaf(call: OperatorCall) -> nn.Module:
    """Build the module of one layer."""
    op = OPS.get(call.op)
    try:
        if op is None or op.build is None:
            raise KeyError(call.op)
        how = op.build(call)
    except KeyError as missing:
        raise InputError(
            f"{call.name}: operator {call.op!r} cannot be built ({missing}); only networks from "
            "an architecture file can"
        ) from None
    if isinstance(how, TorchModule):
        module: nn.Module = resolve(how.path)(**how.arguments)
        return module
    return Call(how.path, how.arguments, how.listed)
