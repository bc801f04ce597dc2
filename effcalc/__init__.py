"""effcalc: what a convolutional network costs before anyone trains it.

>>> import effcalc
>>> effcalc.scale("efficientnet-b0", phi=3).params
16350296
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from effcalc.errors import CheckFailed, EffcalcError, InputError, NeedsError, RunError
    from effcalc.network import Layer, Network
    from effcalc.ops import formula
    from effcalc.scaling import Scaled, scale
    from effcalc.torch.count import count
    from effcalc.torch.profile.run import profile

__version__ = "0.1.0"

# Loaded when first used, so that a command imports what it needs and no more.
_FROM = {
    "CheckFailed": "effcalc.errors",
    "EffcalcError": "effcalc.errors",
    "InputError": "effcalc.errors",
    "NeedsError": "effcalc.errors",
    "RunError": "effcalc.errors",
    "Layer": "effcalc.network",
    "Network": "effcalc.network",
    "Scaled": "effcalc.scaling",
    "count": "effcalc.torch.count",
    "formula": "effcalc.ops",
    "profile": "effcalc.torch.profile.run",
    "scale": "effcalc.scaling",
}

__all__ = [
    "CheckFailed",
    "EffcalcError",
    "InputError",
    "Layer",
    "NeedsError",
    "Network",
    "RunError",
    "Scaled",
    "count",
    "formula",
    "profile",
    "scale",
]


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module 'effcalc' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_FROM[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_FROM])
