"""Verification of runs: do two photos show the same person? A protocol fixes the pairs and the choice of the threshold.

"pairs": pairs of the novel people of a run's split, in two halves. Each half's threshold is chosen on the other half.
"lfw-view1": LFW's development set. The threshold is chosen on its training pairs.
"lfw-view2": LFW's ten folds, for reporting. Each fold's threshold is chosen on the other nine.

A run may never be tested on people that it was trained on. For the views of LFW, train on `load_faces("lfw-without:…")`
or on other faces.

Who is tested is read from LFW's lists of people if they are there, and else from its pairs (see `pairs.lfw_tested`).
The result says which, under "checked".

Source: Huang, Ramesh, Berg & Learned-Miller 2007. The categories of supervision are those of Huang & Learned-Miller,
*Labeled Faces in the Wild: Updates and New Reporting Procedures*, 2014.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import MetaFaceError, unknown
from ..evaluation import mean_over_seeds
from ..faces.pairs import Pairs, Tested, draw_pairs, lfw_pairs, lfw_tested
from ..learners.baselines import baselines
from ..learners.protonet import ProtoNet
from ..verification import Comparer, Floats, Verification
from .recipes import PAIRS, PROTOCOLS
from .run import Run, check_seeds, comparer, load_run

FAR = 0.01
SAMPLES = 300  # of the bootstrap
SCORES = [name + end for name in ("accuracy", "eer", "auc", "tar") for end in ("", "95")]  # see `Verified.scores`
DEVIATION = {key: f"{key}_deviation" for key in ("accuracy", "eer", "auc", "tar")}  # over seeds, as it is stored
WITHOUT, BY_NAME, OUTSIDE = (  # the three of LFW's six categories of supervision that can occur here
    "image-restricted, no outside data",
    "unrestricted, no outside data",
    "unrestricted, labeled outside data",
)


@dataclass(frozen=True)
class Verified:
    """The result of one method on the tested pairs.

    pairs: the pairs with their scores.
    margins: the pairs with their scores minus the threshold, which was chosen on other people.
    folds: the accuracy in each fold.
    """

    pairs: Verification
    margins: Verification
    folds: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        return statistics.mean(self.folds)

    def scores(self) -> dict[str, Any]:
        """Accuracy, EER, AUC and TAR at `FAR`, each with its 95% interval over people, rounded for storage."""
        statistic: dict[str, tuple[Verification, Callable[[Verification], float]]] = {
            "accuracy": (self.margins, lambda pairs: pairs.accuracy(0.0)),
            "eer": (self.pairs, lambda pairs: pairs.eer),
            "auc": (self.pairs, lambda pairs: pairs.auc),
            "tar": (self.pairs, lambda pairs: 1 - pairs.fnmr_at_fmr(FAR)),
        }
        found: dict[str, Any] = {}
        for name, (pairs, value) in statistic.items():
            found[name] = round(value(pairs), 4)
            found[f"{name}95"] = [round(end, 4) for end in pairs.bootstrap(value, SAMPLES)]
        return found


def cross_verify(scores: Floats, pairs: Pairs) -> Verified:
    """Judge each fold with the threshold that is best on all other folds, which share no person with it.

    scores: of the pairs, float64 `[P]`; higher means more alike.
    pairs: the pairs, with their folds.
    """
    people, fold = pairs.people.cpu().numpy(), pairs.fold.cpu().numpy()
    margins, folds = np.empty_like(scores), []
    for k in np.unique(fold):
        test, rest = fold == k, fold != k
        margins[test] = scores[test] - Verification(scores[rest], people[rest]).best_threshold()
        folds.append(Verification(margins[test], people[test]).accuracy(0.0))
    return Verified(Verification(scores, people), Verification(margins, people), tuple(folds))


def _view1(method: Comparer, train: Pairs, test: Pairs) -> Verified:
    threshold = Verification(method.score_pairs(train), train.people.numpy()).best_threshold()
    scores, people = method.score_pairs(test), test.people.numpy()
    margins = Verification(scores - threshold, people)
    return Verified(Verification(scores, people), margins, (margins.accuracy(0.0),))


def _overlap(run: Run, tested: Tested) -> list[str]:
    """The tested people that the run was trained on or chosen with."""
    return sorted(tested.names & {*run.record["people"]["base"], *run.record["people"]["validation"]})


def _refused(run: Run, overlap: list[str], tested: Tested, test: str) -> MetaFaceError:
    named = ", ".join(overlap[:10]) + (f" and {len(overlap) - 10} more" if len(overlap) > 10 else "")
    what = "View 1's test" if test == "view1" else f"fold {test.removeprefix('fold')} of View 2"
    return MetaFaceError(
        f"{run.path} was trained on {len(overlap)} people of {what}: {named}. Checked: {tested.source}. A run may"
        " not be tested on people of its training. Train one without them: metaface train"
        f" {run.settings.learner} --faces lfw-without:{test}"
    )


def verify_runs(
    paths: Sequence[Path],
    protocol: str = "pairs",
    *,
    each: int = PAIRS,
    seed: int = 0,
    compare: bool = True,
    others: dict[str, ProtoNet] | None = None,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Verify with each run, and with the baselines on the same pairs.

    For "lfw-view2", each fold is judged by the first run that was trained on nobody in it. For the other protocols,
    every run is tested, and the scores are means over the runs.

    paths: the folders of the runs.
    protocol: one of `PROTOCOLS`. "pairs".
    each: the number of pairs of each kind, for the protocol "pairs". `PAIRS`.
    seed: of these pairs. 0.
    compare: whether the baselines are measured as well. True.
    others: more embeddings to compare with, by name. None.
    device: to compute on; None chooses the best.
    Returns what `metaface evaluate --protocol … --json` prints. Raises `MetaFaceError` if a run was trained on people
    of the test, and names them; or if LFW is missing.
    """
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    runs = [load_run(path, device) for path in paths]
    for run in runs:
        comparer(run)  # raises before the long work
    if protocol == "lfw-view2":
        return _by_view2(runs, compare, others or {})
    check_seeds(runs)
    pairs = (lfw_pairs("train"), lfw_pairs("test")) if protocol == "lfw-view1" else None
    listed = lfw_tested("view1", pairs[1]) if pairs else None
    results, scores = [], []
    for run in runs:
        if listed and (overlap := _overlap(run, listed)):
            raise _refused(run, overlap, listed, "view1")
        if not pairs and (people := len(run.split.novel.identities)) < 4:
            everyone = sum(map(len, run.record["people"].values()))
            raise MetaFaceError(
                f"The protocol pairs needs four novel people, two for each half of its pairs, but {people} of the"
                f" {everyone} people of '{run.settings.faces}' are novel. Train on a set of at least 14 people."
            )
        tested = pairs[1] if pairs else draw_pairs(run.split.novel.to("cpu"), each, folds=2, seed=seed)
        rivals = {
            name: (_view1(method, *pairs) if pairs else cross_verify(method.score_pairs(tested), tested)).scores()
            for name, method in _methods(run, compare, others or {}).items()
        }
        own = rivals.pop(run.settings.learner)
        scores.append((own, rivals))
        results.append(
            {
                "run": run.path.name,
                "faces": run.settings.faces,
                "seed": run.settings.seed,
                "steps": run.record["training"]["steps"],
                "seconds": run.record["training"]["seconds"],
                "category": _category([run]),
                "identities": len(tested.people.unique()),
                "pairs": len(tested),
                **own,
                "baselines": rivals,
            }
        )
    mean, mean_of_rivals = mean_over_seeds(scores, DEVIATION)
    return {
        "protocol": protocol,
        "far": FAR,
        **mean,
        "category": _category(runs),
        **({"checked": listed.source} if listed else {}),
        **{key: results[0][key] for key in ("identities", "pairs")},
        "baselines": mean_of_rivals,
        "runs": results,
    }


