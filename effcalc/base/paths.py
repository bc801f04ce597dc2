"""Which files a command may read: any, or only those under one folder.

`effcalc embed` runs commands that stand in documents of strangers; within `confined` their files
are looked up beside the document, and never outside the repository's root.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from effcalc.base.errors import InputError, one_line

_PACKAGE = Path(__file__).parents[1]


class _Place(NamedTuple):
    base: Path  # what relative paths are relative to
    root: Path  # what holds every file, symlinks resolved


_PLACE: ContextVar[_Place | None] = ContextVar("place", default=None)


@contextmanager
def confined(base: Path, root: Path) -> Iterator[None]:
    """Within the block, find files from `base` and refuse those outside `root`."""
    token = _PLACE.set(_Place(base, root.resolve()))
    try:
        yield
    finally:
        _PLACE.reset(token)


def is_confined() -> bool:
    """Whether a document's command is running, which must not run anyone's code."""
    return _PLACE.get() is not None


def place(path: Path, root: Path) -> Path:
    """Return `path` with symlinks resolved; raise `InputError` where that is outside `root`."""
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of symlinks, or a NUL
        raise InputError(f"{one_line(path)}: is not a path: {one_line(error)}") from None
    if not real.is_relative_to(root.resolve()):
        raise InputError(f"{one_line(path)}: lies outside the repository's root {one_line(root)}")
    return real


def to_read(path: Path) -> Path:
    """Return where to read `path`; within `confined`, raise `InputError` for one outside."""
    here = _PLACE.get()
    if here is None or path.is_relative_to(_PACKAGE):
        return path
    return place(here.base / path, here.root)


def whereabouts() -> tuple[Path, Path | None]:
    """Return the folder that relative paths start from, and within `confined` the root above."""
    here = _PLACE.get()
    return (Path.cwd(), None) if here is None else (here.base, here.root)
