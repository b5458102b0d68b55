"""Baselines: what they know, what they do not, and when they are refused."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from metaface_lessons.episodes import EpisodeSampler
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import evaluate
from metaface_lessons.faces import load_faces
from metaface_lessons.faces.normalisation import clahe, normalised
from metaface_lessons.learners.baselines import FixedFeatures, baselines, brightness, lbp, lda, pixels, pretrained
from metaface_lessons.learners.protonet import ProtoNet
from tests.helpers import lit_faces, random_faces


def test_a_baseline_after_a_normalisation_is_the_baseline_on_normalised_faces() -> None:
    faces, twin = lit_faces(), normalised(lit_faces(), "CLAHE")
    pairs = [
        (pixels(clahe), pixels()),
        (lbp(clahe), lbp()),
        (lda(faces, 10, normalise=clahe), lda(twin, 10)),
    ]
    for inside, outside in pairs:
        one = evaluate({"": inside}, EpisodeSampler(faces, 5, 1, 2, seed=1), 20)[""]
        other = evaluate({"": outside}, EpisodeSampler(twin, 5, 1, 2, seed=1), 20)[""]
        assert one.episodes.tolist() == other.episodes.tolist()


def test_baselines_recognise_what_they_can() -> None:
    split = random_faces(people=24, each=6).split((0.5, 0.2, 0.3))
    results = evaluate(baselines(split.base), EpisodeSampler(split.novel, 5, 2, 3), episodes=50)
    assert list(results) == ["pixels", "lbp", "lda"]
    assert results["pixels"].accuracy > 0.9  # the pattern is in the pixels …
    assert results["lda"].accuracy > 0.4
    assert all(0.15 < result.accuracy <= 1 for result in results.values())


def test_pixels_are_the_nearest_mean_of_standardised_images() -> None:
    faces = random_faces()
    episodes = EpisodeSampler(faces, 4, 2, 3).sample(6)
    logits = pixels().adapt(episodes.support).predict(episodes.query.x)

    def standard(x: torch.Tensor) -> np.ndarray:
        flat = x.flatten(2).double().numpy()
        return (flat - flat.mean(-1, keepdims=True)) / flat.std(-1, keepdims=True)

    support, query = standard(episodes.support.x), standard(episodes.query.x)
    mean = support.reshape(6, 4, 2, -1).mean(axis=2)
    wanted = -((query[:, :, None] - mean[:, None]) ** 2).sum(-1)
    assert np.allclose(logits.numpy(), wanted, rtol=1e-4)


def test_lbp_does_not_know_brightness_and_knows_texture() -> None:
    images = random_faces().images // 2
    assert torch.allclose(lbp().embedding(images), lbp().embedding(images + 40))
    assert not torch.allclose(lbp().embedding(images), lbp().embedding(images.flip(-1)))
    assert torch.allclose(lbp().embedding(images).square().sum(1), torch.tensor(64.0))  # a distribution in each cell


def test_lda_needs_several_images_of_a_person() -> None:
    with pytest.raises(MetaFaceError, match="more than one image"):
        lda(random_faces(people=8, each=1))


def test_lda_is_compared_in_its_stronger_way(sklearn_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(sklearn_data))
    split = load_faces("lfw").split(seed=0)
    own = lda(split.base)
    methods = {"own": own, "squared": ProtoNet(own.embedding, distance="squared")}
    found = evaluate(methods, EpisodeSampler(split.novel, 5, 1, 4), episodes=100)
    assert found["own"].accuracy > found["squared"].accuracy + 0.08


# -------------------------------------------------------------------------------------------- an embedding of one's own


NUMBER = count()


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module with this text into the current folder, and returns "module:embed"."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def write(text: str) -> str:
        name = f"mine_{next(NUMBER)}"  # a module that was imported once is not read again
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return f"{name}:embed"

    return write


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def embed(:", r"cannot be loaded: SyntaxError"),
        (
            "open('no-weights.pt')",
            r"cannot be loaded: FileNotFoundError: .*no-weights.* \(line 1 of .*mine_\d+.py\)",
        ),
        ("raise ConnectionError('no network')", "cannot be loaded: ConnectionError: no network"),
        ("import sys; sys.exit(3)", "cannot be loaded: SystemExit: 3"),
        ("1 / 0", "cannot be loaded: ZeroDivisionError"),
        ("import torch; torch.nothing", "cannot be loaded: AttributeError: module 'torch'"),
        ("import no_such_library", "cannot be loaded: it imports 'no_such_library', which is not installed"),
        (
            "def other(x): pass",
            r"There is no embedding 'mine_\d+:embed', because module 'mine_\d+' has no attribute 'embed'",
        ),
        ("embed = 3", r"'mine_\d+:embed' is not a function, but int"),
    ],
)
def test_an_embedding_that_cannot_be_loaded_says_why(mine: Callable[[str], str], text: str, said: str) -> None:
    place = mine(text)
    with pytest.raises(MetaFaceError, match=said):
        pretrained(place)


@pytest.mark.parametrize("place", ["nowhere:embed", "mine", "mine:", ":embed", "no.where:embed"])
def test_an_embedding_that_is_not_there_says_what_is_expected(place: str) -> None:
    with pytest.raises(MetaFaceError, match=r"There is no embedding .*Expected 'module:function'"):
        pretrained(place)


NET = """
import torch
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Flatten(), nn.Linear(256, 32), {}, nn.Linear(32, 8)){}
def embed(x):
    with torch.no_grad():
        return net(x.float() / 255)
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (NET.format("nn.BatchNorm1d(32)", ".train()"), "an image alone another embedding than in a batch, or none"),
        (NET.format("nn.Dropout(0.5)", ".train()"), "other embeddings in each call"),
        (NET.format("nn.GroupNorm(4, 32)", ".train()"), None),
        (NET.format("nn.BatchNorm1d(32)", ".eval()"), None),
        ("def embed(x): return (x.float() - x.float().mean(0)).flatten(1)", "an image alone another embedding"),
        ("def embed(x): return (x.float().flatten(1) + x[:1].float().flatten(1))", "in another order"),
    ],
)
def test_an_embedding_that_depends_on_its_company_is_warned_of_once(
    mine: Callable[[str], str], text: str, said: str | None
) -> None:
    net, images = pretrained(mine(text)), random_faces().images
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net.embedding(images[:20])
        net.embedding(images[20:40])
    assert [said in str(warning.message) for warning in caught] == ([True] if said else [])


