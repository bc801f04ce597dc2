"""The rules of every installed counter, held to what the counter really says."""

from __future__ import annotations

import functools

import pytest

pytest.importorskip("torch")

from effcalc.base import process
from effcalc.base.process import Limits
from effcalc.models.peers.calls import modules
from effcalc.models.peers.explain import UNEXPLAINED, explain
from effcalc.models.peers.registry import PEERS
from effcalc.models.trace import trace
from tests.peers_modules import made


@functools.cache
def counted_by(tool):
    """Return what a counter says of each module, from a process that it may spoil."""
    peer = PEERS[tool]
    pytest.importorskip(peer.package)
    request = {"module": peer.count.__module__, "peer": tool}
    ended = process.run("tests.peers_modules", request, Limits(120, 4 * 10**9))
    assert ended.answer is not None, ended.cause
    return ended.answer


@functools.cache
def ours(name):
    model, inputs = made(name, "meta")
    return trace(model, inputs), modules(model)


@pytest.mark.parametrize("tool", PEERS)
def test_rules_add_up_to_what_a_counter_says_of_each_small_module(tool):
    found = counted_by(tool)
    failed = {name: said for name, said in found.items() if isinstance(said, str)}
    assert not failed
    unexplained = {
        name: said
        for name, said in found.items()
        if explain(PEERS[tool].rule, *ours(name), *said) == UNEXPLAINED
    }
    assert not unexplained
