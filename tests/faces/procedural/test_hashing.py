"""Numbers that follow from a seed and a position."""

from __future__ import annotations

import pytest
import torch

from metaface_lessons.faces.procedural.hashing import nearly_normal, uniform


def test_hashed_numbers_follow_from_seed_and_position_and_are_spread_as_they_say():
    seed = torch.arange(2000) * 7919 + 3
    for numbers, mean, deviation, low, high in (
        (uniform(seed, 50), 0.5, 12**-0.5, 0, 1),
        (nearly_normal(seed, 50), 0.0, 0.5**0.5, -2, 2),
    ):
        assert low <= numbers.min()
        assert numbers.max() <= high
        assert numbers.mean().item() == pytest.approx(mean, abs=0.01)
        assert numbers.std().item() == pytest.approx(deviation, rel=0.01)
        for one, next_ in (
            (numbers[:, 1:], numbers[:, :-1]),
            (numbers[1:], numbers[:-1]),
        ):  # neither positions nor seeds agree
            assert abs(torch.corrcoef(torch.stack([one.flatten(), next_.flatten()]))[0, 1].item()) < 0.02
    assert torch.equal(uniform(seed, 50)[:, :9], uniform(seed, 9))
    assert torch.equal(nearly_normal(seed[7:9], 50), nearly_normal(seed, 50)[7:9])
