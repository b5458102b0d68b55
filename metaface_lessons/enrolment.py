"""A gallery of people who have agreed to be recognised. It says who is on a new photo: one of them, or nobody known.

The gallery keeps only the embedding of a photo, not the picture. It is one file on this computer, which only its owner
may read. `forget` deletes a person from it for good. Every change reads, changes and writes the file under a lock, so
that two commands at once lose nothing, and nobody who was forgotten comes back.

A stranger is compared with everybody in the gallery. So in a larger gallery it is more likely that somebody looks
similar enough. The threshold allows for that: in a gallery of *this size*, the share `FPIR` of strangers is taken for
somebody. It is measured on people whom the network was not trained on.
"""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import MetaFaceError, unknown
from .faces.faceset import FaceSet
from .faces.photos import faces_of
from .names import plain_name, same_to_a_reader, visible
from .paths import home_dir, locked, write_atomically
from .runs.run import Run, comparer, load_run
from .verification import Comparer, allowed, check_rate

RUN = Path("runs/protonet-lfw")  # the run that README trains
FPIR = 0.01  # false positive identification rate
DOUBT = 0.3  # a photo is doubted if this share of strangers is more like the person's other photos
TRIALS = 3000  # strangers that set the threshold: enough for FPIR = 1%
CONSENT = (
    "Has {name}, whose face this is, agreed to be recognised with this gallery? It keeps numbers computed from the"
    " face, no picture, in {file} on this computer, until `metaface forget` deletes them."
)


@dataclass
class Gallery:
    """The enrolled people.

    method: makes the embeddings and compares them.
    embeddings: by name, `[K, D]`, those of a person's photos.
    consent: by name, the day on which a person agreed.
    threshold: a face with a lower score for everybody is of nobody known.
    """

    method: Comparer
    embeddings: dict[str, Tensor] = field(default_factory=dict)
    consent: dict[str, str] = field(default_factory=dict)
    threshold: float = float("inf")

    def enrol(self, name: str, points: Tensor, consent: str) -> None:
        """Add photos of a person. Call `set_threshold` afterwards.

        A photo that the gallery already has is not added again, because it would count twice in the mean.

        name: the person's name.
        points: the embeddings `[K, D]` of the photos.
        consent: the day on which the person agreed.

        Raises `MetaFaceError` without a name or consent.
        """
        name = plain_name(name)
        if not consent:
            raise _not_agreed(name)
        known = self.embeddings.get(name, points[:0])
        for point in points:
            if not ((known - point).norm(dim=1) <= 1e-4 * point.norm()).any():
                known = torch.cat([known, point[None]])
        self.embeddings[name] = known
        self.consent[name] = consent

    def identify(self, point: Tensor) -> tuple[str | None, float]:
        """Who is on a photo (None for nobody known), and the score of the nearest person.

        point: the embedding `[D]` of the photo.

        Raises `MetaFaceError` if the gallery is empty.
        """
        if not self.embeddings:
            raise MetaFaceError("The gallery is empty. Enrol somebody: metaface enrol PHOTO… --name NAME")
        scores = self.method.scores(point[None], prototypes_of(list(self.embeddings.values())))[0]
        best = int(scores.argmax())
        name = list(self.embeddings)[best] if scores[best] >= self.threshold else None
        return name, float(scores[best])

    def set_threshold(self, strangers: FaceSet, fpir: float = FPIR) -> None:
        """Choose the threshold for the number of people who are enrolled.

        strangers: faces of people whom the network was not trained on.
        fpir: the false positive identification rate: the share of strangers who may be taken for somebody. 0.01.
        """
        if self.embeddings:
            shots = [len(points) for points in self.embeddings.values()]
            self.threshold = threshold_among(self.method, strangers, shots, fpir)


def _not_agreed(name: str) -> MetaFaceError:
    return MetaFaceError(
        f"{name} has not agreed, and is not enrolled. Ask {name} first; --consent then confirms that they agreed."
    )


