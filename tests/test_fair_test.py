"""The procedural faces are a fair test: the figures that the data card promises, with tolerance."""

import pytest

from metaface_lessons.experiments.fair_faces import measure

TOLERANCE = 2.0  # percentage points, for machines that round differently


@pytest.mark.slow
def test_the_procedural_faces_are_a_fair_test():
    figures = measure(progress=False)
    assert len(figures) == 7
    unfair = [
        f"{f.name}: {f.accuracy:.1f} ± {f.ci95:.1f} %, wanted {f.low:.1f} to {f.high:.1f}"
        for f in figures
        if not f.low - TOLERANCE <= f.accuracy <= f.high + TOLERANCE
    ]
    assert not unfair, unfair
