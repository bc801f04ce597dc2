"""The keys of a block in an architecture file, as the signature of the block says them.

A keyword-only parameter is a key. Its annotation says the type and the limits of its value:
`bool`, `Positive`, `Share`, `Annotated[int, AtLeast(-1)]`, `Literal["none", "simple"]`. A parameter
without a default must be in the file.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import get_annotations
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, get_args, get_origin


class Limit(NamedTuple):
    """Numbers from `low` (`above`: not itself) to `high`; `text` says so in an error."""

    text: str
    low: float
    high: float = float("inf")
    above: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number is within the limits; nan is not."""
        return self.low <= value <= self.high and not (self.above and value == self.low)


def AtLeast(low: int) -> Limit:  # noqa: N802 (reads as a type in a signature)
    """Limit a number to `low` and more."""
    return Limit(f"must be at least {low}", low)


ABOVE_ZERO = Limit("must be above zero", 0, above=True)

Positive: TypeAlias = Annotated[int, ABOVE_ZERO]
PositiveFloat: TypeAlias = Annotated[float, ABOVE_ZERO]
Share: TypeAlias = Annotated[float, Limit("is a share from 0 to 1", 0, 1)]


class Key(NamedTuple):
    """One key: its type, the texts or the numbers that it takes, its default (None: required)."""

    kind: type
    choices: tuple[str, ...] = ()
    limit: Limit | None = None
    default: Any = None


def block_keys(block: Callable[..., Any]) -> dict[str, Key]:
    """Return the keys of a block by their names."""
    code = block.__code__
    names = code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
    types, defaults = get_annotations(block, eval_str=True), block.__kwdefaults__ or {}
    return {name: _key(types[name], defaults.get(name)) for name in names}


def _key(annotation: Any, default: Any) -> Key:
    if get_origin(annotation) is Annotated:
        kind, limit = get_args(annotation)
        return Key(kind, limit=limit, default=default)
    if get_origin(annotation) is Literal:
        return Key(str, get_args(annotation), default=default)
    return Key(annotation, default=default)
