from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metaface_lessons.episodes import (
    DomainSampler,
    Episodes,
    EpisodeSampler,
    condition,
    draw_without_replacement,
    repeat_images,
)
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.faces.faceset import FaceSet
from metaface_lessons.faces.procedural import DOMAINS, procedural_domains
from tests.helpers import domain_faces, lit_faces, random_faces


def numbered(counts: list[int]) -> FaceSet:
    """Person p has counts[p] images; the pixels of image m spell m."""
    identity = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    m = torch.arange(len(identity))
    images = torch.stack([m // 256, m % 256], 1).byte()[:, None, None, :]
    return FaceSet(images, identity, conditions={"half": m % 2}, levels={"half": ("left", "right")})


def spelled(x: torch.Tensor) -> torch.Tensor:
    """The numbers of images `[T, S, 1, 1, 2]`."""
    return x[..., 0, 0, 0].long() * 256 + x[..., 0, 0, 1].long()


def test_episodes_have_the_shapes_labels_and_people_they_promise() -> None:
    faces = numbered([7, 5, 9, 6, 5, 8])
    episodes = EpisodeSampler(faces, ways=4, shots=2, queries=3).sample(tasks=50)
    assert episodes.support.x.shape == (50, 8, 1, 1, 2)
    assert episodes.query.x.shape == (50, 12, 1, 1, 2)
    assert episodes.support.y[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert episodes.query.y.shape == (50, 12)
    for examples in (episodes.support, episodes.query):
        assert torch.equal(faces.identity[spelled(examples.x)], episodes.identities.gather(1, examples.y))
    for t in range(50):
        drawn = torch.cat([spelled(episodes.support.x[t]), spelled(episodes.query.x[t])])
        assert len(drawn.unique()) == 20
        assert len(episodes.identities[t].unique()) == 4


def test_every_person_and_image_is_drawn_equally_often_in_every_role() -> None:
    faces = numbered([4] * 6)
    episodes = EpisodeSampler(faces, ways=3, shots=1, queries=2).sample(tasks=8000)
    places = torch.stack([torch.bincount(episodes.identities[:, n], minlength=6) for n in range(3)])
    assert (places / 8000 - 1 / 6).abs().max() < 0.02
    for examples, share in ((episodes.support, 1 / 24), (episodes.query, 1 / 24)):
        counts = torch.bincount(spelled(examples.x).flatten(), minlength=24)
        assert (counts / counts.sum() - share).abs().max() < 0.004


def test_draws_are_uniform_over_ordered_selections() -> None:
    drawn = draw_without_replacement(torch.full((24000,), 4), 2, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn[:, 0] * 4 + drawn[:, 1], minlength=16).view(4, 4)
    assert counts.diagonal().sum() == 0
    off = counts[~torch.eye(4, dtype=torch.bool)]
    assert (off / 24000 - 1 / 12).abs().max() < 0.008
    whole = draw_without_replacement(torch.tensor([5, 6]), 5, torch.Generator().manual_seed(1))
    assert sorted(whole[0].tolist()) == [0, 1, 2, 3, 4]


def test_only_people_with_enough_images_take_part() -> None:
    sampler = EpisodeSampler(numbered([3, 6, 2, 6, 4, 7]), ways=2, shots=1, queries=4)
    assert sampler.people == 3
    assert set(sampler.sample(200).identities.flatten().tolist()) == {1, 3, 5}


def test_people_with_too_few_images_repeat_theirs_as_rarely_as_possible() -> None:
    faces = numbered([3, 6, 1, 2, 4, 8])
    more = repeat_images(faces, each=5, fewest=2)
    times = torch.bincount(spelled(more.images[None])[0], minlength=len(faces))
    by_person = [sorted(times[faces.identity == person].tolist()) for person in range(6)]
    assert by_person == [[1, 2, 2], [1] * 6, [1], [2, 3], [1, 1, 1, 2], [1] * 8]
    assert torch.equal(more.identity, faces.identity[spelled(more.images[None])[0]])
    assert EpisodeSampler(more, ways=2, shots=1, queries=4).people == 5
    assert EpisodeSampler(repeat_images(faces, 5, fewest=4), ways=2, shots=1, queries=4).people == 3
    with pytest.raises(MetaFaceError, match=r"so people with 5 take part already\. Lower it to at most 5"):
        repeat_images(faces, 5, fewest=6)


def test_the_stream_follows_its_seed_and_resumes() -> None:
    faces = random_faces()
    first, same, other = (EpisodeSampler(faces, 3, 1, 2, seed=s) for s in (5, 5, 6))
    assert torch.equal(first.sample(4).query.x, same.sample(4).query.x)
    assert not torch.equal(first.sample(4).query.x, other.sample(4).query.x)
    state = first.state_dict()
    wanted = first.sample(3)
    other.load_state_dict(state)
    assert torch.equal(other.sample(3).support.x, wanted.support.x)


@pytest.mark.parametrize(("support", "query"), [("left", "right"), ("left", "left"), ("left", None), (None, "right")])
def test_support_and_query_may_differ_in_condition_and_never_share_an_image(support: str, query: str) -> None:
    faces = numbered([9, 8, 10, 9])
    where = {"support_where": {"half": support} if support else None, "query_where": {"half": query} if query else None}
    episodes = EpisodeSampler(faces, ways=3, shots=2, queries=2, **where).sample(300)
    for examples, wanted in ((episodes.support, support), (episodes.query, query)):
        if wanted:
            assert (spelled(examples.x) % 2 == ("left", "right").index(wanted)).all()
        else:
            assert len((spelled(examples.x) % 2).unique()) == 2
        assert torch.equal(faces.identity[spelled(examples.x)], episodes.identities.gather(1, examples.y))
    assert not (spelled(episodes.support.x)[:, :, None] == spelled(episodes.query.x)[:, None, :]).any()
    # every image that fits is drawn sooner or later
    fit = faces.where(**(where["query_where"] or {})) & torch.isin(faces.identity, episodes.identities)
    assert torch.equal(spelled(episodes.query.x).unique(), fit.nonzero().flatten())


def test_a_named_condition_is_of_the_words_that_the_faces_have() -> None:
    faces = random_faces(people=6, each=6)
    assert condition("queries occluded", faces) == ({"occluder": "none"}, {"occluder": ["mask"]})
    assert condition("queries turned", faces) == ({"yaw": (-15.0, 15.0)}, {"yaw": (20.0, 90.0)})
    with pytest.raises(MetaFaceError, match=r"called 'queries turnd'\. Did you mean 'queries turned'"):
        condition("queries turnd", faces)


def test_episodes_are_split_in_order() -> None:
    whole = EpisodeSampler(random_faces(), ways=4, shots=1, queries=2).sample(tasks=5)
    parts = whole.split(2)
    assert [len(part.identities) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.support.x for part in parts]), whole.support.x)
    assert torch.equal(torch.cat([part.support.y for part in parts]), whole.support.y)
    assert torch.equal(torch.cat([part.query.x for part in parts]), whole.query.x)
    assert torch.equal(torch.cat([part.query.y for part in parts]), whole.query.y)
    assert torch.equal(torch.cat([part.identities for part in parts]), whole.identities)
    ten = EpisodeSampler(random_faces(), ways=4, shots=1, queries=2).sample(tasks=10)
    assert [len(part.identities) for part in ten.split(4)] == [4, 3, 3]  # as even as can be


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((9, 1, 1), "9-way episodes need 9 people, but 'noise' has 8. Lower ways to at most 8"),
        ((5, 3, 4), r"3 \+ 4 images .* only 0 of the 8 .* at most 6 here"),
        ((1, 1, 1), "ways must be at least 2"),
        ((2, 0, 1), "shots must be at least 1"),
        ((2, 1, 0), "queries must be at least 1"),
    ],
)
def test_impossible_episodes_say_what_to_lower(arguments: tuple, message: str) -> None:
    with pytest.raises(MetaFaceError, match=message):
        EpisodeSampler(random_faces(people=8, each=6), *arguments)


