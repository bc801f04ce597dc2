"""Child processes that cannot outlive, outgrow or disturb their parent.

The child gets a request on its stdin and answers on a pipe of its own, so that whatever else it
prints corrupts nothing. It is killed with its whole process group when it takes too long or too
much memory, when the wait is interrupted, and when the parent dies. POSIX only.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO, Any, NamedTuple

from effcalc.base.errors import EffcalcError, one_line
from effcalc.base.units import format_bytes, format_seconds

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
    imports included. `failed` orders the failures of several: the least is the first, whose
    consequence the others may be.
    """

    answer: dict[str, Any] | None
    cause: str
    said: str
    seconds: float
    peak: int
    failed: float = math.inf


# --- parent ------------------------------------------------------------------------------------


def run(
    module: str, request: dict[str, Any], limits: Limits, stop: threading.Event | None = None
) -> Ended:
    """Run `python -m MODULE` in a process of its own, and wait for what it answers.

    Setting `stop` ends it, where another thread than the one that waits has to.

    `module` must call `serve`. The child finds the same packages as this process and nothing
    more: the working directory is on its path only where it is on this process's.
    """
    [ended] = run_all(module, [request], limits, stop)
    return ended


def run_all(
    module: str,
    requests: Sequence[dict[str, Any]],
    limits: Limits,
    stop: threading.Event | None = None,
) -> list[Ended]:
    """Run a process for each request at the same time; see `run`.

    Where one fails the others are ended, for they may wait for it. The limits hold for each.
    """
    children: list[_Child] = []
    try:
        for request in requests:
            children.append(_Child(module, limits))
            children[-1].ask(request)
        _until_end(children, stop or threading.Event())
    finally:
        for child in children:
            child.end()
    return [child.ended() for child in children]


def _until_end(children: Sequence[_Child], stop: threading.Event) -> None:
    """Wait until all have ended, or one must be ended, or has failed."""
    waiting = list(children)
    with selectors.DefaultSelector() as selector:
        for child in children:
            for fd in child.pipes():
                os.set_blocking(fd, False)
                selector.register(fd, selectors.EVENT_READ, child)
        while waiting:
            over = [child for child in waiting if child.is_over()]
            for key, _ in selector.select(0 if over else POLL_SECONDS):
                if not key.data.read(key.fd):
                    selector.unregister(key.fd)
            for child in waiting:
                child.look(child in over, stop.is_set())
            waiting = [child for child in waiting if child not in over]
            if any(child.cause or (child in over and not child.answered()) for child in children):
                return
            if waiting and not selector.get_map():
                time.sleep(POLL_SECONDS)


class _Child:
    """A child process: its pipes, its size, and what became of it."""

    def __init__(self, module: str, limits: Limits) -> None:
        """Start `python -m MODULE`, in a process group of its own, to be killed as one."""
        self.limits, self.started = limits, time.monotonic()
        self.receive, send = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-P", "-m", module, str(send)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(send,),
                env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            )
        except BaseException:
            os.close(self.receive)
            raise
        finally:
            os.close(send)
        self.answer, self.tail = b"", b""
        self.cause = ""
        self.killed = False
        self.peak = 0
        self.seconds = 0.0

    def ask(self, request: dict[str, Any]) -> None:
        """Send the request. The pipe stays open: that it closes tells the child of our end."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()

    def pipes(self) -> tuple[int, int]:
        """The pipe of its answer, and that of what it prints."""
        assert self.process.stdout is not None
        return self.receive, self.process.stdout.fileno()

    def is_over(self) -> bool:
        """Whether it ended; it is not reaped, so that its process group cannot be another's."""
        return bool(os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG))

    def read(self, fd: int) -> bool:
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

    def look(self, over: bool, stop: bool) -> None:
        """Note time and size, and why it must be killed where that is so."""
        self.seconds = time.monotonic() - self.started
        if over:
            return
        self.peak = max(self.peak, peak_rss(self.process.pid))
        if stop:
            self.cause = "stopped"
        elif self.seconds > self.limits.seconds:
            self.cause = f"stopped after {format_seconds(self.limits.seconds)} (`time_limit`)"
        elif self.peak > self.limits.memory:
            limit = format_bytes(self.limits.memory)
            self.cause = f"stopped at {limit} of memory (`memory_limit`)"

    def answered(self) -> dict[str, Any]:
        """What it answered, or nothing where that is no answer."""
        try:
            answer: dict[str, Any] = json.loads(self.answer)
        except ValueError:
            return {}
        return {} if "error" in answer else answer

    def end(self) -> None:
        """Kill its group if it is not yet reaped, and reap it."""
        self.killed = not self.is_over()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for fd in self.pipes():  # what came since the last look
            os.set_blocking(fd, False)
            self.read(fd)
        os.close(self.receive)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def ended(self) -> Ended:
        """Put together what was seen; an answer counts only where the child ended by itself."""
        answer: dict[str, Any] = {}
        failed = self.started if self.cause else math.inf
        if not self.cause and self.killed:
            self.cause = "stopped with the others"
        elif not self.cause:
            try:
                answer = json.loads(self.answer)
            except ValueError:
                self.cause, failed = self._death(), self.started
        peak = max(self.peak, answer.pop("peak", 0))
        at = answer.pop("at", math.inf)
        if "error" in answer:
            self.cause, failed = answer["error"], at
        cause = one_line(self.cause)
        return Ended(None if cause else answer, cause, self._said(), self.seconds, peak, failed)

    def _death(self) -> str:
        code = self.process.returncode
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
    if pid is None and sys.platform != "win32":
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
        pipe.write(json.dumps(reply | {"peak": peak_rss(), "at": time.monotonic()}).encode())
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
