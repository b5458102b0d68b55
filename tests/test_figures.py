"""Figures carry alt text; faces on them are exact, pixel for pixel."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.figures import COLOURS, DPI, FRAME, STYLE, _encode, face_grid, image_tag, png, show, style
from tests.helpers import random_faces


def pixels(figure: Figure) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(png(figure))))


def test_the_picture_is_inside_the_tag_and_its_alt_text_is_escaped() -> None:
    tag = image_tag(Figure(figsize=(2, 1)), 'A "quoted" <alt> & more')
    assert 'alt="A &quot;quoted&quot; &lt;alt&gt; &amp; more"' in tag
    assert 'width="192"' in tag
    source = re.search(r'src="data:image/png;base64,([^"]*)"', tag)
    assert source is not None
    assert Image.open(io.BytesIO(base64.b64decode(source[1]))).size == (2 * DPI, DPI)


def test_the_encoder_keeps_every_pixel() -> None:
    wanted = np.random.default_rng(0).integers(256, size=(7, 5, 3), dtype=np.uint8)
    got = Image.open(io.BytesIO(_encode(wanted)))
    assert (np.asarray(got) == wanted).all()
    assert (got.format, got.mode) == ("PNG", "RGB")


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_a_figure_without_alt_text_is_refused(alt: str) -> None:
    with pytest.raises(MetaFaceError, match="alt text"):
        image_tag(Figure(), alt)


def test_show_displays_html_with_the_alt_text_as_plain_text_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import pyplot as plt

    shown: list[dict[str, str]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    figure, axes = plt.subplots()
    axes.plot([0, 1])
    show(figure, "A rising line.")
    assert [data["text/plain"] for data in shown] == ["A rising line."]
    assert 'alt="A rising line."' in shown[0]["text/html"]
    assert not plt.fignum_exists(figure.number)


def test_style_sets_what_it_says() -> None:
    with matplotlib.rc_context():
        style()
        assert matplotlib.rcParams["axes.labelsize"] == STYLE["axes.labelsize"]
        assert matplotlib.rcParams["axes.prop_cycle"].by_key()["color"] == list(COLOURS)


@pytest.mark.parametrize("channels", [1, 3])
def test_faces_are_drawn_pixel_for_pixel(channels: int) -> None:
    images = random_faces(people=3, each=2, size=16, channels=channels).images
    page = pixels(face_grid(images, columns=4, zoom=2))
    for i, image in enumerate(images):
        top, left = (i // 4) * (32 + 2 * FRAME + 6) + 3 + FRAME, (i % 4) * (32 + 2 * FRAME + 6) + 3 + FRAME
        shown = page[top : top + 32, left : left + 32].reshape(16, 2, 16, 2, 3)
        wanted = image.permute(1, 2, 0).expand(16, 16, 3).numpy()
        assert (shown == wanted[:, None, :, None]).all(), i


def test_borders_and_titles_belong_to_their_faces() -> None:
    images = random_faces(people=2, each=1).images
    framed = pixels(face_grid(images, borders=[COLOURS[1], None], zoom=1))
    assert tuple(framed[5, 5]) == (0xD5, 0x5E, 0x00)
    assert tuple(framed[5, 5 + 16 + 2 * FRAME + 6]) == (255, 255, 255)
    titled = face_grid(images, titles=["one", "two"])
    assert [text.get_text() for text in titled.texts] == ["one", "two"]
    assert titled.texts[0].get_position()[0] < titled.texts[1].get_position()[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"images": torch.zeros(2, 16, 16, dtype=torch.uint8)}, "[M, C, H, W]"),
        ({"images": torch.zeros(2, 1, 16, 16)}, "uint8"),
        ({"images": torch.zeros(0, 1, 16, 16, dtype=torch.uint8)}, "M ≥ 1"),
        ({"titles": ["only one"]}, "titles must have one entry for each of the 2"),
        ({"borders": ["red"] * 3}, "borders must have one entry for each of the 2"),
        ({"columns": 0}, "columns must be at least 1"),
    ],
)
def test_bad_input_is_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(MetaFaceError, match=re.escape(says)):
        face_grid(**({"images": torch.zeros(2, 1, 16, 16, dtype=torch.uint8)} | arguments))
