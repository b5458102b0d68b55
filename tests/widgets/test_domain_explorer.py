"""The domain explorer: the stored measurement, and people in other pictures."""

from __future__ import annotations

import pytest
import torch

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.experiments import domains
from metaface_lessons.widgets import domain_explorer


def test_the_matrix_is_that_of_the_stored_measurement_and_knows_what_was_unseen() -> None:
    stored = domains.load()["trainings"]
    one = domain_explorer.State(training="sketch", kind="pooled")
    two = domain_explorer.State(training="all but sketch", kind="across")
    assert domain_explorer.accuracies(one) == stored["sketch: plain"]["matrix"]
    assert domain_explorer.accuracies(two) == stored["not sketch: across"]["matrix"]
    assert domain_explorer.TRAININGS["sketch"] == ("sketch",)
    assert "sketch" not in domain_explorer.TRAININGS["all but sketch"]
    shown = f"{100 * stored['not sketch: across']['matrix']['photo, sketch']['mean']:.1f}%"
    assert shown in domain_explorer.alt(two)


def test_support_and_query_show_the_same_people_in_other_pictures() -> None:
    support, query = (domain_explorer.faces("near-infrared", 3, query) for query in (False, True))
    assert support.shape == query.shape == (5, 3, 64, 64)
    assert not torch.equal(support, query)
    assert torch.equal(support, domain_explorer.faces("near-infrared", 3, False))


def test_the_chosen_pair_is_framed() -> None:
    figure = domain_explorer.draw(domain_explorer.State(support="sketch", query="near-infrared"))
    (axes,) = figure.axes
    (frame,) = axes.patches
    assert (frame.get_x(), frame.get_y()) == (1.5, 0.5)
    assert [text.get_text() for text in figure.texts[1:]] == ["support\nsketch", "query\ninfrared"]


def test_a_training_that_was_not_measured_is_refused() -> None:
    with pytest.raises(MetaFaceError, match="no training called 'nothing'"):
        domain_explorer.accuracies(domain_explorer.State(training="nothing"))
