"""What `trace` writes down: operators, memory, names, parameters."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from effcalc.models.trace import trace  # noqa: E402
from effcalc.network.liveness import activations  # noqa: E402
from effcalc.network.network import Network  # noqa: E402
from effcalc.network.ops import cost  # noqa: E402


def on_meta(module: type[nn.Module], *shape: int, **options: bool) -> Network:
    with torch.device("meta"):
        return trace(module().eval(), (torch.empty(shape),), **options)


def ran(network: Network) -> list[tuple[str, str, int]]:
    """Name, operator and multiply-accumulates of what was not a view."""
    return [(x.name, x.op, cost(x).macs) for x in network.calls if x.memory != "view"]


def backward(result: torch.Tensor) -> None:
    torch.autograd.backward([result], [torch.ones_like(result)])


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.block = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
        self.spare = nn.Linear(3, 3)
        self.register_buffer("offset", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = checkpoint(self.block, self.first(x), use_reentrant=False)
        return x + self.offset


def test_names_operators_parameters_and_what_never_ran() -> None:
    network = on_meta(Checkpointed, 2, 4)
    assert ran(network) == [
        ("first", "linear", 2 * 4 * 4),
        ("block.0", "linear", 2 * 4 * 8),
        ("block.1", "relu", 0),
        ("block.2", "linear", 2 * 8 * 4),
        ("", "add", 0),
        ("spare", "unused", 0),
    ]
    keys = [p.key for x in network.calls for p in x.params]
    linear = ("first", "block.0", "block.2")
    expected = [f"{m}.{p}" for m in linear for p in ("weight", "bias")]
    assert keys == [*expected, "offset", "spare.weight", "spare.bias"]
    assert network.uncalled == ("spare",)
    assert not network.uncounted


def test_backward_runs_checkpointed_layers_again_under_their_own_names() -> None:
    network = on_meta(Checkpointed, 2, 4, grad=True, then=backward)
    products = [
        (x.name, x.op) for x in network.calls if cost(x).macs and x.attrs.get("phase") == "backward"
    ]
    assert products == [
        ("block.0", "linear"),  # the last layer's result is not needed, so it is not run again
        ("block.2", "mm"),
        ("block.2", "mm"),
        ("block.0", "mm"),
        ("block.0", "mm"),
        ("first", "mm"),  # the input of the network wants no gradient
    ]


class Chain(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = x + 1  # 400 bytes
        b = a.view(10, 10).t()  # a's
        c = torch.cat([b, b])  # 800
        del a, b
        d = c[:5] * 2  # 200, while c lives
        del c
        return d.relu_()


def test_memory_follows_storages_until_torch_frees_them() -> None:
    network = on_meta(Chain, 100)
    memory = {x.op: x.memory for x in network.calls}
    assert memory == {"add": "new", "view": "view", "cat": "new", "mul": "new", "relu": "inplace"}
    # Input 400 throughout; largest while cat runs: 400 + a 400 + c 800.
    assert activations(network).peak == 1600
    assert activations(network).outputs == 400 + 800 + 200


def test_random_state_and_module_calls_are_put_back_after_a_failure() -> None:
    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.rand(3)
            raise ValueError("no")

    module = nn.Sequential(nn.Linear(2, 2), Fails())
    call, state = nn.Module.__call__, torch.get_rng_state()
    with pytest.raises(ValueError, match="no") as caught:
        trace(module, (torch.zeros(1, 2),))
    assert caught.value.effcalc_path == "1"  # type: ignore[attr-defined]
    assert nn.Module.__call__ is call
    assert torch.equal(torch.get_rng_state(), state)
