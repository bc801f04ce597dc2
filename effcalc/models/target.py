"""From the text of a target to the `Network` that it is: a model in code, a file, a name.

Only `module:factory` and `file.py:factory` run code of the user's. torch and onnx are imported
where a target needs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from effcalc.base.errors import InputError, need, one_line
from effcalc.base.guard import not_guarded
from effcalc.models.inputs import parse_inputs
from effcalc.models.mode import FORWARD, RunMode
from effcalc.models.names import described, existing_file, file_kind, is_code, refuse_settings
from effcalc.network.network import Network


def target_network(
    target: str,
    *,
    settings: Sequence[str] = (),
    inputs: Sequence[str] = (),
    batch: int = 1,
    mode: RunMode = FORWARD,
) -> Network:
    """Return the network of a target, counted if it is a torch module.

    `settings` are `name=value` arguments of a factory, `inputs` texts such as `1x3x224x224`,
    `batch` is that of an input that the target itself knows. Raises `InputError`, `NeedsError` or
    `RunError` of one line.
    """
    where = one_line(target)
    kind = file_kind(target)
    code = is_code(target) or mode.backward or mode.real
    if code or kind:
        not_guarded(where)
    if kind == "onnx":
        refuse_settings(where, "an ONNX file", settings, mode)
        from effcalc.models.onnxfile import load_onnx

        network = load_onnx(existing_file(target), where, parse_inputs(inputs), batch)
    elif kind == "pt2" or code:
        network = _counted(target, settings, inputs, batch, mode)
    else:
        return described(target, settings, inputs, batch)
    check_batch(target, inputs, batch, network)
    return replace(network, name=where)


def _counted(
    target: str, settings: Sequence[str], inputs: Sequence[str], batch: int, mode: RunMode
) -> Network:
    """Count a .pt2 file or a model in code."""
    where = one_line(target)
    if file_kind(target) == "pt2":
        refuse_settings(where, "a .pt2 file", settings, replace(mode, backward=False))
        path = existing_file(target)
        need("torch", "this target", "torch")
        from effcalc.models.pt2 import load_pt2

        loaded = load_pt2(path, where, parse_inputs(inputs))
    else:
        need("torch", "this target" if is_code(target) else f"to run {where}", "torch")
        from effcalc.models.targets import load

        loaded = load(target, settings, inputs, batch=batch, real=mode.real)
    from effcalc.models.count import count_owned

    return count_owned(loaded.module, loaded.args, loaded.kwargs, mode, where)


def check_batch(target: str, inputs: Sequence[str], batch: int, network: Network) -> None:
    """Refuse a batch, other than the default, that the input of a counted target does not have.

    A zoo's own inputs have it, as a list of images for detection.
    """
    shape = next((t.shape for t in network.inputs if t.shape), ())
    zoo = target.startswith(("torchvision:", "timm:")) and not inputs
    if batch != 1 and shape and shape[0] != batch and not zoo:
        raise wrong_batch(target, batch, shape)


def wrong_batch(target: str, batch: int, shape: Sequence[int]) -> InputError:
    """Return the error that the input of a target, of this shape, is not of the batch."""
    is_shape, wanted = ("x".join(map(str, s)) for s in (shape, (batch, *shape[1:])))
    return InputError(
        f"`batch` {batch}: the input of {one_line(target)} is {is_shape}; "
        f"give it as `input` {wanted}"
    )
