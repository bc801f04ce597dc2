"""The errors that effcalc raises on purpose; each kind has its own exit code.

Every message is one line that says what was wrong, where, and what would be right. It has the
name of an argument in backquotes, "`phi` must be a finite number": the command line shows the
option that sets it instead (`cli/wording.py`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class EffcalcError(Exception):
    """Base of every error that a user can cause; never raised itself."""

    exit_code = 70


class CheckFailed(EffcalcError):  # noqa: N818 - named for what happened
    """A check that the user asked for did not hold (`--check`, `--strict`, `--verify`)."""

    exit_code = 1


class InputError(EffcalcError):
    """Bad usage or bad input: an option, a file, a name or a value."""

    exit_code = 2


class NeedsError(EffcalcError):
    """Something needed is not installed or not attached: a package, a device, a kernel feature."""

    exit_code = 3


class RunError(EffcalcError):
    """The user's model or a child process failed at run time, or memory ran out."""

    exit_code = 4


def need(package: str, what: str, extra: str) -> None:
    """Raise `NeedsError` where a package that `what` needs is not installed."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise NeedsError(f"{what} needs {package}; pip install 'effcalc[{extra}]'")


def one_line(text: object, limit: int = 200) -> str:
    """Return `text` on one printable line of at most `limit` characters, for use in a message."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def suggest(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def one_of(text: str, known: Iterable[str], what: str) -> str:
    """Return `text` where it is one of the known words; else raise `InputError`, which `what`
    starts: "`mode`"."""
    words = list(known)
    if text not in words:
        raise InputError(
            f"{what}: {one_line(repr(text), 60)} is not one of {', '.join(words)}"
            f"{suggest(text, words)}"
        )
    return text


def named(name: str, known: Mapping[str, T], kind: str, what: str) -> T:
    """Return what has a name; else raise `InputError`, which `what` starts, for a `kind` of thing
    that there is not: "`format`: there is no format 'x'"."""
    if name not in known:
        raise InputError(
            f"{what}: there is no {kind} {one_line(name, 60)!r}{suggest(name, known)}; "
            f"known: {', '.join(known)}"
        )
    return known[name]