def test_impossible_conditions_say_so() -> None:
    faces = random_faces(people=8, each=6)
    with pytest.raises(MetaFaceError, match="widen the conditions"):
        EpisodeSampler(faces, 5, 1, 4, query_where={"occluder": "mask"})
    with pytest.raises(MetaFaceError, match="tasks must be at least 1"):
        EpisodeSampler(faces, 2, 1, 1).sample(0)


def test_a_condition_that_no_image_has_is_named() -> None:
    faces = lit_faces(people=6)
    with pytest.raises(MetaFaceError, match=r"query where fall is 50 to 90, but only 0 of the 6 people"):
        EpisodeSampler(faces, 5, 1, 1, support_where={"fall": 0.0}, query_where={"fall": (50, 90)})
    with pytest.raises(MetaFaceError, match="no condition called 'subset'"):
        EpisodeSampler(faces, 5, 1, 1, query_where={"subset": 5})
    worn = random_faces()
    with pytest.raises(MetaFaceError, match="no occluder called 'scarf'"):
        EpisodeSampler(worn, 5, 1, 1, query_where={"occluder": "scarf"})


def test_joined_undoes_split() -> None:
    whole = EpisodeSampler(domain_faces(), 3, 1, 2).sample(5)
    again = Episodes.join(whole.split(2))
    for a, b in zip(
        (*whole.support, *whole.query, whole.identities), (*again.support, *again.query, again.identities), strict=True
    ):
        assert torch.equal(a, b)


# -------------------------------------------------------------------------------------------------- episodes of domains


