"""From heads to pictures: where things are, light and shadow, and what a picture does not depend on."""

from __future__ import annotations

import pytest
import torch

from metaface_lessons.faces.procedural import render, render_with_mask, sample_identities, sample_nuisance
from metaface_lessons.faces.procedural.rendering import light_direction, shadow
from tests.helpers import look, pictures


def column_of_nose(found, size):
    near = ((found.canonical[:, :2] - torch.tensor([0.0, -0.5])).norm(dim=1) < 0.06) & (found.canonical[:, 2] > 0.5)
    return (found.pixels[near] % size).float().mean().item() - size / 2


def test_yaw_moves_the_nose_and_pitch_raises_it():
    size = 96
    left, middle, right = (column_of_nose(look(pictures(yaw=yaw))[0], size) for yaw in (-30.0, 0.0, 30.0))
    assert left < -5 < middle < 5 < right

    def height(pitch):
        found = look(pictures(pitch=pitch))[0]
        near = ((found.canonical[:, :2] - torch.tensor([0.0, -0.5])).norm(dim=1) < 0.06) & (found.canonical[:, 2] > 0.5)
        return (found.pixels[near] // size).float().mean().item()

    assert height(15.0) < height(-15.0) - 5  # row 0 is at the top


def test_depth_is_least_at_the_nose():
    found = look(pictures())[0]
    nearest = found.depth.view(-1)[found.pixels].argmin()
    assert found.canonical[nearest, 0].abs() < 0.15
    assert -0.7 < found.canonical[nearest, 1] < -0.3
    assert torch.isinf(found.depth).any()  # background


def test_the_nose_casts_a_shadow_away_from_the_light():
    how = pictures(azimuth=60.0, elevation=10.0)
    found, heads, model = look(how)
    light = light_direction(how)
    lit = shadow(heads, model, light, found, 128)
    faces_light = (found.normal * light[found.image]).sum(1) > 0.1
    x, y, z = found.canonical.unbind(1)
    beside = (y < -0.35) & (y > -0.60) & (x.abs() > 0.22) & (x.abs() < 0.34) & (z > 0) & faces_light
    assert lit[beside & (x < 0)].mean() < 0.5  # it faces the light, but the nose stands between
    assert lit[beside & (x > 0)].mean() > 0.9


@pytest.mark.parametrize("azimuth", [-70.0, 70.0])
def test_the_side_towards_the_light_is_brighter(azimuth):
    picture = render(sample_identities(4, 1), pictures(4, azimuth=azimuth, ambient=0.2), 48).float().mean((0, 1))
    left, right = picture[12:40, 10:24].mean(), picture[12:40, 24:38].mean()
    assert (right > 1.3 * left) if azimuth > 0 else (left > 1.3 * right)


def test_a_larger_picture_is_the_same_picture():
    people, how = sample_identities(4, 0), pictures(4, noise=0.0)
    small = render(people, how, 64).float()
    large = torch.nn.functional.avg_pool2d(render(people, how, 128).float(), 2)
    assert (small - large).abs().mean() < 5  # grey levels; the small one has a coarser mesh
    other = render(people[torch.tensor([1, 2, 3, 0])], how, 64).float()
    assert (other - large).abs().mean() > 20


def test_a_picture_does_not_depend_on_its_batch():
    people, how = sample_identities(20, 0), sample_nuisance(20, 1)
    together = render(people, how, 32)
    alone = torch.cat([render(people[k : k + 1], how[k : k + 1], 32) for k in range(20)])
    assert (together.float() - alone.float()).abs().mean() < 0.05


@pytest.mark.needs("a GPU")
def test_devices_agree():
    people, how = sample_identities(8, 0), sample_nuisance(8, 1)
    difference = (render(people, how).float() - render(people, how, device="cuda").cpu().float()).abs()
    assert difference.mean() < 0.5


def test_the_controls_show_nothing_of_the_face():
    people, how = sample_identities(6, 0), pictures(6, "full", blur=0.0)
    picture, cover, empty = render_with_mask(people, how, 32)
    assert picture.shape == empty.shape == (6, 3, 32, 32)
    assert cover.shape == (6, 1, 32, 32)
    outside = (cover == 0).expand_as(picture)
    assert 0.1 < outside.float().mean() < 0.9
    assert (picture[outside].float() - empty[outside].float()).abs().max() <= 2
    other = render_with_mask(sample_identities(6, 1), how, 32)[2]
    assert torch.equal(empty, other)
