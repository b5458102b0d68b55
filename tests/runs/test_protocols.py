"""Pairs, and verification by protocol: LFW's own on made-up people in its layout, and pairs of a run's novel people."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metaface_lessons import cli
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces import load_faces
from metaface_lessons.faces.pairs import draw_pairs, lfw_pairs, read_pairs
from metaface_lessons.learners.baselines import FixedFeatures
from metaface_lessons.runs import protocols
from metaface_lessons.runs.protocols import cross_verify
from metaface_lessons.verification import Comparer, fitted
from tests.helpers import random_faces

NAMES = [
    f"Person_{i:02d}" for i in range(48)
]  # 0 to 7 in View 1's training pairs, 8 to 15 in its test, 16 to 35 in View 2
EACH = 6


def line(a: str, i: int, b: str, j: int) -> str:
    return f"{a}\t{i}\t{j}" if a == b else f"{a}\t{i}\t{b}\t{j}"


def listed(people: list[str]) -> list[str]:
    """Two genuine pairs of each person, and as many impostor pairs."""
    genuine = [line(a, i, a, i + 1) for a in people for i in (1, 3)]
    impostor = [line(a, i, b, i) for a, b in itertools.pairwise([*people, people[0]]) for i in (1, 2)]
    return [*genuine, *impostor]


def easy_faces(people: int, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    """`EACH` pictures `[25, 25, 3]` of each person: a pattern of their own, and noise."""
    generator = np.random.default_rng(seed)
    pattern = generator.random((people, 25, 25, 3)).repeat(EACH, axis=0)
    pictures = 255 * (0.6 * pattern + 0.4 * generator.random(pattern.shape))
    return pictures.astype(np.uint8), [m // EACH for m in range(len(pattern))]


@pytest.fixture(scope="module")
def lfw_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's folder of LFW, with made-up people."""
    home = tmp_path_factory.mktemp("sklearn") / "lfw_home"
    for m, (image, person) in enumerate(zip(*easy_faces(len(NAMES)), strict=True)):
        name = NAMES[person]
        file = home / "lfw_funneled" / name / f"{name}_{m % EACH + 1:04d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((250, 250), Image.Resampling.NEAREST).save(file, quality=95)
    for file, people in (("pairsDevTrain.txt", NAMES[:8]), ("pairsDevTest.txt", NAMES[8:16])):
        (home / file).write_text("\n".join(["16", *listed(people)]) + "\n")
    folds = [line for k in range(10) for line in listed(NAMES[16 + 2 * k : 18 + 2 * k])]
    (home / "pairs.txt").write_text("\n".join(["10\t4", *folds]) + "\n")
    return home


@pytest.fixture
def made_up(lfw_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(protocols, "SAMPLES", 20)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(lfw_home.parent))
    return lfw_home


