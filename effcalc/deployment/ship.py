"""Compress a network's weights for real: prune, cluster, code, and read back (NumPy)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from effcalc.base.errors import CheckFailed
from effcalc.deployment import effz
from effcalc.deployment.huffman import entropy
from effcalc.deployment.quantise import Bytes, quantise
from effcalc.deployment.safetensors import FLOATS, File
from effcalc.deployment.sizes import Sizes, Storage, steps, stored_tensor


@dataclass(frozen=True, slots=True)
class Shipped:
    """Compressed weights, and their size after each step.

    `steps` are sizes of the weights as they are: pruned, with codebooks, Huffman-coded, and the
    entropy, which no single code for each tensor's symbols beats. `data` is the file. `error` is
    the root mean square error of the coded weights over their own root mean square.
    """

    steps: dict[str, Sizes]
    data: bytes
    tensors: int
    coded: int
    error: float


@dataclass(frozen=True, slots=True)
class _Compressed:
    """One tensor: how it is stored, its size after each step, and what it must decode to.

    `squares` and `errors` are sums over its weights, 0 where they stay as they were.
    """

    stored: effz.StoredTensor
    sizes: Sequence[Sizes]
    digest: bytes
    squares: float = 0.0
    errors: float = 0.0


def compress(
    file: File, storage: Storage, progress: Callable[[Iterable[str]], Iterable[str]] = iter
) -> Shipped:
    """Compress every weight of a file, and check that the result reads back bit for bit.

    Weights are float tensors of two or more dimensions; the others, and those that coding would
    not make smaller, stay as they are. Raises `InputError` for weights that are not finite.
    """
    counted = steps(replace(storage, huffman=False))
    huffman = replace(storage, huffman=True)
    names = [*(step.name for step in (*counted, huffman)), "entropy bound"]
    totals = [Sizes()] * len(names)
    results: list[_Compressed] = []
    for name in progress(list(file.entries)):
        result = _compress(file, name, storage, counted)
        totals = [total.plus(size) for total, size in zip(totals, result.sizes, strict=True)]
        results.append(result)
    data = effz.pack([result.stored for result in results])
    _check(data, [result.digest for result in results], file.path)
    squares = sum(result.squares for result in results)
    errors = sum(result.errors for result in results)
    return Shipped(
        dict(zip(names, totals, strict=True)),
        data,
        len(results),
        sum(bool(result.stored.streams) for result in results),
        sqrt(errors / squares) if squares else 0.0,
    )


def _compress(file: File, name: str, storage: Storage, counted: Sequence[Storage]) -> _Compressed:
    entry = file.entries[name]
    weights = file.floats(name) if entry.dtype in FLOATS else None
    kept = Sizes(kept=entry.end - entry.start)
    if weights is None or len(entry.shape) < 2 or not entry.numel:
        return _as_it_is(file, name, [kept] * (len(counted) + 2))
    small = quantise(weights, storage)
    sizes = [stored_tensor(entry.shape, step, len(small.codes)) for step in counted]
    coded = effz.code(name, entry.shape, small, storage.index_bits)
    if coded.sizes.total >= kept.total:
        return _as_it_is(file, name, [*sizes, kept, kept])
    bound = Sizes(_least(small.codes), _least(small.distances), 4 * len(small.centroids))
    restored = small.restored()
    return _Compressed(
        coded,
        [*sizes, coded.sizes, bound],
        hashlib.sha256(restored.data).digest(),
        _squares(weights),
        _squares(restored - weights),
    )


def _as_it_is(file: File, name: str, sizes: Sequence[Sizes]) -> _Compressed:
    entry, raw = file.entries[name], file.raw(name).tobytes()
    stored = effz.StoredTensor(name, entry.dtype, entry.shape, raw)
    return _Compressed(stored, sizes, hashlib.sha256(raw).digest())


def _least(symbols: Bytes | None) -> int:
    """Bytes by the entropy of single symbols, rounded up."""
    if symbols is None:
        return 0
    return ceil(entropy(np.bincount(symbols).tolist()) * len(symbols) / 8)


def _squares(values: npt.NDArray[Any]) -> float:
    return float(np.sum(np.square(values), dtype=np.float64))


def _check(data: bytes, digests: list[bytes], path: str) -> None:
    """Decode a file and compare each tensor with what was coded."""
    for (tensor, flat), digest in zip(
        effz.restore(effz.unpack(data, path), path), digests, strict=True
    ):
        if hashlib.sha256(flat.data).digest() != digest:
            raise CheckFailed(f"{tensor.name} does not read back as it was coded; nothing written")
