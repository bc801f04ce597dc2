"""How a model runs while it is counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunMode:
    """With `backward` the backward pass runs too; with `real` weights and inputs have values.

    `train` sets training (True) or evaluation mode (False). None keeps the model's own mode for
    a backward pass, and otherwise sets evaluation mode.
    """

    backward: bool = False
    real: bool = False
    train: bool | None = None


FORWARD = RunMode()
