"""Completion, asked of the shells themselves."""

from __future__ import annotations

import shutil

import pytest

from effcalc.cli import options
from effcalc.cli.completion import SCRIPTS, complete
from tests.cli_helpers import run, shell


def ask(monkeypatch, capsys, name: str, line: str) -> list[str]:
    monkeypatch.setattr(options, "network_names", lambda: ["resnet-18", "timm:resnet50"])
    monkeypatch.setenv("_EFFCALC_COMPLETE", name)
    monkeypatch.setenv("_EFFCALC_LINE", line)
    assert complete() == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("effcalc zz", ["zz-demo"]),
        ("effcalc --deb", ["--debug"]),
        ("effcalc zz-demo --ph", ["--phi"]),
        ("effcalc zz-demo ", ["resnet-18", "timm:resnet50"]),
        ("effcalc zz-demo res", ["resnet-18"]),
        ("effcalc zz-demo --phi 3 res", ["resnet-18"]),
        ("effcalc zz-demo --alpha nan res", ["resnet-18"]),
        ("effcalc zz-demo timm:r", ["resnet50"]),
        ("effcalc zz-demo --format j", ["json", "jsonl"]),
        ("effcalc zz-demo --format=j", ["json", "jsonl"]),
        ("effcalc zz-demo --dtype bf", ["bfloat16"]),
        ("effcalc zz-demo ./x", []),
        ("effcalc completion z", ["zsh"]),
        ("effcalc nothing ", []),
        ("effcalc zz-demo 'res", ["resnet-18"]),
    ],
)
def test_what_may_follow(demo, monkeypatch, capsys, line: str, found: list[str]) -> None:
    assert ask(monkeypatch, capsys, "bash", line) == found


def test_other_shells_show_help_and_take_whole_words(demo, monkeypatch, capsys) -> None:
    assert ask(monkeypatch, capsys, "zsh", "effcalc zz-demo timm") == ["timm\\:resnet50"]
    for name, between in (("zsh", ":"), ("fish", "\t")):
        line = "effcalc zz-demo --format=markd"
        help = "a GitHub-flavoured Markdown table"
        assert ask(monkeypatch, capsys, name, line) == [f"--format=markdown{between}{help}"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_is_printed(name: str) -> None:
    assert run("completion", name).out == SCRIPTS[name]


def test_bash_completes(program) -> None:
    script = """
    eval "$(effcalc completion bash)"
    complete -p effcalc
    for words in "zz-d" "zz-demo --ali" "zz-demo --alp" "zz-demo --format=c"; do
        line="effcalc $words"
        COMP_LINE=$line COMP_POINT=${#line}
        COMPREPLY=()
        _effcalc_completion effcalc
        echo "${#COMPREPLY[@]} ${COMPREPLY[*]}"
    done
    """
    done = shell(program, script)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "complete -o bashdefault -o default -F _effcalc_completion effcalc",
        "1 zz-demo",
        "0 ",
        "1 --alpha",
        "1 csv",
    ]


@pytest.mark.skipif(not shutil.which("fish"), reason="needs fish")
def test_fish_completes(program) -> None:
    script = "fish -c 'effcalc completion fish | source; complete -C \"effcalc zz-demo --alp\"'"
    assert shell(program, script).stdout == "--alpha\tBase α of the depth.\n"


@pytest.mark.skipif(not shutil.which("zsh"), reason="needs zsh")
def test_zsh_reads_the_script(program) -> None:
    script = """zsh -fc 'autoload -Uz compinit; compinit -u -d "$TMPDIR/dump"
    eval "$(effcalc completion zsh)"; echo $_comps[effcalc]'"""
    assert shell(program, f"export TMPDIR=$(mktemp -d); {script}").stdout == "_effcalc_completion\n"
