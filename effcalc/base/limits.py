"""Bounds on memory and time, so that what asks for too much gets a message and is not killed."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from effcalc.base.errors import InputError
from effcalc.base.units import format_seconds

_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_memory() -> int | None:
    """Bytes that this process can still have, as Linux says it; None where it does not."""
    available = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        available.append(int(line.split()[1]) * 1024)
    for limit, used in _CGROUPS:
        with suppress(OSError, ValueError):  # "max" is no number
            available.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
    return max(min(available), 0) if available else None


def child_memory() -> int:
    """Bytes that a child process may have: three quarters of what is free, or else of all."""
    free = available_memory()
    if free is None:
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return free * 3 // 4


@contextmanager
def memory_limited(wanted: bool = True) -> Iterator[None]:
    """Let this process allocate what is available and no more, on Linux, while the block runs.

    Linux grants more than it has and then kills; under the limit an allocation fails, which
    Python and torch report.
    """
    free = available_memory() if wanted and sys.platform == "linux" else None
    if free is None:
        yield
        return
    import resource

    old = resource.getrlimit(resource.RLIMIT_DATA)
    used = 0
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        used = pages * resource.getpagesize()
    limit = used + free
    if old[0] != resource.RLIM_INFINITY:
        limit = min(limit, old[0])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, old)


class _OutOfTime(BaseException):
    """Passes through whatever catches exceptions; raised again until it got out."""


@contextmanager
def time_limited(seconds: float, what: str) -> Iterator[None]:
    """Raise `InputError`, which `what` starts, where the block takes longer.

    A timer signal interrupts the main thread between two steps of Python; in another thread, and
    where there is no such timer, the time has no limit.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(*_: object) -> None:
        raise _OutOfTime

    old = signal.signal(signal.SIGALRM, stop)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _OutOfTime:
        raise InputError(f"{what} took longer than {format_seconds(seconds, 3)}") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
