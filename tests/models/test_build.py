"""A built module is the network: names, shapes, results, operators, lifetimes."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.fsdp import fully_shard
from torchvision import models

from effcalc.base.errors import InputError
from effcalc.base.units import dtype_bytes
from effcalc.models.build import build, recompute
from effcalc.models.modules import StochasticDepth
from effcalc.models.trace import trace
from effcalc.network import liveness
from effcalc.network.arch import Size, build_network
from effcalc.network.archfile import load
from effcalc.network.catalog import built_in_names, index
from effcalc.network.network import Network, unroll
from effcalc.network.ops import cost
from effcalc.network.tree import RESERVED
from effcalc.scaling.figures import figures
from effcalc.scaling.scale import scale
from tests.torch_watch import Watch

FAMILIES = sorted({entry.path.stem for entry in index().values()})
# One small member of every family: name -> image size.
SMALL = {
    "alexnet": 67,
    "alexnet-torchvision": 67,
    "efficientnet-b0": 64,
    "mnasnet-a1": 64,
    "mnasnet-b1": 64,
    "mobilenet-v1": 64,
    "mobilenet-v2": 64,
    "resnet-164": 32,
    "resnet-18": 64,
    "resnet-50": 64,
    "squeezenet-1.0": 64,
    "squeezenet-1.0-complex-bypass": 64,
    "squeezenet-1.1": 64,
}


def images(network: Network, batch: int = 2, device: str = "cpu") -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(batch, *network.inputs[0].shape[1:], device=device)


def small(name: str, **options: object) -> Network:
    return scale(name, **{"image_size": SMALL[name], "classes": 10, **options}).network


def calibrated(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """Set batch-norm statistics to those of `x`, so that results at evaluation are not all zero."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(x)
    for norm in norms:
        norm.momentum = 0.1
    return model.eval()


def undropped(model: nn.Module) -> nn.Module:
    """Set every dropout rate of a model to 0."""
    for module in model.modules():
        if type(module).__name__ in ("Dropout", "StochasticDepth"):
            module.p = 0.0
    return model


# --- names and shapes ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", built_in_names())
def test_every_network_builds_with_its_own_names(name):
    network = scale(name).network
    with torch.device("meta"):
        model = build(network)
    calls = unroll(network).calls
    expected = {p.key: p.shape for call in calls for p in call.params}
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == expected
    leaves = [n for n, m in model.named_modules() if not list(m.children())]
    assert leaves == [call.name for call in calls]
    assert list(model.blocks) == list(dict.fromkeys(call.block for call in calls))
    for part in (*model.stages, *model.blocks):
        model.get_submodule(part)


def test_resnet_1001_runs_forward_and_backward():
    # 333 bottlenecks: deep enough to overflow the stack of anything that nests them.
    network = scale("resnet-1001", image_size=8).network
    model = build(network)
    model(images(network)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    copy.deepcopy(model)


def test_a_network_without_blocks_is_refused():
    network = scale("efficientnet-b0").network
    call = network.calls[0]
    odd = type(call)("x", "fft", call.operands, call.outputs)
    with pytest.raises(InputError, match=r"x: operator 'fft' cannot be built"):
        build(Network("odd", network.inputs, odd.outputs, (odd,)))


def test_a_stage_with_a_name_of_torchs_own_is_refused(tmp_path):
    file = tmp_path / "net.toml"
    file.write_text(
        'name = "net"\n[[stage]]\nname = "half"\nblock = "convolution"\nkernel = 3\nchannels = 8\n'
    )
    with pytest.raises(InputError, match="part named 'half'; rename the stage"):
        build(scale(str(file)).network)


def test_reserved_names_are_torchs_and_the_built_networks():
    model = build(small("resnet-18"))
    own = {name for name in dir(model) if not name.startswith("_")} - {
        *dict(model.named_children())
    }
    assert own == RESERVED


# --- results ------------------------------------------------------------------------------------

TORCHVISION = {
    "efficientnet-b0": models.efficientnet_b0,
    "resnet-50": models.resnet50,
    "squeezenet-1.0": models.squeezenet1_0,
    "squeezenet-1.1": models.squeezenet1_1,
    "mobilenet-v2": models.mobilenet_v2,
    "mnasnet-b1": models.mnasnet1_0,
    "alexnet-torchvision": models.alexnet,
    "resnet-18": models.resnet18,
}


@pytest.mark.parametrize("name", sorted(TORCHVISION))
def test_results_equal_torchvisions(name):
    """Weights copied in order; the same operators run, so results differ by rounding at most."""
    network = scale(name, image_size=96).network
    x = images(network)
    torch.manual_seed(1)
    theirs = calibrated(undropped(TORCHVISION[name](weights=None)), x)
    ours = undropped(build(network))
    values = theirs.state_dict().values()
    ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))
    with torch.no_grad():
        expected, result = theirs(x), ours.eval()(x)
        assert expected.std() > 1e-3
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5 * float(expected.std()))
        # In training the batch's own statistics are used, and the running ones follow.
        expected, result = theirs.train()(x), ours.train()(x)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5 * float(expected.std()))
    for mine, their in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(mine, their)


