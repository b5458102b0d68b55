"""A gallery of people who have agreed to be recognised. It says who is on a new photo: one of them, or nobody known.

The gallery keeps only the embedding of a photo, not the picture. It is one file on this computer, which only its owner
may read. `forget` deletes a person from it for good.

A stranger is compared with everybody in the gallery. So in a larger gallery it is more likely that somebody looks
similar enough. The threshold allows for that: in a gallery of *this size*, the share `FAR` of strangers is taken for
somebody. It is measured on people whom the network was not trained on.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import MetaFaceError, unknown
from .faces.faceset import FaceSet
from .faces.photos import find_face
from .paths import home_dir, write_atomically
from .runs.run import Run, comparer, load_run
from .verification import Comparer, check_rate

RUN = Path("runs/protonet-lfw")  # the run that README trains
FAR = 0.01
DOUBT = 0.3  # a photo is doubted if this share of strangers is more like the person's other photos
TRIALS = 3000  # strangers that set the threshold: enough for FAR = 1%
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
        name = _plain(name)
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

    def set_threshold(self, strangers: FaceSet, far: float = FAR) -> None:
        """Choose the threshold for the number of people who are enrolled.

        strangers: faces of people whom the network was not trained on.
        far: the share of strangers who may be taken for somebody.
        """
        if self.embeddings:
            shots = [len(points) for points in self.embeddings.values()]
            self.threshold = threshold_among(self.method, strangers, shots, far)


def _plain(name: str) -> str:
    """The name with single spaces and composed accents, so that names that look the same are the same.

    Raises `MetaFaceError` if it is empty, or cannot be printed on one line.
    """
    plain = " ".join(unicodedata.normalize("NFC", name).split())
    if not plain:
        raise MetaFaceError("The name is empty. Enrolling needs a name: --name NAME.")
    if not plain.isprintable():
        raise MetaFaceError(f"The name {plain!r} has characters that cannot be printed. Leave them out.")
    return plain


def _not_agreed(name: str) -> MetaFaceError:
    return MetaFaceError(
        f"{name} has not agreed, and is not enrolled. Ask {name} first; --consent then confirms that they agreed."
    )


def prototypes_of(embeddings: Sequence[Tensor]) -> Tensor:
    """The mean embedding of each person, `[N, D]`.

    embeddings: of each person, `[K, D]`.
    """
    return torch.stack([points.mean(dim=0) for points in embeddings])


def threshold_among(method: Comparer, faces: FaceSet, shots: Sequence[int], far: float = FAR, seed: int = 0) -> float:
    """The threshold at which a given share of strangers is taken for somebody in a gallery of N people.

    `TRIALS` times, draw a gallery and one stranger. Each drawn person gets as many photos as the enrolled person has,
    or all that they have, because a mean of many photos is closer to everybody than a single photo is.

    method: makes the embeddings and compares them.
    faces: of people whom the network was not trained on, more than N.
    shots: `[N]`, the number of photos of each enrolled person.
    far: the share of strangers.
    seed: of the draws.

    Raises `MetaFaceError` if there are too few people.
    """
    check_rate(far, TRIALS, "strangers drawn")
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
    return float(np.nextafter(best[int(far * TRIALS)], np.inf))  # just above the first stranger who must be refused


# ------------------------------------------------------------------------------------------------------------ on disk


def gallery_file() -> Path:
    """The learner's own gallery."""
    return home_dir() / "gallery.json"


_START = b'{"run":'  # how a file of `_write` begins


def _read(file: Path) -> dict[str, Any]:
    """What a gallery's file holds: run, weights (their digest), far, threshold, and people by name.

    Each of the people has "consent" and "embeddings".
    """
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        people = {
            name: {"consent": str(entry["consent"]), "embeddings": torch.tensor(entry["embeddings"]).tolist()}
            for name, entry in stored["people"].items()
        }
        texts = {key: str(stored[key]) for key in ("run", "weights")}
        return {**texts, **{key: float(stored[key]) for key in ("far", "threshold")}, "people": people}
    except FileNotFoundError as error:
        raise _no_gallery(file) from error
    except OSError as error:
        raise MetaFaceError(f"{file} cannot be read ({error.strerror}). Name the gallery's file.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MetaFaceError(
            f"{file} is damaged, or is not a gallery ({type(error).__name__}). If it is a gallery, delete it (metaface"
            f" forget --all{_at(file)}) and enrol everybody again."
        ) from error


def _at(file: Path) -> str:
    return "" if file == gallery_file() else f" --gallery {file}"


def _no_gallery(file: Path) -> MetaFaceError:
    return MetaFaceError(f"There is no gallery {file}. Enrol somebody: metaface enrol PHOTO… --name NAME")


def _write(stored: dict[str, Any], file: Path) -> None:
    try:
        if stored["people"]:
            write_atomically(file, json.dumps(stored).encode(), mode=0o600)
        else:
            file.unlink(missing_ok=True)  # nobody is left, so nothing may be left of the file
    except OSError as error:
        raise MetaFaceError(
            f"The gallery {file} cannot be written ({error.strerror}). Name another file: --gallery FILE."
        ) from error


