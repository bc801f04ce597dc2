"""Huffman codes: the length of each symbol's code from its count.

Huffman 1952, A Method for the Construction of Minimum-Redundancy Codes; with a limit on the
length, package-merge: Larmore & Hirschberg 1990, A Fast Algorithm for Optimal Length-Limited
Huffman Codes. Both are optimal, and deterministic: equal weights are taken in symbol order.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from math import log2

MAX_LENGTH = 12
"""Longest code in an .effz file: a decoder's table has 2^12 entries."""


def entropy(counts: Sequence[float]) -> float:
    """Shannon entropy of symbols with these counts, in bits a symbol: the bound of any code."""
    total = sum(counts)
    shares = [c / total for c in counts if c > 0]
    return -sum(p * log2(p) for p in shares) if shares else 0.0


def code_lengths(counts: Sequence[float], limit: int = MAX_LENGTH) -> list[int]:
    """Length of each symbol's code in bits, at most `limit`; 0 for a symbol that never occurs.

    A single symbol gets one bit. 2^limit must be at least the number of symbols.
    """
    used = [s for s, count in enumerate(counts) if count > 0]
    lengths = [0] * len(counts)
    if len(used) == 1:
        lengths[used[0]] = 1
    if len(used) < 2:
        return lengths
    if len(used) > 1 << limit:
        raise ValueError(f"{len(used)} symbols have no code of at most {limit} bits")
    found = _huffman([counts[s] for s in used])
    if max(found) > limit:
        found = _package_merge([counts[s] for s in used], limit)
    for symbol, length in zip(used, found, strict=True):
        lengths[symbol] = length
    return lengths


def _huffman(weights: Sequence[float]) -> list[int]:
    """Depths of the leaves of Huffman's tree."""
    size = len(weights)
    heap = [(weight, leaf) for leaf, weight in enumerate(weights)]
    heapq.heapify(heap)
    parent = [0] * (2 * size - 1)
    for node in range(size, 2 * size - 1):
        a, i = heapq.heappop(heap)
        b, j = heapq.heappop(heap)
        parent[i] = parent[j] = node
        heapq.heappush(heap, (a + b, node))
    depth = [0] * (2 * size - 1)
    for node in range(2 * size - 3, -1, -1):  # a parent's number is above its children's
        depth[node] = depth[parent[node]] + 1
    return depth[:size]


def _package_merge(weights: Sequence[float], limit: int) -> list[int]:
    """Lengths of the best code whose longest has `limit` bits.

    Pairs of the cheapest coins of each denomination become coins of the next; a symbol's length
    is the number of its coins among the cheapest 2(n − 1) of the last.
    """
    leaves: list[tuple[float, tuple[int, ...]]] = sorted(
        (weight, (leaf,)) for leaf, weight in enumerate(weights)
    )
    coins = leaves
    for _ in range(limit - 1):
        pairs = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(coins[::2], coins[1::2], strict=False)]
        coins = sorted(leaves + pairs)
    lengths = [0] * len(weights)
    for _, symbols in coins[: 2 * len(weights) - 2]:
        for symbol in symbols:
            lengths[symbol] += 1
    return lengths
