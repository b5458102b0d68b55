"""Makes a fresh learner from its settings, and what draws its training episodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from ..augmentation import Augment, Augmented
from ..episodes import EpisodeSampler, Sampler, repeat_images
from ..errors import MetaFaceError, unknown
from ..faces import FaceSet
from ..learners.base import MetaLearner
from ..learners.implicit_maml import ImplicitMAML
from ..learners.learn2learn_maml import Learn2LearnMAML
from ..learners.maml import MAML
from ..learners.maml_plus_plus import MAMLPlusPlus
from ..learners.margin import Margin
from ..learners.nca import NCA
from ..learners.pretraining import Pretraining
from ..learners.protomaml import ProtoMAML
from ..learners.protonet import ProtoNet
from ..learners.reptile import Reptile
from ..networks import Classifier, Conv4, LinearEmbedding
from .recipes import Settings

Shape = tuple[int, int, int]  # of an image: channels, height, width
Maker = Callable[[Settings, Shape, Tensor | None], MetaLearner]


def _embedding(settings: Settings, shape: Shape, norm: str = "batch") -> Conv4:
    channels, height, _ = shape
    return Conv4(channels, height, settings.width, norm=norm, seed=settings.seed)


def _augment(settings: Settings) -> Augment:
    return Augment(seed=settings.seed, strength=1.0 if settings.augmentation is None else settings.augmentation)


def _pretrain(settings: Settings, shape: Shape, people: Tensor | None) -> MetaLearner:
    if people is None:
        raise MetaFaceError("Pre-training learns to tell the base people apart. Give their numbers, `people`.")
    embedding = _embedding(settings, shape)
    fitting: dict[str, Any] = {"steps": settings.test_steps, "inner_rate": settings.inner_rate}
    return Pretraining(embedding, embedding.features, people, augment=_augment(settings), **fitting)


def _margin(settings: Settings, shape: Shape, people: Tensor | None) -> MetaLearner:
    if people is None:
        raise MetaFaceError("A margin loss learns to tell the base people apart. Give their numbers, `people`.")
    embedding = LinearEmbedding(_embedding(settings, shape), seed=settings.seed)
    augment = _augment(settings)
    loss: dict[str, Any] = {"kind": settings.learner, "scale": settings.scale, "margin": settings.margin}
    return Margin(embedding, embedding.features, people, augment=augment, seed=settings.seed, **loss)


def _protonet(settings: Settings, shape: Shape, people: Tensor | None) -> MetaLearner:
    embedding, augment = _embedding(settings, shape), _augment(settings)
    return ProtoNet(embedding, temperature=cast(float, settings.temperature), augment=augment, in_turn=True)


def _nca(settings: Settings, shape: Shape, people: Tensor | None) -> MetaLearner:
    embedding, augment = _embedding(settings, shape), _augment(settings)
    return NCA(embedding, temperature=cast(float, settings.temperature), augment=augment)


def _classifier(settings: Settings, shape: Shape) -> Classifier:
    embedding = _embedding(settings, shape, norm="task")
    classifier = Classifier(embedding, embedding.features, settings.ways)
    for parameter in classifier.head.parameters():  # labels are random, so the start must not prefer one
        torch.nn.init.zeros_(parameter)
    return classifier


def _inner_loop(settings: Settings) -> dict[str, Any]:
    return {"steps": settings.inner_steps, "test_steps": settings.test_steps, "inner_rate": settings.inner_rate}


def _maml(settings: Settings, shape: Shape, people: Tensor | None) -> MetaLearner:
    return MAML(
        _classifier(settings, shape),
        rates="parameter" if settings.learner == "metasgd" else "layer",
        first_order=settings.learner == "fomaml",
        adapt="head" if settings.learner == "anil" else "all",
        memory=settings.memory or "all",
        **_inner_loop(settings),
    )


def _maml_plus_plus(settings: Settings, shape: Shape, people: Tensor | None) -> MetaLearner:
    return MAMLPlusPlus(
        _classifier(settings, shape),
        rates="step" if settings.step_rates else "layer",
        step_affine=bool(settings.step_affine),
        step_statistics=bool(settings.step_statistics),
        multi_step=settings.multi_step or 0,
        first_order_steps=settings.first_order_steps or 0,
        cosine_steps=settings.cosine_steps or 0,
        **_inner_loop(settings),
    )


def _imaml(settings: Settings, shape: Shape, people: Tensor | None) -> MetaLearner:
    solving: dict[str, Any] = {"proximal": settings.proximal, "cg_steps": settings.cg_steps}
    return ImplicitMAML(_classifier(settings, shape), **_inner_loop(settings), **solving)


def _protomaml(settings: Settings, shape: Shape, people: Tensor | None) -> MetaLearner:
    embedding = _embedding(settings, shape, norm="task")
    how: dict[str, Any] = {"temperature": settings.temperature, "memory": settings.memory or "all"}
    return ProtoMAML(embedding, embedding.features, rates="layer", **how, **_inner_loop(settings))


def _learn2learn(settings: Settings, shape: Shape, people: Tensor | None) -> MetaLearner:
    try:
        return Learn2LearnMAML(_classifier(settings, shape), **_inner_loop(settings))
    except ImportError as error:
        raise MetaFaceError(str(error)) from error


def _reptile(settings: Settings, shape: Shape, people: Tensor | None) -> MetaLearner:
    return Reptile(_classifier(settings, shape), optimiser="sgd", seed=settings.seed, **_inner_loop(settings))


LEARNERS: dict[str, Maker] = {
    "pretrain": _pretrain,
    "arcface": _margin,
    "cosface": _margin,
    "protonet": _protonet,
    "nca": _nca,
    "maml": _maml,
    "learn2learn": _learn2learn,
    "fomaml": _maml,
    "anil": _maml,
    "metasgd": _maml,
    "maml++": _maml_plus_plus,
    "imaml": _imaml,
    "protomaml": _protomaml,
    "reptile": _reptile,
}


def make_learner(settings: Settings, shape: Shape, people: Tensor | None = None) -> MetaLearner:
    """A fresh meta-learner.

    settings: of its training; `settings.learner` is a key of `LEARNERS`.
    shape: of an image: channels, height, width.
    people: the base people's numbers, int64 `[I]`; only pre-training and margin losses need them. None.
    Raises `MetaFaceError` if the learner does not exist, if `people` is missing, or if a library is missing.
    """
    if settings.learner not in LEARNERS:
        raise unknown("learner", settings.learner, LEARNERS)
    learner = LEARNERS[settings.learner](settings, shape, people)
    learner.weight_decay = settings.weight_decay or 0.0
    return learner


def training_sampler(settings: Settings, base: FaceSet) -> Sampler:
    """Draws the episodes of a training. Those of an inner loop are augmented here, others by their learner.

    settings: of the training.
    base: the people to train on.
    Raises `MetaFaceError` if there are too few people, or too few images of each.
    """
    if settings.fewest is not None:
        base = repeat_images(base, settings.shots + settings.queries, settings.fewest)
    sampler = EpisodeSampler(base, settings.ways, settings.shots, settings.queries, seed=settings.seed)
    return sampler if settings.inner_steps is None else Augmented(sampler, Augment(seed=settings.seed))
