"""What a rank runs: real steps of a strategy, phase by phase, or collectives alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from effcalc.base.errors import InputError
from effcalc.communication.live.listing import Listed
from effcalc.communication.strategies import Setup
from effcalc.models.build import Built, build
from effcalc.network.network import Network

Phases = Iterator[tuple[str, Callable[[], None]]]

IMAGES = 2  # a batch norm wants more than one; what is sent does not depend on it


def ddp(network: Network, setup: Setup, device: torch.device) -> Phases:
    """Wrap the network in DistributedDataParallel, and train it for three steps."""
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
    from torch.nn.parallel import DistributedDataParallel

    model = build(network).to(device)
    wrapped: list[Any] = []

    def construct() -> None:
        parallel = DistributedDataParallel(model)
        hooks = {
            "float16": default_hooks.fp16_compress_hook,
            "bfloat16": default_hooks.bf16_compress_hook,
        }
        if setup.dtype in hooks:
            parallel.register_comm_hook(None, hooks[setup.dtype])
        wrapped.append(parallel)

    def step() -> None:
        for i in range(setup.accumulate):
            last = i == setup.accumulate - 1
            with nullcontext() if last else wrapped[0].no_sync():
                _backward(wrapped[0], network, device)
        _update(model)

    yield "constructor", construct
    for name in ("first step", "second step", "steady step"):
        yield name, step


def fully_shard(network: Network, setup: Setup, device: torch.device) -> Phases:
    """Shard the network's units with `fully_shard`, and train it for two steps."""
    from torch.distributed import fsdp
    from torch.distributed.device_mesh import init_device_mesh

    model = build(network).to(device)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))

    def construct() -> None:
        options: dict[str, Any] = {"mesh": mesh, "reshard_after_forward": setup.reshard}
        if setup.dtype != "float32":
            sent = getattr(torch, setup.dtype)
            options["mp_policy"] = fsdp.MixedPrecisionPolicy(param_dtype=sent, reduce_dtype=sent)
        for name in {"stage": model.stages, "block": model.blocks, "all": ()}[setup.unit]:
            fsdp.fully_shard(model.get_submodule(name), **options)
        fsdp.fully_shard(model, **options)

    def step() -> None:
        for _ in range(setup.accumulate):
            _backward(model, network, device)
        _update(model)

    yield "constructor", construct
    for name in ("first step", "steady step"):
        yield name, step


def alone(collectives: Sequence[Listed], device: torch.device) -> Phases:
    """Run each collective by itself, on zeros; the phases are their numbers."""
    for number, listed in enumerate(collectives):
        yield str(number), lambda listed=listed: _alone(listed, device)  # type: ignore[misc]


def _backward(model: nn.Module, network: Network, device: torch.device) -> None:
    shape = network.inputs[0].shape
    images = torch.rand((IMAGES, *shape[1:]), device=device)
    result: Tensor = model(images)
    result.float().square().mean().backward()  # type: ignore[no-untyped-call]


def _update(model: Built) -> None:
    """A step of gradient descent small enough that nothing grows."""
    torch.optim.SGD(model.parameters(), lr=1e-6).step()
    model.zero_grad()


def _alone(listed: Listed, device: torch.device) -> None:
    dtype = {1: torch.uint8, 2: torch.bfloat16, 4: torch.float32, 8: torch.float64}[listed.element]
    n, rank = dist.get_world_size(), dist.get_rank()
    count = listed.size // listed.element

    def zeros(elements: int) -> Tensor:
        return torch.zeros(elements, dtype=dtype, device=device)

    part = zeros(count // n)
    parts = [zeros(count // n) for _ in range(n)]
    match listed.op:
        case "all_reduce":
            dist.all_reduce(zeros(count))
        case "broadcast":
            dist.broadcast(zeros(count), listed.root)
        case "reduce":
            dist.reduce(zeros(count), listed.root)
        case "all_gather":
            dist.all_gather(parts, part)
        case "reduce_scatter":
            dist.reduce_scatter_tensor(part, zeros(count))
        case "all_to_all":
            dist.all_to_all_single(zeros(count // n * n), zeros(count // n * n))
        case "gather":
            dist.gather(part, parts if rank == listed.root else None, listed.root)
        case "scatter":
            dist.scatter(part, parts if rank == listed.root else None, listed.root)
        case "barrier":
            dist.barrier()
        case _:
            raise InputError(f"there is no collective {listed.op!r} to run alone")
