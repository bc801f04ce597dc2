"""The step that is profiled: a forward pass, or a whole training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from effcalc.base.errors import InputError
from effcalc.models.trace import tensors_in
from effcalc.profiling.live.precision import autocast
from effcalc.profiling.live.recording import Marks, span
from effcalc.profiling.records import BACKWARD, LOSS, OPTIMIZER, Owner

MODES = ("infer", "train")
LEARNING_RATE = 1e-6  # small: random data must not drive the weights to infinity
MOMENTUM = 0.9


class Runner:
    """Runs steps of one module in one mode.

    Training is a forward pass, a loss (cross-entropy of (N, classes) and random labels, else the
    mean square of every output), the backward pass, and SGD with momentum, whose gradients are
    set to None afterwards. `marks` learn who makes the nodes of the graph.
    """

    def __init__(
        self,
        module: Callable[..., Any],
        owner: nn.Module,
        inputs: tuple[tuple[Any, ...], dict[str, Any]],
        mode: str,
        dtype: str,
        device: torch.device,
    ) -> None:
        """Call `module` (compiled or wrapped perhaps), whose parameters are those of `owner`."""
        self.marks = Marks()
        self._module = module
        self._args, self._kwargs = inputs
        self._dtype, self._device = dtype, device
        self._train = mode == "train"
        self._labels: torch.Tensor | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        self._scaler: Any = None
        owner.train(self._train)
        if self._train:
            trainable = [p for p in owner.parameters() if p.requires_grad]
            if not trainable:
                raise InputError("`mode` train: the model has no trainable parameter")
            self._optimizer = torch.optim.SGD(trainable, LEARNING_RATE, MOMENTUM)
            if dtype == "amp" and torch.get_autocast_dtype(device.type) is torch.float16:
                self._scaler = torch.amp.GradScaler(device.type)

    def __call__(self) -> None:
        """Run one step."""
        with torch.enable_grad() if self._train else torch.inference_mode():
            with autocast(self._dtype, self._device):
                outputs = self.forward()
            if self._train:
                self.after(outputs)

    def forward(self) -> Any:
        """Return the module's outputs."""
        return self._module(*self._args, **self._kwargs)

    def after(self, outputs: Any) -> None:
        """Run what training does after the forward pass."""
        assert self._optimizer is not None
        self.marks.note(Owner("loss"))
        with span(LOSS), autocast(self._dtype, self._device):
            loss = self._loss(outputs)
        self.marks.note(Owner("outside"))
        with span(BACKWARD):
            (loss if self._scaler is None else self._scaler.scale(loss)).backward()
        with span(OPTIMIZER):
            if self._scaler is None:
                self._optimizer.step()
            else:
                self._scaler.step(self._optimizer)
                self._scaler.update()
            self._optimizer.zero_grad()

    def state_bytes(self) -> int:
        """Bytes of the optimizer's state."""
        if self._optimizer is None:
            return 0
        return sum(t.nbytes for t in tensors_in(list(self._optimizer.state.values())))

    def _loss(self, outputs: Any) -> torch.Tensor:
        if isinstance(outputs, torch.Tensor) and outputs.dim() == 2 and outputs.shape[1] > 1:
            if self._labels is None:
                self._labels = torch.randint(
                    outputs.shape[1], outputs.shape[:1], device=outputs.device
                )
            return nn.functional.cross_entropy(outputs, self._labels)
        ends = [t for t in tensors_in(outputs) if t.requires_grad]
        if not ends:
            raise InputError("`mode` train: no output depends on a trainable parameter")
        return torch.stack([t.float().square().mean() for t in ends]).sum()
