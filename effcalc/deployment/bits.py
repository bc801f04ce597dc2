"""Symbols to bits and back by canonical Huffman codes, many at a time (NumPy).

A stream of symbols under 256 is cut into lanes of `LANE` symbols that follow each other bit by
bit, most significant first. With the number of bits of each lane beside it, every lane of every
stream decodes at the same time: one step takes the next symbol of all of them from a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from effcalc.deployment.huffman import MAX_LENGTH

Bytes: TypeAlias = npt.NDArray[np.uint8]

LANE = 1024
_BLOCK = 1 << 20  # symbols that are encoded at a time
_PAD = LANE * MAX_LENGTH // 8 + 8  # a lane of a damaged stream ends within so many bytes


@dataclass(frozen=True, slots=True)
class Stream:
    """Coded symbols: how long each symbol's code is, the bits of each lane, and the bits.

    `lengths` has 0 for a symbol that does not occur, and `lanes` one entry for each `LANE` of
    the `count` symbols. `data` ends with zeros up to a whole byte.
    """

    count: int
    lengths: Sequence[int]
    lanes: npt.NDArray[np.uint16]
    data: bytes


class Damaged(Exception):  # noqa: N818 - its reader says which file
    """Coded bytes say something that no encoder writes."""


def lanes_of(count: int) -> int:
    """Lanes of a stream of so many symbols."""
    return -(-count // LANE)


def _starts(lengths: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Symbols in canonical order (by length, then number), their lengths, and first table entries.

    The table has 2^MAX_LENGTH entries; a code of n bits owns 2^(MAX_LENGTH − n) in a row.
    """
    all_lengths = np.asarray(lengths, dtype=np.int64)
    symbols = np.flatnonzero(all_lengths)
    symbols = symbols[np.argsort(all_lengths[symbols], kind="stable")]
    own = all_lengths[symbols]
    width = np.int64(1) << (MAX_LENGTH - own)
    return symbols, own, np.cumsum(width) - width


def encode(symbols: Bytes, lengths: Sequence[int]) -> Stream:
    """Code symbols; each that occurs must have a length, and the lengths satisfy Kraft."""
    used, own, first = _starts(lengths)
    codes = np.zeros(len(lengths), np.uint64)
    codes[used] = first >> (MAX_LENGTH - own)
    sizes = np.asarray(lengths, np.int64)
    lanes = np.zeros(lanes_of(len(symbols)), np.uint16)
    total = sum(int(sizes[block].sum()) for block in _blocks(symbols))
    words = np.zeros(total // 64 + 2, np.uint64)
    at = 0
    for number, block in enumerate(_blocks(symbols)):
        n = sizes[block]
        ends = at + np.cumsum(n)
        start = ends - n
        word, offset = start >> 6, start & 63
        shift = 64 - offset - n
        code = codes[block]
        high = np.where(
            shift >= 0,
            code << np.maximum(shift, 0).astype(np.uint64),
            code >> np.maximum(-shift, 0).astype(np.uint64),
        )
        # Codes do not overlap, so that adding those of one word is or-ing them.
        edges = np.concatenate(([0], np.flatnonzero(np.diff(word)) + 1))
        words[word[edges]] += np.add.reduceat(high, edges)
        split = np.flatnonzero(shift < 0)  # at most one a word: the last that begins in it
        words[word[split] + 1] += code[split] << (64 + shift[split]).astype(np.uint64)
        begin = number * (_BLOCK // LANE)
        per_lane = np.add.reduceat(n, np.arange(0, len(n), LANE))
        lanes[begin : begin + len(per_lane)] = per_lane
        at = int(ends[-1])
    data = words.astype(">u8").tobytes()[: -(-total // 8)]
    return Stream(len(symbols), tuple(lengths), lanes, data)


def _blocks(symbols: Bytes) -> list[Bytes]:
    return [symbols[i : i + _BLOCK] for i in range(0, len(symbols), _BLOCK)]


def _table(lengths: Sequence[int]) -> npt.NDArray[np.uint16]:
    """What the next MAX_LENGTH bits mean: symbol · 16 + length, or 0 for no code."""
    symbols, own, _ = _starts(lengths)
    table = np.zeros(1 << MAX_LENGTH, np.uint16)
    if not len(symbols):
        return table
    width = np.int64(1) << (MAX_LENGTH - own)
    if own.max() > MAX_LENGTH or int(width.sum()) > len(table):
        raise Damaged("lengths that no code has")
    table[: int(width.sum())] = np.repeat(symbols << 4 | own, width)
    return table


def decode(streams: Sequence[Stream]) -> list[Bytes]:
    """Return the symbols of every stream; raise `Damaged` where bits and lengths do not agree."""
    lanes = np.concatenate([s.lanes.astype(np.int64) for s in streams] or [np.zeros(0, np.int64)])
    which = np.repeat(np.arange(len(streams)), [len(s.lanes) for s in streams])
    counts = np.full(len(lanes), LANE)
    ends = np.cumsum([len(s.lanes) for s in streams])
    base, begin = 0, np.zeros(len(lanes), np.int64)
    for stream, end in zip(streams, ends, strict=True):
        own = slice(end - len(stream.lanes), end)
        if len(stream.lanes) != lanes_of(stream.count):
            raise Damaged("a wrong number of lanes")
        bits = np.cumsum(lanes[own])
        if (int(bits[-1]) + 7) // 8 != len(stream.data) if len(bits) else stream.data:
            raise Damaged("a stream of the wrong length")
        begin[own] = base * 8 + bits - lanes[own]
        base += len(stream.data)
        if stream.count:
            counts[end - 1] = stream.count - (len(stream.lanes) - 1) * LANE
    data = np.frombuffer(b"".join([*(s.data for s in streams), bytes(_PAD)]), np.uint8)
    windows: npt.NDArray[Any] = np.ndarray((len(data) - 3,), ">u4", data, strides=(1,))
    tables = np.concatenate([_table(s.lengths) for s in streams] or [np.zeros(0, np.uint16)])
    out = np.zeros((LANE, len(lanes)), np.uint8)
    order = np.argsort(-counts, kind="stable")  # those still at work stand in front
    at, row = begin[order], (which << MAX_LENGTH)[order]
    still = np.searchsorted(-counts[order], -np.arange(1, LANE + 1), side="right")
    for step in range(LANE):
        n = int(still[step])
        if not n:
            break
        here = at[:n]
        next_bits = windows[here >> 3].astype(np.int64)
        next_bits = (next_bits >> (32 - MAX_LENGTH - (here & 7))) & ((1 << MAX_LENGTH) - 1)
        found = tables[row[:n] + next_bits]
        out[step, :n] = found >> 4
        here += found & 15
    if not np.array_equal(at, (begin + lanes)[order]):
        raise Damaged("codes that do not end where their lane does")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return [
        out[:, place[end - len(s.lanes) : end]].T.reshape(-1)[: s.count]
        for s, end in zip(streams, ends, strict=True)
    ]
