"""`effcalc completion`."""

from __future__ import annotations

from typing import Annotated

import typer

from effcalc.base.errors import InputError, suggest


def _shells(incomplete: str) -> list[str]:
    from effcalc.cli.completion import SCRIPTS

    return [name for name in SCRIPTS if name.startswith(incomplete)]


Shell = Annotated[
    str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", autocompletion=_shells)
]


def completion(shell: Shell) -> None:
    """Print a script that lets a shell complete effcalc's commands, options and networks.

    Examples:
    eval "$(effcalc completion bash)"    # in ~/.bashrc
    eval "$(effcalc completion zsh)"     # in ~/.zshrc, after compinit
    effcalc completion fish > ~/.config/fish/completions/effcalc.fish
    """
    from effcalc.cli.completion import SCRIPTS
    from effcalc.cli.output import write_text

    if shell not in SCRIPTS:
        known = ", ".join(SCRIPTS)
        raise InputError(
            f"there is no script for {shell!r}{suggest(shell, SCRIPTS)}; known: {known}"
        )
    write_text(SCRIPTS[shell])
