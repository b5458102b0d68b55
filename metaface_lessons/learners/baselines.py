"""What meta-learning has to beat: nearest class mean on classical features, on the very same episodes.

Each baseline is a `ProtoNet` whose embedding is fixed, so that only the features differ. LDA learns its features from
the base identities; pixels and LBP learn nothing. Each sees the pictures as they are, or after a function `normalise`,
such as those of `faces.normalisation`: uint8 `[M, C, H, W]` to uint8 of the same shape.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.feature import local_binary_pattern
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn

from ..errors import MetaFaceError
from ..faces.faceset import FaceSet
from ..networks import standardise
from .protonet import ProtoNet

Array = NDArray[np.float32]
Normalise = Callable[[Tensor], Tensor]


class FixedFeatures(nn.Module):
    """Features without weights, computed once for each distinct image: uint8 `[M, C, H, W]` → float `[M, D]`.

    Warns, once, if the features of an image depend on the images that they are computed with, or on chance.

    features: the function that computes them, from images on the CPU to an array.
    name: what the warning calls it. "The embedding".
    """

    def __init__(self, features: Callable[[Tensor], Array], name: str = "The embedding") -> None:
        super().__init__()
        self._features, self._name = features, name
        self._known: dict[bytes, Array] = {}
        self._tried = False

    def forget(self) -> None:
        """Drop what was computed, so that the time of the next call can be measured."""
        self._known.clear()

    def forward(self, images: Tensor) -> Tensor:
        keys = [image.tobytes() for image in images.cpu().numpy()]
        new = {key: i for i, key in enumerate(keys) if key not in self._known}
        if new:
            distinct = images[list(new.values())].cpu()
            computed = self._features(distinct)
            if not self._tried and len(distinct) > 1:
                self._tried = True
                self._warn_of_company(distinct, np.asarray(computed))
            self._known.update(zip(new, computed, strict=True))
        return torch.from_numpy(np.stack([self._known[key] for key in keys])).to(images.device)

    def _warn_of_company(self, images: Tensor, found: Array) -> None:
        """Warn if the features depend on more than the image.

        images: uint8 `[M, C, H, W]`, M ≥ 2.
        found: their features.
        """

        def differ(a: Array, b: Array) -> bool:
            return not np.linalg.norm(a - b) <= 1e-2 * np.linalg.norm(a)

        few = images[:8]
        try:
            alone = np.asarray(self._features(images[:1]))
        except Exception:  # such as a batch normalisation in training mode
            alone = np.full_like(found[:1], np.inf)
        if differ(*(np.asarray(self._features(few)) for _ in range(2))):
            why = "gives the same images other embeddings in each call"
        elif differ(found[:1], alone):
            why = "gives an image alone another embedding than in a batch, or none"
        elif differ(found[: len(few)], np.asarray(self._features(few.flip(0)))[::-1]):
            why = "gives images other embeddings in another order"
        else:
            return
        warnings.warn(
            f"{self._name} {why}, so its figures depend on the other images. Its network may still be in training mode,"
            " with batch normalisation or dropout: call .eval() on it.",
            stacklevel=2,
        )


def _pixels(images: Tensor) -> Array:
    return standardise(images).flatten(1).numpy()


def _as_they_are(images: Tensor) -> Tensor:
    return images


def pixels(normalise: Normalise = _as_they_are) -> ProtoNet:
    """Nearest class mean on standardised pixels.

    normalise: applied to the images first.
    """
    return ProtoNet(FixedFeatures(lambda images: _pixels(normalise(images))))


def brightness() -> ProtoNet:
    """Nearest class mean on a picture's mean brightness: a control (`faces.controls`), which should be at chance."""
    return ProtoNet(FixedFeatures(lambda images: images.float().mean(dim=(1, 2, 3))[:, None].numpy()))


def _local_binary_patterns(images: Tensor, cells: int = 8) -> Array:
    grey = images.float().mean(dim=1).round().byte().numpy()
    codes = np.stack([local_binary_pattern(image, P=8, R=1, method="nri_uniform") for image in grey]).astype(np.int64)
    codes = codes[:, 1:-1, 1:-1]  # a pixel at the border lacks neighbours
    bins = 59  # the uniform patterns of 8 neighbours, and one bin for all others
    rows = np.array_split(np.arange(codes.shape[1]), cells)
    columns = np.array_split(np.arange(codes.shape[2]), cells)
    histograms = [
        np.stack([np.bincount(image[np.ix_(r, c)].ravel(), minlength=bins) / (len(r) * len(c)) for image in codes])
        for r in rows
        for c in columns
    ]
    return np.sqrt(np.concatenate(histograms, axis=1)).astype(np.float32)


def lbp(normalise: Normalise = _as_they_are) -> ProtoNet:
    """Local binary patterns (Ahonen, Hadid & Pietikäinen 2006): histograms of uniform patterns in 8×8 cells.

    Square roots of the histograms are compared, which makes the Euclidean distance a Hellinger distance.

    normalise: applied to the images first.
    """
    return ProtoNet(FixedFeatures(lambda images: _local_binary_patterns(normalise(images))))


