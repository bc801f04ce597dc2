"""The file of an unfinished sweep: its rows, and beside them the state of the sweep.

`FILE.part` has the rows, and `FILE.state` how many bytes of it are from complete chunks. Whatever
follows them (the last line may be incomplete) is cut off before a sweep is resumed. At the end
`FILE.part` is renamed to FILE.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, BinaryIO

from effcalc.base.errors import InputError, RunError, one_line
from effcalc.base.files import open_output

SAVE_SECONDS = 0.5
_LIMIT = 64 << 20


@dataclass(slots=True)
class State:
    """State of a sweep: chunks and points done, bytes of rows, what failed, what is kept.

    `request` holds the options as text: a sweep is resumed only with the same ones.
    """

    request: dict[str, str]
    chunks: int = 0
    points: int = 0
    size: int = 0
    failed: int = 0
    reason: str = ""
    kept: list[int] = field(default_factory=list)


class Journal:
    """The unfinished files of `output`; use it in a `with` block.

    Raises `InputError` where an unfinished sweep is there and is not resumed, or is another one.
    """

    def __init__(self, output: str, request: Mapping[str, str], resume: bool, rows: bool) -> None:
        """Start or resume; `rows`: whether rows are written as they are computed."""
        self.output = os.path.realpath(output)
        self.part, self.path = f"{self.output}.part", f"{self.output}.state"
        self.state = State(dict(request))
        self._file: BinaryIO | None = None
        self._saved = time.monotonic()
        exists = os.path.exists(self.path)
        if exists and not resume:
            raise InputError(
                f"{one_line(self.path)!r} is of an unfinished sweep; give `resume` to go on with "
                "it, or delete it"
            )
        if exists:
            self.state = _read(self.path, self.state.request)
        try:
            if rows:
                size = os.path.getsize(self.part) if os.path.exists(self.part) else 0
                if exists and size < self.state.size:
                    raise InputError(
                        f"{one_line(self.part)!r} has lost rows that were written to it; delete "
                        f"it and {one_line(self.path)!r}, and start again"
                    )
                self._file = open(self.part, "r+b" if exists and size else "wb")  # noqa: SIM115
                self._file.truncate(self.state.size)
                self._file.seek(self.state.size)
            self.save()
        except OSError as error:
            raise InputError(f"`output`: cannot write {one_line(output)!r}: {error}") from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Keep what was done; remove files that hold nothing."""
        if self._file is not None:
            self._file.close()
        if self.state.chunks == 0:
            for path in (self.part, self.path):
                with suppress(OSError):
                    os.unlink(path)

    def write(self, text: str) -> None:
        """Append rows of the current chunk."""
        assert self._file is not None
        try:
            self._file.write(text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise RunError(f"cannot write {one_line(self.part)!r}: {error.strerror}") from error

    def chunk_done(self, points: int, failed: int, reason: str, kept: Iterable[Any] = ()) -> None:
        """Count a chunk of so many points, and save the state from time to time."""
        self.state.chunks += 1
        self.state.points += points
        self.state.failed, self.state.reason = failed, reason
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self.state.kept = [int(index) for index in kept]
            self.save()

    def save(self) -> None:
        """Sync the rows to disk, and then the state."""
        try:
            if self._file is not None:
                self._file.flush()
                os.fsync(self._file.fileno())
                self.state.size = self._file.tell()
            with open_output(self.path) as file:
                json.dump({"effcalc": "sweep", **asdict(self.state)}, file)
        except OSError as error:
            raise RunError(f"cannot write {one_line(self.path)!r}: {error.strerror}") from error
        self._saved = time.monotonic()

    def finish(self) -> None:
        """Give the rows their final name, and delete the state."""
        self.save()
        try:
            if self._file is not None:
                self._file.close()
                if os.path.exists(self.output):
                    os.chmod(self.part, os.stat(self.output).st_mode & 0o7777)
                os.replace(self.part, self.output)
            os.unlink(self.path)
        except OSError as error:
            raise RunError(f"cannot write {one_line(self.output)!r}: {error.strerror}") from error


def _read(path: str, request: Mapping[str, str]) -> State:
    """Read a state, and refuse one of another request."""
    broken = InputError(
        f"{one_line(path)!r} is not the state of a sweep; delete it and start again"
    )
    try:
        with open(path, encoding="utf-8") as file:
            data: Any = json.loads(file.read(_LIMIT))
        if data.pop("effcalc") != "sweep":
            raise broken
        state = State(**data)
        numbers = (state.chunks, state.points, state.size, state.failed, *state.kept)
        if not all(type(n) is int and n >= 0 for n in numbers):
            raise broken
        before = {str(k): str(v) for k, v in state.request.items()}
    except OSError as error:
        raise InputError(f"cannot read {one_line(path)!r}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise broken from None
    other = sorted(k for k in {*before, *request} if before.get(k) != request.get(k))
    if other:
        raise InputError(
            f"`resume`: {one_line(path)!r} is of a sweep with another {', '.join(other)}; "
            "give the options it was started with"
        )
    return state
