"""The records of operators: every kind of torch operator has one, and unknown ones are told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import effcalc  # noqa: E402
from effcalc.models.count import count  # noqa: E402
from effcalc.network.network import OperatorCall, Tensor  # noqa: E402
from effcalc.network.ops import BY_TORCH, OPS, cost  # noqa: E402
from effcalc.network.ops.attention import positions  # noqa: E402

CUSTOM = torch.library.Library("effcalc_test", "DEF")
CUSTOM.define("swiglu(Tensor x, Tensor w) -> Tensor")
CUSTOM.impl(
    "swiglu",
    lambda x, w: x.new_empty(x.shape[0], w.shape[0] // 2),
    "CompositeExplicitAutograd",
)


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(8, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.effcalc_test.swiglu(x, self.w)


@pytest.fixture
def records() -> Iterator[None]:
    """Forget what a test registers."""
    ops, by_torch = dict(OPS), dict(BY_TORCH)
    yield
    for registry, old in ((OPS, ops), (BY_TORCH, by_torch)):
        registry.clear()
        registry.update(old)


def aten() -> Iterator[tuple[str, list[torch._ops.OpOverload]]]:
    """Yield every operator of torch's with its overloads."""
    names: dict[str, list[torch._ops.OpOverload]] = {}
    for full in torch._C._dispatch_get_all_op_names():
        name, _, overload = full.partition(".")
        if name.startswith("aten::"):
            packet = getattr(torch.ops.aten, name.removeprefix("aten::"))
            found = getattr(packet, overload or "default", None)
            if found is not None:
                names.setdefault(name, []).append(found)
    yield from names.items()


