"""Compress a network's weights for real: prune, cluster, code, and read back (NumPy)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from effcalc.base.errors import CheckFailed
from effcalc.deployment import effz
from effcalc.deployment.quantise import quantise
from effcalc.deployment.safetensors import FLOATS, File
from effcalc.deployment.sizes import Sizes, Storage, stored_tensor


@dataclass(frozen=True, slots=True)
class Shipped:
    """Compressed weights and what each step made of them.

    `steps` are sizes of the weights as they are: pruned, with codebooks, Huffman-coded, and the
    entropy that no code of single symbols beats. `predicted` is the file's size by counting;
    `data` is the file. `error` is the root mean square error of the coded weights over their own
    root mean square.
    """

    steps: dict[str, Sizes]
    predicted: int
    data: bytes
    tensors: int
    coded: int
    error: float


def compress(
    file: File, storage: Storage, progress: Callable[[Iterable[str]], Iterable[str]] = iter
) -> Shipped:
    """Compress every weight of a file, and check that the result reads back bit for bit.

    Weights are float tensors of two or more dimensions; the others, and those that coding would
    not make smaller, stay as they are. Raises `InputError` for weights that are not finite.
    """
    few = replace(Storage(), density=storage.density, index_bits=storage.index_bits)
    books = replace(storage, huffman=False)
    ways = {way.name: way for way in (Storage(), few, books)}
    huffman, bound = replace(storage, huffman=True).name, "entropy bound"
    steps = {name: Sizes() for name in (*ways, huffman, bound)}
    tensors: list[effz.StoredTensor] = []
    digests: list[bytes] = []
    predicted = effz.container_bytes()
    squares, errors, coded = 0.0, 0.0, 0
    for name in progress(list(file.entries)):
        entry = file.entries[name]
        raw = entry.end - entry.start
        weights = file.floats(name) if entry.dtype in FLOATS else None
        if weights is None or len(entry.shape) < 2 or not entry.numel:
            kept = Sizes(kept=raw)
            steps = {step: size.plus(kept) for step, size in steps.items()}
            tensor, counted, digest = _kept(file, name), raw, None
        else:
            small = quantise(weights, storage)
            size = effz.predicted(small, storage.index_bits)
            for step, way in ways.items():
                found = stored_tensor(entry.shape, way, len(small.codes))
                steps[step] = steps[step].plus(found)
            if size.payload < raw:
                both = Sizes(size.values, size.indices, size.tables)
                least = (math.ceil(size.values_entropy), math.ceil(size.indices_entropy))
                low = Sizes(*least, size.tables)
                tensor = effz.code(name, entry.shape, small, storage.index_bits)
                restored = small.restored()
                digest = hashlib.sha256(restored.data).digest()
                counted = size.payload
                coded += 1
                squares += _squares(weights)
                errors += _squares(restored - weights)
            else:
                both = low = Sizes(kept=raw)
                tensor, counted, digest = _kept(file, name), raw, None
            steps[huffman] = steps[huffman].plus(both)
            steps[bound] = steps[bound].plus(low)
        predicted += counted + effz.record_bytes(name, entry.shape, bool(tensor.streams))
        tensors.append(tensor)
        digests.append(digest or hashlib.sha256(tensor.raw).digest())
    data = effz.pack(tensors)
    _check(data, digests, file.path)
    error = sqrt(errors / squares) if squares else 0.0
    return Shipped(steps, predicted, data, len(tensors), coded, error)


def _kept(file: File, name: str) -> effz.StoredTensor:
    entry = file.entries[name]
    return effz.StoredTensor(name, entry.dtype, entry.shape, file.raw(name).tobytes())


def _squares(values: npt.NDArray[Any]) -> float:
    return float(np.sum(np.square(values), dtype=np.float64))


def _check(data: bytes, digests: list[bytes], path: str) -> None:
    """Decode a file and compare each tensor with what was coded."""
    for (tensor, flat), digest in zip(
        effz.restore(effz.unpack(data, path), path), digests, strict=True
    ):
        if hashlib.sha256(flat.data).digest() != digest:
            raise CheckFailed(f"{tensor.name} does not read back as it was coded; nothing written")
