"""Face sets on disk: equal to those in memory bit for bit, flat in memory, and never taken for whole by mistake."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from metaface_lessons import cli
from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces import load_faces, mapped
from metaface_lessons.faces.mapped import START, MappedFile, Piece, map_faces, map_folder, map_pieces, mapped_faces
from metaface_lessons.machine import resident_memory
from metaface_lessons.runs.people import digests
from tests.helpers import printed, random_faces, train_run

FACES = random_faces(people=20, each=7, channels=3)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return map_faces(FACES, tmp_path_factory.mktemp("mapped") / "some.faces", progress=False)


def copy_of(stored: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy.faces"
    copy.write_bytes(stored.read_bytes())
    return copy


# --------------------------------------------------------------------------------------------------- as those in memory


def test_a_mapped_set_is_the_set_that_was_stored(stored: Path) -> None:
    found = load_faces(f"mapped:{stored}")
    assert found.on_disk
    assert not FACES.on_disk
    assert (found.shape, found.name, found.synthetic, found.levels) == (FACES.shape, "noise", True, FACES.levels)
    assert repr(found) == repr(FACES)
    assert found.identity.equal(FACES.identity)
    assert found.images[:].equal(FACES.images)
    assert found.in_memory().images.equal(FACES.images)
    for name, values in FACES.conditions.items():
        assert found.conditions[name].equal(values)
        assert found.conditions[name].dtype == values.dtype
    assert digests(replace(found, synthetic=False)) == digests(replace(FACES, synthetic=False))


def test_episodes_are_the_same_bit_for_bit(stored: Path) -> None:
    for ours, theirs in zip(mapped_faces(stored).split(seed=3), FACES.split(seed=3), strict=True):
        assert ours.on_disk
        where = {"support_where": {"occluder": "none"}, "query_where": {"yaw": (-45.0, 45.0)}}
        samplers = [EpisodeSampler(faces, 2, 1, 2, seed=5, **where) for faces in (ours, theirs)]
        for _ in range(3):
            a, b = (sampler.sample(4) for sampler in samplers)
            for x, y in zip((*a.support, *a.query, a.identities), (*b.support, *b.query, b.identities), strict=True):
                assert x.equal(y)
                assert x.dtype == y.dtype


@pytest.mark.parametrize(
    "which", [torch.tensor([3, 0, 3]), torch.tensor([[1, 2], [5, 4]]), FACES.identity == 2, slice(2, 9, 3), 4, -1]
)
def test_what_is_indexed_is_read(which: object, stored: Path) -> None:
    assert mapped_faces(stored).images[which].equal(FACES.images[which])


def test_pieces_make_the_same_file_as_the_whole(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "PIECE", 5000)  # six pictures
    again = map_faces(mapped_faces(stored), tmp_path / "again.faces", progress=False)
    assert again.read_bytes()[START:] == stored.read_bytes()[START:]


def test_a_folder_is_mapped_as_it_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also a picture that is in two people's folders, which counts for neither."""
    draw = torch.Generator().manual_seed(0)
    for person in ("Ada", "Bo", "Cy"):
        (tmp_path / "photos" / person).mkdir(parents=True)
        for m in range(3):
            noise = torch.randint(256, (20, 24, 3), generator=draw, dtype=torch.uint8).numpy()
            Image.fromarray(noise).save(tmp_path / "photos" / person / f"{m}.png")
    double = tmp_path / "photos" / "Bo" / "0.png"
    double.write_bytes((tmp_path / "photos" / "Ada" / "0.png").read_bytes())
    with pytest.warns(UserWarning, match="the same picture in several people"):
        wanted = load_faces(f"folder:{tmp_path / 'photos'}")
    with pytest.warns(UserWarning, match="the same picture in several people"):
        found = mapped_faces(map_folder(tmp_path / "photos", tmp_path / "some.faces"))
    assert len(found) == len(wanted) == 7
    assert found.names == wanted.names == ("Ada", "Bo", "Cy")
    assert found.name == wanted.name
    order, other = (
        [*zip(faces.identity.tolist(), map(bytes, faces.images[:].flatten(1).numpy()), strict=True)]
        for faces in (found, wanted)
    )
    assert sorted(order) == sorted(other)
    assert digests(found) == digests(wanted)


def test_a_mapped_set_may_be_copied_and_sent_to_another_process(stored: Path) -> None:
    half = mapped_faces(stored).of(torch.arange(10))
    again = pickle.loads(pickle.dumps(half))
    assert again.images[:].equal(half.images[:])
    assert half.to("cpu").images[:].equal(half.images[:])


