"""Domains: the same people as photos, sketches, in near-infrared, far away, as edges and by their warmth."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces import load_faces
from metaface_lessons.faces.procedural import (
    DOMAINS,
    procedural_domains,
    procedural_faces,
    render,
    render_face,
    sample_identities,
    sample_nuisance,
)
from metaface_lessons.faces.procedural.domains import DOMAIN

OTHERS = DOMAINS[1:]


def clean(people: int = 12, images: int = 2, domain: str = "sketch") -> torch.Tensor:
    return procedural_faces(people, images, size=48, nuisance="clean", progress=False, domain=domain).images


def test_a_set_of_all_domains_shows_the_same_people_under_other_circumstances() -> None:
    faces = procedural_domains(DOMAINS, identities=4, images=3, size=16, progress=False)
    assert faces.shape == (3, 16, 16)
    assert faces.synthetic
    for domain in DOMAINS:
        one = faces.select(faces.where(domain=domain))
        alone = procedural_faces(4, 3, size=16, progress=False, domain=domain)
        assert torch.equal(one.images, alone.images)
        assert torch.equal(one.identity, alone.identity)
    yaws = [faces.conditions["yaw"][faces.where(domain=domain)] for domain in DOMAINS]
    for one, other in itertools.combinations(yaws, 2):
        assert not torch.equal(one, other)
    usual = procedural_domains(identities=2, images=1, size=16, progress=False)
    assert usual.conditions["domain"].unique().tolist() == [0, 1, 2], "the default set stays small"
    assert load_faces("procedural-sketch", identities=2, images=1, size=16, progress=False).where(domain="sketch").all()


def test_a_photo_is_what_it_was_before_there_were_domains() -> None:
    people, how = sample_identities(2, 0), sample_nuisance(2, 1)
    assert torch.equal(render(people, how, 32), render(people, how, 32, domain="photo"))
    assert DOMAIN["photo"].subject(people, how) == (people, how)


@pytest.mark.parametrize("domain", OTHERS)
def test_clean_pictures_tell_people_apart_in_every_domain(domain: str) -> None:
    x = clean(domain=domain).float().flatten(1)
    assert torch.equal(torch.cdist(x[::2], x[1::2]).argmin(1), torch.arange(12))


def test_near_infrared_is_grey_and_sees_no_skin_tone() -> None:
    people, how = sample_identities(40, 3), sample_nuisance(40, 1, "clean")
    photo, infrared = (render(people, how, 32, domain=domain).float() for domain in ("photo", "near-infrared"))
    assert torch.equal(infrared[:, 0], infrared[:, 2])
    cheek = (slice(None), slice(None), slice(17, 19), slice(12, 14))
    spread = [(values[cheek].mean((1, 2, 3)).std() / values[cheek].mean()).item() for values in (photo, infrared)]
    assert spread[1] < spread[0] / 3


def test_near_infrared_is_lit_by_its_own_lamp() -> None:
    """Where other light comes from moves the brightness of a photo from side to side, and hardly that of the others."""
    people = sample_identities(4, 1)
    how = sample_nuisance(4, 2, "clean")
    tilt = {}
    for domain in DOMAINS:
        left, right = (
            render(people, replace(how, azimuth=torch.full((4,), angle)), 32, domain=domain).float().mean((0, 1))
            for angle in (-80.0, 80.0)
        )
        difference = right - left
        tilt[domain] = (difference[:, 16:].mean() - difference[:, :16].mean()).abs().item()
    assert tilt["near-infrared"] < tilt["photo"] / 3
    assert tilt["sketch"] < tilt["photo"]
    assert tilt["thermal"] < 0.05, "no light matters there, but for a glint in the eyes"


def test_a_sketch_is_dark_lines_on_paper() -> None:
    sketch = clean(6, 1).float().mean(1)
    paper = sketch.flatten(1).quantile(0.8, dim=1)
    assert (paper > 150).all()
    assert (sketch.flatten(1).quantile(0.03, dim=1) < paper - 90).all()


def test_artists_differ_and_do_not_know_the_person() -> None:
    person = sample_identities(1, 0)[torch.zeros(6, dtype=torch.long)]
    how = sample_nuisance(6, 3, "full")
    same = replace(sample_nuisance(6, 3, "clean"), seed=how.seed)
    drawn = render(person, replace(same, background=how.background), 48, domain="sketch").float()
    assert (drawn[1:] - drawn[:1]).abs().mean() > 3  # the hand of the artist alone
    for domain in OTHERS:
        subject = DOMAIN[domain].subject
        one, other = (subject(sample_identities(6, seed), how)[1] for seed in (0, 1))
        assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("azimuth", "noise", "exposure"))


@pytest.mark.parametrize("domain", OTHERS)
def test_a_picture_does_not_depend_on_its_batch_in_any_domain(domain: str) -> None:
    people, how = sample_identities(20, 0), sample_nuisance(20, 1)
    together = render(people, how, 32, domain=domain)
    alone = torch.cat([render(people[k : k + 1], how[k : k + 1], 32, domain=domain) for k in (0, 7, 19)])
    assert (together[[0, 7, 19]].float() - alone.float()).abs().mean() < 0.05
    assert (render_face(3, size=32, domain=domain).float() - render_face(3, size=32).float()).abs().mean() > 8


def test_low_resolution_has_few_pixels_whatever_the_size() -> None:
    people, how = sample_identities(6, 2), sample_nuisance(6, 3, "clean")
    lost = {}
    for domain in ("photo", "low-resolution"):
        picture = render(people, how, 64, domain=domain).float()
        again = F.interpolate(F.adaptive_avg_pool2d(picture, 16), 64, mode="bilinear", align_corners=False)
        lost[domain] = (picture - again).abs().mean().item()
    assert lost["low-resolution"] < 0.4 * lost["photo"]


def test_edges_are_dark_lines_where_brightness_changes_and_know_no_exposure() -> None:
    people, how = sample_identities(6, 2), sample_nuisance(6, 3, "clean")
    edges = render(people, how, 48, domain="edges").float().mean(1)
    assert (edges.flatten(1).quantile(0.6, dim=1) > 200).all()
    assert (edges.flatten(1).quantile(0.03, dim=1) < 120).all()
    brighter = render(people, replace(how, exposure=2 * how.exposure), 48, domain="edges").float().mean(1)
    assert torch.equal(edges, brighter)


def test_a_thermal_picture_shows_warmth_whatever_the_light_and_the_skin() -> None:
    people, how = sample_identities(40, 3), sample_nuisance(40, 1, "clean")
    thermal = render(people, how, 32, domain="thermal").float()
    assert torch.equal(thermal[:, 0], thermal[:, 2])
    cheek = (slice(None), slice(None), slice(17, 19), slice(12, 14))
    photo = render(people, how, 32).float()
    spread = [(values[cheek].mean((1, 2, 3)).std() / values[cheek].mean()).item() for values in (photo, thermal)]
    assert spread[1] < spread[0] / 3
    cold = how.background.clone()
    cold[:, 20] = 1.0
    colder = thermal - render(people, replace(how, background=cold), 32, domain="thermal").float()
    nose = colder[:, :, 17:20, 15:17].mean()
    assert nose > 8, "a cold day cools the nose"
    assert colder[:, :, :4].abs().mean() < 0.1 * nose, "and not the rest"


def test_bad_domains_are_refused() -> None:
    with pytest.raises(MetaFaceError, match="Did you mean 'sketch'"):
        procedural_faces(2, 1, size=16, domain="scketch")
    with pytest.raises(MetaFaceError, match="no domain called 'infrared'"):
        render_face(domain="infrared")
    with pytest.raises(MetaFaceError, match="each once"):
        procedural_domains(["photo", "photo"], identities=2, images=1, size=16)
    with pytest.raises(MetaFaceError, match="at least one domain"):
        procedural_domains([])
