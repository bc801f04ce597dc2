"""Where the weights that pruning keeps stand: relative indices of a fixed number of bits.

Han et al. 2016 (Deep Compression, arXiv:1510.00149), section 2 and figure 2: each entry stores
the distance from the entry before it. With k bits a distance is 1 to R = 2^k; where the next
weight is farther, a zero is stored as an entry of its own (padding) R positions on.
"""

from __future__ import annotations

from fractions import Fraction
from math import exp, expm1, log1p

_EXACT = 1 << 50  # above so many weights the ends of a tensor are below a float's precision


def expected_padding(weights: int, kept: int, index_bits: int) -> Fraction:
    """Expected padding zeros where each of `weights` is kept with probability p = kept/weights.

    The i-th padding zero before a kept weight is there when the iR positions before the weight
    hold none: probability x^i with x = (1 − p)^R, and only weights at a position above iR can
    have one. So the expectation is p·Σ_{i=1..K} (n − iR)·x^i with K = ⌊(n − 1)/R⌋, which is summed
    in closed form. For large n it is n·p·x/(1 − x): entries are n·p/(1 − x), padding included.
    """
    if kept <= 0 or kept >= weights:
        return Fraction(0)
    reach = 1 << index_bits
    p = float(Fraction(kept, weights))
    decay = reach * log1p(-p)  # ln x
    x, gap = exp(decay), -expm1(decay)  # x and 1 − x, both without cancellation
    if weights > _EXACT:
        return Fraction(p * x / gap) * weights if gap else Fraction(0)
    terms = (weights - 1) // reach
    last = exp(decay * terms)  # x^K
    plain = x * -expm1(decay * terms) / gap
    rising = x * (1 - (terms + 1) * last + terms * last * x) / gap**2
    return Fraction(max(0.0, p * (weights * plain - reach * rising)))


def distances(density: float, index_bits: int) -> list[float]:
    """Probability of each stored distance 1 to R for weights kept at random.

    From any entry the next is j positions on with probability p·q^(j−1) for j < R; at R it is a
    kept weight or padding, q^(R−1) together (q = 1 − p). The entropy of this is what a code of
    the indices can reach.
    """
    reach = 1 << index_bits
    q = 1 - density
    return [density * q**j for j in range(reach - 1)] + [q ** (reach - 1)]