def prototypes_of(embeddings: Sequence[Tensor]) -> Tensor:
    """The mean embedding of each person, `[N, D]`.

    embeddings: of each person, `[K, D]`.
    """
    return torch.stack([points.mean(dim=0) for points in embeddings])


def threshold_among(method: Comparer, faces: FaceSet, shots: Sequence[int], fpir: float = FPIR, seed: int = 0) -> float:
    """The threshold at which a given share of strangers is taken for somebody in a gallery of N people.

    `TRIALS` times, draw a gallery and one stranger. Each drawn person gets as many photos as the enrolled person has,
    or all that they have, because a mean of many photos is closer to everybody than a single photo is.

    method: makes the embeddings and compares them.
    faces: of people whom the network was not trained on, more than N.
    shots: `[N]`, the number of photos of each enrolled person.
    fpir: the share of strangers. 0.01.
    seed: of the draws.

    Raises `MetaFaceError` if there are too few people.
    """
    check_rate(fpir, TRIALS, "strangers drawn", "false positive identification rate")
    people = len(shots)
    points = method.embed(faces.images).cpu()
    own = [points[(faces.identity == person).cpu()] for person in faces.identities]
    if len(own) <= people:
        raise MetaFaceError(
            f"'{faces.name}' has {len(own)} people whom the run was not trained on. The threshold for {people} enrolled"
            f" people needs more than {people} of them. Train on a face set with more people."
        )
    generator = torch.Generator().manual_seed(seed)
    best = []
    for _ in range(TRIALS):
        drawn = torch.randperm(len(own), generator=generator)[: people + 1].tolist()
        photos = zip(drawn, (1, *shots), strict=True)
        stranger, *known = (own[i][torch.randperm(len(own[i]), generator=generator)[:n]] for i, n in photos)
        best.append(float(method.scores(stranger, prototypes_of(known)).max()))
    best.sort(reverse=True)
    return float(np.nextafter(best[allowed(fpir, TRIALS)], np.inf))  # just above the first stranger who must be refused


# ------------------------------------------------------------------------------------------------------------ on disk


def gallery_file() -> Path:
    """The learner's own gallery."""
    return home_dir() / "gallery.json"


_START = b'{"run":'  # how a file of `_write` begins
_LARGEST = 2**27  # bytes of a gallery: of some thousand people
_PATIENCE = 30.0  # seconds to wait for another command that changes the gallery


