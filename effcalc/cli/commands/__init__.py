"""One file per command; `effcalc/cli/app.py` finds them by their names.

A file `scale.py` holds a function `scale`: its parameters are options from `effcalc.cli.options`,
its docstring is the command's help, and the part after "Examples:" ends that help. Only the file
of the command that was asked for is imported, so a command imports what is heavy inside its
function. Files that start with an underscore are not commands.

A folder is a group of commands, called after it: `plot/stages.py` is `effcalc plot stages`. The
docstring of its `__init__.py` is the group's help.
"""
