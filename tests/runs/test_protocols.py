"""Verification by protocol: LFW's own on made-up people in its layout, and pairs of a run's novel people."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaface_lessons import cli
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces import load_faces
from metaface_lessons.faces.pairs import draw_pairs
from metaface_lessons.runs.protocols import cross_verify
from tests.helpers import random_faces
from tests.made_up_lfw import easy_faces


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


def test_the_threshold_of_a_fold_comes_from_the_others() -> None:
    """Fold 1's scores are shifted by 10: with fold 0's threshold everybody is accepted, and with its own for fold 0
    nobody."""
    pairs = draw_pairs(random_faces(people=12, each=4), each=30, folds=2)
    same = (pairs.people[:, 0] == pairs.people[:, 1]).numpy()
    found = cross_verify(same + 10.0 * pairs.fold.numpy(), pairs)
    assert found.folds == (0.5, 0.5)
    assert cross_verify(same.astype(float), pairs).accuracy == 1


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
    assert "FNMR at FMR 1%" in told.out
    assert "warning: A false match rate of 0.01 is read from 60 impostor pairs: too few" in told.err


@pytest.mark.filterwarnings("default::UserWarning")
def test_view_1_and_view_2(made_up: Path, trained: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    run = trained("lfw-without:view1")
    people = json.loads((run / "run.json").read_text())["people"]
    assert [len(people[part]) for part in ("base", "validation", "novel")] == [36, 2, 2]  # the tested are left out
    assert cli.main(["evaluate", str(run), "--protocol", "lfw-view1", "--json"]) == 0
    found = report(capsys)
    assert (found["pairs"], found["identities"], found["category"]) == (32, 8, "unrestricted, no outside data")
    assert found["baselines"]["pixels"]["accuracy"] > 0.9
    assert found["checked"] == "the people of its pairs alone, because peopleDevTest.txt is not beside them"

    runs = [str(trained(f"lfw-without:fold{k}")) for k in (0, 1)]
    assert cli.main(["evaluate", *runs, "--protocol", "lfw-view2", "--json"]) == 1  # both know the people of fold 2
    told = capsys.readouterr().err
    assert "fold 2 of View 2: Person 2" in told
    assert "Checked: the people of its pairs alone, because people.txt is not beside them." in told
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


@pytest.fixture(scope="module")
def others(trained: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on people who are not in LFW, from a folder of photos."""
    photos = tmp_path_factory.mktemp("photos")
    for m, (image, person) in enumerate(zip(*easy_faces(30, seed=7), strict=True)):
        file = photos / f"other {person}" / f"{m}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(file)
    return trained(f"folder:{photos}")


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_person_of_the_test_who_is_in_no_pair_is_refused(
    listed: Path, others: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = json.loads((others / "run.json").read_text())["people"]["base"][0]
    for protocol, file, stranger, what in (
        ("lfw-view1", "peopleDevTest.txt", "Person_36", "View 1's test"),
        ("lfw-view2", "people.txt", "Person_39", "fold 2 of View 2"),
    ):
        assert cli.main(["evaluate", str(others), "--protocol", protocol, "--no-baselines"]) == 0
        told = capsys.readouterr().out
        assert f"Nobody in the test was trained on. Checked: all its people, by {file}." in told
        text = (listed / file).read_text()
        (listed / file).write_text(text.replace(stranger, known.replace(" ", "_")))
        assert cli.main(["evaluate", str(others), "--protocol", protocol]) == 1
        told = capsys.readouterr().err
        assert f"was trained on 1 people of {what}: {known}. Checked: all its people, by {file}." in told


def test_a_run_on_other_people_is_tested_on_all_of_view_2(
    made_up: Path,
    trained: Callable[[str], Path],
    others: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "mine.py").write_text("def embed(images):\n    return images.float().mean(dim=1).flatten(1)\n")
    monkeypatch.chdir(tmp_path)
    run = others
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