def composite(op: torch._ops.OpOverload) -> bool:
    """Whether torch takes an operator apart before anyone sees it."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(op.name(), "CompositeImplicitAutograd")


def test_every_elementwise_operator_has_a_record() -> None:
    known = set(BY_TORCH)
    missing = [
        name
        for name, overloads in aten()
        if any(torch.Tag.pointwise in op.tags for op in overloads)
        and not all(composite(op) for op in overloads)
        and name not in known
    ]
    assert not missing


def test_every_view_has_a_record() -> None:
    sparse_or_internal = {"_fw_primal", "_make_dual", "_sparse_broadcast_to", "slice_inverse"}
    missing = [
        name
        for name, overloads in aten()
        if any(
            r.alias_info and not r.alias_info.is_write
            for op in overloads
            for r in op._schema.returns
        )
        and not all(composite(op) for op in overloads)
        and name not in BY_TORCH
        and name.removeprefix("aten::") not in sparse_or_internal
        and "_test_" not in name
    ]
    assert not missing


def test_every_name_in_a_record_is_an_operator_of_torchs() -> None:
    names = {name for name, _ in aten()}
    for name in BY_TORCH:
        if name.startswith("aten::"):
            # Some records name the in-place variant of an operator that has none.
            assert name in names or name.removesuffix("_") in names, name


def test_an_operator_without_a_formula_is_listed_with_its_calls() -> None:
    network = count(nn.Sequential(Custom(), nn.Linear(4, 3), Custom()), torch.zeros(2, 3))
    assert network.uncounted == {"effcalc_test::swiglu": 2}
    # What it moves is known all the same: 2·3 + 8·3 read, 2·4 written.
    custom = next(call for call in network.calls if call.op == "effcalc_test::swiglu")
    assert cost(custom)[:5] == (0, 0, 0, 30, 8)


def test_a_user_gives_it_a_formula(records: None) -> None:
    @effcalc.formula("effcalc_test::swiglu")
    def products(call: OperatorCall) -> int:
        x, w = call.operands
        return x.numel * w.shape[0]

    @effcalc.formula("effcalc_test::swiglu", counts="elementwise")
    def gates(call: OperatorCall) -> int:
        return 2 * call.outputs[0].numel

    network = count(Custom(), torch.zeros(2, 3))
    assert not network.uncounted
    assert cost(network.calls[0])[:3] == (2 * 3 * 8, 2 * 8, 0)


@pytest.mark.parametrize(
    ("name", "counts", "message"),
    [
        ("swiglu", "macs", "give namespace and name"),
        ("aten::mm", "macs", "has a formula already"),
        ("mine::op", "flops", "counts is 'macs', 'elementwise' or"),
    ],
)
def test_formulas_that_are_refused(records: None, name: str, counts: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        effcalc.formula(name, counts)  # type: ignore[arg-type]


def test_causal_positions() -> None:
    # GPU: query i of 4 sees keys 0 to i of 4; of 2 keys the later queries see both.
    assert positions(4, 4, causal=True) == 1 + 2 + 3 + 4
    assert positions(4, 2, causal=True) == 1 + 2 + 2 + 2
    assert positions(2, 5, causal=True) == 1 + 2
    # CPU: 600 queries go in blocks of 64 (from 192 on): the first 8 end at query 512 and see one
    # block of 512 keys, the last 88 queries see all 600.
    assert positions(600, 600, causal=True, cpu=True) == 512 * 512 + 88 * 600
    assert positions(100, 300, causal=True, cpu=True) == 100 * 300


def test_fused_attention_of_gpus_from_shapes() -> None:
    """No GPU runs here: what the record says of a call with these shapes."""
    q, k = (Tensor(i, (2, 8, 5, 4)) for i in (1, 2))
    v, grad = Tensor(3, (2, 8, 5, 6)), Tensor(4, (2, 8, 5, 6))
    for backend in ("flash", "efficient", "cudnn", "fused"):
        call = OperatorCall("", f"attention_{backend}", (q, k, v), (grad, Tensor(5, (2, 8, 5))))
        assert cost(call).macs == 2 * 8 * 25 * (4 + 6)
        assert cost(call).written == grad.numel  # the log-sums are for the backward pass
        back = OperatorCall("", f"attention_{backend}_backward", (grad, q, k, v), (q, k, v))
        assert cost(back).macs == 2 * 8 * 25 * (3 * 4 + 2 * 6)


def test_cudnn_recurrence_from_shapes() -> None:
    """Two layers, both directions: x, four weights each, hidden states."""
    h, size = 4, 3
    weights = []
    for columns in (size, 2 * h):
        for _ in range(2):
            weights += [(4 * h, columns), (4 * h, h), (4 * h,), (4 * h,)]
    shapes = [(5, 2, size), *weights, (999,), (4, 2, h), (4, 2, h)]
    operands = tuple(Tensor(i, shape) for i, shape in enumerate(shapes, 1))
    attrs = {"mode": 2, "hidden_size": h, "proj_size": 0}
    call = OperatorCall("", "recurrent", operands, (Tensor(99, (5, 2, 2 * h)),), (), attrs)
    assert cost(call).macs == 10 * 2 * (16 * (3 + 4) + 16 * (8 + 4))
    assert cost(call).elementwise == 10 * 4 * 13 * h


def test_what_a_batch_norm_saves_is_not_traffic() -> None:
    network = count(nn.BatchNorm2d(3), torch.zeros(2, 3, 4, 4))
    norm = next(call for call in network.calls if call.op == "batch_norm")
    assert cost(norm)[3:5] == (96 + 4 * 3, 96)
    assert len(norm.outputs) == 1


def test_an_embedding_reads_the_rows_that_it_gathers() -> None:
    network = count(nn.Embedding(1000, 8), torch.zeros(2, 3, dtype=torch.int64))
    # 6 rows of 8 float32 and 6 int64 indices.
    assert cost(network.calls[0]).read_bytes == 6 * 8 * 4 + 6 * 8
    assert cost(network.calls[0]).written_bytes == 6 * 8 * 4


def test_in_place_reads_and_writes_and_copies_overwrite() -> None:
    class Fills(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.empty_like(x)
            y.copy_(x)  # reads x, writes y
            y.add_(1)  # reads and writes y
            return y.zero_()  # writes y

    network = count(Fills(), torch.zeros(10))
    assert [(call.op, *cost(call)[3:5]) for call in network.calls] == [
        *(("empty", 0, 0), ("copy", 10, 10), ("add", 10, 10), ("fill", 0, 10))
    ]


def test_inference_mode_is_counted_like_no_grad() -> None:
    class Inference(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        @torch.inference_mode()
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.silu(self.fc(x) @ self.fc.weight)

    network = count(Inference(), torch.zeros(2, 4))
    assert sum(cost(call).macs for call in network.calls) == 24 + 24
    assert not network.uncounted
