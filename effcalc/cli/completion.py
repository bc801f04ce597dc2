"""Complete a command line in bash, zsh and fish.

`effcalc completion SHELL` prints a script that asks effcalc itself, by the environment: the shell
in `_EFFCALC_COMPLETE` and the line up to the cursor in `_EFFCALC_LINE`. typer brings scripts of
its own, but in bash they break a word at ":" and "=", as in `timm:resnet50`.
"""

from __future__ import annotations

import os
import shlex
from typing import Any

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


def complete() -> int:
    """Print what may stand at the end of the line, one each line, as the shell reads it."""
    shell, line = os.environ["_EFFCALC_COMPLETE"], os.environ.get("_EFFCALC_LINE", "")
    words, last = _split(line)
    try:
        choices = _candidates(words, last)
    except Exception:  # a trace would land in the middle of what the user is typing
        choices = []
    for value, help in choices:
        print(_written(shell, value, " ".join(help.split()), last))
    return 0


def _split(line: str) -> tuple[list[str], str]:
    """Return the whole words of a line, and the one under the cursor, whose quote may be open."""
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    try:
        words.extend(lexer)
    except ValueError:
        return words, lexer.token
    last = words.pop() if words and not line[-1:].isspace() else ""
    return words, last


def _candidates(words: list[str], last: str) -> list[tuple[str, str]]:
    """Return each word that may stand in the place of `last`, and what it means."""
    command, args = make_app(), words[1:]
    context = command.make_context(PROGRAM, [], resilient_parsing=True)
    while hasattr(command, "list_commands"):
        names = [i for i, word in enumerate(args) if not word.startswith("-")]
        if not names:
            break
        name, args = args[names[0]], args[names[0] + 1 :]
        command = command.get_command(context, name)
        if command is None:
            return []
        context = command.make_context(name, list(args), context, resilient_parsing=True)
    parameters = command.get_params(context)
    option, value = "", last
    if last.startswith("-") and "=" in last:
        option, _, value = last.partition("=")
    before = option or next(iter(args[-1:]), "")
    options = (p for p in parameters if p.param_type_name == "option" and not p.is_flag)
    asked: Any = next((p for p in options if before in p.opts), None)
    if asked is None and not last.startswith("-"):
        arguments = (p for p in parameters if p.param_type_name == "argument")
        asked = next((p for p in arguments if _is_open(p, context)), command)
    items = (asked or command).shell_complete(context, value)
    prefix = f"{option}=" if option else ""
    return [(f"{prefix}{item.value}", item.help or "") for item in items]


def _is_open(argument: Any, context: Any) -> bool:
    """Whether an argument may be given here: it is not, or takes any number of words."""
    source = context.get_parameter_source(argument.name)
    return argument.nargs != 1 or source is None or source.name != "COMMANDLINE"


def _written(shell: str, value: str, help: str, last: str) -> str:
    if shell == "zsh":
        value = value.replace("\\", "\\\\").replace(":", "\\:")
        return f"{value}:{help}" if help else value
    if shell == "fish":
        return f"{value}\t{help}" if help else value
    # bash replaces only what follows the last ":" or "=" of the word under the cursor.
    cut = max(last.rfind(":"), last.rfind("=")) + 1
    return value[cut:] if value.startswith(last[:cut]) else value
