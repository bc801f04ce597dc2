"""How short a code of single symbols can be: its entropy, and the mean length of Huffman's code.

Huffman 1952, A Method for the Construction of Minimum-Redundancy Codes.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from math import log2


def entropy(counts: Sequence[float]) -> float:
    """Shannon entropy of symbols with these counts, in bits a symbol: the bound of any code."""
    total = sum(counts)
    shares = [c / total for c in counts if c > 0]
    return -sum(p * log2(p) for p in shares) if shares else 0.0


def mean_length(shares: Sequence[float]) -> float:
    """Mean length of Huffman's code in bits, for symbols with these probabilities.

    Joining two nodes of the tree puts a bit before each symbol under them, so the mean is the
    sum of all joined probabilities. A single symbol gets one bit.
    """
    heap = [share for share in shares if share > 0]
    if len(heap) == 1:
        return heap[0]
    heapq.heapify(heap)
    bits = 0.0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        bits += joined
        heapq.heappush(heap, joined)
    return bits
