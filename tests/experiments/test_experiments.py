"""Experiments by name."""

from __future__ import annotations

import pytest

from metaface_lessons import experiments
from metaface_lessons.errors import MetaFaceError


def test_every_experiment_has_the_interface() -> None:
    for name in experiments.names():
        module = experiments.experiment(name)
        assert module.COMMAND == f"metaface experiment {name}"
        assert all(hasattr(module, function) for function in ("add_arguments", "run"))
    with pytest.raises(MetaFaceError, match="sinusoids"):
        experiments.experiment("sinusoid")
