"""Profiles of data-parallel training under torchrun: one process for each rank."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from effcalc.base.errors import InputError

T = TypeVar("T")

REPEAT, WARMUP, RECORDED = 20, 5, 6  # alike on all ranks: each step waits for the others
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


class Ranks(NamedTuple):
    """Which of how many processes this is; `local` counts on its own machine."""

    rank: int
    world: int
    local: int


def launched() -> Ranks | None:
    """Read which rank this is from torchrun's variables; None where this process is alone.

    Raises `InputError` where they are missing or wrong.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return None
    try:
        ranks = Ranks(*(int(os.environ[name]) for name in _VARIABLES))
    except (KeyError, ValueError):
        raise InputError(
            f"WORLD_SIZE is set, but {', '.join(_VARIABLES)} are not numbers: run under torchrun"
        ) from None
    if not 0 <= ranks.rank < ranks.world:
        raise InputError(f"RANK={ranks.rank} is not below WORLD_SIZE={ranks.world}")
    return ranks


@contextmanager
def joined(ranks: Ranks | None, device: torch.device) -> Iterator[None]:
    """Be one of the ranks while the block runs: NCCL between GPUs, gloo between CPUs."""
    if ranks is None:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def data_parallel(module: nn.Module, device: torch.device) -> nn.Module:
    """Wrap a module so that its gradients are averaged over the ranks (DDP)."""
    ids = [device.index] if device.type == "cuda" else None
    wrapped: nn.Module = nn.parallel.DistributedDataParallel(module, device_ids=ids)
    return wrapped


def gather(value: T, ranks: Ranks) -> list[T]:
    """Return every rank's value, in order of ranks."""
    values: list[Any] = [None] * ranks.world
    dist.all_gather_object(values, value)
    return values


def wait() -> None:
    """Wait until all ranks are here."""
    dist.barrier()
