"""Small modules whose answers are worked out by hand (tests/small_modules.py) are all right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from effcalc.models.count import count  # noqa: E402
from effcalc.scaling.figures import figures  # noqa: E402
from tests.small_modules import CASES, Case  # noqa: E402


@pytest.mark.parametrize("real", [False, True], ids=["meta", "real"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_answers_worked_out_by_hand(case: Case, real: bool) -> None:
    network = count(case.make(), case.inputs(), case.kwargs(), real=real)
    totals = figures(network)
    macs = case.real_macs if real and case.real_macs is not None else case.macs
    assert totals.cost.macs == macs
    assert totals.cost.flops_other == case.flops_other
    assert totals.weights.params == case.params
    if case.elementwise is not None and not real:  # kernels may add a bias in a step of its own
        assert totals.cost.elementwise == case.elementwise
    assert not network.uncounted


def test_there_are_at_least_thirty() -> None:
    assert len(CASES) >= 30


def test_only_the_unused_module_is_called_unused() -> None:
    uncalled = {
        case.name: count(case.make(), case.inputs(), case.kwargs()).uncalled for case in CASES
    }
    assert {name: paths for name, paths in uncalled.items() if paths} == {
        "unused module": ("spare",),
        "branch by shape": ("large",),
    }


def test_the_page_on_counters_is_about_these_modules() -> None:
    record = Path(__file__).parents[2] / "docs" / "counters.json"
    recorded = json.loads(record.read_text(encoding="utf-8"))["small"]
    assert [(row["name"], row["macs"], row["params"]) for row in recorded] == [
        (case.name, case.macs, case.params) for case in CASES
    ]
