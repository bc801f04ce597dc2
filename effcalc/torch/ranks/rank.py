"""One rank of a verification: join, run each phase, and say what it ran and what it sent."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore, PrefixStore

from effcalc.comm.strategies import Setup
from effcalc.errors import NeedsError
from effcalc.network import Network
from effcalc.sockets import between, settled
from effcalc.torch.ranks import train
from effcalc.torch.ranks.listing import Listed, Listing, recorder

RECORDS = "20000"  # entries that the flight recorder keeps


class Place(NamedTuple):
    """Where a rank stands: its number of how many, the store's file, and how they talk.

    Without a file the store is that of the environment, as torchrun sets it.
    """

    rank: int
    workers: int
    file: str
    backend: str
    seconds: float


def run(network: Network | None, request: dict[str, Any], place: Place) -> dict[str, Any]:
    """Run the phases that a request asks for, and return what this rank saw of each.

    The answer has `phases`: name, bytes sent and received on sockets (none with NCCL), the
    collectives that ran, and those in the flight recorder; and `environment`.
    """
    os.environ["TORCH_FR_BUFFER_SIZE"] = RECORDS
    device = _device(place)
    store, port = _join(place)
    try:
        torch.manual_seed(0)
        news = recorder()
        news()
        seen = []
        for name, work in _phases(network, request, device):
            listing = Listing()

            def measured(work: Callable[[], None] = work, listing: Listing = listing) -> None:
                with listing:
                    work()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)

            wire = _counted(measured, store, port) if place.backend == "gloo" else None
            if wire is None:
                measured()
            seen.append({"name": name, "wire": wire, "listed": listing.found, "recorded": news()})
        answer: dict[str, Any] = {"phases": seen, "environment": environment(place)}
        if not place.file:
            answer["all"] = _exchanged(answer, store, place)
        _meet(store)
    finally:
        dist.destroy_process_group()
    return answer


def _exchanged(answer: dict[str, Any], store: Any, place: Place) -> list[dict[str, Any]]:
    """The answers of all ranks, by the store; nobody but rank 0 needs them."""
    store.set(f"answer{place.rank}", json.dumps(answer))
    if place.rank:
        return []
    return [json.loads(store.get(f"answer{rank}")) for rank in range(place.workers)]


def _device(place: Place) -> torch.device:
    if place.backend == "gloo":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise NeedsError("--backend nccl needs a CUDA device for each rank; --backend gloo none")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", place.rank)))
    torch.cuda.set_device(device)
    return device


def _join(place: Place) -> tuple[Any, int | None]:
    """Join the process group; return a store to meet at, and the port that is the store's."""
    wait = timedelta(seconds=place.seconds)
    if place.file:
        torch.set_num_threads(1)
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        file = FileStore(place.file, place.workers)
        dist.init_process_group(
            place.backend, store=file, rank=place.rank, world_size=place.workers, timeout=wait
        )
        return PrefixStore("effcalc", file), None
    dist.init_process_group(place.backend, timeout=wait)
    store = dist.distributed_c10d._get_default_store()
    return PrefixStore("effcalc", store), int(os.environ["MASTER_PORT"])


def _phases(network: Network | None, request: dict[str, Any], device: torch.device) -> train.Phases:
    if network is None:
        return train.alone([Listed(*c) for c in request["collectives"]], device)
    make = {"ddp": train.ddp, "fully-shard": train.fully_shard}[request["strategy"]]
    return make(network, Setup(**request["setup"]), device)


def _counted(work: Callable[[], None], store: Any, port: int | None) -> tuple[int, int]:
    """Bytes sent and received while all ranks do some work, from standstill to standstill."""
    _meet(store)
    before = settled(port)
    _meet(store)
    work()
    _meet(store)
    after = settled(port)
    return between(before, after)


def _meet(store: Any) -> None:
    """Wait until every rank is here."""
    ranks = dist.get_world_size()
    here = store.add("met", 1)
    round_ = -(-here // ranks) * ranks
    while store.add("met", 0) < round_:
        time.sleep(0.002)


def environment(place: Place) -> dict[str, str | int]:
    """What the figures were measured on."""
    import platform

    return {
        "torch": torch.__version__,
        "backend": place.backend,
        "ranks": place.workers,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count() or 0,
    }
