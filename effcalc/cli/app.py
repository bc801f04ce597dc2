"""Find the commands, turn their parameters into options, and run one.

A command is a file in `effcalc/cli/commands/`; see there. Nothing else has to know it.
"""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command
from typer.models import ArgumentInfo, OptionInfo

from effcalc.cli import commands
from effcalc.cli.defaults import default_args
from effcalc.cli.options import Default
from effcalc.errors import InputError, one_line, suggest

PROGRAM = "effcalc"

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_CONTEXT = "context"  # the parameter by which typer hands a command its context


def command_names() -> list[str]:
    """Return the names of all commands, in order."""
    files = [name for path in commands.__path__ for name in os.listdir(path)]
    modules = [name.removesuffix(".py") for name in files if name.endswith(".py")]
    return sorted(name.replace("_", "-") for name in modules if not name.startswith("_"))


def command_function(name: str) -> Callable[..., None]:
    """Import the file of one command and return its function."""
    word = name.replace("-", "_")
    module: ModuleType = import_module(f"{commands.__name__}.{word}")
    function: Callable[..., None] = getattr(module, word)
    return function


def command_help(function: Callable[..., None]) -> tuple[str, list[str]]:
    """Split a command's docstring into its help and the lines of its examples."""
    text, _, examples = (inspect.getdoc(function) or "").partition("\nExamples:\n")
    return text.strip(), [line.strip() for line in examples.splitlines() if line.strip()]


def _plain_typer(**settings: Any) -> typer.Typer:
    """Return a typer app without its rich help and completion.

    These more than double the time of --help; main.py shows errors, and completion.py completes.
    """
    return typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **settings
    )


def build(name: str) -> Any:
    """Return one command as the object that parses and runs it."""
    function = command_function(name)
    text, examples = command_help(function)
    epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in examples) if examples else None
    app = _plain_typer()
    app.command(name, cls=Command, help=text, epilog=epilog)(expand(function))
    return get_command(app)


def expand(function: Callable[..., None]) -> Callable[..., None]:
    """Return `function` with each group of options in its signature replaced by the options."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[type, list[str]]] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        kind = parameter.annotation
        if is_dataclass(kind) and isinstance(kind, type):
            flat = [_flatten(f.name, f.type, _field_default(f), kind) for f in fields(kind)]
            options = [option for option in flat if option is not None]
            groups[parameter.name] = (kind, [option.name for option in options])
            parameters += options
        else:
            option = _flatten(parameter.name, kind, parameter.default)
            if option is None:
                raise TypeError(f"{function.__name__}: {parameter.name} is no option or argument")
            parameters.append(option)

    def call(**values: Any) -> None:
        args = values.pop(_CONTEXT).find_root().meta["args"]
        for name, (kind, names) in groups.items():
            group = {option: values.pop(option) for option in names}
            if "command" in kind.__dataclass_fields__:  # type: ignore[attr-defined]
                group["command"] = shlex.join([PROGRAM, *args])
            values[name] = kind(**group)
        function(**values)

    context = inspect.Parameter(_CONTEXT, _KEYWORD, annotation=typer.Context)
    call.__name__ = function.__name__
    call.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
    return call


def _flatten(
    name: str, annotation: Any, default: Any, group: type | None = None
) -> inspect.Parameter | None:
    """Return one option as typer reads it, or None where the annotation declares none."""
    if get_origin(annotation) is not Annotated:
        return None
    kind, *extras = get_args(annotation)
    info = next((e for e in extras if isinstance(e, (OptionInfo, ArgumentInfo))), None)
    if info is None:
        return None
    if group is not None:
        info = copy(info)
        info.rich_help_panel = getattr(group, "panel", None)
    if default is inspect.Parameter.empty:
        declared = next((e for e in extras if isinstance(e, Default)), None)
        default = default if declared is None else declared.value
    return inspect.Parameter(name, _KEYWORD, default=default, annotation=Annotated[kind, info])


def _field_default(field: Any) -> Any:
    if field.default is not MISSING:
        return field.default
    return inspect.Parameter.empty if field.default_factory is MISSING else field.default_factory()


class Command(TyperCommand):
    """A command whose help shows each group of options under a heading of its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line, behind the defaults that pyproject.toml has for it."""
        meta = ctx.find_root().meta
        if ctx.resilient_parsing or "args" not in meta:
            return super().parse_args(ctx, args)
        _, _, parsed = self.make_parser(ctx).parse_args(list(args))
        given = [p.opts[0] for p in parsed if p.param_type_name == "option"]
        if meta["agree"] is not None:
            meta["agree"](given)
        words = ctx.command_path.split()[1:]
        defaults, file = default_args(" ".join(words), self)
        names = (default.partition("=")[0] for default in defaults)
        meta["defaults"] = {name: file for name in names if name not in given}
        meta["args"] = [*words, *defaults, *args]
        return super().parse_args(ctx, [*defaults, *args])

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and the options, those of the command alone first."""
        for heading, records in option_records(self, ctx).items():
            with formatter.section(heading):
                formatter.write_dl(records)


def option_records(command: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    """Return what help says of each parameter, under its heading."""
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None:
            own = "Arguments" if parameter.param_type_name == "argument" else "Options"
            heading = getattr(parameter, "rich_help_panel", None) or own
            sections.setdefault(heading, []).append(record)
    return {heading: records for heading, records in sections.items() if records}


class Commands(TyperGroup):
    """The commands in `effcalc/cli/commands/`, each imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return command_names()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return one command, or None where there is none of that name."""
        return build(cmd_name) if cmd_name in command_names() else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments start with; an unknown one is an InputError."""
        name = args[0]
        if name not in command_names():
            raise InputError(
                f"there is no command {one_line(name, limit=60)!r}"
                f"{suggest(name, command_names())}; see '{PROGRAM} --help'"
            )
        return name, self.get_command(ctx, name), args[1:]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each command and the first line of its help, without making its options."""
        records = []
        for name in command_names():
            text, _ = command_help(command_function(name))
            records.append((name, text.split("\n", 1)[0]))
        if records:
            with formatter.section("Commands"):
                formatter.write_dl(records)


def _show_version(value: bool) -> None:
    if value:
        from effcalc import __version__

        print(f"{PROGRAM} {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error arose; works after any command.")
    ] = False,
) -> None:
    """Say what a convolutional network costs before anyone trains it."""


def make_app() -> Any:
    """Return the whole command line as the object that parses and runs it."""
    app = _plain_typer(
        cls=Commands,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="effcalc COMMAND --help says what a command takes, with examples.",
        subcommand_metavar="COMMAND [OPTIONS]",
        options_metavar="",
    )
    app.callback()(_options)
    return get_command(app)


def run(args: Sequence[str], agree: Callable[[list[str]], None] | None = None) -> int:
    """Run one command line and return its exit code; every error is raised.

    `agree` is told the options that the command line has, before any of them is read, and may
    raise.
    """
    args = [arg for arg in args if arg != "--debug"] or ["--help"]
    meta: dict[str, Any] = {}
    try:
        with make_app().make_context(PROGRAM, list(args)) as ctx:
            meta = ctx.meta
            meta |= {"args": args, "agree": agree}
            ctx.command.invoke(ctx)
    except typer.Exit as stop:
        return stop.exit_code
    except InputError as error:
        file = meta.get("defaults", {}).get(str(error).partition(":")[0])
        if file is None:
            raise
        raise InputError(f"{one_line(file)}: {error}") from None
    return 0
