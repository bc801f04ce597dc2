"""The worked example of docs/architecture-files.md is exact."""

from __future__ import annotations

import re
from pathlib import Path

from torchvision import models

import effcalc
from tests.torch_reference import network_shapes, on_meta, params, shapes

PAGE = Path(__file__).parents[2] / "docs" / "architecture-files.md"


def test_the_worked_example(tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    file = tmp_path / "my-resnext.toml"
    file.write_text(re.findall(r"```toml\n(.*?)```", text, flags=re.S)[0], encoding="utf-8")
    at = effcalc.scale(str(file))
    model, macs = on_meta(models.resnext50_32x4d, (224, 224))
    assert (at.params, at.macs) == (params(model), macs)
    assert network_shapes(at.network) == shapes(model)
    # The page says so, to the last digit.
    assert f"{at.params:,} parameters and {at.macs:,} MACs" in text
    # It scales like the built-in ones, its groups intact.
    wide = effcalc.scale(str(file), width=1.3, depth=2)
    conv = next(call for call in wide.network.calls if call.name == "conv2.0.conv2.conv")
    assert conv.params[0].shape[0] % 32 == 0
