"""A gallery of people who have agreed to be recognised, and who is on a new photo: one of them, or nobody known.

Of a photo only its embedding is kept, no picture. The gallery is one file on this computer, which only its owner may
read; `forget` takes a person out of it for good.

A stranger is compared with everybody in the gallery, so the more there are, the sooner somebody looks alike enough. The
threshold allows for that: the share `FAR` of strangers is taken for somebody out of *this many* people, as measured on
people whom the network was not trained on.
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

RUN = Path("runs/protonet-lfw")  # that of README
FAR = 0.01
DOUBT = 0.3  # a photo less like a person's others than so many strangers are is doubted
TRIALS = 3000  # strangers by whom the threshold is set: enough for FAR = 1%
CONSENT = (
    "Has {name}, whose face this is, agreed to be recognised with this gallery? It keeps numbers computed from the"
    " face, no picture, in {file} on this computer, until `metaface forget` deletes them."
)


@dataclass
class Gallery:
    """The enrolled people: the embeddings `[K, D]` of their photos and when they agreed, by name.

    method: what made the embeddings, and compares them. threshold: a face that scores less with everybody is of nobody
    known.
    """

    method: Comparer
    embeddings: dict[str, Tensor] = field(default_factory=dict)
    consent: dict[str, str] = field(default_factory=dict)
    threshold: float = float("inf")

    def enrol(self, name: str, points: Tensor, consent: str) -> None:
        """Add the embeddings `[K, D]` of a person's photos to those that are there. consent: the day they agreed.

        A photo that is there already is not added again, for it would count twice in the mean. Call `set_threshold`
        after it. Raises `MetaFaceError` without a name or consent.
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
        """Who is on the photo with the embedding `[D]`, None if nobody known, and the score of the nearest person."""
        if not self.embeddings:
            raise MetaFaceError("The gallery is empty. Enrol somebody: metaface enrol PHOTO… --name NAME")
        scores = self.method.scores(point[None], prototypes_of(list(self.embeddings.values())))[0]
        best = int(scores.argmax())
        name = list(self.embeddings)[best] if scores[best] >= self.threshold else None
        return name, float(scores[best])

    def set_threshold(self, strangers: FaceSet, far: float = FAR) -> None:
        """Choose the threshold for as many people as are enrolled, on people whom the network does not know."""
        if self.embeddings:
            shots = [len(points) for points in self.embeddings.values()]
            self.threshold = threshold_among(self.method, strangers, shots, far)


def _plain(name: str) -> str:
    """The name with single spaces and composed accents, so that what reads alike is one person.

    Raises `MetaFaceError` for one that is empty, or that cannot be printed on a line.
    """
    plain = " ".join(unicodedata.normalize("NFC", name).split())
    if not plain:
        raise MetaFaceError("Enrolling needs a name: --name NAME.")
    if not plain.isprintable():
        raise MetaFaceError(f"The name {plain!r} has characters that cannot be printed. Write it without them.")
    return plain


def _not_agreed(name: str) -> MetaFaceError:
    return MetaFaceError(f"Nobody is enrolled who has not agreed. Ask {name}; --consent says that you have.")


def prototypes_of(embeddings: Sequence[Tensor]) -> Tensor:
    """The mean of each person's embeddings `[K, D]`: `[N, D]`."""
    return torch.stack([points.mean(dim=0) for points in embeddings])


def threshold_among(method: Comparer, faces: FaceSet, shots: Sequence[int], far: float = FAR, seed: int = 0) -> float:
    """The threshold at which the share `far` of strangers is taken for one of N people with `shots` `[N]` photos each.

    Galleries of people out of `faces`, whom the network was not trained on, and a stranger to each, are drawn `TRIALS`
    times, with as many photos of each as are enrolled: a mean of many lies nearer to everybody than one photo does (who
    has fewer photos in `faces` gives all of them). Raises `MetaFaceError` if there are too few people.
    """
    check_rate(far, TRIALS, "strangers drawn")
    people = len(shots)
    points = method.embed(faces.images).cpu()
    own = [points[(faces.identity == person).cpu()] for person in faces.identities]
    if len(own) <= people:
        raise MetaFaceError(
            f"The threshold for {people} enrolled people is measured on more people than that whom the run was not"
            f" trained on, but '{faces.name}' has {len(own)}. Train on a face set with more people."
        )
    generator = torch.Generator().manual_seed(seed)
    best = []
    for _ in range(TRIALS):
        drawn = torch.randperm(len(own), generator=generator)[: people + 1].tolist()
        photos = zip(drawn, (1, *shots), strict=True)
        stranger, *known = (own[i][torch.randperm(len(own[i]), generator=generator)[:n]] for i, n in photos)
        best.append(float(method.scores(stranger, prototypes_of(known)).max()))
    best.sort(reverse=True)
    return float(np.nextafter(best[int(far * TRIALS)], np.inf))  # just above the first who must be refused


# ------------------------------------------------------------------------------------------------------------ on disk


def gallery_file() -> Path:
    return home_dir() / "gallery.json"


_START = b'{"run":'  # of what `_write` writes


