"""Which pairs of a query and a key torch's CPU kernel for causal attention computes.

A probability that the mask makes zero still turns NaN where it meets a NaN: what the kernel
multiplies shows in its result. Key j has its NaN in feature j, so that result i has one in feature
j where pair (i, j) was computed.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from effcalc.network.ops.attention import positions  # noqa: E402

FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

# Queries and keys: each size of a block of queries (32, 64, 256), and keys on both sides of 512.
SIZES = [(16, 16), (100, 600), (500, 500), (513, 513), (600, 1030), (768, 700), (1100, 1100)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("queries", "keys"), SIZES)
def test_the_cpu_kernel_computes_the_pairs_that_are_counted(
    queries: int, keys: int, dtype: torch.dtype
) -> None:
    q, k = torch.ones(1, 1, queries, keys, dtype=dtype), torch.ones(1, 1, keys, keys, dtype=dtype)
    v = torch.ones_like(k)
    v[0, 0].fill_diagonal_(float("nan"))
    computed = FLASH(q, k, v, 0.0, True)[0].isnan().sum()
    assert computed == positions(queries, keys, causal=True, cpu=True)


@pytest.mark.parametrize(("queries", "keys"), SIZES)
def test_so_does_its_backward(queries: int, keys: int) -> None:
    """Query i's gradient has its NaN in feature i; it meets v's gradient by p(i, j)."""
    features = max(queries, keys)
    q, k = torch.ones(1, 1, queries, features), torch.ones(1, 1, keys, features)
    result, logsumexp = FLASH(q, k, k, 0.0, True)
    gradient = torch.ones_like(result)
    gradient[0, 0].fill_diagonal_(float("nan"))
    *_, of_v = FLASH_BACKWARD(gradient, q, k, k, result, logsumexp, 0.0, True)
    computed = of_v[..., :queries].isnan().sum()
    assert computed == positions(queries, keys, causal=True, cpu=True)