def _methods(run: Run, compare: bool, others: dict[str, ProtoNet]) -> dict[str, Comparer]:
    nets: dict[str, Any] = {
        run.settings.learner: run.learner,
        **(baselines(run.split.base) if compare else {}),
        **others,
    }
    return {name: comparer(run, net) for name, net in nets.items()}


def _category(runs: Sequence[Run], learner: str | None = None) -> str:
    """LFW's category of supervision. Pixels and LBP learn only a threshold, from pairs."""
    if learner in ("pixels", "lbp"):
        return WITHOUT
    return BY_NAME if all(run.settings.faces.startswith("lfw") for run in runs) else OUTSIDE


def _by_view2(runs: Sequence[Run], compare: bool, others: dict[str, ProtoNet]) -> dict[str, Any]:
    learner = runs[0].settings.learner
    if mixed := {run.settings.learner for run in runs} - {learner}:
        raise MetaFaceError(
            f"The runs are of {learner} and {', '.join(sorted(mixed))}. View 2 is reported for one learner. Evaluate"
            " the runs of one learner at a time."
        )
    pairs = lfw_pairs("10_folds")
    people, fold_of = pairs.people.numpy(), pairs.fold.numpy()
    listed = [lfw_tested(f"fold{fold}", pairs) for fold in np.unique(fold_of).tolist()]
    chosen = [_run_for(runs, tested, f"fold{fold}") for fold, tested in enumerate(listed)]
    scores: dict[Path, dict[str, Floats]] = {}
    accuracy: dict[str, list[float]] = {}
    for fold, run in enumerate(chosen):
        if run.path not in scores:
            methods = _methods(run, compare, others)
            scores[run.path] = {name: method.score_pairs(pairs) for name, method in methods.items()}
        for name, found in scores[run.path].items():
            rest, test = fold_of != fold, fold_of == fold
            threshold = Verification(found[rest], people[rest]).best_threshold()
            value = Verification(found[test], people[test]).accuracy(threshold)
            accuracy.setdefault(name, []).append(round(value, 4))

    def report(name: str) -> dict[str, Any]:
        return {
            "accuracy": round(statistics.mean(accuracy[name]), 4),
            "standard_error": round(statistics.stdev(accuracy[name]) / len(chosen) ** 0.5, 4),
            "category": OUTSIDE if name in others else _category(chosen, name),
            "folds": accuracy[name],
        }

    return {
        "protocol": "lfw-view2",
        **report(learner),
        "checked": listed[0].source,
        "pairs": len(pairs),
        "identities": len(pairs.people.unique()),
        "runs": [run.path.name for run in chosen],
        "baselines": {name: report(name) for name in accuracy if name != learner},
    }


def _run_for(runs: Sequence[Run], tested: Tested, fold: str) -> Run:
    """The first run that was trained on nobody in the fold."""
    overlaps = [_overlap(run, tested) for run in runs]
    for run, overlap in zip(runs, overlaps, strict=True):
        if not overlap:
            return run
    least = min(range(len(runs)), key=lambda i: len(overlaps[i]))
    raise _refused(runs[least], overlaps[least], tested, fold)
