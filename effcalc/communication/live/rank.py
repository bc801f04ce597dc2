"""One rank of a verification: join, run each phase, and return what it ran and sent."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pkgutil import resolve_name
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore, PrefixStore

from effcalc.base.errors import NeedsError
from effcalc.base.sockets import Carried, between, carried, settled
from effcalc.communication.live import train
from effcalc.communication.live.listing import Listed, Listing, recorder
from effcalc.communication.strategies import STRATEGIES, Setup
from effcalc.network.network import Network

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


class RankRun(NamedTuple):
    """What to run: a strategy on a network, or collectives alone."""

    network: Network | None = None
    strategy: str = ""
    setup: Setup = Setup()
    collectives: Sequence[Listed] = ()


def run(runs: Sequence[RankRun], place: Place) -> dict[str, Any]:
    """Run one after the other, and return what this rank saw of each.

    The answer has `runs`, a list of phases for each: name, bytes sent and received on sockets
    (none with NCCL), the collectives that ran, and those in the flight recorder; and
    `environment`. Under torchrun `all` has the answers of every rank, on rank 0.
    """
    os.environ["TORCH_FR_BUFFER_SIZE"] = RECORDS
    device = _device(place)
    store, port = _join(place)
    try:
        news = recorder()
        seen = [
            [
                _phase(name, work, news, place.backend == "gloo", store, port)
                for name, work in _phases(one, device)
            ]
            for one in runs
        ]
        answer: dict[str, Any] = {"runs": seen, "environment": environment(place)}
        if not place.file:
            answer["all"] = _exchanged(answer, store, place)
        _meet(store)
    finally:
        dist.destroy_process_group()
    return answer


def _phase(
    name: str,
    work: Callable[[], None],
    news: Callable[[], list[Listed]],
    counted: bool,
    store: Any,
    port: int | None,
) -> dict[str, Any]:
    """Run a phase, and return what it ran and sent."""
    news()
    listing = Listing()

    def listed() -> None:
        with listing:
            work()
        if not counted:
            torch.cuda.synchronize()

    wire = None
    if counted:
        wire = _counted(listed, store, port)
    else:
        listed()
    return {"name": name, "wire": wire, "listed": listing.collectives, "recorded": news()}


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
        raise NeedsError("`backend` nccl needs a CUDA device for each rank; `backend` gloo none")
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


def _phases(one: RankRun, device: torch.device) -> train.Phases:
    torch.manual_seed(0)
    if one.network is None:
        return train.alone(one.collectives, device)
    trainer = STRATEGIES[one.strategy].trainer
    assert trainer is not None
    phases: train.Phases = resolve_name(trainer)(one.network, one.setup, device)
    return phases


def _counted(work: Callable[[], None], store: Any, port: int | None) -> tuple[int, int]:
    """Bytes sent and received while all ranks do some work, between two moments without traffic."""
    before = _quiet_carried(store, port)
    _meet(store)
    work()
    return between(before, _quiet_carried(store, port))


def _quiet_carried(store: Any, port: int | None) -> dict[str, Carried]:
    """What connections have carried once every rank's have nothing on their way."""
    _meet(store)
    settled(port)
    _meet(store)
    return carried(port)


def _meet(store: Any) -> None:
    """Wait until every rank has come; the last one to come releases the others."""
    ranks = dist.get_world_size()
    here = store.add("met", 1)
    key = f"met {-(-here // ranks)}"
    if here % ranks == 0:
        store.set(key, "")
    while not store.check([key]):
        time.sleep(0.001)


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