def _weights(run: Run) -> str:
    """A digest of the network's weights and statistics, which shows whether embeddings are of another network."""
    digest = hashlib.sha256()
    for name, values in (*run.learner.named_parameters(), *run.learner.named_buffers()):
        digest.update(name.encode() + values.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _trained_on(run: Path, file: Path) -> MetaFaceError:
    return MetaFaceError(
        f"{run} was trained on since people were enrolled, so its new embeddings cannot be compared with theirs. Delete"
        f" {file} and enrol everybody again."
    )


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
    far: float | None = None,
) -> dict[str, Any]:
    """Enrol a person, and return what the command reports. Warns of photos that may show somebody else.

    photos: files, each with one face.
    name: the person's name.
    run: the folder of the run whose network makes the embeddings; if None, the gallery's, or `RUN` for a new gallery.
    file: the gallery. It is made if needed.
    agreed: asks whether the person has agreed. It is called before any face is embedded, when all else is in order.
    far: the share of strangers who may be taken for somebody; if None, the gallery's, or `FAR` for a new gallery.

    Raises `MetaFaceError` without consent, if a photo does not show exactly one face, or if the gallery is of another
    network.
    """
    name = _plain(name)
    stored: dict[str, Any] = {"people": {}, "threshold": float("inf"), "run": RUN, "far": FAR}
    if file.exists():
        stored = _read(file)
    for other in stored["people"]:
        if other != name and other.casefold() == name.casefold():
            raise MetaFaceError(
                f"'{other}' is enrolled already. If that is the same person, write the name like this; if it is not,"
                " add something to the new name."
            )
    run = Path(stored["run"]) if run is None else run
    far = float(stored["far"]) if far is None else far
    trained = load_run(run)
    if trained.settings.faces.startswith("procedural"):
        warnings.warn(
            f"{run} was trained on generated faces, and its threshold is measured on them. Both may fail on photos."
            " Train on photos (--faces), and enrol with that run.",
            stacklevel=2,
        )
    method, weights = comparer(trained), _weights(trained)
    if stored.get("weights", weights) != weights:
        if stored["run"] == str(run.resolve()):
            raise _trained_on(run, file)
        raise MetaFaceError(
            f"{file} holds embeddings of another network, {stored['run']}. Those of {run} cannot be compared with them."
            " Name that run, or another gallery (--gallery), or delete that file and enrol everybody again."
        )
    gallery = _gallery(method, stored)
    faces = torch.stack([find_face(photo, method.shape[-1]) for photo in photos])
    if not agreed():
        raise _not_agreed(name)
    before = len(gallery.embeddings.get(name, ()))
    points = method.embed(faces).cpu()
    gallery.enrol(name, points, date.today().isoformat())
    gallery.set_threshold(trained.split.novel, far)
    doubts = _doubts(gallery, name, dict(zip(map(str, photos), points, strict=True)), trained.split.novel)
    people = {
        who: {"consent": gallery.consent[who], "embeddings": points.tolist()}
        for who, points in gallery.embeddings.items()
    }
    _write(
        {"run": str(run.resolve()), "weights": weights, "far": far, "threshold": gallery.threshold, "people": people},
        file,
    )
    for doubt in doubts:
        warnings.warn(doubt, stacklevel=2)
    return {
        "name": name,
        "added": len(gallery.embeddings[name]) - before,
        "photos": len(gallery.embeddings[name]),
        "people": len(gallery.embeddings),
        "far": far,
        "threshold": round(gallery.threshold, 4),
        "doubts": doubts,
        "gallery": str(file),
    }


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
            doubts.append(f"{photo} looks more like {nearest}, who is enrolled.")
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
    trained = load_run(run)
    if _weights(trained) != stored["weights"]:
        raise _trained_on(run, file)
    method = comparer(trained)
    gallery = _gallery(method, stored)
    point = method.embed(find_face(photo, method.shape[-1])[None])[0].cpu()
    name, score = gallery.identify(point)
    return {
        "name": name,
        "score": round(score, 4),
        "threshold": round(gallery.threshold, 4),
        "far": stored["far"],
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

    name: the person's name.
    file: the gallery.

    Raises `MetaFaceError` if there is no gallery, or nobody of that name in it.
    """
    stored = _read(file)
    name = name if name in stored["people"] else _plain(name)
    if name not in stored["people"]:
        raise unknown("person in the gallery", name, stored["people"])
    del stored["people"][name]
    _write(stored, file)  # before all else, so that nothing of the person is left whatever fails afterwards
    if stored["people"]:
        try:
            trained = load_run(Path(stored["run"]))
            gallery = _gallery(comparer(trained), stored)
            gallery.set_threshold(trained.split.novel, stored["far"])
            _write({**stored, "threshold": gallery.threshold}, file)
        except MetaFaceError as error:
            warnings.warn(f"The threshold is still that of the larger gallery. {error}", stacklevel=2)  # a stricter one
    return len(stored["people"])


def forget_all(file: Path) -> None:
    """Delete a whole gallery, even a damaged one.

    file: the gallery.

    Raises `MetaFaceError` if there is no such file, or if it is not a gallery.
    """
    try:
        if file != gallery_file() and not file.read_bytes().startswith(_START):
            raise MetaFaceError(f"{file} is not a gallery, and was not deleted. Name the gallery's file.")
        file.unlink()
    except FileNotFoundError as error:
        raise _no_gallery(file) from error
    except OSError as error:
        raise MetaFaceError(f"{file} cannot be deleted ({error.strerror}). Name the gallery's file.") from error
