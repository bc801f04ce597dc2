"""Bytes of a ring all-reduce: what scaling shows and communication builds on."""

from __future__ import annotations

from fractions import Fraction


def ring_all_reduce(size: int, workers: int) -> Fraction:
    """Bytes that each of `workers` ranks sends, and receives, to all-reduce `size` bytes.

    2(n − 1)/n · S: a reduce-scatter and an all-gather around a ring (Patarasuk & Yuan 2009,
    section 3). The mean over ranks where n does not divide S.
    """
    return Fraction(2 * (workers - 1) * size, workers)
