"""effcalc: what a convolutional network costs before anyone trains it.

>>> import effcalc
>>> effcalc.scale("efficientnet-b0", phi=3).params
16350296
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effcalc.base.display import show_with
from effcalc.base.version import __version__

if TYPE_CHECKING:
    from effcalc.base.errors import CheckFailed, EffcalcError, InputError, NeedsError, RunError
    from effcalc.models.count import count
    from effcalc.network.network import Network, OperatorCall
    from effcalc.network.ops import formula
    from effcalc.prediction.predict import predict
    from effcalc.profiling.live.run import profile
    from effcalc.scaling.scale import Scaled, scale

# Loaded when first used, so that a command imports what it needs and no more.
_FROM = {
    "CheckFailed": "effcalc.base.errors",
    "EffcalcError": "effcalc.base.errors",
    "InputError": "effcalc.base.errors",
    "NeedsError": "effcalc.base.errors",
    "RunError": "effcalc.base.errors",
    "OperatorCall": "effcalc.network.network",
    "Network": "effcalc.network.network",
    "Scaled": "effcalc.scaling.scale",
    "count": "effcalc.models.count",
    "formula": "effcalc.network.ops",
    "predict": "effcalc.prediction.predict",
    "profile": "effcalc.profiling.live.run",
    "scale": "effcalc.scaling.scale",
}

show_with(
    Network="effcalc.scaling.tables.counting:network_record",
    Network_figures="effcalc.scaling.figures:figures",
    Scaled="effcalc.scaling.tables.scaling:scaled_record",
    Table="effcalc.output.formats.core:text",
)

__all__ = [
    "CheckFailed",
    "EffcalcError",
    "InputError",
    "NeedsError",
    "Network",
    "OperatorCall",
    "RunError",
    "Scaled",
    "__version__",
    "count",
    "formula",
    "predict",
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