def test_stochastic_depth_rates_are_torchvisions():
    rates = [
        [m.p for m in model.modules() if type(m).__name__ == "StochasticDepth"]
        for model in (build(scale("efficientnet-b0").network), models.efficientnet_b0())
    ]
    # torchvision has one in each of the 16 blocks with a skip; so have we, 9 of 16.
    assert rates[0] == pytest.approx(rates[1]) or len(rates[0]) == 9


def test_local_response_norm_is_torchs():
    network = scale("alexnet", image_size=67).network
    model = build(network).eval()
    x = torch.rand(2, 96, 15, 15) * 50
    torch.testing.assert_close(
        model.norm1(x), nn.functional.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=2.0)
    )


def test_stochastic_depth_drops_whole_samples():
    torch.manual_seed(0)
    depth = StochasticDepth(0.25)
    out = depth(torch.ones(4000, 3, 2, 2))
    # Each sample is 0, or 1 / (1 - 0.25), as a whole; 3 in 4 are kept, ±4.5σ = 4.5·√(.1875/4000).
    values = out.flatten(1)
    assert torch.equal(values.amin(1), values.amax(1))
    assert sorted(set(values[:, 0].tolist())) == pytest.approx([0.0, 4 / 3])
    assert abs(float((values[:, 0] > 0).float().mean()) - 0.75) < 0.031
    x = torch.ones(2, 3, 2, 2)
    assert depth.eval()(x) is x
    depth.train().p = 1.0
    assert not depth(x).any()


# --- operators: the analytic count against the running module -----------------------------------


def check_operators(network: Network) -> None:
    """Every layer costs what torch runs for it, at evaluation and in training."""
    calls = [call for call in unroll(network).calls if call.memory != "view"]
    with torch.device("meta"):
        model = undropped(build(network))
    x = images(network, network.inputs[0].shape[0], "meta")
    for training in (False, True):
        model.train(training)
        with torch.no_grad(), Watch() as watch:
            model(x)
        assert [row.op for row in watch.rows] == [call.op for call in calls]
        for row, call in zip(watch.rows, calls, strict=True):
            c = cost(call)
            seen, expected = row[1:5], (c.macs, c.elementwise, c.read, c.written)
            assert seen[: training or 4] == expected[: training or 4], call.name
    params = {p.key: p.numel for call in unroll(network).calls for p in call.params if not p.buffer}
    assert sum(params.values()) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", FAMILIES)
def test_operators_at_random_scalings(name):
    arch, _ = load(name)
    shallow = name == "resnet-1001"  # 5 to 12 of its 111 blocks a stage
    low = 67 if name.startswith("alexnet") else 32  # smaller images leave no pixel at the end

    @settings(
        max_examples=5, deadline=None, derandomize=True, database=None, phases=[Phase.generate]
    )
    @given(
        depth=st.floats(0.04, 0.1) if shallow else st.floats(0.3, 2.0),
        width=st.floats(0.2, 2.0),
        height=st.integers(low, 150),
        side=st.integers(low, 150),
    )
    def check(depth, width, height, side):
        # A batch norm in training wants more than one value a channel, so two images.
        check_operators(build_network(arch, Size(depth, width, (height, side), batch=2)))

    check()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_trace_of_the_module_is_the_network(name):
    """Layer by layer, in the network's own names: what `effcalc count` sees and `scale` says."""
    network = scale(name, image_size=SMALL.get(name, 32)).network
    with torch.device("meta"):
        model = build(network).eval()
    traced = trace(model, (images(network, 1, "meta"),))
    assert not traced.uncounted
    assert not traced.uncalled
    # On the meta device a batch norm asks for the memory of its result in a call of its own.
    moving = [call for call in traced.calls if call.memory != "view" and call.op != "empty"]
    calls = [call for call in unroll(network).calls if call.memory != "view"]
    assert [(call.name, call.op, cost(call)) for call in moving] == [
        (call.name, call.op, cost(call)) for call in calls
    ]
    assert figures(traced).weights == figures(network).weights
    assert liveness.activations(traced) == liveness.activations(network)


# --- lifetimes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("batch", [1, 3])
def test_live_memory_is_what_liveness_says(name, batch):
    """Distinct live storages, the image among them, after each operator on the CPU."""
    arch, _ = load(name)
    network = build_network(arch, Size(0.5, 0.5, (SMALL[name],) * 2, batch))
    model = build(network).eval()
    x = images(network, batch)
    with torch.no_grad(), Watch(x) as watch:
        model(x)
    assert max(row.live for row in watch.rows) == liveness.activations(network).peak
    assert [row.live for row in watch.rows] == timeline(unroll(network))


