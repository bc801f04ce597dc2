"""Counters that misbehave, for `test_against.py`, and a model for them to count."""

import os
import signal
import time

from effcalc.models.peers.record import Peer, PeerCount


def model():
    """A linear layer and what goes into it: 2 x 3 x 4 = 24 MACs."""
    import torch

    return torch.nn.Linear(3, 4), (torch.rand(2, 3),)


def right(model, args, kwargs):
    for _ in range(30):
        print('{"macs": 1}' * 10_000)  # 3 MB of what looks like an answer
    print("chatter")
    return PeerCount(24.0, 16)


def silent(model, args, kwargs):
    print("could not make sense of it")
    return PeerCount(None)


def raising(model, args, kwargs):
    raise RuntimeError("no rule for Linear\n  at line 3")


def dying(model, args, kwargs):
    os.kill(os.getpid(), signal.SIGSEGV)


def hanging(model, args, kwargs):
    while True:
        time.sleep(1)


def hoarding(model, args, kwargs):
    held = []
    while True:
        held.append(bytearray(50_000_000))
        held[-1][::4096] = b"x" * len(held[-1][::4096])


PEERS = (
    *(
        Peer(count.__name__, "torch", "MACs", count)
        for count in (right, silent, raising, dying, hanging, hoarding)
    ),
    Peer("absent", "no_such_package", "MACs", right, install="no-such-package"),
)
