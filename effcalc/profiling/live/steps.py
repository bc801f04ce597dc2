"""A step that really runs: a forward pass, or a whole training step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from effcalc.base.errors import InputError
from effcalc.models.trace import tensors_in
from effcalc.profiling.live.recording import Marks, span
from effcalc.profiling.records import BACKWARD, LOSS, OPTIMIZER, OUTSIDE, Owner

MODES = ("infer", "train")
LEARNING_RATE = 1e-6  # small: random data must not drive the weights to infinity
MOMENTUM = 0.9

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of a module."""


def sgd_with_momentum(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of a profiled training step."""
    return torch.optim.SGD(parameters, LEARNING_RATE, MOMENTUM)


@dataclass(frozen=True)
class StepKind:
    """What a step consists of.

    `autocast` is the format of mixed precision, None without it. `master` keeps float32 copies of
    the weights, which the optimizer updates. `logits_only` refuses a result that is not
    (batch, classes, ...); without it any result trains. `no_grad` is how an inference runs; in
    inference mode autocast keeps no casts of weights.
    """

    train: bool = False
    autocast: torch.dtype | None = None
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer] = sgd_with_momentum
    master: bool = False
    logits_only: bool = False
    no_grad: Callable[[], AbstractContextManager[Any]] = torch.inference_mode


class Runner:
    """Runs steps of one module.

    Training is a forward pass, a loss (cross-entropy of logits, else the mean square of every
    output), the backward pass and the optimizer's update; gradients are None afterwards. With
    float16 autocast the loss is scaled. `marks` note whose forward made which nodes of the graph.
    """

    def __init__(
        self,
        module: Callable[..., Any],
        owner: nn.Module,
        inputs: Inputs,
        device: torch.device,
        kind: StepKind,
    ) -> None:
        """Call `module` (compiled or wrapped perhaps), whose parameters are those of `owner`."""
        self.owner, self.inputs, self.device, self.kind = owner, inputs, device, kind
        self.marks = Marks()
        self.labels: torch.Tensor | None = None
        self._module = module
        self._optimizer: torch.optim.Optimizer | None = None
        self._scaler: Any = None
        self._masters: list[tuple[nn.Parameter, nn.Parameter]] = []
        owner.train(kind.train)
        if not kind.train:
            return
        trained = [p for p in owner.parameters() if p.requires_grad]
        if not trained:
            raise InputError("`mode` train: the model has no trainable parameter")
        if kind.master:
            self._masters = [(p, nn.Parameter(p.detach().float())) for p in trained]
            trained = [copy for _, copy in self._masters]
        self._optimizer = kind.optimizer(trained)
        if kind.autocast is torch.float16:
            self._scaler = torch.amp.GradScaler(device.type)

    def __call__(self, before_clear: Callable[[], None] = lambda: None) -> None:
        """Run one step; `before_clear` is called while its gradients are still there."""
        if self._optimizer is None:
            with self.kind.no_grad(), self.autocast():
                self.forward()
            return
        with torch.enable_grad():
            with self.autocast():
                loss = self.loss(self.forward())
            self.update(loss, before_clear)

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision, where the step has it."""
        dtype = self.kind.autocast
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def forward(self) -> Any:
        """Return the module's outputs."""
        args, kwargs = self.inputs
        return self._module(*args, **kwargs)

    def loss(self, outputs: Any) -> torch.Tensor:
        """Return the loss of outputs."""
        self.marks.note(Owner("loss"))
        with span(LOSS), self.autocast():
            loss = self._loss(outputs)
        self.marks.note(OUTSIDE)
        return loss

    def update(self, loss: torch.Tensor, before_clear: Callable[[], None] = lambda: None) -> None:
        """Run the backward pass and the optimizer."""
        assert self._optimizer is not None
        with span(BACKWARD):
            (loss if self._scaler is None else self._scaler.scale(loss)).backward()
        with span(OPTIMIZER):
            for parameter, copy in self._masters:
                copy.grad = None if parameter.grad is None else parameter.grad.float()
            if self._scaler is None:
                self._optimizer.step()
            else:
                self._scaler.step(self._optimizer)
                self._scaler.update()
            before_clear()
            for parameter, copy in self._masters:
                parameter.data.copy_(copy.data)
                parameter.grad = None
            self._optimizer.zero_grad()

    def state(self) -> Iterator[torch.Tensor]:
        """The optimizer's tensors, and the master copies that it updates."""
        if self._optimizer is not None:
            yield from tensors_in(list(self._optimizer.state.values()))
        yield from (copy for _, copy in self._masters)

    def _loss(self, outputs: Any) -> torch.Tensor:
        logits = isinstance(outputs, torch.Tensor) and outputs.dim() >= 2
        if self.kind.logits_only and not logits:
            raise InputError("the model's result is not one tensor of (batch, classes)")
        if logits and (self.kind.logits_only or (outputs.dim() == 2 and outputs.shape[1] > 1)):
            if self.labels is None:
                shape = (outputs.shape[0], *outputs.shape[2:])
                self.labels = torch.zeros(shape, dtype=torch.int64, device=outputs.device)
            return nn.functional.cross_entropy(outputs, self.labels)
        ends = [t for t in tensors_in(outputs) if t.requires_grad]
        if not ends:
            raise InputError("`mode` train: no output depends on a trainable parameter")
        return torch.stack([t.float().square().mean() for t in ends]).sum()
