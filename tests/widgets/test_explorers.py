"""Explorers: every figure at every corner of its ranges; controls that follow the state; what they show is true."""

from __future__ import annotations

import html
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from types import ModuleType
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from metaface_lessons import widgets
from metaface_lessons.errors import MetaFaceError
from metaface_lessons.experiments import comparison, domains, leak, light, sinusoids
from metaface_lessons.experiments.snapshots import STEPS
from metaface_lessons.faces.faceset import FaceSet
from metaface_lessons.faces.pairs import draw_pairs
from metaface_lessons.figures import png
from metaface_lessons.learners.maml import MAML
from metaface_lessons.learners.protomaml import ProtoMAML
from metaface_lessons.learners.protonet import ProtoNet
from metaface_lessons.networks import Classifier, Conv4
from metaface_lessons.widgets import (
    adaptation_explorer,
    cost_explorer,
    domain_explorer,
    embedding_explorer,
    episode_explorer,
    gradient_explorer,
    leak_explorer,
    light_explorer,
    path_explorer,
    quadratic_explorer,
    sinusoid_explorer,
    threshold_explorer,
)
from metaface_lessons.widgets.explorer import Explorer, control, controls, describe
from tests.helpers import random_faces


def conditioned_faces(people: int = 10) -> FaceSet:
    """Five images of each person under every combination of two yaws, two lights and two occluders."""
    combination = torch.arange(40).repeat(people)
    return replace(
        random_faces(people=people, each=40),
        conditions={
            "yaw": (combination % 2) * 30.0,
            "light_azimuth": (combination // 2 % 2) * 60.0,
            "occluder": combination // 4 % 2,
        },
    )


def noise(people: int = 24, each: int = 8) -> FaceSet:
    """Images with nothing in common: a learner recognises only people that it has seen before."""
    images = torch.randint(256, (people * each, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    return FaceSet(images.byte(), torch.arange(people).repeat_interleave(each), name="noise")


def adapted() -> adaptation_explorer.Adapted:
    """Small learners that have learned nothing, and strangers in every condition."""
    faces = random_faces(people=8, each=48, channels=3)
    i = torch.arange(len(faces))
    faces = replace(faces, conditions={"yaw": i // 12 % 2 * 30.0, "light_azimuth": i // 24 % 2 * 60.0})
    small = [Conv4(3, 16, width=8, depth=2, norm="task", seed=seed) for seed in range(4)]
    classifiers = [Classifier(embedding, embedding.features, ways=5) for embedding in small]
    learners = {
        "MAML": MAML(classifiers[0]),
        "ANIL": MAML(classifiers[1], adapt="head"),
        "Meta-SGD": MAML(classifiers[2], rates="parameter"),
        "ProtoMAML": ProtoMAML(small[3], small[3].features, temperature=50.0, inner_rate=0.02),
    }
    return adaptation_explorer.Adapted(learners, faces)


@pytest.fixture(scope="module")
def explorers() -> dict[ModuleType, Any]:
    """Small data for the explorers that need some. The others are opened as `widgets.example` opens them."""
    nets = {step: ProtoNet(Conv4(1, 16, width=8, depth=2, seed=step), temperature=4).eval() for step in STEPS}
    return {
        episode_explorer: conditioned_faces(),
        leak_explorer: leak.leak_experiment(noise(), people=12, episodes=40),
        embedding_explorer: embedding_explorer.Embedded(nets, random_faces(people=5, each=15)),
        adaptation_explorer: adapted(),
        light_explorer: light_explorer.Gallery(ProtoNet(Conv4(3, 64, width=8)).eval(), range(8)),
        gradient_explorer: gradient_explorer.regression(),
        sinusoid_explorer: sinusoid_explorer.Measured(sinusoids.load_methods()),
        threshold_explorer: threshold_explorer.Compared(nets, draw_pairs(random_faces(people=8, each=6), each=60)),
    }


MODULES = widgets.explorers()
each_explorer = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)


def corners(state: type) -> Iterator[Any]:
    """The state at every combination of the ends of its ranges and of all its words."""
    ends = [
        [value for value in c.options if isinstance(value, str)] or [c.options[0], c.options[-1]]
        if c.options
        else [c.low, c.high]
        for c in controls(state).values()
    ]
    return (state(*values) for values in itertools.product(*ends))


@pytest.fixture
def explore(explorers: dict[ModuleType, Any]) -> Callable[[ModuleType], Explorer]:
    """Open an explorer on its small data, or on the course's own if it has none."""

    def opened(module: ModuleType) -> Explorer:
        data = explorers.get(module)
        if data is None:
            return widgets.example(next(name for name, known in MODULES.items() if known is module))
        several = {embedding_explorer: ("snapshots", "faces"), threshold_explorer: ("snapshots", "pairs")}
        several[light_explorer] = ("net", "people")
        parts = [getattr(data, part) for part in several.get(module, ())]
        explorer = module.explore(*parts) if parts else module.explore(data)
        assert isinstance(explorer, Explorer)
        return explorer

    return opened


def test_every_explorer_is_found_and_an_unknown_one_is_refused() -> None:
    assert {"face", "episode", "light"} <= set(MODULES)
    assert all(hasattr(module, part) for module in MODULES.values() for part in ("State", "draw", "alt", "explore"))
    with pytest.raises(MetaFaceError, match=r"no explorer called 'faces'. Did you mean 'face'"):
        widgets.example("faces")


def test_every_example_opens() -> None:
    """Benchmarks and a reader's first try open every explorer without arguments."""
    for name in MODULES:
        explorer = widgets.example(name)
        assert explorer.picture.value.startswith("<img"), name


@each_explorer
def test_every_corner_is_drawn_and_described(module: ModuleType, explore: Callable[[ModuleType], Explorer]) -> None:
    explorer, said = explore(module), set()
    for state in (module.State(), *corners(module.State)):
        figure = explorer.draw(state)
        assert isinstance(figure, Figure)
        said.add(explorer.alt(state))
        assert all(word not in max(said, key=len) for word in ("nan", "tensor", "None"))
    assert min(map(len, said)) > 60
    png(figure)  # drawing is lazy: matplotlib complains only now


@each_explorer
def test_a_state_draws_the_same_picture_again(module: ModuleType, explore: Callable[[ModuleType], Explorer]) -> None:
    explorer = explore(module)
    assert png(explorer.draw(module.State())) == png(explorer.draw(module.State()))


@each_explorer
def test_controls_take_their_defaults_and_ranges_from_the_state(
    module: ModuleType, explore: Callable[[ModuleType], Explorer]
) -> None:
    explorer = explore(module)
    assert list(explorer.controls) == [f.name for f in fields(module.State)]
    for name, declared in controls(module.State).items():
        widget = explorer.controls[name]
        assert widget.value == getattr(module.State(), name)
        assert widget.description == declared.label
        if declared.options:
            assert widget.options == declared.options
        else:
            assert (widget.min, widget.max, widget.step) == (declared.low, declared.high, declared.step)
            assert widget.readout


@each_explorer
def test_every_control_changes_the_picture(module: ModuleType, explore: Callable[[ModuleType], Explorer]) -> None:
    explorer = explore(module)
    if module is leak_explorer:
        explorer.controls["share"].value = 50
    for name, widget in explorer.controls.items():
        before, text = explorer.picture.value, explorer.text
        choices = widget.options if hasattr(widget, "options") else (widget.min, widget.max)
        widget.value = next(value for value in choices[::-1] if value != widget.value)
        assert getattr(explorer.state, name) == widget.value
        assert explorer.picture.value != before, name
        assert explorer.text != text or module is embedding_explorer, name  # there, scores may be equal
        assert f'alt="{html.escape(explorer.text)}"' in explorer.picture.value


@each_explorer
def test_prose_can_quote_every_default(module: ModuleType) -> None:
    text = describe(module.State)
    for f in fields(module.State):
        assert f"{f.metadata['control'].label} {f.default} (" in text


def test_what_nbval_compares_is_the_alt_text(explore: Callable[[ModuleType], Explorer]) -> None:
    explorer = explore(episode_explorer)
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == explorer.text
    assert bundle["text/html"] == explorer.picture.value
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.model_id


def test_what_cannot_be_drawn_is_a_sentence_and_the_controls_live_on() -> None:
    explorer = episode_explorer.explore(random_faces(people=4, each=4))
    assert "5-way episodes need 5 people" in explorer.picture.value
    assert "<img" not in explorer.picture.value
    explorer.controls["ways"].value = 3
    assert "<img" in explorer.picture.value
    explorer.controls["shots"].value = 5
    assert "shots + queries can be at most 4" in explorer.picture.value


def test_a_mistake_in_the_code_of_an_explorer_is_not_hidden() -> None:
    @dataclass(frozen=True)
    class State:
        shots: int = control(1, "shots", low=1, high=5)

    def mistaken(state: State) -> Figure:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Explorer(State(), mistaken, lambda state: "alt")
    with pytest.raises(MetaFaceError, match=r"shots is 9\. Choose 1 to 5"):
        Explorer(State(9), lambda state: Figure(), lambda state: "alt")


def test_words_are_chosen_from_a_list_and_numbers_on_a_slider(explore: Callable[[ModuleType], Explorer]) -> None:
    explorer = explore(embedding_explorer)
    kinds = {name: type(widget) for name, widget in explorer.controls.items()}
    assert kinds == {
        "step": ipywidgets.SelectionSlider,
        "shots": ipywidgets.IntSlider,
        "distance": ipywidgets.Dropdown,
        "seed": ipywidgets.IntSlider,
    }


# The episode explorer


def test_conditions_are_those_that_the_faces_record() -> None:
    assert episode_explorer.conditions(conditioned_faces()) == list(episode_explorer.CONDITIONS)
    assert episode_explorer.conditions(noise()) == ["any"]
    no_light = ["any", "all frontal", "queries turned", "nothing occluded", "queries occluded"]
    assert episode_explorer.conditions(random_faces()) == no_light


def test_episodes_fulfil_their_condition() -> None:
    faces = conditioned_faces()
    numbers = {image.numpy().tobytes(): m for m, image in enumerate(faces.images)}

    def found(name: str, condition: str) -> list[set[float]]:
        episodes = episode_explorer.sample(episode_explorer.State(shots=3, condition=condition), faces)
        return [
            {faces.conditions[name][numbers[image.numpy().tobytes()]].item() for image in examples.x[0]}
            for examples in (episodes.support, episodes.query)
        ]

    assert found("yaw", "all frontal") == [{0}, {0}]
    assert found("yaw", "queries turned") == [{0}, {30}]
    assert found("light_azimuth", "queries lit from the side") == [{0}, {60}]
    assert found("occluder", "queries occluded") == [{0}, {1}]
    assert found("occluder", "nothing occluded") == [{0}, {0}]


def test_unknown_conditions_and_those_not_recorded_are_refused() -> None:
    with pytest.raises(MetaFaceError, match="Did you mean 'all frontal'"):
        episode_explorer.draw(episode_explorer.State(condition="al frontal"), conditioned_faces())
    with pytest.raises(MetaFaceError, match="records no conditions"):
        episode_explorer.draw(episode_explorer.State(condition="all frontal"), noise())


# The leak explorer


def test_noise_is_recognised_only_if_it_was_trained_on(explorers: dict[ModuleType, Any]) -> None:
    very, other = (explorers[leak_explorer].reported[kind] for kind in leak.KINDS)
    assert very[0] is other[0]
    assert len(very) == len(other) == 11
    assert very[0].accuracy == pytest.approx(0.2, abs=0.06)
    assert other[-1].accuracy == pytest.approx(0.2, abs=0.06)
    assert very[-1].accuracy > 0.9
    assert very[0].accuracy < very[5].accuracy < very[-1].accuracy


def test_the_figure_ends_at_the_share_of_the_state(explorers: dict[ModuleType, Any]) -> None:
    figure = leak_explorer.draw(leak_explorer.State(40), explorers[leak_explorer])
    line = max(figure.axes[0].lines, key=lambda line: len(line.get_xdata()))
    assert list(line.get_xdata()) == [0, 10, 20, 30, 40]


def test_leak_experiments_that_cannot_be_made_are_refused(explorers: dict[ModuleType, Any]) -> None:
    with pytest.raises(MetaFaceError, match="60 for people=30"):
        leak.leak_experiment(noise())
    with pytest.raises(MetaFaceError, match="at least 4 images"):
        leak.leak_experiment(noise(each=3), people=12)
    with pytest.raises(MetaFaceError, match=r"share is 33\. Choose 0, 10, 20"):
        leak_explorer.draw(leak_explorer.State(share=33), explorers[leak_explorer])
    with pytest.raises(MetaFaceError, match="kind of leak"):
        leak_explorer.draw(leak_explorer.State(kind="none"), explorers[leak_explorer])


# The embedding explorer


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("distance", ["squared", "euclidean", "cosine"])
def test_the_plane_keeps_distances_among_prototypes(explorers: dict[ModuleType, Any], distance: str, seed: int) -> None:
    data = explorers[embedding_explorer]
    state = embedding_explorer.State(shots=2, distance=distance, seed=seed)
    v = embedding_explorer.view(state, data, resolution=10)
    full = data.net(state).adapt(v.episodes.support).prototypes[0]
    torch.testing.assert_close(torch.cdist(v.centres, v.centres), torch.cdist(full, full), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("distance", "power"), [("squared", 2), ("euclidean", 1)])
def test_queries_lie_in_the_region_of_their_prediction(
    explorers: dict[ModuleType, Any], distance: str, power: int, seed: int
) -> None:
    state = embedding_explorer.State(distance=distance, seed=seed)
    v = embedding_explorer.view(state, explorers[embedding_explorer], resolution=10)
    assert (torch.cdist(v.queries, v.centres).argmin(1) == v.predicted).all()
    in_plane = torch.cdist(v.grid.flatten(0, 1), v.centres) ** power
    wanted = (-in_plane / 2**power).softmax(-1).unflatten(0, (10, 10))  # d²/4 = (d/2)²: the same units for both
    torch.testing.assert_close(v.probability, wanted, rtol=1e-3, atol=1e-4)


def test_regions_of_the_cosine_follow_the_angle_in_the_full_space(explorers: dict[ModuleType, Any]) -> None:
    data = explorers[embedding_explorer]
    state = embedding_explorer.State(distance="cosine", shots=5)
    v = embedding_explorer.view(state, data, resolution=10)
    full = data.net(state).adapt(v.episodes.support).prototypes[0]
    # The point of the plane with coordinates g, in the full space, by the barycentric weights of the prototypes there.
    corners = torch.cat([v.centres, torch.ones(3, 1)], dim=1)
    grid = torch.cat([v.grid.flatten(0, 1), torch.ones(100, 1)], dim=1)
    points = torch.linalg.solve(corners.T.double(), grid.T.double()).T.float() @ full
    angle = torch.nn.functional.cosine_similarity(points[:, None], full[None], dim=-1)
    wanted = ((angle - 1) / embedding_explorer.COSINE_TEMPERATURE).softmax(-1).unflatten(0, (10, 10))
    torch.testing.assert_close(v.probability, wanted, rtol=1e-3, atol=1e-3)


def test_scores_are_measured_once(explorers: dict[ModuleType, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    data = explorers[embedding_explorer]
    first = data.score(embedding_explorer.State())
    monkeypatch.setattr(embedding_explorer, "evaluate", lambda *_: pytest.fail("measured again"))
    assert data.score(embedding_explorer.State(seed=5)) is first


def test_embedded_faces_refuse_what_does_not_fit(explorers: dict[ModuleType, Any]) -> None:
    data = explorers[embedding_explorer]
    with pytest.raises(MetaFaceError, match="no snapshot of step 7"):
        embedding_explorer.draw(embedding_explorer.State(step=7), data)
    with pytest.raises(MetaFaceError, match="made for images 1×16×16"):
        embedding_explorer.Embedded(data.snapshots, random_faces(size=32))
    with pytest.raises(MetaFaceError, match="Did you mean 'squared'"):
        embedding_explorer.draw(embedding_explorer.State(distance="square"), data)


# The quadratic explorer


def test_the_fixed_points_are_those_computed_by_hand() -> None:
    """By hand, for a = (1, 4), c = (0, 1), α = 0.1: Σwc / Σw with w = a, a·r², a·r, 1 − r."""
    for steps, wanted in (
        (1, [0.8, 16 / 25, 8 / 11, 0.8]),  # at k = 1 Reptile is joint training
        (2, [0.8, 4 * 0.6**4 / (0.9**4 + 4 * 0.6**4), 16 / 25, 0.64 / 0.83]),
    ):
        found = quadratic_explorer.fixed_points(quadratic_explorer.State(steps))
        torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-12, atol=0)


def test_the_simulation_goes_where_the_closed_form_says() -> None:
    for state in corners(quadratic_explorer.State):
        goals, path = quadratic_explorer.fixed_points(state), quadratic_explorer.simulate(state)
        gap = (path - goals).abs()
        torch.testing.assert_close(gap[-1], gap[0] * 0.85**quadratic_explorer.OUTER_STEPS, rtol=1e-6, atol=1e-12)


def test_from_mamls_start_the_tasks_are_learned_best() -> None:
    for state in corners(quadratic_explorer.State):
        scores = quadratic_explorer.after_adaptation(quadratic_explorer.fixed_points(state), state)
        assert scores.argmin() == list(quadratic_explorer.WEIGHTS).index("MAML")


# The path explorer


@pytest.mark.parametrize("state", [*corners(path_explorer.State), path_explorer.State()])
def test_the_path_ends_where_the_closed_form_says(state: path_explorer.State) -> None:
    tasks = path_explorer.TASKS
    end = path_explorer.cycle(state, tasks)
    slow, inner = path_explorer.simulate(state, replace(tasks, start=end), rounds=1)
    torch.testing.assert_close(slow[2], end, rtol=0, atol=1e-12)  # one round leads back
    torch.testing.assert_close(slow[1], end + state.outer_rate * (inner[0, -1] - end), rtol=0, atol=1e-12)
    slow, _ = path_explorer.simulate(state, tasks)
    assert (slow[-1] - end).norm() < (slow[0] - end).norm()


def test_small_outer_steps_end_at_the_batched_fixed_point_and_k_1_at_joint_training() -> None:
    tasks = path_explorer.TASKS
    state = path_explorer.State(steps=7, outer_rate=1e-6)
    torch.testing.assert_close(path_explorer.cycle(state, tasks), path_explorer.rest(state, tasks), rtol=0, atol=1e-5)
    joint = path_explorer.rest(path_explorer.State(steps=1), tasks).requires_grad_()
    (gradient,) = torch.autograd.grad(tasks.loss(joint).sum(), joint)
    assert gradient.norm() < 1e-12
    far = path_explorer.rest(path_explorer.State(steps=100_000), tasks)
    torch.testing.assert_close(far, tasks.minima.mean(0))


def test_an_inner_rate_at_which_the_path_diverges_is_refused() -> None:
    with pytest.raises(MetaFaceError, match=r"steepest curvature is 1\. Choose a rate below 2\."):
        path_explorer.draw(path_explorer.State(inner_rate=2.5))


# The sinusoid explorer


def test_the_stored_networks_show_what_the_lesson_says(explorers: dict[ModuleType, Any]) -> None:
    """Both begin with the error of the mean of all curves, 3.0057; one step takes MAML most of the way to 0."""
    error = explorers[sinusoid_explorer].error(10)
    for name in explorers[sinusoid_explorer].methods:
        assert error[name][0] == pytest.approx(3.0, abs=0.5)  # of 100 tasks, so not exactly
    assert error["MAML"][1] < 0.6
    assert error["MAML"][10] < 0.25
    assert error["joint training"][10] > 1.5


def test_the_curve_is_what_the_adapted_learner_predicts(explorers: dict[ModuleType, Any]) -> None:
    state, method = sinusoid_explorer.State(task=7), explorers[sinusoid_explorer].methods["MAML"]
    task = sinusoid_explorer.episode(state)
    path = sinusoid_explorer.predictions(method, task, method.test_steps)
    wanted = method.adapt(task.support).predict(task.query.x)[0, :, 0]
    torch.testing.assert_close(path[-1], wanted)
    assert not torch.allclose(path[0], wanted, atol=0.1)


# The gradient explorer


def test_only_the_second_order_gradient_agrees_with_finite_differences(explorers: dict[ModuleType, Any]) -> None:
    task = explorers[gradient_explorer]
    for rate, steps in ((0.001, 1), (0.1, 1), (0.3, 5)):
        error = gradient_explorer.errors(gradient_explorer.State(rate=rate, steps=steps), task)
        assert min(error["second order"]) < 1e-9
        assert min(error["first order"]) > rate
    none = gradient_explorer.errors(gradient_explorer.State(rate=0.1, steps=0), task)
    assert none["first order"] == none["second order"]


def test_float32_cannot_reach_what_float64_does(explorers: dict[ModuleType, Any]) -> None:
    error = gradient_explorer.errors(gradient_explorer.State(precision="float32"), explorers[gradient_explorer])
    assert 1e-7 < min(error["second order"]) < 1e-3
    assert error["second order"][gradient_explorer.STEP_SIZES.index(1e-5)] > 1e-3  # where float64 is at its best


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(MetaFaceError, match="float64"):
        gradient_explorer.errors(gradient_explorer.State(precision="float16"), gradient_explorer.regression())


def test_costs_are_those_of_the_stored_comparison() -> None:
    """At the end of training and without a task, what was stored; with tasks, that many times the milliseconds more."""
    rows = comparison.load("lfw")["learners"]
    few, many = (cost_explorer.scores(cost_explorer.State(seconds=180, tasks=n)) for n in (1, 1001))
    for name, row in rows.items():
        if name in cost_explorer.NAMES:
            assert many[name][1] - few[name][1] == pytest.approx(row["adaptation_ms"])  # 1000 tasks, in seconds
    last = rows["protonet"]["curve"][-2]
    assert cost_explorer.after(rows["protonet"], last["seconds"]) == (last["accuracy"], last["seconds"])
    assert cost_explorer.after(rows["lbp"], 30) == (rows["lbp"]["4-shot"]["accuracy"], 0)


def test_costs_of_no_tasks_are_refused() -> None:
    with pytest.raises(MetaFaceError, match="above 0"):
        cost_explorer.scores(cost_explorer.State(tasks=0))


def test_adaptation_shows_what_the_adapted_learner_predicts(explorers: dict[ModuleType, Any]) -> None:
    data = explorers[adaptation_explorer]
    state = adaptation_explorer.State(learner="ANIL", steps=3, shots=2)
    path, task, net = data.path(state), data.task(state), data.learners["ANIL"]
    net.test_steps = 3
    predicted = net.adapt(task.support).predict(task.query.x)[0].argmax(-1)
    assert torch.equal(path.predicted[3], predicted)
    assert path.query[3] == (predicted == task.query.y[0]).float().mean()
    assert len({len(values) for values in path}) == 1
    assert data.path(replace(state, steps=9)) is path, "a path is computed once"


def test_without_a_rate_nothing_moves(explorers: dict[ModuleType, Any]) -> None:
    still = explorers[adaptation_explorer].path(adaptation_explorer.State(rate=0.0))
    assert (still.loss == still.loss[0]).all()


def test_adaptation_that_cannot_be_shown_is_refused(explorers: dict[ModuleType, Any]) -> None:
    data = explorers[adaptation_explorer]
    with pytest.raises(MetaFaceError, match=r"no learner called 'MAM'\. Did you mean 'MAML'"):
        data.path(adaptation_explorer.State(learner="MAM"))
    with pytest.raises(MetaFaceError, match="no condition called 'dark'"):
        data.path(adaptation_explorer.State(condition="dark"))
    with pytest.raises(MetaFaceError, match=r"diverges on this task\. Lower the rate"):
        data.path(adaptation_explorer.State(rate=1e30))


def test_the_threshold_explorer_shows_the_mistakes_of_its_threshold(explorers: dict[ModuleType, Any]) -> None:
    data = explorers[threshold_explorer]
    strict, lax = (data.at(threshold_explorer.State(refused=share)) for share in (90, 10))
    for found, threshold in (strict, lax):
        far, tar = found.rates(threshold)
        accepted, refused = threshold_explorer.wrong_pairs(found, threshold)
        assert len(accepted) == round(far * 60)
        assert len(refused) == round((1 - tar) * 60)
        assert not found.same[accepted].any()
        assert found.same[refused].all()
        assert (np.diff(found.scores[accepted]) <= 0).all()
        assert (np.diff(found.scores[refused]) >= 0).all()
    assert strict[1] > lax[1]
    with pytest.raises(MetaFaceError, match="no snapshot of step 7"):
        data.at(threshold_explorer.State(step=7))


# The light explorer


@pytest.fixture(scope="module")
def gallery(explorers: dict[ModuleType, Any]) -> light_explorer.Gallery:
    found = explorers[light_explorer]
    assert isinstance(found, light_explorer.Gallery)
    return found


def test_the_lamp_and_the_block_are_where_the_state_says(gallery: light_explorer.Gallery) -> None:
    def lit(**state: Any) -> torch.Tensor:
        picture = gallery.picture(light_explorer.State(**state))[0].float().mean(0)
        return picture[20:50, 20:44]  # the face

    right, left = lit(azimuth=80), lit(azimuth=-80)
    assert right[:, 12:].mean() > right[:, :12].mean() + 10
    assert left[:, :12].mean() > left[:, 12:].mean() + 10
    plain = lit(occluder="none")
    hidden = [((lit(occluder="block", size=size) - plain).abs() > 8).float().mean() for size in (0.0, 0.5, 1.0)]
    assert hidden[0] < hidden[1] < hidden[2]
    assert lit(occluder="none", size=1.0).equal(plain)


def test_the_path_is_nearest_to_its_own_person_where_it_was_enrolled(gallery: light_explorer.Gallery) -> None:
    azimuth, elevation = light.KNOWN_LIGHT
    enrolled = light.photographs([gallery.people[0]], [azimuth], elevation)
    assert gallery.nearest(gallery.embed(enrolled)).tolist() == [0]
    points = gallery.path(light_explorer.State())
    assert gallery.plane(points).shape == (len(light.AZIMUTHS), 2)
    with pytest.raises(MetaFaceError, match="at least four people, but got 3"):
        light_explorer.Gallery(gallery.net, [0, 1, 2])


def test_curves_lie_between_the_measured_elevations_and_sizes() -> None:
    grid = light.load("procedural")["grid"]
    for state, look, row in (
        (light_explorer.State(elevation=0), "none", 0),
        (light_explorer.State(elevation=45, occluder="mask"), "mask", 1),
        (light_explorer.State(elevation=45, occluder="block", size=1.0), "block 1", 1),
    ):
        got = light_explorer.curves(state)["protonet"]
        assert got.tolist() == pytest.approx(grid["accuracy"]["protonet"][look][row])
    low, middle, high = (
        light_explorer.curves(light_explorer.State(elevation=0, occluder="block", size=size))["lbp"]
        for size in (0.0, 0.25, 0.5)
    )
    assert middle.tolist() == pytest.approx(((low + high) / 2).tolist())


def test_the_matrix_is_that_of_the_stored_measurement_and_knows_what_was_unseen() -> None:
    stored = domains.load()["trainings"]
    one = domain_explorer.State(training="sketch", kind="pooled")
    two = domain_explorer.State(training="all but sketch", kind="across")
    assert domain_explorer.accuracies(one) == stored["sketch: plain"]["matrix"]
    assert domain_explorer.accuracies(two) == stored["not sketch: across"]["matrix"]
    assert domain_explorer.TRAININGS["sketch"] == ("sketch",)
    assert domain_explorer.TRAININGS["all but sketch"] == ("photo", "near-infrared")
    shown = f"{100 * stored['not sketch: across']['matrix']['photo, sketch']['accuracy']:.1f}%"
    assert shown in domain_explorer.alt(two)


def test_support_and_query_show_the_same_people_in_other_pictures() -> None:
    support, query = (domain_explorer.faces("near-infrared", 3, query) for query in (False, True))
    assert support.shape == query.shape == (5, 3, 64, 64)
    assert not torch.equal(support, query)
    assert torch.equal(support, domain_explorer.faces("near-infrared", 3, False))


def test_a_training_that_was_not_measured_is_refused() -> None:
    with pytest.raises(MetaFaceError, match="no training called 'nothing'"):
        domain_explorer.accuracies(domain_explorer.State(training="nothing"))
