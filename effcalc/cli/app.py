"""Find the commands, turn their parameters into options, and run one.

A command is a file in `effcalc/cli/commands/`, a group of commands a folder there; see there.
Nothing else has to know it. A command of a group is named as it is called: "plot scaling".
"""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command
from typer.models import ArgumentInfo, OptionInfo

from effcalc.base.errors import InputError, one_line, suggest
from effcalc.cli import commands
from effcalc.cli.defaults import default_args
from effcalc.cli.options import Default, Group
from effcalc.cli.wording import with_options

PROGRAM = "effcalc"

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_CONTEXT = "context"  # the parameter by which typer hands a command its context


def names_in(group: str = "") -> list[str]:
    """Return the names of the commands and groups right inside a group, or at the top, in order."""
    names = set()
    for folder in _folders(group):
        for name in os.listdir(folder):
            is_package = os.path.isfile(os.path.join(folder, name, "__init__.py"))
            if not name.startswith("_") and (name.endswith(".py") or is_package):
                names.add(name.removesuffix(".py").replace("_", "-"))
    return sorted(names)


def is_group(name: str) -> bool:
    """Whether a name is that of a group of commands; nothing is imported to tell."""
    return bool(_folders(name))


def _folders(group: str) -> list[str]:
    words = group.replace("-", "_").split()
    folders = [os.path.join(path, *words) for path in commands.__path__]
    return [folder for folder in folders if os.path.isdir(folder)]


def command_names() -> list[str]:
    """Return the names of all commands, in order: "count", "plot scaling"."""
    names = []
    for name in names_in():
        names += [f"{name} {sub}" for sub in names_in(name)] if is_group(name) else [name]
    return names


def _module(name: str) -> ModuleType:
    module = commands
    for word in name.replace("-", "_").split():
        module = import_module(f"{module.__name__}.{word}")
    return module


def command_function(name: str) -> Callable[..., None]:
    """Import the file of one command and return its function."""
    module = _module(name)
    function: Callable[..., None] = getattr(module, module.__name__.rpartition(".")[2])
    return function


def command_help(name: str) -> tuple[str, list[str]]:
    """Split the docstring of a command or a group into its help and the lines of its examples."""
    documented = _module(name) if is_group(name) else command_function(name)
    text, _, examples = (inspect.getdoc(documented) or "").partition("\nExamples:\n")
    return text.strip(), [line.strip() for line in examples.splitlines() if line.strip()]


def summary(name: str) -> str:
    """Return the first line of a command's or a group's help, read from its file.

    Nothing is imported: to import every command takes a third of the time of --help.
    """
    word = name.replace("-", "_").replace(" ", os.sep)
    inside = os.path.join(word, "__init__.py") if is_group(name) else f"{word}.py"
    paths = (os.path.join(folder, inside) for folder in commands.__path__)
    with open(next(filter(os.path.isfile, paths)), encoding="utf-8") as file:
        text = file.read()
    if not is_group(name):
        text = text[text.index(f"\ndef {os.path.basename(word)}(") :]
    return text.partition('"""')[2].partition("\n")[0].removesuffix('"""')


def _plain_typer(**settings: Any) -> typer.Typer:
    """Return a typer app without its rich help and completion.

    These more than double the time of --help; main.py shows errors, and completion.py completes.
    """
    return typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **settings
    )


def build(name: str) -> Any:
    """Return one command, or a group of them, as the object that parses and runs it."""
    text, examples = command_help(name)
    epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in examples) if examples else None
    if is_group(name):
        return _group(name, _nothing, help=text, epilog=epilog)
    app = _plain_typer()
    app.command(name.rpartition(" ")[2], cls=Command, help=text, epilog=epilog)(
        expand(command_function(name))
    )
    return get_command(app)


def _group(name: str, callback: Callable[..., None], **settings: Any) -> Any:
    app = _plain_typer(
        name=name or None,
        cls=Commands,
        subcommand_metavar="COMMAND [OPTIONS]",
        options_metavar="",
        **settings,
    )
    app.callback()(callback)
    group = get_command(app)
    group.inside = name  # type: ignore[attr-defined]
    return group


def _nothing() -> None:
    """Take no options: a group has none of its own."""


