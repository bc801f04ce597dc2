"""What a prediction of memory is of: an inference or a training step, and how it is run."""

from __future__ import annotations

from dataclasses import dataclass

PRECISIONS = ("fp32", "bf16", "amp")
CHECKPOINTS = ("none", "stage", "block")
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, slots=True)
class StepSettings:
    """How a network runs; the options of `effcalc memory` have the same names.

    `train`: a training step, any after the first; otherwise an inference without gradients.
    `dtype`: "fp32"; "bf16", where weights and images are bfloat16; "amp", torch.autocast with
    bfloat16. `optimizer` is a name of `optimizer.OPTIMIZERS`; with `master` it has float32 copies
    of bf16 weights. `checkpoint`: each stage, or block, is recomputed in the backward pass.
    `workers` share what ZeRO stage `zero` shards (0: each has all). `device`: where torch runs,
    which decides what its dropout and its optimizer allocate. `watched`: a dispatch mode looks
    on, as where a step is traced; torch then adds up gradients in new memory, not in place.
    """

    train: bool = True
    dtype: str = "fp32"
    optimizer: str = "sgd"
    master: bool = False
    checkpoint: str = "none"
    workers: int = 1
    zero: int = 0
    device: str = "cpu"
    watched: bool = False

    def share(self, size: int, stage: int) -> int:
        """What each worker holds of `size` bytes that ZeRO shards from `stage` on, rounded up."""
        return -(-size // self.workers) if self.zero >= stage else size
