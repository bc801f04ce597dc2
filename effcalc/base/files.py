"""Write files that are replaced in one step, or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any

from effcalc.base.errors import InputError, RunError, one_line
from effcalc.base.paths import is_confined


def check_output(path: str, what: str = "`output`") -> os.stat_result | None:
    """Refuse a path that cannot be written, and return what is there now; `what` asks for it.

    A command in a document writes nothing itself: whoever fills that checks the path.
    """
    if is_confined():
        return None
    name = repr(one_line(path))
    if not os.path.basename(path) or "\0" in path:
        raise InputError(f"{what}: {name} is not the name of a file")
    try:
        was = os.stat(path)
    except FileNotFoundError:
        was = None
    except OSError as error:
        raise _cannot(path, error, what) from error
    if was is not None and stat.S_ISDIR(was.st_mode):
        raise InputError(f"{what}: {name} is a folder; name a file in it")
    folder = os.path.dirname(os.path.realpath(path))
    if was is None and not os.path.isdir(folder):
        raise InputError(f"{what}: there is no folder {one_line(folder)!r} for {name}")
    if not os.access(path if was is not None else folder, os.W_OK):
        raise InputError(f"{what}: {name} may not be written; check its permissions")
    return was


@contextmanager
def open_output(path: str, what: str = "`output`", *, binary: bool = False) -> Iterator[IO[Any]]:
    """Open a file for writing that takes its place, whole, when the block ends well.

    A symlink keeps pointing where it does, and a file keeps its permissions. A device or a pipe
    is written as it comes.
    """
    was = check_output(path, what)
    live = os.path.abspath(path).startswith(("/dev/", "/proc/"))
    if was is not None and (live or not stat.S_ISREG(was.st_mode)):
        with _open(path, path, "w", binary=binary, what=what) as file:
            yield file
        return
    with _temporary(path) as temporary:
        with _open(temporary, path, "x", binary=binary, what=what) as file:
            yield file
            _settle(file, temporary, was)
        _put(temporary, path, what)


def write_files(files: Mapping[str, bytes], what: str) -> None:
    """Write files, each replaced whole, and none before all of them are on the disk.

    A crash, or a disk that is full, leaves every file as it was or as it is to be.
    """
    with ExitStack() as stack:
        staged = []
        for path, data in files.items():
            was = check_output(path, what)
            temporary = stack.enter_context(_temporary(path))
            with _open(temporary, path, "x", binary=True, what=what) as file:
                file.write(data)
                _settle(file, temporary, was)
            staged.append((temporary, path))
        for temporary, path in staged:
            _put(temporary, path, what)


@contextmanager
def _temporary(path: str) -> Iterator[str]:
    """Name a new file beside the one that `path` leads to; it is gone when the block ends."""
    folder = os.path.dirname(os.path.realpath(path))
    temporary = os.path.join(folder, f".effcalc-{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        yield temporary
    finally:
        with suppress(OSError):
            os.unlink(temporary)


@contextmanager
def _open(path: str, named: str, mode: str, *, binary: bool, what: str) -> Iterator[IO[Any]]:
    """Open a file; an OSError names the file as the user did."""
    try:
        if binary:
            file: IO[Any] = open(path, f"{mode}b")  # noqa: SIM115
        else:
            file = open(path, mode, encoding="utf-8", errors="backslashreplace", newline="\n")  # noqa: SIM115
    except OSError as error:
        raise _cannot(named, error, what) from error
    try:
        with file:
            yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunError(f"cannot write {one_line(named)!r}: {error.strerror}") from error


def _settle(file: IO[Any], path: str, was: os.stat_result | None) -> None:
    """Bring what was written to the disk, with the owner and permissions of what was there."""
    file.flush()
    os.fsync(file.fileno())
    if was is not None:
        with suppress(OSError):
            os.chown(path, was.st_uid, was.st_gid)
        os.chmod(path, stat.S_IMODE(was.st_mode))


def _put(temporary: str, path: str, what: str) -> None:
    try:
        os.replace(temporary, os.path.realpath(path))
    except OSError as error:
        raise _cannot(path, error, what) from error


def _cannot(path: str, error: OSError, what: str) -> InputError:
    return InputError(f"{what}: cannot write {one_line(path)!r}: {error.strerror}")