def lda(
    base: FaceSet, components: int = 100, normalise: Normalise = _as_they_are, shrinkage: float | None = None
) -> ProtoNet:
    """Fisherfaces (Belhumeur, Hespanha & Kriegman 1997): PCA, then the directions that best separate the base people.

    Features are compared by the cosine. It beats the paper's Euclidean distance on LFW (by twelve points with one
    shot), Olivetti and Extended Yale B, and loses to it on the CMU faces.

    base: faces of the base people, some of them with more than one image.
    components: how many PCA keeps, at most.
    normalise: applied to the images first.
    shrinkage: how far the covariance within people is moved towards a multiple of the identity, 0 to 1, which helps
        where people are few; None for the plain method.

    Raises `MetaFaceError` if nobody has more than one image.
    """
    x = _pixels(normalise(base.in_memory().images.cpu()))
    components = min(components, len(x) - 1, x.shape[1])
    if len(base.identities) >= len(x):
        raise MetaFaceError(
            "LDA learns how images of one person vary, but nobody here has more than one image. Use a face set with"
            " several images of each person."
        )
    solver = "svd" if shrinkage is None else "eigen"  # the first takes no shrinkage
    discriminant = LinearDiscriminantAnalysis(solver=solver, shrinkage=shrinkage)
    model = make_pipeline(PCA(components, whiten=True, random_state=0), discriminant)
    model.fit(x, base.identity.cpu().numpy())
    features = FixedFeatures(lambda images: model.transform(_pixels(normalise(images))).astype(np.float32))
    return ProtoNet(features, distance="cosine")


def pretrained(place: str) -> ProtoNet:
    """Your own embedding as one more baseline, such as a pretrained network: nearest class mean by the cosine.

    From Python, write `ProtoNet(FixedFeatures(function), distance="cosine")`.

    place: "module:function". The module may be in the current folder or installed. The function takes images, uint8
        `[M, C, H, W]` (C = 1 or 3, as in the face set). It returns their embeddings, float `[M, D]`, as a tensor or
        array.

    Raises `MetaFaceError` if it cannot be loaded, and says why; later, if it fails or returns another shape.
    """
    function = _load(place)
    return ProtoNet(FixedFeatures(lambda images: _embedded(place, function, images), place), distance="cosine")


def _load(place: str) -> Callable[[Tensor], Any]:
    """The function "module:function"; see `pretrained`."""
    module, colon, name = place.partition(":")
    expected = "Expected 'module:function', such as mine:embed for the function `embed` in mine.py"
    if not colon or not module or not name:
        raise MetaFaceError(f"There is no embedding '{place}'. {expected}.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        with redirect_stdout(sys.stderr):  # stdout is for results
            function = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if f"{module}.".startswith(f"{error.name}."):
            raise MetaFaceError(
                f"There is no embedding '{place}', because there is no module '{module}'. {expected}, in this folder or"
                " installed."
            ) from error
        raise MetaFaceError(f"{place} cannot be loaded: it imports '{error.name}', which is not installed.") from error
    except AttributeError as error:
        if module in sys.modules:  # it was imported as a whole, but has no such function
            raise MetaFaceError(f"There is no embedding '{place}', because {error}. {expected}.") from error
        raise _broken(place, error) from error
    except (Exception, SystemExit) as error:  # the code is the user's, so anything may go wrong
        raise _broken(place, error) from error
    if not callable(function):
        raise MetaFaceError(f"'{place}' is not a function, but {type(function).__name__}. {expected}.")
    return function


def _broken(place: str, error: BaseException) -> MetaFaceError:
    """That the user's module fails when it is imported, with the line of it where it does."""
    module = place.partition(":")[0]
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).stem == module]
    where = f" (line {own[-1].lineno} of {own[-1].filename})" if own else ""
    return MetaFaceError(
        f"{place} cannot be loaded: {type(error).__name__}: {error}{where}. Fix that, and try again. `python -c 'import"
        f" {module}'` shows the same."
    )


def _embedded(place: str, function: Callable[[Tensor], Any], images: Tensor) -> Array:
    """The embeddings of images by the user's function. Raises `MetaFaceError` if it fails, or returns another shape."""
    try:
        with redirect_stdout(sys.stderr):  # stdout is for results
            given = torch.as_tensor(function(images)).detach()
            if given.is_complex():  # their imaginary parts would be lost
                raise TypeError(f"embeddings of {given.dtype}")
            found = given.to("cpu", torch.float32).numpy()
    except (Exception, SystemExit) as error:  # the code is the user's, so anything may go wrong
        raise MetaFaceError(
            f"{place} failed on images {list(images.shape)}, {images.dtype}: {type(error).__name__}: {error}"
        ) from error
    if found.ndim != 2 or len(found) != len(images) or not found.size or not np.isfinite(found).all():
        raise MetaFaceError(
            f"{place} should return finite embeddings [{len(images)}, D] for images {list(images.shape)}, but"
            f" returned {list(found.shape)}{'' if np.isfinite(found).all() else ' with NaN or infinite values'}."
        )
    return found


def baselines(base: FaceSet) -> dict[str, ProtoNet]:
    """All baselines by name.

    base: faces of the base people, on which LDA is trained.
    """
    return {"pixels": pixels(), "lbp": lbp(), "lda": lda(base)}
