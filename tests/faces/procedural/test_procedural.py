"""Sets of procedural faces, and one face: what they show, what they follow from, and what is refused."""

import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces import load_faces
from metaface_lessons.faces.procedural import (
    OCCLUDERS,
    procedural_faces,
    render,
    render_face,
    sample_identities,
    sample_nuisance,
)


def test_same_seed_same_picture_and_the_callers_random_state_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = procedural_faces(3, 2, size=32, seed=7, progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    again = procedural_faces(3, 2, size=32, seed=7, progress=False)
    assert torch.equal(first.images, again.images)
    assert all(torch.equal(first.conditions[name], again.conditions[name]) for name in first.conditions)
    assert not torch.equal(first.images, procedural_faces(3, 2, size=32, seed=8, progress=False).images)


def test_clean_pictures_tell_people_apart():
    faces = procedural_faces(12, 2, size=32, nuisance="clean", progress=False)
    x = faces.images.float().flatten(1)
    distance = torch.cdist(x[::2], x[1::2])
    assert torch.equal(distance.argmin(1), torch.arange(12))


def test_one_face_for_a_slider():
    front, turned = render_face(3, size=48), render_face(3, yaw=40, size=48)
    assert front.shape == (3, 48, 48)
    assert front.dtype == torch.uint8
    assert (front.float() - turned.float()).abs().mean() > 5
    smile = render_face(3, expression="smile", size=48)
    assert not torch.equal(front, smile)


def test_the_set_says_what_it_shows():
    faces = load_faces("procedural", identities=3, images=4, size=16, progress=False)
    assert faces.synthetic
    assert faces.shape == (3, 16, 16)
    assert faces.identity.bincount().tolist() == [4, 4, 4]
    assert faces.levels["occluder"] == OCCLUDERS
    assert faces.levels["domain"][:3] == ("photo", "sketch", "near-infrared")
    assert faces.where(domain="photo").all()
    assert set(faces.conditions) == {
        "yaw",
        "pitch",
        "light_azimuth",
        "light_elevation",
        "expression",
        "occluder",
        "domain",
    }
    assert faces.where(occluder="none", domain="photo").any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"identities": 1}, "at least two identities"),
        ({"identities": 0}, "at least two identities"),
        ({"images": 0}, "images"),
        ({"size": 8}, "size must be at least 16"),
        ({"nuisance": "claen"}, "Did you mean 'clean'"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(MetaFaceError, match=message):
        procedural_faces(**{"identities": 2, "images": 1, "size": 16, **options})


def test_bad_arguments_are_refused():
    with pytest.raises(MetaFaceError, match="one row per picture"):
        render(sample_identities(2), sample_nuisance(3), 16)
    with pytest.raises(MetaFaceError, match="size"):
        render(sample_identities(1), sample_nuisance(1), 4)
    with pytest.raises(MetaFaceError, match="people"):
        sample_identities(0)
    with pytest.raises(MetaFaceError, match="pictures"):
        sample_nuisance(0)
    with pytest.raises(MetaFaceError, match="Did you mean 'smile'"):
        render_face(expression="smlie")
    with pytest.raises(MetaFaceError, match="Did you mean 'mask'"):
        render_face(occluder="masc")
    with pytest.raises(MetaFaceError, match="size of the occluder must lie in 0 to 1, but is 2"):
        render_face(occluder="block", occluder_size=2)
    with pytest.raises(MetaFaceError, match="person must be 0 to 299"):
        render_face(300)


def test_a_block_of_a_given_size_stands_before_the_middle_of_the_face() -> None:
    plain = render_face(4, size=64).int()

    def hidden(size: float) -> torch.Tensor:  # the block is bluer than the face; the shadow that it casts is darker
        return (render_face(4, occluder="block", occluder_size=size, size=64).int() - plain)[2] > 40

    small, large = hidden(0.0), hidden(1.0)
    rows, columns = small.nonzero().float().mean(0).tolist()
    assert abs(rows - 34) < 6
    assert abs(columns - 31.5) < 4
    assert large.sum() > 3 * small.sum()
    assert render_face(4, occluder_size=0.3, size=64).int().equal(plain)  # without a block it is nothing