def domain_of(x: Tensor) -> Tensor:
    """`[T, S]`: the domain that each image shows."""
    return x[:, :, 0, 0, 0].long()


def test_a_domain_with_one_image_a_person_gives_no_two_shots() -> None:
    faces = procedural_domains(("photo", "sketch"), identities=6, images=1, size=16, progress=False)
    EpisodeSampler(faces, 5, 1, 1, support_where={"domain": "photo"}, query_where={"domain": "sketch"}).sample()
    with pytest.raises(MetaFaceError, match=r"2 \+ 1 images .*, support where domain is photo, and .* only 0 of"):
        EpisodeSampler(faces, 5, 2, 1, support_where={"domain": "photo"}, query_where={"domain": "sketch"})
    with pytest.raises(MetaFaceError, match=r"only 0 of the 6 .* widen the conditions"):
        EpisodeSampler(faces, 5, 1, 1, support_where={"domain": "sketch"}, query_where={"domain": "sketch"})


def test_a_domain_that_no_image_has_is_named() -> None:
    faces = procedural_domains(("photo", "sketch"), identities=6, images=2, size=16, progress=False)
    with pytest.raises(MetaFaceError, match=r"query where domain is near-infrared, but only 0 of the 6"):
        EpisodeSampler(faces, 5, 1, 1, query_where={"domain": "near-infrared"})
    with pytest.raises(MetaFaceError, match="no domain called 'ultraviolet'"):
        EpisodeSampler(faces, 5, 1, 1, query_where={"domain": "ultraviolet"})
    with pytest.raises(MetaFaceError, match="needs images, but there are none"):
        faces.select(faces.where(domain="near-infrared"))


@pytest.mark.parametrize("kind", ["within", "across", "leave one out"])
def test_every_task_keeps_to_its_domains(kind: str) -> None:
    sampler = DomainSampler(domain_faces(), DOMAINS, 3, 2, 2, kind)
    pairs = set()
    for _ in range(60):
        episodes = sampler.sample(4)
        support, query = domain_of(episodes.support.x), domain_of(episodes.query.x)
        for values in (support, query):
            assert (values == values[:, :1]).all()
        pairs |= set(zip(support[:, 0].tolist(), query[:, 0].tolist(), strict=True))
        if kind == "leave one out":
            held_out = support[2:, 0].unique()
            assert len(held_out) == 1
            assert held_out not in support[:2, 0]
    number = len(DOMAINS)
    same = {(d, d) for d in range(number)}
    every = {(a, b) for a in range(number) for b in range(number)}
    assert pairs == (every - same if kind == "across" else same)


def test_only_the_named_domains_are_drawn() -> None:
    sampler = DomainSampler(domain_faces(), ("photo", "near-infrared"), 3, 1, 1, "leave one out")
    drawn = {d for _ in range(20) for d in domain_of(sampler.sample(2).support.x)[:, 0].tolist()}
    assert drawn == {0, 2}


def test_the_stream_of_domains_follows_its_seed_and_resumes() -> None:
    first, same, other = (DomainSampler(domain_faces(), DOMAINS, 3, 1, 2, "across", seed) for seed in (3, 3, 4))
    assert torch.equal(first.sample(6).query.x, same.sample(6).query.x)
    assert not torch.equal(first.sample(6).query.x, other.sample(6).query.x)
    state = first.state_dict()
    wanted = first.sample(5)
    other.load_state_dict(state)
    assert torch.equal(other.sample(5).support.x, wanted.support.x)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(MetaFaceError, match="two or more different ones"):
        DomainSampler(domain_faces(), ("photo",), 3, 1, 1)
    with pytest.raises(MetaFaceError, match="two or more different ones"):
        DomainSampler(domain_faces(), ("photo", "photo"), 3, 1, 1)
    with pytest.raises(MetaFaceError, match="Did you mean 'sketch'"):
        DomainSampler(domain_faces(), ("photo", "scetch"), 3, 1, 1)
    with pytest.raises(MetaFaceError, match="no kind of domain episodes called 'between'"):
        DomainSampler(domain_faces(), DOMAINS, 3, 1, 1, "between")
    with pytest.raises(MetaFaceError, match="support where domain is photo, and query"):
        DomainSampler(domain_faces(each=1), DOMAINS, 3, 1, 1, "within")
    with pytest.raises(MetaFaceError, match="even number of tasks"):
        DomainSampler(domain_faces(), DOMAINS, 3, 1, 1, "leave one out").sample(3)


@pytest.mark.parametrize("faces", ["folder:photos", None, 3])
def test_episodes_are_drawn_from_faces_alone(faces: object) -> None:
    with pytest.raises(MetaFaceError, match=f"type {type(faces).__name__}\\. Load one first: faces = load_faces"):
        EpisodeSampler(faces, 5, 1, 1)  # type: ignore[arg-type]
