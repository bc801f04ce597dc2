"""The text of a definition: a class with its forward pass, or a function that makes a sequence."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from effcalc.models.pycode.definition import (
    KERNEL_HALF,
    Absent,
    Definition,
    Flag,
    Known,
    default_of,
    positional,
)
from effcalc.network.ops import TorchFunction, TorchModule

WIDTH = 100
_INFIX = {"torch:add": "+", "torch:mul": "*", "torch:div": "/", "torch:pow": "**"}


def call_text(head: str, arguments: Sequence[str], tail: str = "", indent: int = 0) -> str:
    """Write a call on one line, or with its arguments on a line of their own, or one each."""
    space, inner = " " * indent, " " * (indent + 4)
    line = f"{space}{head}({', '.join(arguments)}){tail}"
    if len(line) <= WIDTH or not arguments:
        return line
    if len(inner + ", ".join(arguments)) <= WIDTH:
        return f"{space}{head}(\n{inner}{', '.join(arguments)}\n{space}){tail}"
    each = "".join(f"{inner}{argument},\n" for argument in arguments)
    return f"{space}{head}(\n{each}{space}){tail}"


def function_text(definition: Definition, name: str, doc: str, known: Known) -> str:
    """Write a function that makes an `nn.Sequential`."""
    lines = "".join(
        call_text(f'"{child}": {how.path}', _arguments(definition, child, known), ",", 16) + "\n"
        for child, how in definition.template.children.items()
    )
    return (
        f"{call_text(f'def {name}', _signature(definition), ' -> nn.Sequential:')}\n"
        f'    """{doc}"""\n'
        "    return nn.Sequential(\n"
        "        OrderedDict(\n"
        f"            {{\n{lines}            }}\n"
        "        )\n"
        "    )\n"
    )


def class_text(definition: Definition, name: str, doc: str, known: Known) -> str:
    """Write a class whose forward pass calls the children in order."""
    lines = [f"class {name}(nn.Module):", f'    """{doc}"""', ""]
    signature = ["self", *_signature(definition)]
    lines += [call_text("def __init__", signature, " -> None:", 4), "        super().__init__()"]
    lines += [f"        self.{key} = {key}" for key in _stored(definition)]
    for child, how in definition.template.children.items():
        if isinstance(how, TorchModule):
            call = call_text(how.path, _arguments(definition, child, known))
            flag = _flag(definition, child)
            if flag is not None:
                other = "None" if _conditional(definition, child) else "nn.Identity()"
                call = f"{call} if {flag.name} else {other}"
            line = f"        self.{child} = {call}"
            if len(line) > WIDTH and flag is None:
                head = f"self.{child} = {how.path}"
                line = call_text(head, _arguments(definition, child, known), "", 8)
            elif len(line) > WIDTH:
                line = f"        self.{child} = (\n            {call}\n        )"
            lines.append(line)
    lines.append("")
    inputs = [f"{_input(i)}: Tensor" for i in range(definition.template.part.inputs)]
    results = definition.template.part.results
    kind = "Tensor" if len(results) == 1 else f"tuple[{', '.join(['Tensor'] * len(results))}]"
    lines.append(call_text("def forward", ["self", *inputs], f" -> {kind}:", 4))
    lines += _forward(definition)
    return "\n".join(lines) + "\n"


def _signature(definition: Definition) -> list[str]:
    parameters = []
    for p in definition.parameters:
        kind = type(next(v for v in p.values if v is not Absent)).__name__
        parameters.append(
            f"{p.name}: {kind}" + ("" if p.default is Absent else f" = {p.default!r}")
        )
    return parameters + [f"{f.name}: bool = {f.default}" for f in definition.flags]


def _arguments(definition: Definition, child: str, known: Known) -> list[str]:
    """Arguments of a child's constructor, without those that are its defaults."""
    how = definition.template.children[child]
    arguments: list[str] = []
    named = False
    for key in how.arguments:
        value = _value(definition, child, key, known)
        if value is None:
            named = True
            continue
        optional = default_of(how, key, known) is not Absent
        named = named or optional or not positional(key)
        arguments.append(f"{key}={value}" if named else value)
    return arguments


def _value(definition: Definition, child: str, key: str, known: Known) -> str | None:
    """Text of a child's argument: a parameter's name or a literal; None for its default."""
    for p in definition.parameters:
        if (child, key) in p.slots:
            return p.name
    literal = definition.literals[child, key]
    if literal == KERNEL_HALF:
        return f"{_value(definition, child, 'kernel_size', known)} // 2"
    default = default_of(definition.template.children[child], key, known)
    return None if default is not Absent and literal == default else repr(literal)


def _stored(definition: Definition) -> list[str]:
    """Parameters and flags that the forward pass needs."""
    functions = [
        c for c, how in definition.template.children.items() if isinstance(how, TorchFunction)
    ]
    names = [
        p.name for p in definition.parameters if any(child in functions for child, _ in p.slots)
    ]
    return names + [
        f.name
        for f in definition.flags
        if _bypassed(definition, f) and not _has_module(definition, f.name)
    ]