def test_what_needs_all_pictures_says_so(stored: Path) -> None:
    faces = mapped_faces(stored)
    for whole in (lambda: faces.images.float(), lambda: faces.resized(8), lambda: faces.grey()):
        with pytest.raises(
            MetaFaceError, match=r"The 140 pictures are in the file .*all of them in memory.*in_memory\(\)"
        ):
            whole()
    assert faces.in_memory().resized(8).shape == (3, 8, 8)
    assert not hasattr(faces.images, "numpy")


# --------------------------------------------------------------------------------------------------------- memory, cost


def many(people: int, each: int, size: int, at_once: int) -> Iterator[Piece]:
    """Noise of many people, some people at a time."""
    for first in range(0, people, at_once):
        draw = torch.Generator().manual_seed(first)
        images = torch.randint(256, (at_once * each, 1, size, size), generator=draw, dtype=torch.uint8)
        yield Piece(images, torch.arange(first, first + at_once).repeat_interleave(each))


def test_making_and_sampling_need_little_memory(tmp_path: Path) -> None:
    """20,000 people × 20 pictures, 102 MB: a piece has 5 MB, and the numbers of all pictures 20 bytes each, 8 MB."""
    seen: list[int] = []

    def watched() -> Iterator[Piece]:
        for piece in many(20_000, 20, 16, 1000):
            seen.append(resident_memory())
            yield piece

    file = map_pieces(watched(), tmp_path / "many.faces")
    assert file.stat().st_size > 100 * 2**20
    assert seen[-1] - seen[1] < 60, "megabytes"
    before = resident_memory()
    faces = mapped_faces(file)
    base = faces.split(seed=0).base
    sampler = EpisodeSampler(base, 5, 5, 15, seed=0)
    start = resident_memory()
    assert start - before < 60, "megabytes"
    for _ in range(100):
        sampler.sample(4)  # 400 pictures, from all over the file
    assert resident_memory() - start < 75, "megabytes"


