"""Procedural faces: the z-buffer, the geometry, what is random and what is not, and the cache."""

import stat
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces import load_faces, procedural
from metaface_lessons.faces.procedural import (
    EXPRESSIONS,
    OCCLUDERS,
    procedural_faces,
    render,
    render_face,
    render_with_mask,
    sample_identities,
    sample_nuisance,
)
from metaface_lessons.faces.procedural.geometry import MATERIALS, MOUTH, mesh, on_device
from metaface_lessons.faces.procedural.hashing import nearly_normal, uniform
from metaface_lessons.faces.procedural.rendering import buffers, light_direction, shadow
from metaface_lessons.faces.procedural.zbuffer import depth_map, zbuffer

CPU = torch.device("cpu")


def pictures(count=1, kind="clean", seed=0, **conditions):
    """Nuisance of `count` pictures with some conditions set to one value."""
    how = sample_nuisance(count, seed, kind)
    return replace(how, **{name: torch.full_like(getattr(how, name), value) for name, value in conditions.items()})


def look(how, people=None, size=96):
    """The geometry buffers of pictures, the mesh and the template."""
    people = sample_identities(len(how), 0) if people is None else people
    model = on_device(1.0, CPU)
    heads = mesh(people, how, model)
    return buffers(heads, model, how, size, size), heads, model


# --- z-buffer


def nearest_triangle(screen, faces, height, width):
    """By hand, in float64: for every pixel, the triangle of least depth at its centre."""
    seen = np.full((len(screen), height, width), -1)
    for m, corners in enumerate(screen.double().numpy()):
        for i in range(height):
            for j in range(width):
                best = 1.0
                for f, (a, b, c) in enumerate(faces.numpy()):
                    system = np.array([[*corners[k, :2], 1.0] for k in (a, b, c)]).T
                    if abs(np.linalg.det(system)) < 1e-9:
                        continue
                    weights = np.linalg.solve(system, [j + 0.5, i + 0.5, 1.0])
                    depth = weights @ corners[[a, b, c], 2]
                    if weights.min() >= 0 and 0 <= depth < best:
                        best, seen[m, i, j] = depth, f
    return seen


def test_zbuffer_agrees_with_brute_force():
    draw = torch.Generator().manual_seed(3)
    screen = torch.rand(2, 30, 3, generator=draw) * torch.tensor([20.0, 16.0, 1.1]) - torch.tensor([4.0, 4.0, 0.0])
    faces = torch.randint(30, (14, 3), generator=draw)
    seen = zbuffer(screen, faces, 9, 12)
    expected = nearest_triangle(screen, faces, 9, 12)
    assert (expected >= 0).mean() > 0.5
    np.testing.assert_array_equal(seen.face.numpy(), expected)
    torch.testing.assert_close(depth_map(screen, faces, 9, 12), seen.depth)


