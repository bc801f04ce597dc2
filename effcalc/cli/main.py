"""The program `effcalc`: run a command line, and turn whatever happens into an exit code.

0 fine, 1 a check did not hold, 2 bad usage or input, 3 something needed is missing, 4 the user's
model, a child or memory failed, 70 a bug of effcalc's, 130 interrupted, 143 ended by SIGTERM.
Results go to stdout and everything else to stderr; an error is one line, and a trace shows with
`--debug` alone.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from effcalc.base.errors import EffcalcError, one_line, suggest

FAILED_TO_RUN = 4
BUG = 70
INTERRUPTED = 130
TERMINATED = 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run `argv`, by default the process's own arguments, and return the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        code = 0  # the reader has all that it wanted
    except Exception as error:
        if "--debug" in args:
            import traceback

            traceback.print_exc()
        code, message = _explain(error)
        if sys.stderr is not None:
            print(f"effcalc: error: {message}", file=sys.stderr)
    _settle_stdout()
    return code


def _run(args: list[str]) -> int:
    """Run `args`; the imports are in here so that an interrupt is quiet from the start."""
    # A start makes many objects and next to no cycles: fewer collections save a twentieth of it.
    gc.set_threshold(50_000, 20, 50)
    if "_EFFCALC_COMPLETE" in os.environ:
        from effcalc.cli.completion import complete

        return complete()
    with suppress(ValueError):  # not in the main thread, as in a program that calls `main`
        signal.signal(signal.SIGTERM, _end)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a sign shows "?"
    from effcalc.cli.app import run

    return run(args)


def _end(signum: int, frame: object) -> None:
    """End by SIGTERM as by an error, so that no half-written file is left behind."""
    sys.exit(TERMINATED)


def _explain(error: Exception) -> tuple[int, str]:
    """Return the exit code of an error, and one line that says what it is."""
    if isinstance(error, EffcalcError):
        from effcalc.cli.wording import with_options

        return error.exit_code, with_options(one_line(error, limit=2000))
    if isinstance(error, MemoryError):
        return FAILED_TO_RUN, "out of memory"
    import errno

    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
    if isinstance(error, OSError) and error.errno in full:
        return FAILED_TO_RUN, f"cannot write the result: {error.strerror}"
    from typer import TyperException

    if isinstance(error, TyperException):
        return error.exit_code, usage(error)
    what = one_line(f"{type(error).__name__}: {error}")
    return BUG, f"this is a bug in effcalc ({what}); please report it with the trace from --debug"


def usage(error: Exception) -> str:
    """Say in one line what typer found wrong with the command line."""
    context = getattr(error, "ctx", None)
    option = getattr(error, "option_name", None)
    message = one_line(error.format_message(), limit=500).rstrip(".")  # type: ignore[attr-defined]
    if message.startswith("No such option") and option and context:
        known = [name for param in context.command.get_params(context) for name in param.opts]
        message = f"there is no option {one_line(option, limit=60)}{suggest(option, known)}"
    message = message[:1].lower() + message[1:]
    return f"{message}; see '{context.command_path} --help'" if context else message


def _settle_stdout() -> None:
    """Write out what is left, or drop it where that fails: the error has been printed by now."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
