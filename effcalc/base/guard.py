"""A last line of defence: within `guarded`, this process writes no file and starts nothing.

What a document may ask for is a short list (`effcalc/cli/regions.py`). Should a mistake ever let
more through, Python itself tells before it opens, removes or runs anything (PEP 578), and it is
refused here. This holds off mistakes; it is no jail for hostile code, of which none runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from effcalc.base.errors import InputError

_ACTIVE: ContextVar[bool] = ContextVar("guarded", default=False)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FORBIDDEN = (
    *(
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "os.fork",
        "os.forkpty",
        "os.startfile",
    ),
    *("subprocess.Popen", "pty.spawn", "os.kill", "os.killpg"),
    *("os.remove", "os.rename", "os.link", "os.symlink", "os.mkdir", "os.rmdir", "os.truncate"),
    *("os.chmod", "os.chown", "os.utime", "shutil.rmtree", "tempfile.mkstemp", "tempfile.mkdtemp"),
    *("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "urllib.Request"),
)
_hooked: list[bool] = []


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _ACTIVE.get():
        return
    if event == "open":
        _, mode, flags = args
        if (flags or 0) & _WRITES or (isinstance(mode, str) and set(mode) & set("wax+")):
            raise InputError("a command in a document writes no file")
    elif event in _FORBIDDEN:
        raise InputError(f"a command in a document may not do this ({event})")


def not_guarded(what: str) -> None:
    """Raise `InputError` within `guarded`: `what` is a model, of code or of a file."""
    if _ACTIVE.get():
        raise InputError(f"{what}: a document runs no model; name a network")


@contextmanager
def guarded() -> Iterator[None]:
    """Within the block, refuse to write a file, to start a process, to open a connection."""
    if not _hooked:  # a hook stays for the life of the process
        sys.addaudithook(_hook)
        _hooked.append(True)
    token, bytecode = _ACTIVE.set(True), sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # of modules that a command imports
    try:
        yield
    finally:
        sys.dont_write_bytecode = bytecode
        _ACTIVE.reset(token)
