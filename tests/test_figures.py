"""Figures carry alt text; faces on them are exact, pixel for pixel."""

from __future__ import annotations

import base64
import io
import re
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from metaface_lessons.errors import MetaFaceError
from metaface_lessons.evaluation import Difference, Estimate, Evaluation
from metaface_lessons.figures import (
    COLOURS,
    DPI,
    FRAME,
    STYLE,
    _encode,
    curve,
    curve_alt,
    det_axes,
    face_grid,
    forest,
    forest_alt,
    heat_maps,
    heat_maps_alt,
    image_tag,
    png,
    show,
    style,
    table,
)
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
    plain = Image.open(io.BytesIO(base64.b64decode(shown[0]["image/png"])))
    true = pixels(figure).astype(int)
    assert np.abs(np.asarray(plain.convert("RGB")) - true).mean() < 2  # the same picture, in fewer colours
    assert plain.getcolors() is not None  # 256 at most
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


def test_rows_of_faces_have_labels_beside_them() -> None:
    images = random_faces(people=3, each=2, size=16).images
    plain, named = (face_grid(images, columns=2, zoom=2, rows=rows) for rows in (None, ["one", "far longer", "3"]))
    labels = named.texts
    assert [text.get_text() for text in labels] == ["one", "far longer", "3"]
    page, wider = pixels(plain), pixels(named)
    beside = wider.shape[1] - page.shape[1]
    assert (wider[:, beside:] == page).all()  # no word lies over a face
    assert (wider[:, :10] == 255).all()  # nor is it cut
    heights = [text.get_position()[1] for text in labels]
    assert heights == sorted(heights, reverse=True)
    with pytest.raises(MetaFaceError, match="rows must have one entry for each of the 3 rows, not 1"):
        face_grid(images, columns=2, rows=["one"])


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


# -------------------------------------------------------------------------------------------------------------- results

ROWS = {
    "LDA": Difference(0.069, over_people=0.02, over_episodes=0.009),
    "ANIL": Difference(-0.012, over_people=0.02, over_episodes=0.007, over_seeds=0.03),
    "Reptile": Difference(-0.083, over_people=0.04, over_episodes=0.01),
}


def test_a_forest_plot_draws_both_intervals_and_says_the_verdict() -> None:
    figure = forest(ROWS, better="ProtoNet is better")
    (axes,) = figure.axes
    zero, *lines = axes.lines
    assert list(zero.get_xdata()) == [0, 0]
    for row, difference in enumerate(ROWS.values()):
        wide, thick, mark = lines[3 * row : 3 * row + 3]
        mean = 100 * difference.mean
        assert list(wide.get_xdata()) == pytest.approx([mean - 100 * difference.widest, mean + 100 * difference.widest])
        assert np.ptp(thick.get_xdata()) == pytest.approx(200 * difference.over_episodes)
        assert thick.get_linewidth() > wide.get_linewidth()
        assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (pytest.approx(mean), row)
    assert [text.get_text() for text in axes.texts] == [
        "+6.9 ± 2.0  ahead",
        "−1.2 ± 3.0  cannot tell",
        "−8.3 ± 4.0  behind",
    ]
    assert len({(line.get_color(), line.get_marker(), line.get_markerfacecolor()) for line in lines[2::3]}) == 3
    low, high = axes.get_ylim()
    assert low > high  # the first row is the upper one
    assert "right: ProtoNet is better" in axes.get_xlabel()
    assert "thick: over episodes" in axes.get_xlabel()
    (without,) = forest({"ANIL": Difference(-0.012, over_people=0.02)}).axes
    assert "thick" not in without.get_xlabel()
    assert "ANIL -1.2 points (± 2.0 over people, ± 0.7 over episodes, ± 3.0 over seeds), cannot tell" in forest_alt(
        ROWS
    )
    assert not (pixels(figure)[:, -1] < 255).any()  # nothing is cut off at the right
    with pytest.raises(MetaFaceError, match="at least one difference"):
        forest({})


def test_a_curve_has_a_band_of_the_widest_interval() -> None:
    lines = {
        "ProtoNet": [Estimate(0.6, over_people=0.04), Estimate(0.8, over_people=0.03, over_seeds=0.05)],
        "ANIL": [Estimate(0.5, 0.02), Estimate(0.55, 0.01)],
    }
    figure = curve(lines, at=[1, 4], xlabel="images of each person", chance=0.2)
    (axes,) = figure.axes
    bands = [band.get_paths()[0].vertices for band in axes.collections]
    for place, ends in ((1, (56, 64)), (4, (75, 85))):
        assert sorted(set(bands[0][bands[0][:, 0] == place][:, 1])) == pytest.approx(list(ends))
    chance, *drawn = axes.lines
    assert list(chance.get_ydata()) == [20, 20]
    assert [list(line.get_ydata()) for line in drawn] == [pytest.approx([60, 80]), pytest.approx([50, 55])]
    assert len({line.get_marker() for line in drawn}) == 2
    assert "ProtoNet from 60.0 ± 4.0 to 80.0 ± 5.0 %; ANIL" in curve_alt(lines, [1, 4], "images of each person")
    with pytest.raises(MetaFaceError, match="'ANIL' must have one estimate for each of the 2 places, not 1"):
        curve(lines | {"ANIL": lines["ANIL"][:1]}, [1, 4], "images")
    with pytest.raises(MetaFaceError, match="1 to 8 lines, but 0"):
        curve({}, [1, 4], "images")


