"""What effcalc knows about another counter: how to call it, and what its figure means."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from effcalc.base.errors import RunError
from effcalc.models.peers.explain import Rule

if TYPE_CHECKING:
    from torch import nn

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]


class PeerCount(NamedTuple):
    """What a counter counted: MACs of the whole batch, and parameters where it reports them.

    `unassigned` are MACs among them that belong to no operator of the network, by a few words
    on each.
    """

    macs: float | None
    params: float | None = None
    unassigned: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class Peer:
    """Another counter.

    `convention` says what its figure is and how that becomes MACs. `count` calls it with a model
    in eval mode and the model's inputs, on tensors that are `real` or on meta ones, and `rule`
    says what it makes of one operator call. `package` is what it is imported and installed as.
    """

    name: str
    package: str
    convention: str
    count: Callable[[nn.Module, Args, Kwargs], PeerCount]
    rule: Rule | None = None
    real: bool = True
    install: str = ""

    @property
    def how_to_install(self) -> str:
        """Return the command that installs it."""
        return f"pip install {self.install or self.package}"


def positional(model: nn.Module, args: Args, kwargs: Kwargs) -> Args:
    """Return the inputs in the order of the model's parameters, for a counter without keywords.

    Inputs that leave a gap cannot be given so: a `RunError`.
    """
    if not kwargs:
        return args
    signature = inspect.signature(model.forward)
    bound = signature.bind(*args, **kwargs)
    given = [*args]
    for name, parameter in list(signature.parameters.items())[len(args) :]:
        if len(given) == len(args) + len(kwargs):
            break
        if name not in bound.arguments or parameter.kind != parameter.POSITIONAL_OR_KEYWORD:
            raise RunError("takes positional inputs alone")
        given.append(bound.arguments[name])
    return tuple(given)
