"""How a profile is run: the settings of `effcalc profile` and `effcalc.profile`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from effcalc.profiling.live.ranks import Ranks


@dataclass(frozen=True)
class ProfileSettings:
    """How to run what is profiled.

    `mode` is "infer" or "train" (forward, backward, SGD with momentum), `dtype` one of fp32,
    tf32, fp16, bf16 and amp. Without a `device` it is cuda where there is one, else cpu. None as
    `threads`, `repeat` or `warmup` leaves the number to what the measurement needs. `cold`
    flushes the caches before each run, `trace` is a file for the profiler's trace, and `ranks`
    says which process of torchrun's this is.
    """

    mode: str = "infer"
    dtype: str = "fp32"
    device: str | None = None
    threads: int | None = None
    repeat: int | None = None
    warmup: int | None = None
    channels_last: bool = False
    compile: bool = False
    cold: bool = False
    trace: str | None = None
    ranks: Ranks | None = None
