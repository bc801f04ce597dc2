"""What the text of a target names: a model in code, a file, or a network of effcalc's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from effcalc.base.errors import InputError, one_line
from effcalc.models.mode import FORWARD, RunMode
from effcalc.network.network import Network

KINDS = (
    "package.module:factory, file.py:factory, torchvision:NAME, timm:NAME, model.onnx, model.pt2, "
    "or a network of `effcalc archs`"
)
_WEIGHTS = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".safetensors", ".npz", ".h5")


def described(
    target: str, settings: Sequence[str] = (), inputs: Sequence[str] = (), batch: int = 1
) -> Network:
    """Build a network that effcalc describes itself; nothing runs, and torch is not needed.

    Raises `InputError` for a name that is none, and for `settings` and `inputs`: it takes both
    from its name, as in `efficientnet-b0@phi=3`.
    """
    from effcalc.scaling.request import network_at
    from effcalc.scaling.scale import WORKERS, build

    where = one_line(target)
    try:
        scaled = network_at(target, WORKERS)
    except InputError as error:
        if any(mark in target for mark in (".toml", "@")):
            raise
        raise InputError(f"{error}; a target is {KINDS}") from None
    refuse_settings(where, "a network of effcalc's", settings, FORWARD)
    if inputs:
        example = f"{scaled.arch.name}@image-size=320"
        raise InputError(f"{where}: takes its size from {example}, not `input`")
    return replace(build(scaled.arch, scaled.scaling, batch, scaled.head), name=where)


def file_kind(target: str) -> str:
    """Return "onnx" or "pt2" for a target that is such a file, "" for any other."""
    kind = target.rpartition(".")[2].lower()
    return kind if kind in ("onnx", "pt2") and ":" not in target else ""


def is_code(target: str) -> bool:
    """Whether a target is a model that code makes; a file of weights alone is refused."""
    where = one_line(target)
    file, colon, factory = target.partition(":")
    if not colon and file.endswith(_WEIGHTS):
        raise InputError(
            f"{where}: is a file of weights, which is not a model; give what makes the model "
            "(module:factory, file.py:factory), or save it with torch.export.save as .pt2"
        )
    if file.endswith(".py") and not factory:
        raise InputError(f"{where}: say what in it makes the model: {file}:factory")
    if colon and not (file and factory):
        raise InputError(f"{where}: is not a target; give {KINDS}")
    return bool(colon) and not file.endswith(".toml")


def refuse_settings(where: str, what: str, settings: Sequence[str], mode: RunMode) -> None:
    """Raise `InputError` for options that are for models in code; `what` is what this is."""
    options = (("`arg`", settings), ("`backward`", mode.backward), ("`real`", mode.real))
    for option, given in options:
        if given:
            raise InputError(f"{where}: {option} is for a model in code, and this is {what}")


def existing_file(target: str) -> Path:
    """Return the path of a target that is a file; raises `InputError` where there is none."""
    path = Path(target)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise InputError(f"{one_line(target)}: {what}")
    return path