def test_an_episode_reads_its_own_pictures_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    read = MappedFile.read
    monkeypatch.setattr(MappedFile, "read", lambda self, some: rows.append(len(some)) or read(self, some))
    for people in (100, 2000):
        faces = mapped_faces(map_pieces(many(people, 20, 8, 100), tmp_path / "some.faces"))
        EpisodeSampler(faces.split(seed=0).base, 5, 1, 3, seed=0).sample(2)
        assert rows == [10, 30]
        rows.clear()
        tracemalloc.start()
        faces.of(faces.identities[: people // 2])
        assert rows == []
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()


def test_pages_that_were_read_are_given_back(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "FORGET", 1000)
    faces = mapped_faces(stored)
    for _ in range(3):
        assert faces.images[:].equal(FACES.images)
    assert faces.images.file._since < 1000


# ------------------------------------------------------------------------------------------------------ what is damaged


def test_a_changed_byte_is_found_where_it_is_read(stored: Path, tmp_path: Path) -> None:
    copy, picture = copy_of(stored, tmp_path), FACES.images[0].numel()
    data = bytearray(copy.read_bytes())
    data[START + 5 * picture + 17] ^= 1
    copy.write_bytes(data)
    faces = mapped_faces(copy)
    assert faces.images[4].equal(FACES.images[4])
    with pytest.raises(MetaFaceError, match=r"Picture 5 in .* is damaged: its checksum .*make it again"):
        faces.images[torch.tensor([4, 5])]
    with pytest.raises(MetaFaceError, match="Picture 5 in"):
        mapped_faces(copy, check=True)
    assert len(mapped_faces(stored, check=True)) == len(FACES)


def test_a_changed_byte_of_header_or_table_is_found_at_opening(stored: Path, tmp_path: Path) -> None:
    data = stored.read_bytes()
    text = data[:START].rstrip()
    header = json.loads(text.split(b"\n")[1])
    places = [*range(20, len(text)), *range(header["table"], len(data), 97)]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1
        copy = tmp_path / "copy.faces"
        copy.write_bytes(changed)
        with pytest.raises(MetaFaceError, match=r"is damaged|another version"):
            mapped_faces(copy)


@pytest.mark.parametrize("left", [0, 10, 100, START - 1, START, START + 1000, -1, -100])
def test_a_file_that_is_cut_short_is_refused(left: int, stored: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.faces"
    copy.write_bytes(stored.read_bytes()[:left])
    with pytest.raises(MetaFaceError, match=r"cut short|has [\d,]+ bytes, but should have|does not begin like one"):
        mapped_faces(copy)


def test_a_file_of_another_version_is_refused(stored: Path, tmp_path: Path) -> None:
    copy = copy_of(stored, tmp_path)
    copy.write_bytes(copy.read_bytes().replace(b'"format": 1', b'"format": 2', 1))
    with pytest.raises(MetaFaceError, match=r"another version of the course \(format 2; this one reads 1\). Update"):
        mapped_faces(copy)


def test_what_is_not_a_mapped_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MetaFaceError, match=rf"is a folder, not a mapped .*folder:{re.escape(str(tmp_path))}"):
        mapped_faces(tmp_path)
    with pytest.raises(MetaFaceError, match=r"There is no file .*Make it: metaface faces SET --map"):
        mapped_faces(tmp_path / "none.faces")
    (tmp_path / "text").write_text("some text")
    with pytest.raises(MetaFaceError, match="does not begin like one"):
        mapped_faces(tmp_path / "text")
    with pytest.raises(MetaFaceError, match="needs the path of a file after it"):
        load_faces("mapped:")
    assert cli.main(["faces", f"mapped:{tmp_path / 'text'}"]) == 1
    assert "does not begin like one" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------ what goes wrong


def test_a_full_disk_leaves_what_was_there(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = copy_of(stored, tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for file in (copy, tmp_path / "new.faces"):
        with pytest.raises(MetaFaceError, match=rf"cannot be written: {re.escape(str(file))}: No space left.*Delete"):
            map_faces(random_faces(seed=1), file, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["copy.faces"]
    assert copy.read_bytes() == stored.read_bytes()


def test_a_kill_in_the_middle_leaves_nothing_that_is_taken_for_whole(tmp_path: Path) -> None:
    script = f"""
        import os, signal, sys
        from metaface_lessons.faces.mapped import map_pieces
        from tests.faces.test_mapped import many
        def pieces():
            yield from many(20, 5, 8, 10)
            os.kill(os.getpid(), signal.SIGKILL)
        map_pieces(pieces(), {str(tmp_path / "some.faces")!r})
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=Path(__file__).parents[2])
    assert run.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".some.faces.")
    with pytest.raises(MetaFaceError, match="does not begin like one"):
        mapped_faces(left)


def test_pieces_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    first, *_ = many(4, 3, 8, 2)
    file = tmp_path / "some.faces"
    for second, message in (
        (first._replace(images=first.images[:, :, :4]), "Images of one file have one size"),
        (first._replace(images=first.images.float()), "Images must be uint8"),
        (first._replace(conditions={"yaw": torch.zeros(6)}), r"have the conditions \[\] and \['yaw'\]"),
        (first._replace(identity=first.identity[:2]), "identity has the shape"),
    ):
        with pytest.raises(MetaFaceError, match=message):
            map_pieces([first, second], file)
    with pytest.raises(MetaFaceError, match="There are no pieces"):
        map_pieces([], file)
    with pytest.raises(MetaFaceError, match="the header has room"):
        map_pieces(
            [first._replace(conditions={"k": torch.zeros(6, dtype=torch.int64)})], file, levels={"k": ["w" * 5000]}
        )
    with pytest.raises(MetaFaceError, match="is a folder"):
        map_pieces([first], tmp_path)
    assert not file.exists()
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------------------- the command


def test_the_command_maps_checks_and_trains(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "some.faces"
    assert cli.main(["faces", f"folder:{photos}", "--map", str(file), "--json"]) == 0
    assert printed(capsys) == {"name": f"folder:{photos.name}", "images": 240, "file": str(file)}
    assert cli.main(["faces", f"mapped:{file}", "--check"]) == 0
    assert "No picture is damaged" in capsys.readouterr().out
    assert cli.main(["faces", f"folder:{photos}", "--check"]) == 1
    assert "has no checksums to check" in capsys.readouterr().err
    assert cli.main(["faces", f"mapped:{file}", "--people", "2", "--each", "2", "--out", str(tmp_path / "a.png")]) == 0

    assert train_run(photos, tmp_path / "folder", "--steps", "2") == 0
    run = ["train", "protonet", "--ways", "5", "--queries", "2", "--width", "8", "--quiet", "--steps", "2"]
    assert cli.main([*run, "--faces", f"mapped:{file}", "--out", str(tmp_path / "mapped")]) == 0
    capsys.readouterr()
    command = ["evaluate", "--ways", "4", "--queries", "2", "--episodes", "20", "--json"]
    scores = []
    for name in ("folder", "mapped"):
        assert cli.main([*command, str(tmp_path / name)]) == 0
        scores.append(printed(capsys))
    assert scores[0]["accuracy"] == scores[1]["accuracy"]
    assert scores[0]["differences"] == scores[1]["differences"]
