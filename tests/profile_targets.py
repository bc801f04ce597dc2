"""Models that tests profile by name, among them some that fail."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """A convolution, and a sum that no module of its own computes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + x


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(Block(), nn.BatchNorm2d(3), nn.Dropout())
        self.head = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


def small() -> tuple[nn.Module, Tensor]:
    return Small(), torch.rand(2, 3, 8, 8)


class Limited(Small):
    """Runs out of memory above a batch, as torch says it."""

    default_cfg = {"input_size": (3, 8, 8)}  # noqa: RUF012 - how timm's models say it

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] > 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().forward(x)


class Later(Small):
    """Raises `error` when it runs for the n-th time."""

    def __init__(self, n: int, kind: str) -> None:
        super().__init__()
        self.left = n
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if not self.left:
            raise {"interrupt": KeyboardInterrupt, "value": ValueError}[self.kind]("it fell")
        return super().forward(x)


def later(n: int, kind: str) -> tuple[nn.Module, Tensor]:
    return Later(n, kind), torch.rand(2, 3, 8, 8)
