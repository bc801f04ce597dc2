"""How many bytes this process's own TCP connections have carried, by the kernel's counters.

No privilege is needed: TCP_INFO of a socket (tcp(7), RFC 4898) has `tcpi_bytes_acked`, what the
peer has acknowledged of what was sent, and `tcpi_bytes_received`. Linux only.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import time
from collections.abc import Mapping
from typing import NamedTuple

from effcalc.base.errors import NeedsError, RunError

# Offsets in struct tcp_info of <linux/tcp.h>: tcpi_unacked, and two of 8 bytes each.
_UNACKED, _BYTES, _LENGTH = 24, 120, 136
_QUIET, _POLL = 0.01, 0.002  # seconds


class Carried(NamedTuple):
    """Bytes of one connection: sent and acknowledged, received, and segments on their way."""

    sent: int
    received: int
    unacked: int


def carried(leave_out: int | None = None) -> dict[str, Carried]:
    """Return what each of this process's TCP connections has carried, by the socket's inode.

    Connections from or to the port `leave_out` are left out. Raises `NeedsError` where the kernel
    does not count.
    """
    if sys.platform != "linux":
        raise NeedsError("counting bytes of TCP connections needs Linux (TCP_INFO)")
    result = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # closed by now, or not connected
            name = os.readlink(f"/proc/self/fd/{fd}")
            if not name.startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(fd))) as copy:
                internet = copy.family in (socket.AF_INET, socket.AF_INET6)
                if not internet or copy.type != socket.SOCK_STREAM:
                    continue
                ports = copy.getsockname()[1], copy.getpeername()[1]
                if leave_out not in ports:
                    result[name] = _info(copy)
    return result


def _info(connection: socket.socket) -> Carried:
    data = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    if len(data) < _LENGTH:
        raise NeedsError("this kernel's TCP_INFO does not count bytes; Linux 4.2 and later do")
    (unacked,) = struct.unpack_from("I", data, _UNACKED)
    sent, received = struct.unpack_from("QQ", data, _BYTES)
    return Carried(sent, received, unacked)


def settled(leave_out: int | None = None, patience: float = 20.0) -> dict[str, Carried]:
    """Return `carried` once nothing is on its way and the counters stand still for 10 ms.

    Raises `RunError` where they do not within `patience` seconds.
    """
    start = time.monotonic()
    last, since = carried(leave_out), start
    while time.monotonic() - since < _QUIET:
        time.sleep(_POLL)
        now = carried(leave_out)
        if now != last or any(c.unacked for c in now.values()):
            last, since = now, time.monotonic()
            if since - start > patience:
                raise RunError(f"the TCP counters did not settle in {patience:g} s")
    return last


def between(before: Mapping[str, Carried], after: Mapping[str, Carried]) -> tuple[int, int]:
    """Bytes sent and received from `before` to `after`; raises `RunError` for a closed one."""
    if before.keys() - after.keys():
        raise RunError("a connection was closed while its bytes were counted")
    none = Carried(0, 0, 0)
    sent = sum(c.sent - before.get(name, none).sent for name, c in after.items())
    received = sum(c.received - before.get(name, none).received for name, c in after.items())
    return sent, received