def expand(function: Callable[..., None]) -> Callable[..., None]:
    """Return `function` with each group of options in its signature replaced by the options."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[type, list[str]]] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        group = _options_of(parameter.annotation)
        if group is not None:
            kind, options = group
            groups[parameter.name] = (kind, [option.name for option in options])
            parameters += options
        else:
            option = _flatten(parameter.name, parameter.annotation, parameter.default)
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


def _options_of(annotation: Any) -> tuple[type, list[inspect.Parameter]] | None:
    """Return the dataclass that a group of options fills, and the options; None for no group."""
    panel: str | None = None
    types: Mapping[str, Any] = {}
    if is_dataclass(annotation) and isinstance(annotation, type):
        kind: Any = annotation
        panel, types = getattr(kind, "panel", None), {f.name: f.type for f in fields(kind)}
    elif get_origin(annotation) is Annotated:
        kind, *extras = get_args(annotation)
        panel, types = next((e for e in extras if isinstance(e, Group)), (None, {}))
    if not types:
        return None
    defaults = {f.name: _field_default(f) for f in fields(kind)}
    flat = [_flatten(name, types[name], defaults[name], panel) for name in types]
    return kind, [option for option in flat if option is not None]


def _flatten(
    name: str, annotation: Any, default: Any, panel: str | None = None
) -> inspect.Parameter | None:
    """Return one option as typer reads it, or None where the annotation declares none."""
    if get_origin(annotation) is not Annotated:
        return None
    kind, *extras = get_args(annotation)
    info = next((e for e in extras if isinstance(e, (OptionInfo, ArgumentInfo))), None)
    if info is None:
        return None
    if panel is not None:
        info = copy(info)
        info.rich_help_panel = panel
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
        given = [max(p.opts, key=len) for p in parsed if p.param_type_name == "option"]
        if meta["check"] is not None:
            meta["check"](given)
        words = ctx.command_path.split()[1:]
        defaults, file = default_args(" ".join(words), self, command_names)
        names = (default.partition("=")[0] for default in defaults)
        meta["defaults"] = {name: file for name in names if name not in given}
        meta["args"] = [*words, *defaults, *args]
        return super().parse_args(ctx, [*defaults, *args])

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line: typer's versions write arguments differently."""
        pieces = [self.options_metavar or ""]
        for parameter in self.get_params(ctx):
            if parameter.param_type_name == "argument":
                name = (parameter.metavar or parameter.name or "").strip("[]")
                pieces.append(name if parameter.required else f"[{name}]")
        return pieces

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
            if parameter.param_type_name == "argument" and parameter.metavar:
                record = parameter.metavar, record[1]  # typer 0.29 adds the type's name
            own = "Arguments" if parameter.param_type_name == "argument" else "Options"
            heading = getattr(parameter, "rich_help_panel", None) or own
            sections.setdefault(heading, []).append(record)
    return {heading: records for heading, records in sections.items() if records}


class Commands(TyperGroup):
    """The commands of a group, or those at the top, each imported when it is asked for."""

    inside: str = ""  # the group's name

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all its commands."""
        return names_in(self.inside)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return one command, or None where there is none of that name."""
        return build(self._full(cmd_name)) if cmd_name in names_in(self.inside) else None

    def _full(self, name: str) -> str:
        return f"{self.inside} {name}".strip()

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments start with; an unknown one is an InputError."""
        name, known = args[0], names_in(self.inside)
        if name not in known:
            what = one_line(self._full(name), limit=60)
            near = suggest(name, known)
            raise InputError(f"there is no command {what!r}{near}; see '{ctx.command_path} --help'")
        return name, self.get_command(ctx, name), args[1:]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each command and the first line of its help, without making its options."""
        records = [(name, summary(self._full(name))) for name in names_in(self.inside)]
        if records:
            with formatter.section("Commands"):
                formatter.write_dl(records)


def _show_version(value: bool) -> None:
    if value:
        from effcalc.base.version import __version__

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
    return _group(
        "",
        _options,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="effcalc COMMAND --help says what a command takes, with examples.",
    )


def run(args: Sequence[str], check: Callable[[list[str]], None] | None = None) -> int:
    """Run one command line and return its exit code; every error is raised.

    `check` is given the options that the command line has before any of them is read, and may
    raise an error.
    """
    args = [arg for arg in args if arg != "--debug"] or ["--help"]
    meta: dict[str, Any] = {}
    try:
        with make_app().make_context(PROGRAM, list(args)) as ctx:
            meta = ctx.meta
            meta |= {"args": args, "check": check}
            ctx.command.invoke(ctx)
    except typer.Exit as stop:
        return stop.exit_code
    except InputError as error:
        file = meta.get("defaults", {}).get(with_options(str(error)).partition(":")[0])
        if file is None:
            raise
        raise InputError(f"{one_line(file)}: {error}") from None
    return 0
