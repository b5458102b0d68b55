"""The embedding explorer: its plane and its regions are true to the space."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.widgets import embedding_explorer
from tests.helpers import random_faces


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("distance", ["squared", "euclidean", "cosine"])
def test_the_plane_keeps_distances_among_prototypes(explorers: dict[ModuleType, Any], distance: str, seed: int) -> None:
    data = explorers[embedding_explorer]
    state = embedding_explorer.State(shots=2, distance=distance, seed=seed)
    v = embedding_explorer.view(state, data, resolution=10)
    full = data.net(state).adapt(v.episodes.support).prototypes[0]
    torch.testing.assert_close(torch.cdist(v.centres, v.centres), torch.cdist(full, full), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("distance", "power"), [("squared", 2), ("euclidean", 1)])
def test_queries_lie_in_the_region_of_their_prediction(
    explorers: dict[ModuleType, Any], distance: str, power: int, seed: int
) -> None:
    state = embedding_explorer.State(distance=distance, seed=seed)
    v = embedding_explorer.view(state, explorers[embedding_explorer], resolution=10)
    assert (torch.cdist(v.queries, v.centres).argmin(1) == v.predicted).all()
    in_plane = torch.cdist(v.grid.flatten(0, 1), v.centres) ** power
    wanted = (-in_plane / 2**power).softmax(-1).unflatten(0, (10, 10))  # d²/4 = (d/2)²: the same units for both
    torch.testing.assert_close(v.probability, wanted, rtol=1e-3, atol=1e-4)


def test_regions_of_the_cosine_follow_the_angle_in_the_full_space(explorers: dict[ModuleType, Any]) -> None:
    data = explorers[embedding_explorer]
    state = embedding_explorer.State(distance="cosine", shots=5)
    v = embedding_explorer.view(state, data, resolution=10)
    full = data.net(state).adapt(v.episodes.support).prototypes[0]
    # The point of the plane with coordinates g, in the full space, by the barycentric weights of the prototypes there.
    corners = torch.cat([v.centres, torch.ones(3, 1)], dim=1)
    grid = torch.cat([v.grid.flatten(0, 1), torch.ones(100, 1)], dim=1)
    points = torch.linalg.solve(corners.T.double(), grid.T.double()).T.float() @ full
    angle = torch.nn.functional.cosine_similarity(points[:, None], full[None], dim=-1)
    wanted = ((angle - 1) / embedding_explorer.COSINE_TEMPERATURE).softmax(-1).unflatten(0, (10, 10))
    torch.testing.assert_close(v.probability, wanted, rtol=1e-3, atol=1e-3)


def test_scores_are_measured_once(explorers: dict[ModuleType, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    data = explorers[embedding_explorer]
    first = data.score(embedding_explorer.State())
    monkeypatch.setattr(embedding_explorer, "evaluate", lambda *_: pytest.fail("measured again"))
    assert data.score(embedding_explorer.State(seed=5)) is first


def test_embedded_faces_refuse_what_does_not_fit(explorers: dict[ModuleType, Any]) -> None:
    data = explorers[embedding_explorer]
    with pytest.raises(MetaFaceError, match="no snapshot of step 7"):
        embedding_explorer.draw(embedding_explorer.State(step=7), data)
    with pytest.raises(MetaFaceError, match="made for images 1×16×16"):
        embedding_explorer.Embedded(data.snapshots, random_faces(size=32))
    with pytest.raises(MetaFaceError, match="Did you mean 'squared'"):
        embedding_explorer.draw(embedding_explorer.State(distance="square"), data)
