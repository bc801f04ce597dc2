from __future__ import annotations

import sys

import pytest

from effcalc.cli import commands
from tests.cli_helpers import make_command, make_program


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Keep what effcalc caches of a device in a folder of the tests'."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """Give this process a command `zz-demo` that takes every group of options."""
    folder = tmp_path / "commands"
    make_command(folder)
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(folder)])
    yield folder
    for name in [m for m in sys.modules if m.startswith(f"{commands.__name__}.zz_")]:
        del sys.modules[name]


@pytest.fixture
def program(tmp_path):
    """Return a program `effcalc` in a process of its own that has the command too."""
    return make_program(tmp_path / "commands")
