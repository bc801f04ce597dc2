"""Complete a command line in bash, zsh and fish.

`effcalc completion SHELL` prints a script that asks effcalc itself, by the environment: the shell
in `_EFFCALC_COMPLETE` and the line up to the cursor in `_EFFCALC_LINE`. typer brings scripts of
its own, but in bash they break a word at ":" and "=", as in `timm:resnet50`.
"""

from __future__ import annotations

import os
from typing import Any

# typer vendors click under this name, and its public names have no completion to build upon.
from typer._click.shell_completion import ShellComplete, split_arg_string

from effcalc.cli.app import PROGRAM, make_app

SCRIPTS = {
    "bash": """\
_effcalc_completion() {
    local IFS=$'\\n'
    COMPREPLY=($(_EFFCALC_COMPLETE=bash _EFFCALC_LINE="${COMP_LINE:0:COMP_POINT}" "$1" 2>/dev/null))
}
complete -o bashdefault -o default -F _effcalc_completion effcalc
""",
    "zsh": """\
#compdef effcalc
_effcalc_completion() {
    local -a found
    local line="${words[1,CURRENT-1]} $PREFIX"
    found=("${(@f)$(_EFFCALC_COMPLETE=zsh _EFFCALC_LINE="$line" effcalc 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then
        _describe -V effcalc found
    else
        _files
    fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _effcalc_completion "$@"
else
    compdef _effcalc_completion effcalc
fi
""",
    "fish": """\
function _effcalc_completion
    set -lx _EFFCALC_COMPLETE fish
    set -lx _EFFCALC_LINE (commandline -cp | string collect)
    set -l found (effcalc 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete --command effcalc --no-files --arguments '(_effcalc_completion)'
""",
}
"""The script of each shell."""


class _Complete(ShellComplete):
    """Finds what may stand at the end of a line; the reading and writing is done here."""

    def source_vars(self) -> dict[str, Any]:
        return {}

    def get_completion_args(self) -> tuple[list[str], str]:
        return [], ""

    def format_completion(self, item: Any) -> str:
        return str(item.value)


def complete() -> int:
    """Print what may stand at the end of the line, one each line, as the shell reads it."""
    shell, line = os.environ["_EFFCALC_COMPLETE"], os.environ.get("_EFFCALC_LINE", "")
    words, last = _split(line)
    try:
        found = _candidates(words, last)
    except Exception:  # a trace would land in the middle of what the user is typing
        found = []
    for value, help in found:
        print(_written(shell, value, " ".join(help.split()), last))
    return 0


def _split(line: str) -> tuple[list[str], str]:
    """Return the whole words of a line, and the one under the cursor."""
    words = split_arg_string(line)
    last = words.pop() if words and not line[-1:].isspace() else ""
    return words, last


def _candidates(words: list[str], last: str) -> list[tuple[str, str]]:
    """Return each word that may stand in the place of `last`, and what it means."""
    finder = _Complete(make_app(), {}, PROGRAM, "_EFFCALC_COMPLETE")
    found = finder.get_completions(words[1:], last)
    option = last[: last.find("=") + 1] if last.startswith("-") else ""
    return [(f"{option}{item.value}", item.help or "") for item in found]


def _written(shell: str, value: str, help: str, last: str) -> str:
    if shell == "zsh":
        value = value.replace("\\", "\\\\").replace(":", "\\:")
        return f"{value}:{help}" if help else value
    if shell == "fish":
        return f"{value}\t{help}" if help else value
    # bash replaces only what follows the last ":" or "=" of the word under the cursor.
    cut = max(last.rfind(":"), last.rfind("=")) + 1
    return value[cut:] if value.startswith(last[:cut]) else value
