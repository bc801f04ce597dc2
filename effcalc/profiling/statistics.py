"""Order statistics of timings: times are skewed, so nothing here takes a mean or a deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

CONFIDENCE = 0.95
ENOUGH = 6  # the fewest samples whose extremes hold the median with 95% confidence


class Summary(NamedTuple):
    """Samples in seconds by their order: median, 10th and 90th percentile, and an interval.

    `low` to `high` holds the median of what was sampled with 95% confidence, whatever its
    distribution, where there are at least `ENOUGH` samples; with fewer it is their range.
    """

    median: float
    p10: float
    p90: float
    low: float
    high: float
    runs: int

    @property
    def precision(self) -> float:
        """Half the interval as a share of the median."""
        return (self.high - self.low) / 2 / self.median if self.median else 0.0


def summarize(samples: Sequence[float]) -> Summary:
    """Summarise at least one sample."""
    ordered = sorted(samples)
    below = _rank(len(ordered))
    return Summary(
        percentile(ordered, 0.5),
        percentile(ordered, 0.1),
        percentile(ordered, 0.9),
        ordered[below],
        ordered[-1 - below],
        len(ordered),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share of sorted samples lies, interpolated between two."""
    place = (len(ordered) - 1) * share
    first = math.floor(place)
    if first + 1 == len(ordered):
        return ordered[first]
    weight = place - first
    return ordered[first] * (1 - weight) + ordered[first + 1] * weight


def _rank(count: int) -> int:
    """Return how many samples lie outside a 95% interval of the median on each side.

    A sample is below the median with probability 1/2, so the k-th smallest and k-th largest
    enclose it but for 2·P(Binomial(n, 1/2) < k) (David & Nagaraja 2003, Order Statistics, 7.1).
    """
    outside, term, k = 0.0, 0.5**count if count < 1000 else 0.0, 0
    if count >= 1000:  # the normal approximation is exact to less than one rank
        return max(math.floor(count / 2 - 0.98 * math.sqrt(count)), 0)
    while True:
        outside += term
        if 2 * outside > 1 - CONFIDENCE:
            return max(k - 1, 0)
        term *= (count - k) / (k + 1)
        k += 1
