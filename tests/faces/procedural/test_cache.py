"""The cache of rendered faces: it is read back, or made again with a warning."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import torch

from metaface_lessons.faces import load_faces, procedural
from metaface_lessons.faces.procedural import procedural_faces


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
    was, read = procedural.version(), Path.read_bytes
    for source in ("blurring.py", "hashing.py", "rendering.py"):
        with monkeypatch.context() as changed:
            changed.setattr(Path, "read_bytes", lambda self, s=source: read(self) + b"#" * (self.name == s))
            assert procedural.version() != was, source


def test_a_cache_of_another_version_is_rebuilt(small_default, monkeypatch):
    with monkeypatch.context() as past:
        past.setattr(procedural, "version", lambda: "older")
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
