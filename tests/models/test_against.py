"""Other counters run beside effcalc: whatever they do, they make one row each."""

from __future__ import annotations

import importlib

import pytest

torch = pytest.importorskip("torch")

from effcalc.base.errors import InputError  # noqa: E402
from effcalc.base.process import Limits  # noqa: E402
from effcalc.models.peers import registry  # noqa: E402
from effcalc.models.peers.against import against_table, default_limits, prepare  # noqa: E402
from effcalc.models.peers.child import Target  # noqa: E402
from effcalc.models.target import target_network  # noqa: E402
from effcalc.scaling.figures import macs  # noqa: E402
from tests import peers_fake  # noqa: E402

MB = 10**6
FAKES = {peer.name: peer for peer in peers_fake.PEERS}


MODEL = Target("tests.peers_fake:model")


def row(name, limits=None):
    """Return effcalc's row and that of one counter."""
    return against_table(prepare(MODEL), [FAKES[name]], limits).rows


def test_counters_that_misbehave_are_rows_that_say_so():
    names = ("right", "silent", "raising", "dying", "absent")
    found = against_table(prepare(MODEL), [FAKES[name] for name in names])
    ours, right, *others = found.rows
    assert (ours["macs"], ours["params"]) == (24, 16)  # 2 rows x 3 inputs x 4 outputs; 12 + 4
    assert (right["macs"], right["params"], right["explanation"]) == (24, 16, "agrees")
    assert (right["difference"], right["change"]) == (0, 0)
    # Both run torch, in a process of their own, which they leave as they found it.
    assert 0 < right["seconds"] < right["process_seconds"]
    assert right["peak"] > 100 * MB
    assert [row.get("macs") for row in others] == [None] * 4
    assert [row["explanation"] for row in others] == [
        "gave no figure: could not make sense of it",
        "RuntimeError: no rule for Linear at line 3",
        "killed by SIGSEGV",
        "not installed: pip install no-such-package",
    ]


def test_a_counter_that_takes_too_long_is_a_row_that_says_so():
    limits = Limits(seconds=8, memory=default_limits().memory)  # enough to import torch in
    _, hanging = row("hanging", limits)
    assert hanging["explanation"] == "stopped after 8.000 s (`time_limit`)"
    assert hanging["macs"] is None


def test_a_counter_that_takes_too_much_memory_is_a_row_that_says_so():
    limits = Limits(seconds=60, memory=1500 * MB)
    _, hoarding = row("hoarding", limits)
    assert hoarding["explanation"] == "stopped at 1.500 GB of memory (`memory_limit`)"
    assert 1500 * MB < hoarding["peak"] < 4000 * MB


def test_a_model_that_does_not_load_in_the_process_is_a_row_too():
    subject = prepare(MODEL)._replace(target=Target("tests.peers_fake:modell"))
    _, failed = against_table(subject, [FAKES["right"]]).rows
    assert failed["explanation"].startswith("tests.peers_fake:modell: tests.peers_fake has no 'mo")


def test_files_are_refused():
    for target in ("model.onnx", "model.pt2"):
        with pytest.raises(InputError, match="other counters cannot run a file"):
            prepare(Target(target))


def test_networks_of_effcalcs_own_are_built_for_others_to_count():
    found = against_table(prepare(Target("alexnet")), [registry.PEERS["torch"]]).rows
    assert [row["macs"] for row in found] == [macs(target_network("alexnet"))] * 2


def test_names_select_counters_and_packages():
    assert [peer.name for peer in registry.select("thop, torch")] == ["thop", "torch"]
    assert [peer.name for peer in registry.select("ptflops")] == ["ptflops", "ptflops-aten"]
    assert [peer.name for peer in registry.select("ptflops-aten")] == ["ptflops-aten"]
    assert {peer.name for peer in registry.select("all")} == set(registry.PEERS)
    with pytest.raises(InputError, match=r"no counter 'fvcor' \(did you mean 'fvcore'\?\)"):
        registry.select("thop,fvcor")
    with pytest.raises(InputError, match="name a counter"):
        registry.select(" , ")


def small():
    """A convolution and a linear layer, batch 2, whose figures can be had by hand."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),  # 8x8 to 6x6: 2 x 4 x 36 results of 3 x 9 MACs = 7,776
        torch.nn.Flatten(),
        torch.nn.Linear(144, 5),  # 2 x 5 results of 144 MACs = 1,440
    ).eval()


MACS = 7776 + 1440
BIASES = 2 * 4 * 36 + 2 * 5  # one for each result: 298
PARAMS = 4 * 27 + 4 + 5 * 144 + 5  # 837
EXPECTED = {
    "calflops": (MACS, PARAMS),
    "fvcore": (MACS, PARAMS),
    "ptflops": (MACS + BIASES, PARAMS),
    "ptflops-aten": (MACS + BIASES, PARAMS),
    "thop": (MACS, PARAMS),
    "torch": (MACS, None),
    "torchinfo": (MACS + BIASES, PARAMS),
    "torchprofile": (MACS, None),
}


@pytest.mark.parametrize("name", registry.PEERS)
def test_every_counter_is_brought_to_macs_of_the_whole_batch(name):
    peer = registry.PEERS[name]
    pytest.importorskip(peer.package)
    x = torch.rand(2, 3, 8, 8)
    model = small()
    if not peer.real:
        model, x = model.to("meta"), x.to("meta")
    found = peer.count(model, (x,), {})
    assert (found.macs, found.params) == EXPECTED[name]


@pytest.mark.parametrize("name", ["ptflops", "thop", "torch"])
def test_counters_take_keyword_inputs_where_they_can(name):
    peer = registry.PEERS[name]
    pytest.importorskip(peer.package)

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Linear(3, 4, bias=False), torch.nn.Linear(5, 4, bias=False)

        def forward(self, x, y):
            return self.a(x) + self.b(y)

    device = "cpu" if peer.real else "meta"
    model = Two().to(device)
    x, y = torch.rand(2, 3, device=device), torch.rand(2, 5, device=device)
    # 2 x 4 x (3 + 5) = 64; thop and the tracers get them by position.
    assert peer.count(model, (x,), {"y": y}).macs == 64


def test_a_new_counter_touches_one_place():
    for peer in registry.PEERS.values():
        module = importlib.import_module(peer.count.__module__)
        assert peer in module.PEERS
        assert peer.convention
        assert peer.rule is not None
