"""A count leaves no trace in the user's model or process, also where it fails."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from effcalc.base.errors import InputError, RunError  # noqa: E402
from effcalc.models.count import count  # noqa: E402
from effcalc.network.network import Network  # noqa: E402


class Model(nn.Module):
    """Has everything that a count could disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.embed = nn.Embedding(5, 4, max_norm=0.1)  # its forward rescales the weight in place
        self.head = nn.Linear(4, 2)
        self.head.weight.requires_grad_(False)
        self.cache: torch.Tensor | None = None
        self.scale = torch.full((4,), 2.0)
        self.calls = 0
        self.fail = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        x = self.drop(self.norm(self.conv(x))).mean((2, 3)) * self.scale
        random.random()
        np.random.rand()
        x = x + torch.rand(4, device=x.device)
        self.cache = x
        x = self.head(x + self.embed(torch.zeros(1, dtype=torch.int64, device=x.device)))
        if self.fail:
            raise ValueError("on purpose")
        return x


def state(model: Model) -> dict[str, Any]:
    """Everything that must be the same afterwards."""
    hooks = [
        {name: list(value) for name, value in m.__dict__.items() if isinstance(value, OrderedDict)}
        for m in model.modules()
    ]
    return {
        "state": {k: v.clone() for k, v in model.state_dict().items()},
        "identity": [id(p) for p in model.parameters()],
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "trainable": [p.requires_grad for p in model.parameters()],
        "modes": [m.training for m in model.modules()],
        "attributes": [sorted(m.__dict__) for m in model.modules()],
        "hooks": hooks,
        "cache": model.cache,
        "calls": model.calls,
        "device": {p.device for p in model.parameters()},
        "torch random": torch.get_rng_state(),
        "python random": random.getstate(),
        "numpy random": np.random.get_state()[1].tolist(),
        "call": nn.Module.__call__,
        "grad mode": torch.is_grad_enabled(),
        "default device": torch.get_default_device(),
        "modes of torch": torch._C._len_torch_dispatch_stack(),
        "functions of torch": torch._C._len_torch_function_stack(),
    }


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model()
    model.train()
    model.norm.eval()
    model(torch.rand(2, 3, 8, 8)).sum().backward()  # there are gradients and statistics
    seen: list[Any] = []
    model.head.register_forward_hook(lambda m, args, out: seen.append(type(out)))
    model.cache = None
    yield model
    nn.Module.__call__ = nn.Module._wrapped_call_impl  # type: ignore[method-assign]


def counted(model: Model, **options: Any) -> Network:
    return count(model, torch.rand(2, 3, 8, 8), **options)


@pytest.mark.parametrize("fail", [False, True], ids=["", "fails"])
@pytest.mark.parametrize("real", [False, True], ids=["meta", "real"])
@pytest.mark.parametrize("options", [{}, {"backward": True}, {"train": True}], ids=str)
def test_nothing_changes(model: Model, options: dict[str, bool], real: bool, fail: bool) -> None:
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    model.fail = fail
    before = state(model)
    if fail:
        with pytest.raises(RunError, match=r"ValueError: on purpose$"):
            count(model, x, real=real, **options)
    else:
        count(model, x, real=real, **options)
    after = state(model)
    for key, value in before.items():
        assert same(value, after[key]), key
    assert x.grad is None


def test_weights_are_not_copied_for_a_count_on_meta(monkeypatch) -> None:
    model = nn.Sequential(nn.Linear(300, 300), nn.Linear(300, 300))
    copied = []
    monkeypatch.setattr(nn.Parameter, "__deepcopy__", lambda self, memo: copied.append(self))
    count(model, torch.zeros(1, 300))
    assert not copied


def test_memory_that_is_shared_in_the_model_is_shared_in_what_runs() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = nn.Parameter(model[0].weight.data)  # another Parameter, the same memory
    network = count(model, torch.zeros(1, 4))
    assert [p.numel for call in network.calls for p in call.params] == [16]


def test_a_model_that_cannot_be_copied_says_why() -> None:
    model = nn.Linear(2, 2)
    model.rows = (i for i in range(3))  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"cannot be copied.*generator.*module:factory"):
        count(model, torch.zeros(1, 2))


def test_what_is_not_a_module_is_refused() -> None:
    with pytest.raises(InputError, match=r"is a torch\.nn\.Module, not function"):
        count(lambda x: x, torch.zeros(1))  # type: ignore[arg-type]


def test_lazy_modules_count_and_stay_lazy() -> None:
    model = nn.Sequential(nn.LazyLinear(5), nn.LazyBatchNorm1d())
    network = count(model, torch.zeros(3, 7))
    assert sum(p.numel for x in network.calls for p in x.params if not p.buffer) == 40 + 10
    assert nn.parameter.is_lazy(model[0].weight)