def _flag(definition: Definition, child: str) -> Flag | None:
    return next((f for f in definition.flags if child in f.children), None)


def _has_module(definition: Definition, child: str) -> bool:
    return isinstance(definition.template.children.get(child), TorchModule)


def _bypassed(definition: Definition, flag: Flag) -> bool:
    """Whether the forward pass must ask for a flag: an identity in place of a child won't do."""
    first = {step.child: step.reads[0] for step in definition.template.part.steps}
    return any(
        not _has_module(definition, child) or definition.alias[child] != first[child]
        for child in flag.children
    )


def _conditional(definition: Definition, child: str) -> bool:
    flag = _flag(definition, child)
    return flag is not None and _bypassed(definition, flag)


def _input(number: int) -> str:
    return "x" if number == 0 else f"x{number}"


def _forward(definition: Definition) -> list[str]:
    """Lines of the forward pass; a variable is reused once its value is no longer needed."""
    part = definition.template.part
    variables = _Variables(definition)
    names = variables.names
    lines: list[str] = []
    open_flag: Flag | None = None  # whose `if` the last line is in
    for index, step in enumerate(part.steps):
        expression = _expression(definition, step.child, [names[slot] for slot in step.reads])
        flag = _flag(definition, step.child) if _conditional(definition, step.child) else None
        if flag is None:
            assigned = variables.assign(index)
            lines.append(f"        {', '.join(assigned)} = {expression}")
        else:
            replacement = definition.alias[step.child]
            name = names[replacement]
            if variables.last[replacement] > index:
                name = variables.unused(step.child, index)
                lines.append(f"        {name} = {names[replacement]}")
                open_flag = None
            if open_flag != flag:
                test = " is not None" if _has_module(definition, flag.name) else ""
                lines.append(f"        if self.{flag.name}{test}:")
            lines.append(f"            {name} = {expression}")
            names[step.makes[0]] = name
        open_flag = flag
    returned = ", ".join(names[slot] for slot in part.results)
    head = f"        {returned} = "
    if lines[-1].startswith(head) and not lines[-1].startswith("         "):
        lines[-1] = f"        return {lines[-1][len(head) :]}"
    else:
        lines.append(f"        return {returned}")
    return lines


class _Variables:
    """The variable that holds each slot of a forward pass, and the last step that reads it."""

    def __init__(self, definition: Definition) -> None:
        part = definition.template.part
        self.steps = part.steps
        self.names = {slot: _input(slot) for slot in range(part.inputs)}
        self.last: dict[int, int] = {}
        for index, step in enumerate(part.steps):
            self.last.update(dict.fromkeys(step.reads, index))
            if _conditional(definition, step.child):
                self.last[definition.alias[step.child]] = index
        self.last.update(dict.fromkeys(part.results, len(part.steps)))

    def unused(self, child: str, index: int) -> str:
        """Return a name that no value needed from this step on has."""
        used = {name for slot, name in self.names.items() if self.last.get(slot, -1) >= index}
        candidates = ("x", "y", "z", child, *(f"y{i}" for i in range(999)))
        return next(n for n in candidates if n not in used)

    def assign(self, index: int) -> list[str]:
        """Name the results of a step, the first after an operand that it is the last to read."""
        step = self.steps[index]
        dying = [self.names[slot] for slot in step.reads if self.last[slot] == index]
        # A branch's own name gives way where branches join.
        name = dying[0] if dying and len(dying[0]) == 1 else min(dying, key=len, default="")
        for slot in step.makes:
            self.names[slot] = name or self.unused(step.child, index)
            name = ""
        return [self.names[slot] for slot in step.makes]


def _expression(definition: Definition, child: str, values: Sequence[str]) -> str:
    how = definition.template.children[child]
    if isinstance(how, TorchModule):
        return f"self.{child}({', '.join(values)})"
    rest = {}
    for key in how.arguments:
        names = [p.name for p in definition.parameters if (child, key) in p.slots]
        rest[key] = f"self.{names[0]}" if names else repr(definition.literals[child, key])
    if how.path in _INFIX:
        left, right = [*values, *rest.values()]
        space = "" if how.path == "torch:pow" else " "
        return f"{left}{space}{_INFIX[how.path]}{space}{right}"
    named = [f"{key}={value}" for key, value in rest.items()]
    if how.path.startswith("torch:Tensor."):
        first, *others = values
        return f"{first}.{how.path.rpartition('.')[2]}({', '.join([*others, *named])})"
    operands = [f"[{', '.join(values)}]"] if how.listed else list(values)
    function = how.path.replace(":", ".").removeprefix("torch.nn.")
    if function != how.path.replace(":", "."):
        function = f"nn.{function}"
    return f"{function}({', '.join([*operands, *named])})"


def row_text(stage: str, repeats: int, block: str, arguments: Mapping[str, Any]) -> str:
    """Write a row of the table of stages, what goes on in a line of its own further right."""
    head = f'    Row("{stage}", {repeats}, {block}, dict('
    texts = [f"{key}={value!r}" for key, value in arguments.items()]
    lines = textwrap.wrap(
        ", ".join(texts) + ")),",
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines) if texts else f"{head})),"