def timeline(network: Network) -> list[int]:
    """Live bytes during each layer that is not a view, by the definition alone."""
    end = len(network.calls)
    size = {t.storage: 4 * t.numel for t in network.inputs}
    born = dict.fromkeys(size, -1)
    last: dict[int, int] = {}
    for number, call in enumerate(network.calls):
        for t in (*call.inputs, *call.outputs):
            if t.storage not in born:
                born[t.storage], size[t.storage] = number, t.numel * dtype_bytes(t.dtype)
            last[t.storage] = number
    last.update({t.storage: end for t in (*network.inputs, *network.outputs)})
    return [
        sum(size[s] for s in size if born[s] <= number <= last[s])
        for number, call in enumerate(network.calls)
        if call.memory != "view"
    ]


# --- life as a torch module ---------------------------------------------------------------------


@pytest.fixture
def net():
    return small("efficientnet-b0", width=0.5, depth=0.5)


@pytest.fixture
def model(net):
    return calibrated(build(net), images(net, 4))


def test_copies_and_pickles(net, model):
    x = images(net)
    expected = model(x)
    assert torch.equal(copy.deepcopy(model)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), expected)


def test_parts_can_be_called_and_hooked(net, model):
    """A block takes and returns tensors; hooks of every module run, gradients or not."""
    seen: list[str] = []
    for name, part in model.named_modules():
        part.register_forward_hook(lambda module, args, out, name=name: seen.append(name))
    x = images(net)
    expected = model(x)
    with_gradients = list(seen)
    seen.clear()
    with torch.no_grad():
        assert torch.equal(model(x), expected)
    assert seen == with_gradients
    assert sorted(seen) == sorted(name for name, _ in model.named_modules())
    value = x
    for stage in model.stages:
        value = model.get_submodule(stage)(value)
    assert torch.equal(value, expected)


@pytest.mark.parametrize("per", ["stage", "block"])
def test_recomputing_changes_no_gradient(net, model, per):
    x = images(net, 4)
    model.train()
    gradients = []
    for chosen in ("none", per):
        undropped(model)
        recompute(model, chosen)
        model.zero_grad()
        model(x).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for plain, again in zip(*gradients, strict=True):
        assert torch.equal(plain, again)


def test_recomputing_saves_less(net):
    """With blocks recomputed the forward pass keeps block inputs alone."""
    model = undropped(build(net))
    saved = []
    for per in ("none", "block"):
        recompute(model, per)
        kept: set[int] = set()
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda t, kept=kept: kept.add(t.untyped_storage().data_ptr()) or t, lambda t: t
        )
        with hooks:
            out = model(images(net, 4))
        saved.append(len(kept))
        del out
    assert saved[1] < saved[0]


def test_autocast_and_channels_last(net, model):
    x = images(net)
    expected = model(x)
    other = model.to(memory_format=torch.channels_last)
    close = other(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(close, expected, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(x)
    assert half.dtype is torch.bfloat16
    # bfloat16 keeps 8 bits, and some sixty layers round.
    assert ((half.float() - expected).norm() / expected.norm()).item() < 0.1


def test_other_image_sizes_run_where_the_layers_allow(model):
    assert model(torch.randn(2, 3, 80, 49)).shape == (2, 10)


def test_exports_and_compiles_to_one_graph(net, model):
    x = images(net)
    expected = model(x)
    exported = torch.export.export(model, (x,))
    assert torch.equal(exported.module()(x), expected)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), expected)
    with torch.no_grad():
        assert torch.equal(compiled(x), expected)


@pytest.fixture
def one_rank(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def test_data_parallel_and_fully_sharded(net, model, one_rank):
    x = images(net)
    expected = model(x).detach()
    expected_training = undropped(copy.deepcopy(model)).train()(x)
    parallel = nn.parallel.DistributedDataParallel(undropped(copy.deepcopy(model)).train())
    assert torch.equal(parallel(x), expected_training)
    parallel(x).sum().backward()
    sharded = copy.deepcopy(model)
    for name in sharded.blocks:
        if any(True for _ in sharded.get_submodule(name).parameters()):
            fully_shard(sharded.get_submodule(name))
    fully_shard(sharded)
    undropped(sharded).train()(x).sum().backward()
    assert all(p.grad is not None for p in sharded.parameters())
    sharded = copy.deepcopy(model)
    for name in sharded.blocks:
        fully_shard(sharded.get_submodule(name))
    with torch.no_grad():
        torch.testing.assert_close(fully_shard(sharded)(x), expected)