@pytest.fixture(scope="module")
def trained(lfw_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A short run on a face set, trained once."""
    root = tmp_path_factory.mktemp("runs")

    def train(faces: str) -> Path:
        out = root / faces.replace(":", "-").replace("/", "-")
        if not out.exists():
            before = os.environ.get("SCIKIT_LEARN_DATA")
            os.environ["SCIKIT_LEARN_DATA"] = str(lfw_home.parent)
            try:
                small = ["--ways", "5", "--queries", "2", "--width", "8", "--steps", "8", "--quiet"]
                assert cli.main(["train", "protonet", "--faces", faces, *small, "--out", str(out)]) == 0
            finally:
                os.environ.pop("SCIKIT_LEARN_DATA") if before is None else os.environ.update(SCIKIT_LEARN_DATA=before)
        return out

    return train


# --------------------------------------------------------------------------------------------------------------- pairs


def test_drawn_pairs_are_balanced_different_and_share_the_people() -> None:
    faces = random_faces(people=12, each=6)
    few = faces.select(torch.tensor([m for m in range(72) if m >= 24 or m % 6 < 2]))  # four people with two images
    pairs = draw_pairs(few, each=84, folds=2, seed=1)
    same = pairs.people[:, 0] == pairs.people[:, 1]
    assert (len(pairs), int(same.sum())) == (168, 84)
    assert len({tuple(sorted(pair)) for pair in pairs.index.tolist()}) == 168
    assert all(a != b for a, b in pairs.index.tolist())
    assert not pairs.names(0) & pairs.names(1)
    for fold in (0, 1):
        mine = pairs.people[same & (pairs.fold == fold), 0]
        assert len(mine) == 42
        counts = torch.bincount(mine)
        rich = counts[counts > 1]  # those with two images have one pair
        assert rich.max() - rich.min() <= 1
    assert torch.equal(pairs.index, draw_pairs(few, 84, folds=2, seed=1).index)
    assert not torch.equal(pairs.index, draw_pairs(few, 84, folds=2, seed=2).index)
    with pytest.raises(MetaFaceError, match="124 pairs of images of one person"):
        draw_pairs(few, each=125)


def test_lfw_lists_are_read_as_scikit_learn_reads_them(made_up: Path) -> None:
    pairs = lfw_pairs("train")
    assert len(pairs) == 32
    assert pairs.names() == {name.replace("_", " ") for name in NAMES[:8]}
    everyone = load_faces("lfw")  # in another order
    first = pairs.faces.images[pairs.index[0]]  # images 1 and 2 of person 0
    own = everyone.images[everyone.identity == everyone.names.index("Person 00")]
    assert [any(torch.equal(image, other) for other in own) for image in first] == [True, True]
    assert not torch.equal(*first)
    folds = lfw_pairs("10_folds")
    assert folds.fold.bincount().tolist() == [8] * 10
    assert folds.names(3) == {"Person 22", "Person 23"}
    with pytest.raises(MetaFaceError, match="Did you mean 'test'"):
        lfw_pairs("tests")


def test_missing_people_are_named_and_half_a_folder_is_refused(
    made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "lfw_home"
    (home / "lfw_funneled").mkdir(parents=True)
    for name in NAMES[:7]:
        (home / "lfw_funneled" / name).symlink_to(made_up / "lfw_funneled" / name)
    half = home / "lfw_funneled" / NAMES[7]
    half.mkdir()
    for number in (2, 3, 4):  # image 1 is gone, so that the first file is image 2
        (half / f"{NAMES[7]}_{number:04d}.jpg").symlink_to(made_up / "lfw_funneled" / NAMES[7] / f"{NAMES[7]}_0001.jpg")
    for file in made_up.glob("*.txt"):
        (home / file.name).write_text(file.read_text())
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    with pytest.raises(
        MetaFaceError, match=r"pairsDevTrain\.txt names 8 people, .* 1 of them are missing .* Person 07\."
    ):
        lfw_pairs("train")
    with pytest.raises(MetaFaceError, match=r"20 of them are missing .* Person 16, .*metaface faces lfw"):
        lfw_pairs("10_folds")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line should hold"),
        ("many\nA\t1\t2\n", "first line should hold"),
        ("1\nA\t1\n", r"Line 2 of pairs.txt is \['A', '1'\]"),
        ("1\nA\t1\tB\tx\n", "Line 2"),
        ("2\t1\nA\t1\t2\n", "2 folds, but lists 1 pairs"),
    ],
)
def test_a_damaged_list_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "pairs.txt"
    file.write_text(text)
    with pytest.raises(MetaFaceError, match=message):
        read_pairs(file)


# ----------------------------------------------------------------------------------------------------------- judging


def test_the_threshold_of_a_fold_comes_from_the_others() -> None:
    """Fold 1's scores are shifted by 10: with fold 0's threshold everybody is accepted, and with its own for fold 0
    nobody."""
    pairs = draw_pairs(random_faces(people=12, each=4), each=30, folds=2)
    same = (pairs.people[:, 0] == pairs.people[:, 1]).numpy()
    found = cross_verify(same + 10.0 * pairs.fold.numpy(), pairs)
    assert found.folds == (0.5, 0.5)
    assert cross_verify(same.astype(float), pairs).accuracy == 1


def test_scores_are_those_of_the_learner_and_mirrored_faces_are_alike() -> None:
    faces = random_faces(people=4, each=2, channels=3)
    comparer = Comparer(FixedFeatures(lambda x: x.float().flatten(1).numpy()), faces.shape, "squared")
    points = comparer.embed(faces.images)
    both = (faces.images + 0.0 + faces.images.flip(-1)) / 2
    assert torch.allclose(points, both.flatten(1))
    assert torch.equal(points, comparer.embed(faces.images.flip(-1)))
    pairs = draw_pairs(faces, each=4)
    one, other = points[pairs.index].unbind(1)
    assert torch.allclose(torch.tensor(comparer.score_pairs(pairs)).float(), -(one - other).square().sum(1), rtol=1e-4)
    grey = fitted(faces.images, (1, 8, 8))
    assert (grey.shape, grey.dtype) == ((8, 1, 8, 8), torch.uint8)
    assert fitted(grey, (3, 16, 16)).shape == (8, 3, 16, 16)


# ------------------------------------------------------------------------------------------------------- by the command


def report(capsys: pytest.CaptureFixture[str]) -> dict:
    out = capsys.readouterr().out
    return json.loads(out[out.index("{") :])  # a training may have said something before


@pytest.mark.filterwarnings("default::UserWarning")
def test_pairs_of_novel_people(
    made_up: Path, trained: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("lfw")
    few = ["--protocol", "pairs", "--pairs", "60"]
    assert cli.main(["evaluate", str(run), *few, "--json"]) == 0
    found = report(capsys)
    assert (found["pairs"], found["identities"], found["category"]) == (120, 12, "unrestricted, no outside data")
    assert set(found["baselines"]) == {"pixels", "lbp", "lda"}
    assert found["baselines"]["pixels"]["accuracy"] > 0.9  # the made-up people are easy
    low, high = found["baselines"]["pixels"]["eer95"]
    assert low <= found["baselines"]["pixels"]["eer"] <= high
    assert cli.main(["evaluate", str(run), *few, "--no-baselines"]) == 0
    told = capsys.readouterr()
    assert "TAR at FAR 1%" in told.out
    assert "warning: A false acceptance rate of 0.01 is read from 60 impostor pairs: too few" in told.err


@pytest.mark.filterwarnings("default::UserWarning")
def test_view_1_and_view_2(made_up: Path, trained: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(trained("lfw-without:view1")), "--protocol", "lfw-view1", "--json"]) == 0
    found = report(capsys)
    assert (found["pairs"], found["identities"], found["category"]) == (32, 8, "unrestricted, no outside data")
    assert found["baselines"]["pixels"]["accuracy"] > 0.9

    runs = [str(trained(f"lfw-without:fold{k}")) for k in (0, 1)]
    assert cli.main(["evaluate", *runs, "--protocol", "lfw-view2", "--json"]) == 1  # both know the people of fold 2
    told = capsys.readouterr().err
    assert "fold 2 of View 2: Person 2" in told
    assert "--faces lfw-without:fold2" in told


def test_a_run_that_knows_the_tested_people_is_refused(
    made_up: Path, trained: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("lfw")
    assert cli.main(["evaluate", str(run), "--protocol", "lfw-view1"]) == 1
    told = capsys.readouterr().err
    known = json.loads((run / "run.json").read_text())["people"]
    overlap = {f"Person {i:02d}" for i in range(8, 16)} & {*known["base"], *known["validation"]}
    assert overlap
    assert all(name in told for name in overlap)
    assert "lfw-without:view1" in told


def test_a_run_on_other_people_is_tested_on_all_of_view_2(
    made_up: Path,
    trained: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for m, (image, person) in enumerate(zip(*easy_faces(30, seed=7), strict=True)):
        file = tmp_path / "photos" / f"other{person}" / f"{m}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    (tmp_path / "mine.py").write_text("def embed(images):\n    return images.float().mean(dim=1).flatten(1)\n")
    monkeypatch.chdir(tmp_path)
    run = trained(f"folder:{tmp_path / 'photos'}")
    assert cli.main(["evaluate", str(run), "--protocol", "lfw-view2", "--embedding", "mine:embed", "--json"]) == 0
    found = report(capsys)
    assert found["category"] == "unrestricted, labeled outside data"
    assert found["runs"] == [run.name] * 10
    pixels = found["baselines"]["pixels"]
    assert len(pixels["folds"]) == 10
    assert pixels["accuracy"] == pytest.approx(np.mean(pixels["folds"]), abs=1e-4)
    assert pixels["standard_error"] == pytest.approx(np.std(pixels["folds"], ddof=1) / 10**0.5, abs=1e-4)
    assert pixels["category"] == "image-restricted, no outside data"
    assert pixels["accuracy"] > 0.9
    assert found["baselines"]["mine:embed"]["accuracy"] > 0.8
    assert cli.main(["evaluate", str(run), "--protocol", "lfw-view2"]) == 0
    assert "standard error over 10 folds" in capsys.readouterr().out
    mixed = [str(trained("lfw-without:fold0")), str(run)]  # the first judges fold 0 alone, the other all others
    assert cli.main(["evaluate", *mixed, "--protocol", "lfw-view2", "--no-baselines", "--json"]) == 0
    found = report(capsys)
    assert found["runs"] == [Path(mixed[0]).name] + [run.name] * 9
    assert found["category"] == "unrestricted, labeled outside data"


def test_an_embedding_of_ones_own_in_episodes_and_its_faults(
    made_up: Path,
    trained: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "own.py").write_text(
        "def embed(images):\n    return images.float().mean(dim=1).flatten(1)\n"
        "def broken(images):\n    return images.float().mean()\n"
        "def boom(images):\n    raise RuntimeError('no weights')\n"
    )
    monkeypatch.chdir(tmp_path)
    command = ["evaluate", str(trained("lfw")), "--queries", "2", "--episodes", "20", "--no-baselines", "--json"]
    assert cli.main([*command, "--embedding", "own:embed"]) == 0
    assert report(capsys)["baselines"]["own:embed"]["accuracy"] > 0.8
    for place, message in (
        ("own", "Expected 'module:function'"),
        ("nowhere:embed", "no embedding 'nowhere:embed'"),
        ("own:none", "no embedding"),
        ("own:boom", "RuntimeError: no weights"),
        ("own:broken", r"should return finite embeddings"),
    ):
        assert cli.main([*command, "--embedding", place]) == 1
        assert message in capsys.readouterr().err


def test_learners_without_an_embedding_and_parts_that_do_not_exist(
    made_up: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--width", "8", "--steps", "1", "--quiet", "--out", str(tmp_path / "maml")]
    assert cli.main(["train", "maml", "--faces", "lfw", *small]) == 0
    assert cli.main(["evaluate", str(tmp_path / "maml"), "--protocol", "pairs"]) == 1
    assert "maml has none" in capsys.readouterr().err
    with pytest.raises(MetaFaceError, match="Did you mean 'fold1'"):
        load_faces("lfw-without:fold11")


def test_lfw_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr("sklearn.datasets.fetch_lfw_pairs", lambda **_: (_ for _ in ()).throw(OSError("no route")))
    with pytest.raises(MetaFaceError, match=r"no route.*metaface faces lfw"):
        lfw_pairs("test")
