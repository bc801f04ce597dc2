"""A network says what it costs: figures as properties, one line as repr, a table as text."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

import effcalc
from effcalc.scaling.figures import figures


def test_a_network_says_what_it_costs() -> None:
    network = effcalc.scale("resnet-50").network
    # He et al. 2016 as torchvision has it: 25,557,032 parameters, 4,089,184,256 MACs.
    assert network.params == 25_557_032
    assert network.macs == 4_089_184_256
    assert network.flops == 2 * network.macs
    assert network.weight_bytes == 4 * network.params
    totals = figures(network)
    assert network.activation_bytes == totals.activation_bytes
    assert network.peak_activation_bytes == totals.peak_activation_bytes
    assert replace(network, name="mine").macs == network.macs
    assert pickle.loads(pickle.dumps(network)).macs == network.macs


def test_its_repr_is_a_line_and_its_text_a_short_table() -> None:
    network = effcalc.scale("efficientnet-b0", phi=3).network
    assert repr(network).count("\n") == 0
    assert "16.35M parameters, 3.251G MACs" in repr(network)
    text = str(network)
    assert "3,250,916,456" in text
    assert len(text.splitlines()) <= 30


def test_a_counted_model_too() -> None:
    torch = pytest.importorskip("torch")
    network = effcalc.count(torch.nn.Linear(3, 4), torch.empty(2, 3))
    assert (network.macs, network.params) == (2 * 3 * 4, 3 * 4 + 4)
    # Two calls: the weight transposed, a view, and the product.
    assert repr(network) == "<Network 'Linear': 16 parameters, 24 MACs, 2 operator calls>"