def _read(file: Path) -> dict[str, Any]:
    """What a gallery's file holds: run, weights (their digest), far (the FPIR), threshold, and people by name.

    Each of the people has "consent" and "embeddings".
    """
    try:
        if not file.is_file():
            raise FileNotFoundError if not file.exists() else OSError(0, "it is not a file")
        if (size := file.stat().st_size) > _LARGEST:
            raise ValueError(f"it has {size // 2**20} MB, and a gallery has at most {_LARGEST // 2**20}")
        return _checked(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise _no_gallery(file) from error
    except OSError as error:
        raise MetaFaceError(f"{file} cannot be read ({error.strerror}). Name the gallery's file.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, RuntimeError, OverflowError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else visible(str(error))[:300]
        raise MetaFaceError(
            f"{file} is damaged, or is not a gallery: {why}. Put a copy back if you have one. If not, delete it"
            f" (metaface forget --all{_at(file)}) and enrol everybody again."
        ) from error


def _checked(stored: Any) -> dict[str, Any]:
    """What a gallery's file holds, in the types that it should have.

    stored: the JSON.

    Raises an error of Python's own that says what is wrong.
    """
    people: dict[str, dict[str, Any]] = {}
    sizes = set()
    for name, entry in stored["people"].items():
        points = torch.tensor(entry["embeddings"], dtype=torch.float32)
        if points.ndim != 2 or 0 in points.shape or not points.isfinite().all():
            raise ValueError(f"the embeddings of {visible(name)} are not rows of finite numbers")
        if type(entry["consent"]) is not str:
            raise TypeError(f"the consent of {visible(name)} is not a date")
        people[name] = {"consent": entry["consent"], "embeddings": points.tolist()}
        sizes.add(points.shape[1])
    if len(sizes) > 1:
        raise ValueError("its embeddings are of different lengths")
    if not all(type(stored[key]) is str for key in ("run", "weights")):
        raise TypeError("its run and weights are not texts")
    fpir, threshold = (float(stored[key]) for key in ("far", "threshold"))
    if not 0 < fpir < 1 or not math.isfinite(threshold):
        raise ValueError("its far or threshold is out of range")
    return {"run": stored["run"], "weights": stored["weights"], "far": fpir, "threshold": threshold, "people": people}


def _at(file: Path) -> str:
    return "" if file == gallery_file() else f" --gallery {file}"


def _no_gallery(file: Path) -> MetaFaceError:
    return MetaFaceError(
        f"There is no gallery {file}. Enrol somebody: metaface enrol PHOTO… --name NAME. If you moved it,"
        " name it: --gallery FILE"
    )


@contextmanager
def _changing(file: Path, doing: str) -> Iterator[Path]:
    """Keep other commands from changing a gallery; yields the file itself, which may be behind a link."""
    try:
        real = Path(os.path.realpath(file))
    except RuntimeError as error:
        raise MetaFaceError(f"The gallery {file} is a link to itself. Name its file: --gallery FILE.") from error
    try:
        with locked(real, doing, "Try again when it has ended.", seconds=_PATIENCE):
            yield real
    except OSError as error:
        raise MetaFaceError(
            f"The gallery {file} cannot be written ({error.strerror}). Name another file: --gallery FILE."
        ) from error


def _write(stored: dict[str, Any], file: Path) -> None:
    """Write a gallery, so that nothing is left of the one before; while `_changing` it.

    Raises `OSError` if it cannot be written.
    """
    for part in file.parent.glob(f".{glob.escape(file.name)}.*.part"):  # what a crash has left of an earlier gallery
        part.unlink(missing_ok=True)
    if file.exists() and file.stat().st_nlink > 1:
        warnings.warn(
            f"{file} has another name on this disk (a hard link). That still holds the gallery as it was.", stacklevel=4
        )
    if not stored["people"]:
        file.unlink(missing_ok=True)  # nobody is left, so nothing may be left of the file
        return
    data = json.dumps(stored).encode()
    if len(data) > _LARGEST:
        raise MetaFaceError(
            f"The gallery would have more than {_LARGEST // 2**20} MB. Use another one: --gallery FILE."
        )
    write_atomically(file, data, mode=0o600)


def _weights(run: Run) -> str:
    """A digest of the network's weights and statistics, which shows whether embeddings are of another network."""
    digest = hashlib.sha256()
    for name, values in (*run.learner.named_parameters(), *run.learner.named_buffers()):
        digest.update(name.encode() + values.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _trained_on(run: Path, file: Path) -> MetaFaceError:
    return MetaFaceError(
        f"{run} was trained on since people were enrolled, so its new embeddings cannot be compared with theirs. Put"
        f" the run back as it was, or delete {file} and enrol everybody again."
    )


def _run_of(stored: Mapping[str, Any], file: Path) -> Run:
    """The run of a gallery.

    stored: the gallery.
    file: the gallery's.

    Raises `MetaFaceError` if the run is not where it was, or cannot be used.
    """
    run = Path(stored["run"])
    if stored["people"] and not os.path.exists(run):
        raise MetaFaceError(
            f"{file} is of the run {visible(run)}, which is not there. If you moved the run, name its new place once:"
            f" metaface enrol PHOTO… --name NAME --run PLACE{_at(file)}. If it is gone, delete the gallery (metaface"
            f" forget --all{_at(file)}) and enrol everybody again."
        )
    return load_run(run)


def _gallery(method: Comparer, stored: dict[str, Any]) -> Gallery:
    people = stored["people"].items()
    return Gallery(
        method,
        {name: torch.tensor(entry["embeddings"]) for name, entry in people},
        {name: entry["consent"] for name, entry in people},
        stored["threshold"],
    )


def enrol(
    photos: Sequence[Path],
    name: str,
    run: Path | None,
    file: Path,
    agreed: Callable[[], bool],
    fpir: float | None = None,
) -> dict[str, Any]:
    """Enrol a person, and return what the command reports. Warns of photos that may show somebody else.

    Photos that cannot be used are left out, with a warning for each that says why, if at least one can be used. But
    if a photo is not there at all, its name is misspelt, and nothing is done.

    photos: files, each with one face.
    name: the person's name.
    run: the folder of the run whose network makes the embeddings; if None, the gallery's, or `RUN` for a new gallery.
    file: the gallery. It is made if needed.
    agreed: asks whether the person has agreed. It is called before any face is embedded, when all else is in order.
    fpir: the share of strangers who may be taken for somebody; if None, the gallery's, or `FPIR` for a new gallery.

    Raises `MetaFaceError` without consent, if no photo can be used, or if the gallery is of another network.
    """
    name = plain_name(name)
    stored = _read_or_new(file)
    _check_name(name, stored["people"])
    trained = _run_of(stored, file) if run is None else load_run(run)
    run = Path(stored["run"]) if run is None else run
    fpir = float(stored["far"]) if fpir is None else fpir
    if trained.settings.faces.startswith("procedural"):
        warnings.warn(
            f"{run} was trained on generated faces, and its threshold is measured on them. Both may fail on photos."
            " Train on photos (--faces), and enrol with that run.",
            stacklevel=2,
        )
    method, weights = comparer(trained), _weights(trained)
    _check_network(stored, weights, run, file)
    faces, left_out, not_acquired, uncertain = _usable(photos, method.shape[-1])
    for problem in left_out.values():
        warnings.warn(f"Left out: {problem}", stacklevel=2)
    for photo in uncertain:
        warnings.warn(f"{_UNCERTAIN.format(photo=photo)} If it does not, enrol without it.", stacklevel=2)
    if not agreed():
        raise _not_agreed(name)
    points = dict(zip(faces, method.embed(torch.stack(list(faces.values()))).cpu(), strict=True))
    with _changing(file, "metaface enrol") as real:  # the lock keeps this, so it names nobody
        stored = _read_or_new(real)  # again, because others may have been enrolled or forgotten during the question
        _check_name(name, stored["people"])
        _check_network(stored, weights, run, file)
        gallery = _gallery(method, stored)
        before = len(gallery.embeddings.get(name, ()))
        gallery.enrol(name, torch.stack(list(points.values())), date.today().isoformat())
        gallery.set_threshold(trained.split.novel, fpir)
        doubts = _doubts(gallery, name, points, trained.split.novel)
        people = {
            who: {"consent": gallery.consent[who], "embeddings": points.tolist()}
            for who, points in gallery.embeddings.items()
        }
        where = os.path.realpath(run)
        _write({"run": where, "weights": weights, "far": fpir, "threshold": gallery.threshold, "people": people}, real)
    for doubt in doubts:
        warnings.warn(doubt, stacklevel=2)
    return {
        "name": name,
        "added": len(gallery.embeddings[name]) - before,
        "photos": len(gallery.embeddings[name]),
        "people": len(gallery.embeddings),
        "fpir": fpir,
        "threshold": round(gallery.threshold, 4),
        "doubts": doubts,
        "left_out": left_out,
        "not_acquired": not_acquired,
        "uncertain": uncertain,
        "gallery": str(file),
    }


def _read_or_new(file: Path) -> dict[str, Any]:
    if file.exists():
        return _read(file)
    return {"people": {}, "threshold": float("inf"), "run": str(RUN), "far": FPIR}


def _check_name(name: str, people: Mapping[str, Any]) -> None:
    """Raise `MetaFaceError` if somebody is enrolled under another name that reads like this one."""
    for other in people:
        if other != name and same_to_a_reader(other) == same_to_a_reader(name):
            raise MetaFaceError(
                f"'{visible(other)}' is enrolled already. If that is the same person, write the name like this; if it"
                " is not, add something to the new name."
            )


def _check_network(stored: Mapping[str, Any], weights: str, run: Path, file: Path) -> None:
    """Raise `MetaFaceError` if a gallery's embeddings are of another network.

    stored: the gallery.
    weights: the digest of the run's weights.
    run: the run.
    file: the gallery's.
    """
    if stored.get("weights", weights) == weights:
        return
    if stored["run"] == os.path.realpath(run):
        raise _trained_on(run, file)
    raise MetaFaceError(
        f"{file} holds embeddings of another network, {visible(stored['run'])}. Those of {run} cannot be compared with"
        " them. Name that run, or another gallery (--gallery), or delete that file and enrol everybody again."
    )


_UNCERTAIN = "{photo}: what was found may not be a face. Look whether the photo shows one large and sharp."


def _usable(photos: Sequence[Path], size: int) -> tuple[dict[str, Tensor], dict[str, str], list[str], list[str]]:
    """The face of each photo that can be used, and why the others cannot, by file.

    Then the files that were read but in which not one face was found (failures to acquire), and those with an uncertain
    face.

    photos: the files.
    size: of a face, in pixels.

    Raises `MetaFaceError`, with all reasons, if a photo is not there, or if none can be used.
    """
    read = faces_of(photos, size)
    left_out = {str(photo.file): photo.problem for photo in read if photo.face is None}
    faces = {str(photo.file): photo.face for photo in read if photo.face is not None}
    absent = any(not photo.expanduser().exists() for photo in photos)
    if absent or not faces:
        why = ", because a photo is not there" if absent else ""
        many = f"Nothing was enrolled{why}. Of {len(read)} photos, {len(left_out)} cannot be used:"
        raise MetaFaceError("\n  - ".join([many, *left_out.values()] if len(read) > 1 else left_out.values()))
    not_acquired = [str(photo.file) for photo in read if photo.not_acquired]
    return faces, left_out, not_acquired, [str(photo.file) for photo in read if not photo.certain]


def _doubts(gallery: Gallery, name: str, photos: dict[str, Tensor], strangers: FaceSet) -> list[str]:
    """Doubts that a photo is of the person: it is more like somebody else, or unlike their other photos.

    gallery: with the person enrolled.
    name: the person's name.
    photos: the embedding `[D]` of each new photo, by its file.
    strangers: faces of people whom the network was not trained on.
    """
    doubts = []
    own, others = gallery.embeddings[name], len(gallery.embeddings[name]) - 1
    limit = threshold_among(gallery.method, strangers, [others], DOUBT) if others else 0.0
    for photo, point in photos.items():
        groups = {**gallery.embeddings, name: own[(own - point).norm(dim=1) > 1e-4 * point.norm()]}
        found = {who: points for who, points in groups.items() if len(points)}
        if not found:  # this is the gallery's first photo
            continue
        prototypes = prototypes_of(list(found.values()))
        scores = dict(zip(found, gallery.method.scores(point[None], prototypes)[0].tolist(), strict=True))
        nearest = max(scores, key=lambda who: scores[who])
        if nearest != name and (name in scores or scores[nearest] >= gallery.threshold):
            doubts.append(f"{photo} looks more like {visible(nearest)}, who is enrolled.")
        elif name in scores and scores[name] < limit:
            doubts.append(f"{photo} looks less like the other photos of {name} than {DOUBT:.0%} of strangers do.")
    if doubts:
        doubts.append(f"If a photo is not of {name}, delete {name} (metaface forget) and enrol again without it.")
    return doubts


def identify(photo: Path, file: Path) -> dict[str, Any]:
    """Who is on a photo, as the command reports it: "name" (None for nobody known), "score", "threshold" and more.

    photo: a file with one face.
    file: the gallery.

    Raises `MetaFaceError` if there is no gallery, if its network was trained on or is missing, or if the photo does not
    show exactly one face.
    """
    stored = _read(file)
    run = Path(stored["run"])
    trained = _run_of(stored, file)
    if _weights(trained) != stored["weights"]:
        raise _trained_on(run, file)
    method = comparer(trained)
    gallery = _gallery(method, stored)
    (read,) = faces_of([photo], method.shape[-1])
    if read.face is None:
        raise MetaFaceError(read.problem)
    if not read.certain:
        warnings.warn(_UNCERTAIN.format(photo=visible(photo)), stacklevel=2)
    point = method.embed(read.face[None])[0].cpu()
    if any(points.shape[1] != len(point) for points in gallery.embeddings.values()):
        raise MetaFaceError(
            f"The embeddings in {file} have another length than those of {run}. The file was changed by hand. Put a"
            " copy back if you have one."
        )
    name, score = gallery.identify(point)
    return {
        "name": name,
        "score": round(score, 4),
        "threshold": round(gallery.threshold, 4),
        "fpir": stored["far"],
        "people": len(gallery.embeddings),
    }


def people(file: Path) -> list[dict[str, Any]]:
    """The people in a gallery: each one's name, number of photos, and the day on which they agreed.

    file: the gallery.
    """
    return [
        {"name": name, "photos": len(entry["embeddings"]), "consent": entry["consent"]}
        for name, entry in _read(file)["people"].items()
    ]


def forget(name: str, file: Path) -> int:
    """Delete a person from a gallery, and return how many are left. The file is deleted with the last person.

    The threshold is measured again for those who are left. If that is not possible, because the run is missing, the
    old one stays, with a warning.

    name: the person's name, or what `visible` shows of it.
    file: the gallery. If it is a link, the file behind it is changed.

    Raises `MetaFaceError` if there is no gallery, or nobody of that name in it.
    """
    _read(file)  # raises before a folder is made for the lock
    with _changing(file, "metaface forget") as real:
        stored = _read(real)
        shown = {visible(other): other for other in stored["people"]}
        name = name if name in stored["people"] else shown.get(name) or plain_name(name)
        if name not in stored["people"]:
            raise unknown("person in the gallery", visible(name), shown)
        del stored["people"][name]
        _write(stored, real)  # before all else, so that nothing of the person is left whatever fails afterwards
    if stored["people"]:
        try:
            trained = _run_of(stored, file)
            with _changing(file, "metaface forget") as real:
                stored = _read(real)
                gallery = _gallery(comparer(trained), stored)
                gallery.set_threshold(trained.split.novel, stored["far"])
                _write({**stored, "threshold": gallery.threshold}, real)
        except MetaFaceError as error:
            warnings.warn(f"The threshold is still that of the larger gallery. {error}", stacklevel=2)  # a stricter one
    return len(stored["people"])


def forget_all(file: Path) -> None:
    """Delete a whole gallery, even a damaged one. If it is a link, the file behind it is deleted, and the link too.

    file: the gallery.

    Raises `MetaFaceError` if there is no such file, or if it is not a gallery.
    """
    try:
        if not file.exists():
            raise _no_gallery(file)
        if not file.is_file():
            raise MetaFaceError(f"{file} is not a file, and was not deleted. Name the gallery's file.")
        with _changing(file, "metaface forget --all") as real:
            if file.is_symlink() or file != gallery_file():  # the learner's own gallery may be damaged from its start
                with real.open("rb") as opened:
                    if opened.read(len(_START)) != _START:
                        what = f"{file} leads to {real}, which" if file.is_symlink() else str(file)
                        raise MetaFaceError(f"{what} is not a gallery, and was not deleted. Name the gallery's file.")
            _write({"people": {}}, real)
            if file.is_symlink():
                file.unlink()
    except OSError as error:
        raise MetaFaceError(f"{file} cannot be deleted ({error.strerror}). Name the gallery's file.") from error
