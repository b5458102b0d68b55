"""What a camera stores: the standard's own values, and back again."""

from __future__ import annotations

import pytest
import torch

from metaface_lessons.faces import srgb


@pytest.mark.parametrize(("light", "value"), [(0.0, 0), (0.0031308, 10.31), (0.18, 117.6), (0.5, 187.5), (1.0, 255)])
def test_values_are_those_of_the_standard(light: float, value: float) -> None:
    assert srgb.encode(torch.tensor([light])).item() == pytest.approx(value, abs=0.1)


def test_decoding_undoes_encoding() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert srgb.encode(srgb.decode(every)).round().byte().equal(every)
    light = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert torch.allclose(srgb.decode(srgb.encode(light)), light, atol=1e-5)


def test_more_light_than_can_be_stored_is_cut_off() -> None:
    assert srgb.encode(torch.tensor([-0.5, 1.5])).tolist() == pytest.approx([0, 255], abs=1e-3)
