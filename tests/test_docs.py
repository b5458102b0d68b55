"""The documents: what docs/command.md shows is what the command understands, and what it quotes is what is stored."""

from __future__ import annotations

import argparse
import re
import shlex
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from metaface_lessons import experiments
from metaface_lessons.cli import parser
from metaface_lessons.experiments import stored, verification
from metaface_lessons.runs.making import LEARNERS

FOLDERS = ("docs", "data", "deploy")  # beside the files at the top


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "docs" / "command.md").read_text(encoding="utf-8")


def options(of: argparse.ArgumentParser) -> Iterator[str]:
    """Every option of a command and of its sub-commands."""
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from options(sub)
        else:
            yield from (name for name in action.option_strings if name.startswith("--"))


def test_every_example_is_understood(text: str) -> None:
    examples = re.findall(r"^    (?:.*; do )?(metaface .*?)(?:; done)?$", text, re.MULTILINE)
    assert len(examples) > 30
    variables = re.findall(r'^    (\w+)="(.*)"$', text, re.MULTILINE)
    for example in examples:
        for name, value in variables:
            example = example.replace(f"${name}", value)
        example = re.sub(r"\$\w+", "0", example)  # the variable of a loop
        try:
            parser().parse_args(shlex.split(example, comments=True)[1:])
        except SystemExit:
            pytest.fail(f"{example} is not understood")


def test_every_option_is_described(text: str) -> None:
    described = set(re.findall(r"--[a-z]+(?:-[a-z]+)*", text))
    of_torchrun = {"--nnodes", "--nproc-per-node", "--rdzv-backend", "--rdzv-endpoint", "--max-restarts"}
    assert described - of_torchrun - {"--no-browser"} == set(options(parser())) - {"--version"}


def test_every_experiment_is_described(text: str) -> None:
    table = text[text.index("| experiment |") : text.index("## Lessons")]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == experiments.names()


def test_every_learner_is_described(text: str) -> None:
    table = text[text.index("| learner |") : text.index("| option |")]
    assert set(re.findall(r"`([\w+]+)`", table)) == set(LEARNERS)


def test_the_verification_quoted_is_stored(text: str) -> None:
    table = text[text.index("| on the novel people of LFW") : text.index("Means of five seeds")]
    quoted = re.findall(r"^\| (\w+).* \| ([\d.]+ ± [\d.]+) \|$", table, re.MULTILINE)
    assert [name for name, _ in quoted] == ["ProtoNet", "ArcFace", "LDA"]
    for name, figures in quoted:
        found = verification.estimate(verification.load(), name.lower(), "accuracy")
        assert figures == f"{100 * found.mean:.1f} ± {100 * found.widest:.1f}"


def test_view_2_of_lfw_is_quoted_as_it_is_stored(text: str, repository: Path) -> None:
    view2 = stored.load(stored.RESULTS / "lfw-view2.json", "metaface evaluate runs/fold* --protocol lfw-view2 --json")
    methods = {"ProtoNet": view2, **{name: view2["baselines"][name.lower()] for name in ("LDA", "LBP", "pixels")}}
    readme = (repository / "README.md").read_text(encoding="utf-8")
    card = (repository / "data" / "lfw.md").read_text(encoding="utf-8")
    table = text[text.index("| View 2, all of LFW") : text.index("Mean ± standard error")]
    for name, found in methods.items():
        assert found["accuracy"] == pytest.approx(statistics.mean(found["folds"]), abs=1e-4)
        assert found["standard_error"] == pytest.approx(statistics.stdev(found["folds"]) / 10**0.5, abs=1e-4)
        accuracy, error = f"{100 * found['accuracy']:.1f}", f"{100 * found['standard_error']:.1f}"
        assert re.search(rf"^\| {name}.* \| {accuracy} ± {error} \| {found['category']} \|$", table, re.MULTILINE), name
        judged = "ProtoNet judged" if name == "ProtoNet" else name
        assert f"{judged} {accuracy} ± {error}%" in readme
    assert f"ProtoNet {100 * view2['accuracy']:.1f} ± {100 * view2['standard_error']:.1f}%" in card
    assert view2["about"]["date"] in text
    assert any("--steps 1500 " in command for command in view2["about"]["commands"])


def test_links_lead_somewhere(repository: Path) -> None:
    for file in (*repository.glob("*.md"), *(file for part in FOLDERS for file in (repository / part).rglob("*.md"))):
        content = file.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)]+)\)", content):
            path, _, heading = target.partition("#")
            found = (file.parent / path) if path else file
            assert found.exists(), f"{file.name}: {target}"
            if heading:
                titles = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
                anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
                assert heading in anchors, f"{file.name}: {target}"