def test_the_axes_of_a_det_curve_shade_what_too_few_pairs_cannot_say() -> None:
    axes = Figure().subplots()
    det_axes(axes, impostors=3000)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlim() == axes.get_ylim() == pytest.approx((0.1, 100))
    (shade,) = axes.patches
    assert shade.get_extents().transformed(axes.transData.inverted()).x1 == pytest.approx(1)  # % of 30 / 3000
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.1", "1", "10", "100"]


def test_a_table_is_aligned_and_formats_what_it_is_given() -> None:
    who = np.arange(6).reshape(2, 3) % 4
    result = Evaluation(np.array([[1, 2, 2], [2, 0, 1]]), np.full((2, 3), 2), who, ("a", "b", "c", "d"))
    rows = {
        "ProtoNet": [Estimate(0.621, 0.031), Difference(0.069, 0.02, 0.03), 12, "yes"],
        "pre-train": [1.0, None, 1200, "no"],
        "counted": [result, Estimate(0.05), 0, ""],
    }
    text = str(table(rows, ["1-shot", "gain", "images", "labels"], title="webcam, %"))
    whole = f"{100 * result.accuracy:.1f} ± {100 * result.over_people:.1f}"
    assert text.splitlines() == [
        f"webcam, %  {'1-shot':>{len(whole)}}        gain  images  labels",
        f"ProtoNet   {'62.1 ± 3.1':>{len(whole)}}  +6.9 ± 3.0      12     yes",
        f"pre-train  {'100.0':>{len(whole)}}           –    1200      no",
        f"counted    {whole}         5.0       0",
    ]
    assert "0.500" in str(table({"a": [0.005]}, ["b"], digits=3))
    with pytest.raises(MetaFaceError, match="Row 'a' must have 2 cells, one for each column, not 1"):
        table({"a": [1]}, ["b", "c"])


def test_a_table_is_html_in_a_notebook_and_the_same_words_as_text() -> None:
    from IPython.core.formatters import DisplayFormatter

    found = table(
        {"<b> & co": [0.5, "2 to 3", "a & b"], "other": [None, "4", ""]}, ["1-shot", "τ", "why"], title="R&D, %"
    )
    shown, _ = DisplayFormatter().format(found)
    assert shown["text/plain"] == str(found)
    page = ElementTree.fromstring(shown["text/html"])  # well formed, so everything is escaped
    assert page.get("style") == "overflow-x: auto"
    assert (page.get("tabindex"), page.get("aria-label")) == ("0", "R&D, %")  # the keyboard can scroll it
    assert page.findtext("table/caption") == "R&D, %"
    assert [cell.text for cell in page.findall(".//th[@scope='col']")] == ["1-shot", "τ", "why"]
    assert [cell.text for cell in page.findall(".//th[@scope='row']")] == ["<b> & co", "other"]
    cells = page.findall("table/tbody/tr/td")
    assert [cell.text or "" for cell in cells] == ["50.0", "2 to 3", "a & b", "–", "4", ""]
    aligned = [f"text-align: {side}; white-space: nowrap" for side in ("right", "right", "left")]
    assert [cell.get("style") for cell in cells[:3]] == aligned


def test_a_table_may_be_empty() -> None:
    empty = table({}, ["1-shot"], title="%")
    assert str(empty) == "%\n  1-shot"
    assert ElementTree.fromstring(empty._repr_html_()).findall("table/tbody/tr") == []


def test_a_long_title_is_above_the_table() -> None:
    lines = str(table({"LDA": [0.5]}, ["1-shot"], title="strangers, accuracy in %")).splitlines()
    assert lines == ["strangers, accuracy in %", "     1-shot", "LDA    50.0"]


def test_heat_maps_write_numbers_and_intervals_and_leave_empty_cells_empty() -> None:
    panels = {
        "whole": [[Estimate(0.62, 0.031), Estimate(0.2)], [None, Estimate(0.41, 0.02, over_seeds=0.05)]],
        "outline": [[Estimate(0.3), Estimate(0.3)], [Estimate(0.3), Estimate(0.3)]],
        "third": [[Estimate(0.3), Estimate(0.3)], [Estimate(0.3), Estimate(0.3)]],
    }
    figure = heat_maps(panels, ("photo", "sketch"), ("photo", "sketch"))
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == ["whole", "outline", "third"]
    assert [text.get_text() for text in shown[0].texts] == ["62", "±3", "20", "", "41", "±5"]
    assert {axes.images[0].get_clim() for axes in shown} == {(20.0, 62.0)}, "the same colours in all panels"
    alt = heat_maps_alt(panels, ("photo", "sketch"), ("photo", "sketch"))
    assert "whole: photo 62.0 ± 3.1, 20.0; sketch –, 41.0 ± 5.0." in alt
    with pytest.raises(MetaFaceError, match="'wide' must be a matrix of 1 rows and 2 columns"):
        heat_maps({"wide": [[None]]}, ("photo",), ("photo", "sketch"))
    with pytest.raises(MetaFaceError, match="at least one matrix"):
        heat_maps({}, ("photo",), ("photo",))
