"""The backward pass that is counted is the one that runs: frozen parameters cost nothing."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from effcalc.base.errors import InputError  # noqa: E402
from effcalc.models.count import count  # noqa: E402
from effcalc.network.ops import cost  # noqa: E402
from effcalc.scaling.figures import macs  # noqa: E402


def both(model: nn.Module, x: torch.Tensor, real: bool = False) -> tuple[int, int]:
    """Return the multiply-accumulates of the forward and of the backward pass."""
    network = count(model, x, backward=True, real=real)
    back = [call for call in network.calls if call.attrs.get("phase") == "backward"]
    backward = sum(cost(call).macs for call in back)
    return macs(network) - backward, backward


def calls() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6))


def test_each_linear_layer_has_two_products_but_the_first_one() -> None:
    # Forward 3·(4·5 + 5·6) = 150. Backward: weights 3·4·5 + 3·5·6 = 150, the second's input 90.
    assert both(calls(), torch.zeros(3, 4)) == (150, 240)


def test_an_input_that_wants_its_gradient_gets_it() -> None:
    # One product more: 3·4·5 = 60.
    assert both(calls(), torch.zeros(3, 4, requires_grad=True)) == (150, 300)


def test_a_frozen_end_still_passes_gradients_on() -> None:
    model = calls()
    model[2].requires_grad_(False)
    # The second layer's input 90, the first one's weight 60; the second's weight is frozen.
    assert both(model, torch.zeros(3, 4)) == (150, 150)


def test_a_frozen_beginning_ends_the_backward_pass() -> None:
    model = calls()
    model[0].requires_grad_(False)
    # The second layer's weight alone: 3·5·6.
    assert both(model, torch.zeros(3, 4)) == (150, 90)


def test_a_convolution_frozen_in_part() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1, groups=1))
    model[1].weight.requires_grad_(False)
    # Maps of 6 x 6. Forward 36·4·27 + 36·5·36. Backward: the second's input, the first's weight.
    first, second = 36 * 4 * 27, 36 * 5 * 36
    assert both(model, torch.zeros(1, 3, 6, 6)) == (first + second, second + first)


def test_a_grouped_convolutions_weight_is_not_every_channels() -> None:
    # Maps of 6 x 6, 8 channels in 4 groups, 3x3 kernels on 2 channels: 36·8·18 = 5,184 forward,
    # and as much for each gradient. torch's own counter has the weight's 4 times.
    model = nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False)
    x = torch.zeros(1, 8, 6, 6, requires_grad=True)
    assert both(model, x) == (5184, 2 * 5184)
    with FlopCounterMode(display=False) as counter:
        model.to("meta")(x.detach().to("meta").requires_grad_()).sum().backward()
    assert counter.get_total_flops() // 2 == 5184 + 5184 + 4 * 5184


def test_nothing_to_train_is_refused() -> None:
    with pytest.raises(InputError, match="no output depends on a trainable parameter"):
        count(calls().requires_grad_(False), torch.zeros(3, 4), backward=True)


def test_batch_norm_trains_or_evaluates_as_each_module_does() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4).eval())
    network = count(model, torch.zeros(3, 4), backward=True)
    norms = [call.attrs["training"] for call in network.calls if call.op == "batch_norm"]
    assert norms == [True, False]
    assert network.training


class Recurrent(nn.Module):
    """An LSTM over 5 steps of 2 rows, then attention of 2 tokens, in 5 batches."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 8)
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.lstm(x)[0]).unsqueeze(1).chunk(3, -1)
        return nn.functional.scaled_dot_product_attention(q, k, v)


# LSTM: 10 steps · 32·(8 + 8); projection: 10 · 8·24; attention: 5 · 2·2 · (8 + 8).
FORWARD = (5120, 1920, 320)


def test_backward_of_attention_and_recurrence_step_by_step() -> None:
    # Attention: 4 products of 5·2·2·8. Projection twice its forward. LSTM: the weights' gradients
    # 5120, and the states': 4 of 5 steps have one before that is no constant, 4 · 2·32·8.
    expected = 4 * 160 + 2 * 1920 + 5120 + 4 * 2 * 32 * 8
    assert both(Recurrent(), torch.zeros(5, 2, 8)) == (sum(FORWARD), expected)
    with FlopCounterMode(display=False) as counter:
        Recurrent().to("meta")(torch.zeros(5, 2, 8, device="meta")).sum().backward()
    assert counter.get_total_flops() // 2 == sum(FORWARD) + expected


def test_backward_of_attention_and_recurrence_in_fused_kernels() -> None:
    # The fused attention makes the scores again: 5 products. oneDNN's LSTM makes the gradients
    # of x and of every state too, wanted or not: twice its forward.
    expected = 5 * 160 + 2 * 1920 + 2 * 5120
    assert both(Recurrent(), torch.zeros(5, 2, 8), real=True) == (sum(FORWARD), expected)