def test_features_of_python_are_held_to_the_same_and_the_course_own_are_silent() -> None:
    images, net = random_faces(size=32).images, torch.nn.BatchNorm2d(1)
    with pytest.warns(UserWarning, match="The embedding gives an image alone another"):
        FixedFeatures(lambda x: net(x.float()).flatten(1).detach().numpy())(images)
    for baseline in (pixels(), lbp(), brightness(), lda(random_faces(size=32), 10)):
        assert len(baseline.embedding(images)) == len(images)  # a warning would be an error here


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ("exit(3)", "SystemExit: 3"),
        ("x.float().flatten(1).to(torch.complex64)", "embeddings of torch.complex64"),
        ("torch.zeros(len(x), 0)", r"but returned \[40, 0\]"),
        ("torch.full((len(x), 2), float('nan'))", "with NaN or infinite values"),
    ],
)
def test_what_is_not_an_embedding_is_refused(mine: Callable[[str], str], result: str, said: str) -> None:
    net = pretrained(mine(f"import torch\ndef embed(x):\n    return {result}"))
    with pytest.raises(MetaFaceError, match=said):
        net.embedding(random_faces().images[:40])


def test_an_embedding_may_have_half_the_precision_and_print(
    mine: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = "print('loaded')\ndef embed(x):\n    print('called')\n    return x.float().flatten(1)[:, :50].bfloat16()"
    images = random_faces().images[:4]
    assert torch.allclose(pretrained(mine(text)).embedding(images), images.float().flatten(1)[:, :50])
    shown = capsys.readouterr()
    assert shown.out == "", "stdout is for results, such as those of --json"
    assert "loaded" in shown.err
    assert "called" in shown.err
