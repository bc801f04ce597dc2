"""A child process that cannot outlive, outgrow or disturb its parent.

The child gets a request on its stdin and answers on a pipe of its own, so that whatever else it
prints corrupts nothing. It is killed with its whole process group when it takes too long or too
much memory, when the wait is interrupted, and when the parent dies. POSIX only.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any, NamedTuple

from effcalc.errors import EffcalcError, one_line
from effcalc.units import format_bytes, format_seconds

POLL_SECONDS = 0.02  # a process that fills 10 GB/s passes a memory limit by some 200 MB
_TAIL = 4096  # bytes kept of what the child prints: its last line names a cause
_ANSWER_LIMIT = 1 << 20


class Limits(NamedTuple):
    """Wall-clock seconds and bytes of resident memory that a child may use."""

    seconds: float
    memory: int


class Ended(NamedTuple):
    """How a child ended.

    `answer` is what it answered, and `cause` one line that says why there is none ("" where
    there is one). `said` is the last line that it printed. `seconds` is the wall-clock time of
    the process from start to end and `peak` its largest resident set in bytes, interpreter and
    imports included.
    """

    answer: dict[str, Any] | None
    cause: str
    said: str
    seconds: float
    peak: int


# --- parent ------------------------------------------------------------------------------------


def run(
    module: str, request: dict[str, Any], limits: Limits, stop: threading.Event | None = None
) -> Ended:
    """Run `python -m MODULE` in a process of its own, and wait for what it answers.

    Setting `stop` ends it, where another thread than the one that waits has to.

    `module` must call `serve`. The child finds the same packages as this process and nothing
    more: the working directory is on its path only where it is on this process's.
    """
    receive, send = os.pipe()
    started = time.monotonic()
    try:
        process = subprocess.Popen(
            [sys.executable, "-u", "-P", "-m", module, str(send)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own, to be killed as one
            pass_fds=(send,),
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
    except BaseException:
        os.close(receive)
        raise
    finally:
        os.close(send)
    watch = _Watch(process, receive, limits, started, stop or threading.Event())
    try:
        assert process.stdin is not None
        # The pipe stays open: that it closes tells the child that its parent is gone.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        cause = watch.until_end()
    finally:
        _end(process)
        os.close(receive)
    return watch.ended(cause, process.returncode)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the group of a child that is not yet reaped, and reap it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


class _Watch:
    """Reads a child's pipes and looks at its size until it ends or must be ended."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        receive: int,
        limits: Limits,
        started: float,
        stop: threading.Event,
    ) -> None:
        self.process, self.receive, self.limits, self.started = process, receive, limits, started
        self.stop = stop
        self.answer, self.tail = b"", b""
        self.peak = 0
        self.seconds = 0.0

    def until_end(self) -> str:
        """Wait, and return why the child must be killed, or "" where it ended by itself."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            for fd in (self.receive, self.process.stdout.fileno()):
                os.set_blocking(fd, False)
                selector.register(fd, selectors.EVENT_READ)
            while True:
                # Not reaped here, so that its process group cannot become another's.
                over = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
                for key, _ in selector.select(0 if over else POLL_SECONDS):
                    if not self._read(key.fd):
                        selector.unregister(key.fd)
                self.seconds = time.monotonic() - self.started
                if over:
                    return ""
                self.peak = max(self.peak, peak_rss(self.process.pid))
                if self.stop.is_set():
                    return "stopped"
                if self.seconds > self.limits.seconds:
                    return f"stopped after {format_seconds(self.limits.seconds)} (--time-limit)"
                if self.peak > self.limits.memory:
                    limit = format_bytes(self.limits.memory)
                    return f"stopped at {limit} of memory (--memory-limit)"
                if not selector.get_map():
                    time.sleep(POLL_SECONDS)

    def _read(self, fd: int) -> bool:
        """Take what a pipe holds; False at its end."""
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return True
        if fd == self.receive:
            self.answer = (self.answer + data)[:_ANSWER_LIMIT]
        else:
            self.tail = (self.tail + data)[-_TAIL:]
        return bool(data)

    def ended(self, cause: str, code: int) -> Ended:
        """Put together what was seen; an answer counts only where the child ended by itself."""
        answer: dict[str, Any] = {}
        if not cause:
            try:
                answer = json.loads(self.answer)
            except ValueError:
                cause = self._death(code)
        peak = max(self.peak, answer.pop("peak", 0))
        cause = answer.get("error", cause)
        return Ended(None if cause else answer, one_line(cause), self._said(), self.seconds, peak)

    def _death(self, code: int) -> str:
        how = f"exit code {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = f"killed by {signal.Signals(-code).name}"
        return f"{how}: {self._said()}".removesuffix(": ")

    def _said(self) -> str:
        lines = self.tail.decode(errors="replace").splitlines()
        return next((one_line(line) for line in reversed(lines) if line.strip()), "")


def peak_rss(pid: int | None = None) -> int:
    """Bytes of the largest resident set that a process (by default this one) has had, or 0.

    Where there is no /proc only this process's own is known.
    """
    try:
        with open(f"/proc/{pid or 'self'}/status", "rb") as status:
            for line in status:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    if pid is None:
        import resource

        # A fork inherits its parent's peak here, which is why /proc comes first. In kB on
        # Linux, in bytes on macOS.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return 0


# --- child -------------------------------------------------------------------------------------


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Be the child of `run`: read the request, answer it, and end with this process's parent.

    Whatever `answer` raises is its answer.
    """
    send = int(sys.argv[1])
    _die_with_parent()
    requests = os.fdopen(os.dup(0), "rb")
    with open(os.devnull, "rb") as nothing:  # nobody answers a prompt
        os.dup2(nothing.fileno(), 0)
    request = json.loads(requests.readline())
    threading.Thread(target=_end_with, args=(requests,), daemon=True).start()
    reply: dict[str, Any]
    try:
        reply = answer(request)
    except EffcalcError as error:
        reply = {"error": str(error)}
    except BaseException as error:
        reply = {"error": f"{type(error).__name__}: {one_line(error)}".removesuffix(": ")}
    with os.fdopen(send, "wb") as pipe:
        pipe.write(json.dumps(reply | {"peak": peak_rss()}).encode())
    sys.stdout.flush()
    os._exit(0)  # threads and exit handlers of a library could hang


def _end_with(requests: IO[bytes]) -> None:
    """Kill this process group once the parent's end of the pipe is closed."""
    requests.read()
    os.killpg(0, signal.SIGKILL)


def _die_with_parent() -> None:
    """Ask Linux to kill this process with its parent, also inside a C call that holds the GIL."""
    if sys.platform != "linux":
        return
    import ctypes

    pr_set_pdeathsig = 1  # <sys/prctl.h>
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