def _read(file: Path) -> dict[str, Any]:
    """What is stored: run, weights (their digest), far, threshold, and people with their consent and embeddings."""
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
        raise MetaFaceError(f"{file} cannot be read as a gallery ({error.strerror}). Name its file.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MetaFaceError(
            f"{file} is damaged, or no gallery ({type(error).__name__}). If it is one, delete it"
            f" (metaface forget --all{_at(file)}), and enrol again."
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
            file.unlink(missing_ok=True)  # nobody is left, and nothing of them
    except OSError as error:
        raise MetaFaceError(f"The gallery {file} cannot be written ({error.strerror}). Name another.") from error


def _weights(run: Run) -> str:
    """A digest of the network's weights and statistics, by which embeddings of another one are known."""
    digest = hashlib.sha256()
    for name, values in (*run.learner.named_parameters(), *run.learner.named_buffers()):
        digest.update(name.encode() + values.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _trained_on(run: Path, file: Path) -> MetaFaceError:
    return MetaFaceError(
        f"{run} has been trained on since people were enrolled, and its new embeddings cannot be compared with theirs."
        f" Delete {file}, and enrol everybody anew."
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
    """Enrol the person on `photos` in the gallery `file`, with the network of `run`. Returns what to tell.

    agreed: asks whether they have agreed; called when nothing else is in the way, before a face is embedded. far: the
    share of strangers who may be taken for somebody. Without run or far, they are the gallery's, or `RUN` and `FAR`.

    Warns of photos that may be of somebody else. Raises `MetaFaceError` without consent, if a photo does not show one
    face, or if the gallery is of another network.
    """
    name = _plain(name)
    stored: dict[str, Any] = {"people": {}, "threshold": float("inf"), "run": RUN, "far": FAR}
    if file.exists():
        stored = _read(file)
    for other in stored["people"]:
        if other != name and other.casefold() == name.casefold():
            raise MetaFaceError(
                f"'{other}' is enrolled. If that is the same person, write the name so; if not, add something to it."
            )
    run = Path(stored["run"]) if run is None else run
    far = float(stored["far"]) if far is None else far
    trained = load_run(run)
    if trained.settings.faces.startswith("procedural"):
        warnings.warn(
            f"{run} was trained on generated faces, and on them its threshold is measured: neither may hold for photos."
            " Train on photos (--faces), and enrol with that run.",
            stacklevel=2,
        )
    method, weights = comparer(trained), _weights(trained)
    if stored.get("weights", weights) != weights:
        if stored["run"] == str(run.resolve()):
            raise _trained_on(run, file)
        raise MetaFaceError(
            f"{file} holds embeddings of another network, {stored['run']}, with which those of {run} cannot be"
            " compared. Name that run, or another gallery (--gallery), or delete that file and enrol anew."
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
    """What speaks against a photo being of the person: it is more like somebody else, or unlike their other photos.

    photos: the embedding `[D]` of each new one.
    """
    doubts = []
    own, others = gallery.embeddings[name], len(gallery.embeddings[name]) - 1
    limit = threshold_among(gallery.method, strangers, [others], DOUBT) if others else 0.0
    for photo, point in photos.items():
        groups = {**gallery.embeddings, name: own[(own - point).norm(dim=1) > 1e-4 * point.norm()]}
        found = {who: points for who, points in groups.items() if len(points)}
        if not found:  # the first photo of all
            continue
        prototypes = prototypes_of(list(found.values()))
        scores = dict(zip(found, gallery.method.scores(point[None], prototypes)[0].tolist(), strict=True))
        nearest = max(scores, key=lambda who: scores[who])
        if nearest != name and (name in scores or scores[nearest] >= gallery.threshold):
            doubts.append(f"{photo} looks more like {nearest}, who is enrolled.")
        elif name in scores and scores[name] < limit:
            doubts.append(f"{photo} looks less like the other photos of {name} than {DOUBT:.0%} of strangers do.")
    if doubts:
        doubts.append(f"If a photo is not of {name}: metaface forget, and enrol again without it.")
    return doubts


def identify(photo: Path, file: Path) -> dict[str, Any]:
    """Who of the gallery `file` is on the photo: {"name": None, …} if nobody known.

    Raises `MetaFaceError` if there is no gallery, if its network has been trained on or is gone, or for the photo.
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
    """Who is in the gallery `file`: the name, how many photos, and the day they agreed, of each."""
    return [
        {"name": name, "photos": len(entry["embeddings"]), "consent": entry["consent"]}
        for name, entry in _read(file)["people"].items()
    ]


def forget(name: str, file: Path) -> int:
    """Delete a person from the gallery `file`; how many are left. With the last one the file goes, too.

    The threshold is measured anew for those who are left; where that cannot be (the run is gone), the old one stays,
    with a warning.
    """
    stored = _read(file)
    name = name if name in stored["people"] else _plain(name)
    if name not in stored["people"]:
        raise unknown("person in the gallery", name, stored["people"])
    del stored["people"][name]
    _write(stored, file)  # first of all: whatever happens next, nothing of them is left
    if stored["people"]:
        try:
            trained = load_run(Path(stored["run"]))
            gallery = _gallery(comparer(trained), stored)
            gallery.set_threshold(trained.split.novel, stored["far"])
            _write({**stored, "threshold": gallery.threshold}, file)
        except MetaFaceError as error:
            warnings.warn(f"The threshold is still that of the larger gallery. {error}", stacklevel=2)
    return len(stored["people"])


def forget_all(file: Path) -> None:
    """Delete the gallery `file`, also where it is damaged. Raises `MetaFaceError` if there is none, or it is none."""
    try:
        if file != gallery_file() and not file.read_bytes().startswith(_START):
            raise MetaFaceError(f"{file} does not begin as a gallery does, and was not deleted. Name the right file.")
        file.unlink()
    except FileNotFoundError as error:
        raise _no_gallery(file) from error
    except OSError as error:
        raise MetaFaceError(f"{file} cannot be deleted ({error.strerror}). Name the gallery's file.") from error
