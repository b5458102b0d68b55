"""What training on some domains is worth on one that it never saw; how much of it is the face; what helps.

    metaface experiment domains --cufs FOLDER

writes data/results/domains.json, which lesson 08 reads. Every seed draws new people, who are shown in six domains, in
grey, 32×32. All trainings are of the same ProtoNet, with as many images, updates and ways. Each is measured on novel
people, with support and query from every pair of domains, on the same episodes. They differ in (see `Training`)

    domains   one domain; all six; or all but one (of `LEFT_OUT`), which is then the domain that was never seen
    kind      of several domains: pooled (episodes that take no notice of them), within (each episode in one domain),
              across (support of one, query of another), and leave one out (MLDG, in second order). MLDG's α and β are
              chosen on people of a seed of its own, in domains that are not among those reported as left out.
    shown     the whole picture, or a control that is trained like it: the outline (the silhouette), the background
              (the scene without anybody), the brightness (a bar), the middle of the face (a window that hides outline,
              hair and background); or the whole picture in colour, equalised, or augmented.

Also: a network of photos that goes on learning from a few people of another domain (`FEW`), and hubs (`hubs`), which
say why photo → sketch is not as hard as sketch → photo. Some trainings go to real faces, if these are there: LFW
(scikit-learn's cache), and CUFS's student part, photos and sketches of 188 people (--cufs).

Every training, and what it finds, is a part in runs/domains, and is not repeated. Rendered faces are in the cache.

The stored result. "scores" are those of an `Estimate` or a `Difference`, over people and over seeds:

    size, width, steps, training_images, episodes, people    of the experiment
    choice         of MLDG: `selection.Choice.scores`, and the "inner_rate" and "weight" that it comes to
    baselines      method → "matrix": "photo, sketch" (support, query) → scores; "seeds": "photo, photo" → the accuracy
                   of every seed, in %
    trainings      `Training.name` → the same, "seconds" of one core, and of training on several domains "alignment":
                   the cosine of two domains' gradients on people held out, of pairs that were "seen" in training or not
    few            "fine-tuned" (photos, then a few people of the domain) or "alone" (these few) → domain → scores
    paired         training → what it is compared with → "photo, sketch" → the scores of the difference; also in all
                   pairs "within" a domain together, and in all "across" two
    left_out       kind → other kind → domain that was left out, or "all" → the scores of the difference in that domain
    alignment      kind → other kind → the difference of their cosines "seen" and "unseen", mean of all `LEFT_OUT`
    hubs           method → "photo, sketch" → "as they are", "centred", "scaled" → `hubs`, each mean and half interval;
                   "behind": how much more accurate the opposite direction is; "gain" and "taken": how much is gained
                   in accuracy, and taken from "behind", by the change
    lfw, cufs      training or baseline → scores; of CUFS by "photo, sketch" and what a control leaves, with rank1, and
                   the scores of the control's difference "minus whole"
    real_paired    training → other → "lfw", or "photo, sketch" of CUFS → the scores of the difference
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..augmentation import Augment
from ..episodes import DOMAIN_KINDS, DomainSampler, EpisodeSampler, Sampler
from ..errors import MetaFaceError
from ..evaluation import (
    Difference,
    Estimate,
    Evaluation,
    evaluate,
    expected_accuracy,
    from_json,
    join,
    paired,
    people_interval,
    student_t,
    to_json,
)
from ..evaluation import over_seeds as over_trainings
from ..faces import FaceSet, Split, load_faces
from ..faces.controls import MIDDLE, brightness_bar, ellipse, inside_only, outside_only
from ..faces.normalisation import equalise
from ..faces.procedural import DOMAINS, nuisance_seed, render_with_mask, sample_identities, sample_nuisance, version
from ..faces.procedural import cache as disk
from ..learners.base import Adapts
from ..learners.baselines import FixedFeatures, brightness, lbp, lda, pixels
from ..learners.mldg import MLDG
from ..learners.protonet import ProtoNet
from ..networks import Conv4
from ..paths import cache_dir
from ..runs.recipes import FRACTIONS
from ..selection import Choice, choose
from ..training import meta_train
from . import stored

FILE = stored.RESULTS / "domains.json"
COMMAND = "metaface experiment domains"
PEOPLE, IMAGES, SIZE, WIDTH, STEPS, RATE = 300, 8, 32, 32, 200, 3e-3
TRAIN, TASKS = (10, 1, 4), 2  # ways, shots, queries of a training episode; episodes in a step
WAYS, SHOTS, QUERIES, EPISODES = 5, 1, 4, 200
FEW, FEW_STEPS, FEW_RATE, ALONE_STEPS = 20, 50, 1e-3, 100  # people of another domain; steps from photos, from nothing
LEFT_OUT = ("sketch", "near-infrared", "thermal")  # each of them in turn
CHOICE_SEED, CHOICE_DOMAINS = 1000, ("low-resolution", "edges")  # nobody and nothing that is left out above
CHOICES = {
    f"α = {rate:g}, β = {weight:g}": {"inner_rate": rate, "weight": weight}
    for rate in (0.01, 0.1, 1.0)
    for weight in (1.0, 0.1)
}
CONTROLS = ("outline", "middle", "background", "brightness")
REAL = {"whole": lambda x: x, "hair and outline only": outside_only, "inner face only": inside_only}


# ----------------------------------------------------------------------------------------------------------- trainings

MLDG_KIND = "leave one out"
KINDS = ("pooled", *DOMAIN_KINDS)  # how one learns from several domains


@dataclass(frozen=True)
class Training:
    """What a network learns from.

    domains: one domain, or several.
    kind: "plain" for one domain; one of `KINDS` for several.
    shown: "whole", one of `CONTROLS`, "colour", "equalised" or "augmented".
    """

    domains: tuple[str, ...]
    kind: str
    shown: str = "whole"

    @property
    def name(self) -> str:
        """How the stored result calls it: "photo: plain", "photo: plain, outline", "not sketch: pooled"."""
        left_out = " or ".join(domain for domain in DOMAINS if domain not in self.domains)
        several = f"not {left_out}" if left_out else "all"
        where = several if len(self.domains) > 1 else self.domains[0]
        return f"{where}: {self.kind}" + ("" if self.shown == "whole" else f", {self.shown}")


def others(domain: str) -> tuple[str, ...]:
    """All domains but this one."""
    return tuple(other for other in DOMAINS if other != domain)


def _trainings() -> tuple[Training, ...]:
    """All that are measured, in the order of their weight for the lesson: what ends first is measured first."""
    photo = ("photo",)
    return (
        *(Training((domain,), "plain", shown) for shown in ("whole", "outline") for domain in DOMAINS),
        *(Training(DOMAINS, "pooled", shown) for shown in ("whole", *CONTROLS)),
        *(Training(others(domain), kind) for kind in KINDS for domain in LEFT_OUT),
        *(Training(photo, "plain", shown) for shown in ("middle", "colour", "equalised", "augmented")),
        *(Training(DOMAINS, kind) for kind in ("within", "across", "leave one out")),
    )


TRAININGS = _trainings()
BASELINES = ("pixels", "lbp", "lda", "brightness")
REAL_TRAININGS = (
    *(Training((domain,), "plain").name for domain in ("photo", "sketch")),
    *(Training(DOMAINS, kind).name for kind in KINDS),
    *(Training(("photo",), "plain", shown).name for shown in ("equalised", "augmented")),
)


def jobs() -> list[str]:
    """All that is measured with every seed: baselines, trainings, and what a few pictures of a domain are worth."""
    return [*(training.name for training in TRAININGS), *BASELINES, "few"]


PAIRS = [f"{one}, {other}" for one, other in itertools.product(DOMAINS, repeat=2)]
WITHIN = [f"{domain}, {domain}" for domain in DOMAINS]


def comparisons() -> list[tuple[str, str, list[str]]]:
    """What lesson 08 holds against what: two trainings or baselines, and the pairs of domains in which."""
    everything, photo = Training(DOMAINS, "pooled").name, Training(("photo",), "plain").name
    found = [(everything, Training(DOMAINS, "pooled", shown).name, PAIRS) for shown in CONTROLS]
    found += [(photo, Training(("photo",), "plain", shown).name, PAIRS) for shown in ("outline", "middle")]
    for domain in others("photo"):
        plain = Training((domain,), "plain").name
        found += [(plain, Training((domain,), "plain", "outline").name, WITHIN)]
    found += [(Training(DOMAINS, kind).name, everything, WITHIN) for kind in ("within", "across", "leave one out")]
    found += [(Training(("photo",), "plain", shown).name, photo, WITHIN) for shown in ("equalised", "augmented")]
    found += [(Training(("photo",), "plain", "colour").name, photo, WITHIN)]
    return [*found, *((photo, baseline, WITHIN) for baseline in BASELINES)]


# --------------------------------------------------------------------------------------------------------------- faces


def _rendered(seed: int, domain: str) -> dict[str, Tensor]:
    """The people of this seed in a domain, uint8 `[M, C, SIZE, SIZE]`: "whole", "outline", "background", "colour".

    They are rendered once, and kept in the cache folder. Only photos have "colour".
    """
    file = cache_dir() / f"domains-{domain}-{PEOPLE}x{IMAGES}x{SIZE}-seed-{seed}.bin"
    recipe = {"people": PEOPLE, "images": IMAGES, "version": version()}
    kept = disk.load(file, recipe) if file.exists() else None
    if kept is not None:
        return kept
    who = torch.arange(PEOPLE).repeat_interleave(IMAGES)
    everyone, how = sample_identities(PEOPLE, seed), sample_nuisance(len(who), nuisance_seed(seed, domain))
    parts = [
        render_with_mask(everyone[who[rows]], how[rows], SIZE, domain=domain)
        for rows in torch.arange(len(who)).split(128)
    ]
    pictures, outlines, backgrounds = (torch.cat(column) for column in zip(*parts, strict=True))
    found = {"whole": _grey(pictures, who), "outline": outlines, "background": _grey(backgrounds, who)}
    if domain == "photo":
        found["colour"] = pictures
    disk.save(file, found, recipe)
    return found


def _grey(images: Tensor, who: Tensor) -> Tensor:
    return FaceSet(images, who).grey().images


def render(seed: int, domain: str) -> str:
    """Put the people of this seed into the cache. Returns the version of what made them, for the part."""
    _rendered(seed, domain)
    return version()


@cache
def _faces(seed: int, shown: str) -> FaceSet:
    domains = ("photo",) if shown == "colour" else DOMAINS
    kept = shown if shown in ("outline", "background", "colour") else "whole"
    images = torch.cat([_rendered(seed, domain)[kept] for domain in domains])
    if shown == "middle":
        images = inside_only(images, ellipse(SIZE, SIZE, MIDDLE))
    elif shown == "brightness":
        images = brightness_bar(images)
    elif shown == "equalised":
        images = equalise(images)
    each = PEOPLE * IMAGES
    return FaceSet(
        images,
        torch.arange(PEOPLE).repeat_interleave(IMAGES).repeat(len(domains)),
        {"domain": torch.arange(len(domains)).repeat_interleave(each)},
        {"domain": DOMAINS},
        tuple(f"seed {seed}, person {person}" for person in range(PEOPLE)),
        f"procedural, seed {seed}, {shown}",
        synthetic=True,
    )


def people(seed: int, shown: str = "whole") -> Split:
    """The people of this seed in all domains, divided. In colour there are only the photos.

    seed: its people are nobody else's.
    shown: see `Training`.
    """
    return _faces(seed, shown).split(FRACTIONS, seed=seed)


def small(faces: FaceSet) -> FaceSet:
    """The same faces, grey and of the size of the experiment."""
    return faces.grey().resized(SIZE)


# ------------------------------------------------------------------------------------------------------------- methods


def network(channels: int, seed: int, augment: bool = False) -> ProtoNet:
    """A fresh one for pictures of so many channels."""
    changes = Augment(gamma=1.0, shade=0.8, seed=seed) if augment else None
    return ProtoNet(Conv4(channels, SIZE, WIDTH, seed=seed), temperature=50, augment=changes, in_turn=True)


def train(
    base: FaceSet, training: Training, seed: int, inner_rate: float = 0.1, weight: float = 1.0
) -> tuple[ProtoNet, float]:
    """A trained network, and the seconds of one core that its training took.

    base: the people to learn from, in all its domains.
    seed: of weights and episodes.
    inner_rate, weight: α and β of MLDG.
    """
    net = network(base.shape[0], seed, training.shown == "augmented")
    sampler: Sampler
    if training.kind in ("plain", "pooled"):
        sampler = EpisodeSampler(base.select(base.where(domain=set(training.domains))), *TRAIN, seed=seed)
    else:
        sampler = DomainSampler(base, training.domains, *TRAIN, kind=training.kind, seed=seed)
    model = MLDG(net, inner_rate, weight) if training.kind == MLDG_KIND else net
    start = time.process_time()
    trained = _learn(model, sampler)
    return cast(ProtoNet, trained.net if isinstance(trained, MLDG) else trained), time.process_time() - start


def _learn(model: Any, sampler: Sampler, steps: int | None = None, rate: float = RATE) -> Any:
    steps = STEPS if steps is None else steps
    return meta_train(model, sampler, steps=steps, tasks=TASKS, rate=rate, halve_every=500, progress=False).whole()


def frozen(net: ProtoNet) -> ProtoNet:
    """The same learner, whose embedding is computed once for each image, however often that is drawn."""

    def embed(images: Tensor) -> Any:
        with torch.no_grad():
            return torch.cat([net.embedding(part) for part in images.split(256)]).numpy()

    return ProtoNet(FixedFeatures(embed), temperature=net.temperature)


# ------------------------------------------------------------------------------------------------- what is measured


def scored(method: Adapts, faces: FaceSet, seed: int, queries: int = QUERIES, **where: Any) -> dict[str, Any]:
    """An evaluation as JSON (`to_json`) of one method, called "it"."""
    return to_json(evaluate({"it": method}, EpisodeSampler(faces, WAYS, SHOTS, queries, seed, **where), EPISODES))


def _across(one: str, other: str) -> dict[str, Any]:
    return {"support_where": {"domain": one}, "query_where": {"domain": other}}


def matrix(method: Adapts, novel: FaceSet, seed: int) -> dict[str, Any]:
    """For every pair of support and query domain that is there: "photo, sketch" → `scored`."""
    there = [domain for domain in DOMAINS if novel.where(domain=domain).any()]
    pairs = itertools.product(there, repeat=2)
    return {f"{one}, {other}": scored(method, novel, seed, **_across(one, other)) for one, other in pairs}


def alignment(net: ProtoNet, faces: FaceSet, seed: int, episodes: int = 12) -> dict[str, float]:
    """Of two domains, the cosine between the gradients of their losses, over episodes of people held out: how far does
    a step for one also serve the other?"""
    gradients = {}
    for domain in DOMAINS:
        sampler = EpisodeSampler(faces, 5, SHOTS, QUERIES, seed, {"domain": domain}, {"domain": domain})
        loss, _ = net.loss(sampler.sample(episodes))
        parts = torch.autograd.grad(loss, list(net.parameters()))
        gradients[domain] = torch.cat([part.flatten() for part in parts])
    return {
        f"{one}, {other}": F.cosine_similarity(gradients[one], gradients[other], dim=0).item()
        for one, other in itertools.combinations(DOMAINS, 2)
    }


def hubs(method: ProtoNet, novel: FaceSet) -> dict[str, dict[str, dict[str, float]]]:
    """How a shift between support and query domain is felt, and what is left of it where it is taken away.

    One picture of each novel person is the support, every picture of the query domain is a query, and each of a
    person's pictures is the support in turn.

    Returns for every pair of domains, "as they are", "centred" (each domain's embeddings minus their mean) and "scaled"
    (centred, and divided by their mean length):

        accuracy   5-way 1-shot, over all episodes (`expected_accuracy`)
        skew       of how often each support is the nearest one: 0 if all are alike, large if there are hubs
        top        the share of queries whose nearest support is the one that is nearest most often
        spread     mean squared distance of the supports from their mean, divided by that of the queries
    """
    with torch.no_grad():
        points = {domain: method.embedding(novel.images[novel.where(domain=domain)]).double() for domain in DOMAINS}
    owner = {domain: novel.identity[novel.where(domain=domain)] for domain in DOMAINS}
    return {
        f"{one}, {other}": {
            name: _hub(change(points[one]), owner[one], change(points[other]), owner[other], one == other)
            for name, change in {"as they are": lambda x: x, "centred": _centred, "scaled": _scaled}.items()
        }
        for one, other in itertools.product(DOMAINS, repeat=2)
    }


def _centred(points: Tensor) -> Tensor:
    return points - points.mean(0)


def _scaled(points: Tensor) -> Tensor:
    return _centred(points) / _spread(points) ** 0.5


def _spread(points: Tensor) -> float:
    """The mean squared distance from their mean; not quite 0 where a network gives all pictures one place."""
    return max(_centred(points).square().sum(1).mean().item(), 1e-9)


def _hub(support: Tensor, known: Tensor, query: Tensor, asked: Tensor, same: bool) -> dict[str, float]:
    """One entry of `hubs`.

    support, query: points `[M, D]`.
    known, asked: who they show, `[M]`; of everybody as many pictures.
    same: whether both are the same pictures, so that a picture is not asked about itself.
    """
    everyone = known.unique()
    of = torch.stack([(known == person).nonzero().flatten() for person in everyone])  # [I, pictures]
    own = torch.searchsorted(everyone, asked)
    found = []
    for picture in of.T:  # one of everybody
        asks = picture[own] != torch.arange(len(own)) if same else torch.ones_like(own, dtype=torch.bool)
        distance, mine = torch.cdist(query[asks], support[picture]), own[asks]  # [Q, I]
        count = torch.bincount(distance.argmin(1), minlength=len(everyone)).double()
        nearer = (distance < distance.gather(1, mine[:, None])).sum(1).numpy()
        accuracy = expected_accuracy(nearer, len(everyone) - 1, WAYS)
        found.append((accuracy, _skewness(count), float(count.max() / count.sum())))
    accuracy, lopsided, top = (statistics.mean(values) for values in zip(*found, strict=True))
    return {"accuracy": accuracy, "skew": lopsided, "top": top, "spread": _spread(support) / _spread(query)}


def _skewness(values: Tensor) -> float:
    """The mean of the third powers of standardised values: 0 if they lie evenly about their mean."""
    away = values - values.mean()
    variance = away.square().mean()
    return 0.0 if variance == 0 else float(away.pow(3).mean() / variance**1.5)


def rank1(method: ProtoNet, gallery: Tensor, probes: Tensor) -> float:
    """The share of probes whose nearest image of the gallery is of the same person.

    gallery, probes: one image of each person, `[N, C, H, W]`, in the same order.
    """
    with torch.no_grad():
        known, asked = method.embed(gallery[None]), method.embed(probes[None])
    return (method.logits(asked, known)[0].argmax(1) == torch.arange(len(probes))).float().mean().item()


def on_cufs(method: ProtoNet, faces: FaceSet, seed: int) -> dict[str, Any]:
    """CUFS, from photo to sketch and back: rank 1 and episodes, of whole pictures and of what controls leave."""
    found: dict[str, Any] = {}
    for part, control in REAL.items():
        shown = replace(faces, images=control(faces.images))
        images = {domain: shown.images[shown.where(domain=domain)] for domain in ("photo", "sketch")}
        for one, other in itertools.permutations(images):
            found.setdefault(f"{one}, {other}", {})[part] = {
                **scored(method, shown, seed, queries=1, **_across(one, other)),
                "rank1": round(rank1(method, images[one], images[other]), 4),
            }
    return found


def baseline(name: str, base: FaceSet) -> ProtoNet:
    """One of `BASELINES`; LDA learns from the photos of these people."""
    if name == "lda":
        return lda(base.select(base.where(domain="photo")))
    return {"pixels": pixels, "lbp": lbp, "brightness": brightness}[name]()


# ----------------------------------------------------------------------------------------------------- parts, by seed


def measure_job(job: str, seed: int, inner_rate: float = 0.1, weight: float = 1.0) -> dict[str, Any]:
    """A training, a baseline or "few" with one seed; see the module. Every evaluation is `scored`.

    job: one of `jobs`.
    seed: of the people, of weights and of episodes.
    inner_rate, weight: α and β of MLDG.
    """
    if job == "few":
        return few(seed)
    training = {training.name: training for training in TRAININGS}.get(job)
    base, validation, novel = people(seed, training.shown if training else "whole")
    if training is None:
        method = baseline(job, base)
        return {"matrix": matrix(method, novel, seed)} | ({"hubs": hubs(method, novel)} if job == "pixels" else {})
    found: dict[str, Any] = {}
    net, found["seconds"] = train(base, training, seed, inner_rate, weight)
    method = frozen(net)
    if len(training.domains) > 1 and training.shown == "whole":
        found["alignment"] = alignment(net, validation, seed)
    found["matrix"] = matrix(method, novel, seed)
    if job in (Training(("photo",), "plain").name, Training(DOMAINS, "pooled").name):
        found["hubs"] = hubs(method, novel)
    if job in REAL_TRAININGS:
        found["weights"] = {name: _packed(values) for name, values in net.embedding.state_dict().items()}
    return found


def few(seed: int) -> dict[str, Any]:
    """A few people of a domain, `FEW`: after training on photos, and alone. By way and domain `scored` in that domain.

    seed: of the people, of weights and of episodes.
    """
    base, _, novel = people(seed)
    found: dict[str, Any] = {"fine-tuned": {}, "alone": {}}
    start, _ = train(base, Training(("photo",), "plain"), seed)
    for domain in others("photo"):
        pictures = base.select(base.where(domain=domain))
        pictures = pictures.of(pictures.identities[:FEW])
        for way in found:
            net = network(1, seed)
            if way == "fine-tuned":
                net.load_state_dict(start.state_dict())
            sampler = EpisodeSampler(pictures, *TRAIN, seed=seed)
            steps, rate = (FEW_STEPS, FEW_RATE) if way == "fine-tuned" else (ALONE_STEPS, RATE)
            tuned = frozen(_learn(net, sampler, steps, rate))
            found[way][domain] = scored(tuned, novel, seed, **_across(domain, domain))
    return found


def try_mldg(domain: str, inner_rate: float, weight: float) -> dict[str, Any]:
    """MLDG with this α and β, trained on all domains but one and asked in that one: `scored` on people who choose."""
    base, _, rest = people(CHOICE_SEED)
    net, _ = train(base, Training(others(domain), "leave one out"), CHOICE_SEED, inner_rate, weight)
    return scored(frozen(net), rest, CHOICE_SEED, **_across(domain, domain))


def _packed(values: Tensor) -> dict[str, Any]:
    text = b64encode(values.cpu().contiguous().numpy().tobytes()).decode()
    return {"shape": list(values.shape), "type": str(values.dtype).removeprefix("torch."), "values": text}


def _unpacked(kept: Mapping[str, Any]) -> Tensor:
    values = np.frombuffer(bytearray(b64decode(kept["values"])), kept["type"])
    return torch.from_numpy(values).view(kept["shape"])


def measure_real(job: str, seed: int, weights: Mapping[str, Any] | None, cufs: str | None) -> dict[str, Any]:
    """What a training or baseline finds in real faces, as far as they are there: "lfw" and "cufs".

    job: one of `REAL_TRAININGS` or `BASELINES`; or "lfw", a training on LFW's own base people.
    weights: of the training, as its part has them.
    cufs: the folder of the CUFS student set; None leaves it out.
    """
    real, _ = real_faces(cufs)
    split = real["lfw"].split(FRACTIONS, seed=seed) if "lfw" in real else None
    if job in BASELINES:
        method = baseline(job, people(seed).base)
    elif job == "lfw":
        if split is None:
            return {}
        net = network(1, seed)
        method = frozen(_learn(net, EpisodeSampler(split.base, *TRAIN, seed=seed)))
    else:
        net = network(1, seed)
        net.embedding.load_state_dict({name: _unpacked(kept) for name, kept in (weights or {}).items()})
        shown = {training.name: training.shown for training in TRAININGS}[job]
        method = frozen(net.eval())
        if shown == "equalised":
            real = {name: replace(faces, images=equalise(faces.images)) for name, faces in real.items()}
            split = real["lfw"].split(FRACTIONS, seed=seed) if "lfw" in real else None
    found: dict[str, Any] = {}
    if split is not None:
        found["lfw"] = scored(method, split.novel, seed)
    if "cufs" in real:
        found["cufs"] = on_cufs(method, real["cufs"], seed)
    return found


# ------------------------------------------------------------------------------------------------- what is made of it


def estimate(evaluations: Sequence[Evaluation]) -> Estimate:
    """The mean accuracy of the trainings of several seeds, each with people of its own."""
    means = [evaluation.accuracy for evaluation in evaluations]
    return Estimate(
        statistics.mean(means),
        over_people=people_interval([(evaluation.episodes, evaluation) for evaluation in evaluations]),
        over_seeds=student_t(means) if len(means) > 1 else None,
    )


def _each(evaluations: Sequence[Evaluation]) -> str:
    """The accuracies of the seeds, in %, as one line."""
    return " ".join(f"{100 * evaluation.accuracy:.2f}" for evaluation in evaluations)


def _read(found: Any) -> Any:
    """What a part found, with evaluations in the place of their JSON."""
    if not isinstance(found, dict):
        return found
    if "right" in found:
        return from_json(found)["it"]
    return {key: _read(value) for key, value in found.items() if key != "weights"}


def _mean(found: Sequence[Any]) -> Any:
    """Of the same numbers of several seeds: the mean, and half its 95% interval."""
    if isinstance(found[0], Mapping):
        return {key: _mean([one[key] for one in found]) for key in found[0]}
    return [round(value, 4) for value in (statistics.mean(found), student_t(found) if len(found) > 1 else 0.0)]


def _hubs(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The means of `hubs` over seeds, with "behind", "gain" and "taken"; see the module."""
    result: dict[str, Any] = _mean(found)

    def accuracy(pair: str, change: str) -> NDArray[np.float64]:
        return np.array([one[pair][change]["accuracy"] for one in found])

    def behind(pair: str, change: str) -> NDArray[np.float64]:
        return accuracy(", ".join(reversed(pair.split(", "))), change) - accuracy(pair, change)

    for pair, changes in result.items():
        for change in changes:
            changes[change] |= {
                "behind": _mean(behind(pair, change).tolist()),
                "gain": _mean((accuracy(pair, change) - accuracy(pair, "as they are")).tolist()),
                "taken": _mean((behind(pair, "as they are") - behind(pair, change)).tolist()),
            }
    return result


def _matrix(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of a training or baseline: scores and each seed's accuracies, by pair of domains."""
    by_pair = {pair: [one["matrix"][pair] for one in found] for pair in found[0]["matrix"]}
    return {
        "matrix": {pair: estimate(several).scores() for pair, several in by_pair.items()},
        "seeds": {pair: _each(by_pair[pair]) for pair in WITHIN if pair in by_pair},
    }


def _difference(ours: Sequence[Evaluation], theirs: Sequence[Evaluation]) -> dict[str, Any]:
    return paired(ours, theirs, shared=False).scores()


Matrices = Sequence[Mapping[str, Evaluation]]  # by pair of domains, one of each seed


def _compared(ours: Matrices, theirs: Matrices, pairs: Sequence[str]) -> dict[str, Any]:
    """The differences in these pairs of domains, in all pairs "within" a domain together, and in all "across" two."""
    found = {
        pair: _difference([one[pair] for one in ours], [one[pair] for one in theirs])
        for pair in pairs
        if pair in ours[0]
    }
    groups = {"within": WITHIN, "across": [pair for pair in PAIRS if pair not in WITHIN]}
    if all(pair in ours[0] for pair in PAIRS):
        for name, group in groups.items():
            joined = ([join([one[pair] for pair in group]) for one in of] for of in (ours, theirs))
            found[name] = _difference(*joined)
    return found


def _aligned(training: Training, found: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Each seed's mean cosine: of pairs "seen" in training, and of those with another domain."""
    seen = set(training.domains)
    groups: dict[str, list[float]] = {}
    for one in found:
        for group, inside in (("seen", True), ("unseen", False)):
            values = [cosine for pair, cosine in one["alignment"].items() if (set(pair.split(", ")) <= seen) == inside]
            if values:
                groups.setdefault(group, []).append(statistics.mean(values))
    return groups


def _aligned_more(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """By kind, by other kind: how much larger the cosine is, "seen" and "unseen"; the mean of all `LEFT_OUT`."""

    def cosines(kind: str, group: str) -> list[float]:
        trainings = [Training(others(domain), kind) for domain in LEFT_OUT]
        several = [_aligned(training, found[training.name])[group] for training in trainings]
        return [statistics.mean(of_seed) for of_seed in zip(*several, strict=True)]

    def more(kind: str, other: str, group: str) -> list[float]:
        pairs = zip(cosines(kind, group), cosines(other, group), strict=True)
        return _mean([ours - theirs for ours, theirs in pairs])

    return {
        MLDG_KIND: {
            other: {group: more(MLDG_KIND, other, group) for group in ("seen", "unseen")}
            for other in ("pooled", "within", "across")
        }
    }


def _left_out(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """By kind, by other kind: the difference in the domain that was left out, of each and of all together."""

    def in_unseen(kind: str, domain: str) -> list[Evaluation]:
        """In the domain, of every seed, after training on the others, or on photos alone, or on itself."""
        name = {"photos alone": Training(("photo",), "plain").name, "itself": Training((domain,), "plain").name}
        job = name.get(kind, Training(others(domain), kind).name)
        return [one["matrix"][f"{domain}, {domain}"] for one in found[job]]

    pairs = [("leave one out", other) for other in ("pooled", "within", "across")]
    pairs += [("within", "pooled"), ("across", "pooled"), ("itself", "pooled")]
    pairs += [(kind, "photos alone") for kind in KINDS]
    result: dict[str, Any] = {}
    for kind, other in pairs:
        ours, theirs = ({domain: in_unseen(name, domain) for domain in LEFT_OUT} for name in (kind, other))
        result.setdefault(kind, {})[other] = {
            **{domain: _difference(ours[domain], theirs[domain]) for domain in LEFT_OUT},
            "all": _difference(
                *([join(several) for several in zip(*of.values(), strict=True)] for of in (ours, theirs))
            ),
        }
    return result


def _on_real(found: Mapping[str, Sequence[Mapping[str, Any]]], share: float | None) -> dict[str, Any]:
    """Scores and differences on real faces.

    share: LFW's people are divided again by every seed, and there are so many of a test for each one of training. On
        CUFS nothing is divided: every seed is tested on all people, and learned from people of its own.
    """

    def scores(several: Sequence[Evaluation]) -> dict[str, Any]:
        means = [one.accuracy for one in several]
        half = over_trainings(means, shared=True, test_share=share).over_seeds if len(means) > 1 else None
        of_people = people_interval([(one.episodes, one) for one in several])
        return Estimate(statistics.mean(means), over_people=of_people, over_seeds=half).scores()

    result: dict[str, Any] = {}
    everything = Training(DOMAINS, "pooled").name
    against = [(name, "pixels") for name in REAL_TRAININGS]
    against += [(everything, other) for other in ("lbp", "lda", "lfw")]
    against += [(name, Training(("photo",), "plain").name) for name in REAL_TRAININGS[1:]]
    against += [(name, everything) for name in REAL_TRAININGS if name.startswith("all") and name != everything]
    lfw = {job: [one["lfw"] for one in several] for job, several in found.items() if "lfw" in several[0]}
    if lfw:
        result["lfw"] = {job: scores(several) for job, several in lfw.items()}
        for one, other in against:
            result.setdefault("real_paired", {}).setdefault(one, {}).setdefault(other, {})["lfw"] = paired(
                lfw[one], lfw[other], shared=True, test_share=share
            ).scores()
    cufs = {job: [one["cufs"] for one in several] for job, several in found.items() if "cufs" in several[0]}
    if cufs:

        def seen(job: str, way: str, part: str) -> list[Evaluation]:
            return [one[way][part]["it"] for one in cufs[job]]

        result["cufs"] = {
            job: {
                way: {
                    part: estimate(seen(job, way, part)).scores()
                    | {"rank1": round(statistics.mean(one[way][part]["rank1"] for one in several), 4)}
                    | (
                        {}
                        if part == "whole"
                        else {"minus whole": _difference(seen(job, way, part), seen(job, way, "whole"))}
                    )
                    for part in REAL
                }
                for way in several[0]
            }
            for job, several in cufs.items()
        }
        for one, other in ((one, other) for one, other in against if "lfw" not in (one, other)):
            for way in cufs[one][0]:
                result.setdefault("real_paired", {}).setdefault(one, {}).setdefault(other, {})[way] = _difference(
                    seen(one, way, "whole"), seen(other, way, "whole")
                )
    return result


def _read_real(found: Mapping[str, Any]) -> dict[str, Any]:
    """What `measure_real` found, with evaluations in the place of their JSON."""
    read: dict[str, Any] = {}
    if "lfw" in found:
        read["lfw"] = from_json(found["lfw"])["it"]
    if "cufs" in found:
        read["cufs"] = {
            way: {part: {"it": from_json(one)["it"], "rank1": one["rank1"]} for part, one in by_part.items()}
            for way, by_part in found["cufs"].items()
        }
    return read


def _part(job: str, seed: int) -> str:
    return f"{job.replace(': ', '-').replace(', ', '-').replace(' ', '-')}-{seed}"


def _wanted(which: Sequence[str], seeds: Sequence[int], **rates: float) -> dict[str, Callable[[], Any]]:
    """By part what measures it: these jobs with every seed."""
    return {_part(job, seed): partial(measure_job, job, seed, **rates) for job in which for seed in seeds}


def parts(**of: Any) -> stored.Parts:
    """Where finished parts are kept: those that were measured with the same settings.

    of: settings of these parts alone.
    """
    usual = {"people": PEOPLE, "images": IMAGES, "steps": STEPS, "episodes": EPISODES, "size": SIZE, "width": WIDTH}
    return stored.Parts("domains", usual | of)


def choice(jobs: int = 1) -> tuple[Choice, dict[str, float]]:
    """MLDG's α and β on people who are not reported: all that were tried, and the best.

    jobs: processes side by side.
    """
    tried = parts().all(
        {
            f"choice-{domain}-{rate['inner_rate']:g}-{rate['weight']:g}": partial(try_mldg, domain, **rate)
            for rate in CHOICES.values()
            for domain in CHOICE_DOMAINS
        },
        jobs,
        "choose α and β",
    )

    def score(rate: Mapping[str, float]) -> Evaluation:
        names = [f"choice-{domain}-{rate['inner_rate']:g}-{rate['weight']:g}" for domain in CHOICE_DOMAINS]
        return join([from_json(tried[name])["it"] for name in names])

    found = choose(CHOICES, score)
    return found, CHOICES[found.best]


def measure(seeds: Sequence[int], cufs: str | None = None, processes: int = 1) -> dict[str, Any]:
    """All seeds, and what they come to; see the module. Finished parts in runs/domains are not measured again.

    seeds: at least one; each has people of its own.
    cufs: the folder of the CUFS student set; None leaves it out.
    processes: processes side by side.
    """
    everyone = [CHOICE_SEED, *seeds]
    faces = {f"faces-{domain}-{seed}": partial(render, seed, domain) for seed in everyone for domain in DOMAINS}
    in_cache = stored.Parts(
        "domains", {"version": version(), "people": PEOPLE}, cache_dir()
    )  # beside the faces themselves
    in_cache.all(faces, processes, "render faces")
    kept = parts().all(_wanted([job for job in jobs() if not job.endswith(MLDG_KIND)], seeds), processes, "train")
    chosen, rates = choice(processes)
    moved = _wanted([job for job in jobs() if job.endswith(MLDG_KIND)], seeds, **rates)
    kept |= parts(mldg=rates).all(moved, processes, "leave one domain out")
    found = {job: [_read(kept[_part(job, seed)]) for seed in seeds] for job in jobs()}
    by_name = {training.name: training for training in TRAININGS}
    split = people(seeds[0])

    differences: dict[str, Any] = {}
    for one, other, pairs in comparisons():
        ours, theirs = ([of["matrix"] for of in found[job]] for job in (one, other))
        differences.setdefault(one, {})[other] = _compared(ours, theirs, pairs)
    result = {
        "size": SIZE,
        "width": WIDTH,
        "steps": STEPS,
        "training_images": STEPS * TASKS * TRAIN[0] * (TRAIN[1] + TRAIN[2]),
        "episodes": EPISODES,
        "people": {name: len(part.identities) for name, part in zip(Split._fields, split, strict=True)},
        "choice": chosen.scores() | rates,
        "baselines": {job: _matrix(found[job]) for job in BASELINES},
        "trainings": {
            job: {"seconds": round(statistics.mean(one["seconds"] for one in found[job]), 1)}
            | (
                {"alignment": {group: _mean(values) for group, values in _aligned(training, found[job]).items()}}
                if "alignment" in found[job][0]
                else {}
            )
            | _matrix(found[job])
            for job, training in by_name.items()
        },
        "few": {
            way: {
                domain: estimate([one[way][domain] for one in found["few"]]).scores()
                | {
                    "minus photos alone": _difference(
                        [one[way][domain] for one in found["few"]],
                        [one["matrix"][f"{domain}, {domain}"] for one in found[Training(("photo",), "plain").name]],
                    )
                }
                for domain in others("photo")
            }
            for way in ("fine-tuned", "alone")
        },
        "paired": differences,
        "left_out": _left_out(found),
        "alignment": _aligned_more(found),
        "hubs": {job: _hubs([one["hubs"] for one in found[job]]) for job in jobs() if "hubs" in found[job][0]},
    }
    return result | _real(kept, seeds, cufs, processes)


def _real(kept: Mapping[str, Any], seeds: Sequence[int], cufs: str | None, processes: int) -> dict[str, Any]:
    """What the trainings and baselines find in real faces, if these are there; see the module."""
    real, _ = real_faces(cufs)
    if not real:
        return {}
    wanted = {
        f"real-{_part(job, seed)}": partial(
            measure_real, job, seed, kept[_part(job, seed)]["weights"] if job in REAL_TRAININGS else None, cufs
        )
        for job in (*REAL_TRAININGS, *BASELINES, *(["lfw"] if "lfw" in real else []))
        for seed in seeds
    }
    done = parts(real={name: len(faces) for name, faces in real.items()}).all(wanted, processes, "real faces")
    found: dict[str, list[dict[str, Any]]] = {}
    for job in (*REAL_TRAININGS, *BASELINES, *(["lfw"] if "lfw" in real else [])):
        found[job] = [_read_real(done[f"real-{_part(job, seed)}"]) for seed in seeds]
    share = None
    if "lfw" in real:
        split = real["lfw"].split(FRACTIONS, seed=seeds[0])
        share = len(split.novel.identities) / len(split.base.identities)
    return _on_real(found, share)


# ------------------------------------------------------------------------------------------------------------- command


def load() -> dict[str, Any]:
    """The stored result. Raises `MetaFaceError` if it is missing or damaged."""
    return stored.load(FILE, COMMAND)


def real_faces(cufs: str | None) -> tuple[dict[str, FaceSet], list[str]]:
    """The real faces that are there, small and grey; and what is said of those that are not.

    cufs: the folder of the CUFS student set; None leaves it out.
    """
    found, missing = {}, []
    for name, source in {"lfw": "lfw", **({"cufs": f"cufs:{cufs}"} if cufs else {})}.items():
        try:
            found[name] = small(load_faces(source))
        except MetaFaceError as error:
            missing.append(f"{name}: {error}")
    return found, missing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Seeds, processes, and where CUFS is."""
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--cufs", metavar="FOLDER", help="of the CUFS student set")
    stored.add_jobs(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measure, store and print. Raises `MetaFaceError` at the end, if real faces were missing."""
    torch.set_num_threads(1)
    real, missing = real_faces(arguments.cufs)
    found = measure(arguments.seeds, arguments.cufs, arguments.jobs)
    seeds = " ".join(map(str, arguments.seeds))
    stored.store(FILE, f"{COMMAND} --seeds {seeds}{' --cufs FOLDER' if 'cufs' in real else ''}", found)
    show(found)
    if missing:
        raise MetaFaceError("Not measured: " + " ".join(missing))


def show(found: Mapping[str, Any]) -> None:
    """The accuracies of every training, in %: rows are trainings, columns the domains, with themselves."""
    print("5-way 1-shot within a domain, %".ljust(36) + " ".join(f"{domain[:9]:>9s}" for domain in DOMAINS))
    for name, row in {**found["baselines"], **found["trainings"]}.items():
        cells = " ".join(f"{100 * row['matrix'][pair]['mean']:9.1f}" for pair in WITHIN if pair in row["matrix"])
        lfw = found.get("lfw", {}).get(name)
        print(f"{name:35s} {cells}" + (f"   LFW {100 * lfw['mean']:.1f}" if lfw else ""))
    for kind, by_other in found["left_out"].items():
        for other, row in by_other.items():
            print(f"{kind} minus {other}: {Difference.from_scores(row['all'])}")