def test_zbuffer_weights_reconstruct_the_pixel():
    draw = torch.Generator().manual_seed(4)
    screen = torch.rand(1, 30, 3, generator=draw) * torch.tensor([12.0, 9.0, 1.0])
    faces = torch.randint(30, (14, 3), generator=draw)
    seen = zbuffer(screen, faces, 9, 12)
    place = (screen[0][seen.corners] * seen.weights[:, :, None]).sum(1)
    torch.testing.assert_close(place[:, 0], seen.pixels % 12 + 0.5, atol=1e-3, rtol=0)
    torch.testing.assert_close(place[:, 1], seen.pixels // 12 + 0.5, atol=1e-3, rtol=0)
    torch.testing.assert_close(place[:, 2], seen.depth.view(-1)[seen.pixels], atol=1e-4, rtol=0)


def test_zbuffer_leaves_out_backs_and_hidden_vertices():
    screen = torch.tensor([[[0.0, 0.0, 0.5], [0.0, 8.0, 0.5], [8.0, 0.0, 0.5]]])
    one = torch.tensor([True])
    front, back = torch.tensor([[0, 1, 2]]), torch.tensor([[0, 2, 1]])
    assert (zbuffer(screen, front, 8, 8, one).face == 0).sum() > 20
    assert (zbuffer(screen, back, 8, 8, one).face == 0).sum() == 0
    assert (zbuffer(screen, back, 8, 8, ~one).face == 0).sum() > 20
    hidden = torch.tensor([[True, False, False]])
    assert (zbuffer(screen, front, 8, 8, one, hidden).face == 0).sum() == 0


def test_zbuffer_of_nothing_sees_nothing():
    seen = zbuffer(torch.zeros(1, 3, 3), torch.tensor([[0, 1, 2]]), 4, 4)
    assert len(seen.pixels) == 0
    assert (seen.depth == 1).all()


# --- geometry and light


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


def test_an_open_mouth_opens():
    def mouth(expression):
        found = look(pictures(4, expression=EXPRESSIONS.index(expression), strength=1.0), size=128)[0]
        x, y, z = found.canonical.unbind(1)
        return ((y - MOUTH).abs().lt(0.012) & (x.abs() < 0.3) & (z > 0.5)).sum().item()

    assert mouth("open mouth") > 3 * mouth("neutral")


@pytest.mark.parametrize(("occluder", "material"), [("sunglasses", "glasses"), ("mask", "mask"), ("scarf", "scarf")])
def test_what_is_worn_is_seen_and_what_is_not_is_not(occluder, material):
    number = MATERIALS.index(material)
    with_it = look(pictures(2, occluder=OCCLUDERS.index(occluder)))[0]
    without = look(pictures(2))[0]
    assert (with_it.material == number).float().mean() > 0.02
    assert not (without.material == number).any()


def test_normals_are_unit_and_face_the_camera():
    found = look(pictures(3, kind="full"))[0]
    torch.testing.assert_close(found.normal.norm(dim=1), torch.ones(len(found.normal)), atol=1e-4, rtol=0)
    assert (found.normal[:, 2] > -0.3).float().mean() > 0.97


def test_a_larger_picture_is_the_same_picture():
    people, how = sample_identities(4, 0), pictures(4, noise=0.0)
    small = render(people, how, 64).float()
    large = torch.nn.functional.avg_pool2d(render(people, how, 128).float(), 2)
    assert (small - large).abs().mean() < 5  # grey levels; the small one has a coarser mesh
    other = render(people[torch.tensor([1, 2, 3, 0])], how, 64).float()
    assert (other - large).abs().mean() > 20


# --- what is random


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


def test_same_seed_same_picture_and_the_callers_random_state_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = procedural_faces(3, 2, size=32, seed=7, progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    again = procedural_faces(3, 2, size=32, seed=7, progress=False)
    assert torch.equal(first.images, again.images)
    assert all(torch.equal(first.conditions[name], again.conditions[name]) for name in first.conditions)
    assert not torch.equal(first.images, procedural_faces(3, 2, size=32, seed=8, progress=False).images)


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


def test_nuisance_is_drawn_independently_of_identity():
    """Analysis of variance: the means of people differ no more than chance makes them."""
    people, images = 150, 20
    how = sample_nuisance(people * images, 3)
    for field in fields(how):
        values = getattr(how, field.name).double().reshape(people, images, -1)
        between = images * values.mean(1).var(0)
        within = values.var(1).mean(0)
        ratio = (between / within.clamp(min=1e-12))[within > 1e-9]
        assert ((ratio > 0.6) & (ratio < 1.5)).all(), field.name  # F(149, 2850): 0.1 % outside of 0.71 to 1.38
    a, b = (
        procedural_faces(2, 4, size=16, seed=0, progress=False),
        procedural_faces(4, 2, size=16, seed=0, progress=False),
    )
    assert torch.equal(a.conditions["yaw"], b.conditions["yaw"])


def test_full_nuisance_covers_its_ranges():
    how = sample_nuisance(4000, 0, "full")
    assert 0.27 < (how.occluder > 0).float().mean() < 0.33
    assert set(how.occluder.tolist()) == set(range(len(OCCLUDERS)))
    assert set(how.expression.tolist()) == set(range(len(EXPRESSIONS)))
    assert how.yaw.min() >= -45
    assert how.yaw.max() <= 45
    assert how.yaw.std() > 20
    assert how.azimuth.std() > 40


@pytest.mark.parametrize(
    ("kind", "varies"),
    [("clean", set()), ("pose", {"yaw", "pitch"}), ("light", {"light_azimuth", "light_elevation"}),
     ("expression", {"expression"}), ("occluder", {"occluder"})],
)  # fmt: skip
def test_a_kind_of_nuisance_varies_nothing_else(kind, varies):
    faces = procedural_faces(20, 2, size=16, nuisance=kind, progress=False)
    assert {name for name, values in faces.conditions.items() if len(values.unique()) > 1} == varies


def test_clean_pictures_tell_people_apart():
    faces = procedural_faces(12, 2, size=32, nuisance="clean", progress=False)
    x = faces.images.float().flatten(1)
    distance = torch.cdist(x[::2], x[1::2])
    assert torch.equal(distance.argmin(1), torch.arange(12))


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
    assert faces.levels["domain"] == ("photo", "sketch", "near-infrared")
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


# --- cache


@pytest.fixture
def small_default(tmp_path, monkeypatch):
    """A small default set, and its cache in a folder of its own."""
    monkeypatch.setattr(
        procedural, "_DEFAULT", {"identities": 3, "images": 2, "size": 16, "seed": 0, "nuisance": "full"}
    )
    monkeypatch.setenv("METAFACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "procedural-faces.bin"


def default_set():
    return procedural_faces(3, 2, size=16, progress=False)


def test_the_default_set_is_read_back_without_rendering(small_default, monkeypatch):
    first = default_set()
    assert small_default.exists()

    def never(*_, **__):
        raise AssertionError("rendered although it was cached")

    monkeypatch.setattr(procedural, "render", never)
    again = default_set()
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.identity, again.identity)
    assert first.levels == again.levels
    for name, values in first.conditions.items():
        assert torch.equal(values, again.conditions[name])
        assert values.dtype == again.conditions[name].dtype
    with pytest.raises(AssertionError, match="although"):
        procedural_faces(3, 2, size=16, cache=False, progress=False)


def test_other_sets_are_not_cached(small_default):
    procedural_faces(4, 2, size=16, progress=False)
    procedural_faces(3, 2, size=16, progress=False, cache=False)
    assert not small_default.exists()


def test_each_seed_has_people_of_its_own_kept_in_a_file_of_its_own(small_default):
    usual, new = (load_faces(f"procedural{seed}", identities=3, images=2, size=16) for seed in ("", ":seed=3"))
    again = load_faces("procedural:seed=3", identities=3, images=2, size=16)
    assert [file.name for file in sorted(small_default.parent.iterdir())] == [
        "procedural-faces-seed-3.bin",
        "procedural-faces.bin",
    ]
    assert torch.equal(new.images, again.images)
    assert not torch.equal(new.images, usual.images)
    assert new.identities.tolist() == usual.identities.tolist()
    assert (usual.name_of(2), new.name_of(2), again.name_of(2)) == ("2", "seed 3, person 2", "seed 3, person 2")
    assert (usual.name, new.name) == ("procedural", "procedural (seed 3)")
    assert load_faces("procedural-sketch:seed=3", identities=2, images=1, size=16).where(domain="sketch").all()


def test_no_person_is_in_two_seeds():
    people = torch.cat([sample_identities(300, seed).shape for seed in range(5)])
    assert len(people.unique(dim=0)) == 5 * 300


@pytest.mark.parametrize("seed", ["", "3", "seed=", "seed=-1", "seed=x", "seed=1000000"])
def test_a_seed_is_a_number(seed):
    with pytest.raises(MetaFaceError, match="should end in a seed from 0 to 999999, such as procedural:seed=3"):
        load_faces(f"procedural:{seed}")


def truncate(data):
    return data[: len(data) // 2]


def flip(data):
    return data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:]


@pytest.mark.parametrize(
    "damage",
    [truncate, flip, lambda data: b"", lambda data: data[:20], lambda data: b"{}" + data],
    ids=["truncated", "a bit flipped", "empty", "only the start", "another format"],
)
def test_a_damaged_cache_is_noticed_and_rebuilt(small_default, damage):
    first = default_set()
    whole = small_default.read_bytes()
    small_default.write_bytes(damage(whole))
    with pytest.warns(UserWarning, match="rendering them again"):
        again = default_set()
    assert torch.equal(first.images, again.images)
    assert small_default.read_bytes()[:200] == whole[:200]  # made again
    default_set()  # and read without a warning


def test_the_version_is_of_every_module_that_makes_the_pictures(monkeypatch):
    was, read = procedural._version(), Path.read_bytes
    for source in ("blurring.py", "hashing.py", "rendering.py"):
        with monkeypatch.context() as changed:
            changed.setattr(Path, "read_bytes", lambda self, s=source: read(self) + b"#" * (self.name == s))
            assert procedural._version() != was, source


def test_a_cache_of_another_version_is_rebuilt(small_default, monkeypatch):
    with monkeypatch.context() as past:
        past.setattr(procedural, "_version", lambda: "older")
        default_set()
    with pytest.warns(UserWarning, match="another version"):
        default_set()


def test_a_cache_folder_that_cannot_be_made_gives_a_warning(tmp_path, small_default, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("METAFACE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="could not be kept.*METAFACE_CACHE"):
        faces = default_set()
    assert len(faces) == 6


@pytest.mark.needs("an ordinary user")
def test_a_read_only_cache_folder_gives_a_warning(small_default):
    small_default.parent.mkdir()
    small_default.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.warns(UserWarning, match="could not be kept"):
            assert len(default_set()) == 6
    finally:
        small_default.parent.chmod(stat.S_IRWXU)


def test_a_full_disk_leaves_the_old_cache_and_gives_a_warning(small_default, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(procedural.disk, "write_atomically", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        assert len(default_set()) == 6


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
