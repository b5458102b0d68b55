"""Figures as the course shows them: one palette, one style, alt text on every picture.

style()                                   # once, at the top of a lesson
fig, ax = plt.subplots()
ax.plot(steps, loss, color=COLOURS[0])
show(fig, alt="The loss falls from 1.6 to 0.3 within 200 steps.")
"""

from __future__ import annotations

import html
import io
import math
import re
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .errors import MetaFaceError
from .evaluation import Difference, Estimate, Evaluation

# Okabe & Ito (2008), told apart with every common colour vision: blue, vermillion, bluish green, reddish purple,
# orange, sky blue, yellow, black. The order keeps neighbours far apart and the pale ones for last.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")

DPI = 144  # of the picture; it is shown at 96 pixels an inch, so that it stays sharp on fine screens
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.labelsize": 11,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "figure.constrained_layout.use": True,
    "figure.dpi": DPI,
    "figure.figsize": (8.0, 4.0),
    "font.size": 11,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.8,
    "image.cmap": "gray",
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,  # lines behind a legend do not cross its words
    "lines.linewidth": 2,
    "savefig.dpi": DPI,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
}


def style() -> None:
    """Let every figure made after this look as the course's do: readable sizes, the palette, no chart junk."""
    matplotlib.rcParams.update(STYLE)


def png(figure: Figure) -> bytes:
    """The figure as a PNG picture, at `DPI`."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)  # drawing needs no window and no pyplot
    canvas.draw()
    return _encode(np.asarray(canvas.buffer_rgba())[..., :3])


def _encode(pixels: NDArray[np.uint8]) -> bytes:
    """RGB `[H, W, 3]` as PNG, twice as fast as Pillow, for a slider's picture to be there at once.

    Every row is stored as its difference to the row above (the filter "up"); enlarged faces repeat their rows. Pillow
    tries all five filters on every row. (PNG specification, third edition, sections 9 and 11.2.)
    """
    height, width, _ = pixels.shape
    rows = pixels.reshape(height, 3 * width)
    filtered = np.empty((height, 1 + 3 * width), np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB, not interlaced
    body = zlib.compress(filtered.tobytes())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def image_tag(figure: Figure, alt: str) -> str:
    """The figure as HTML: an `<img>` that holds the picture itself, with alt text.

    Raises `MetaFaceError` if `alt` says nothing.
    """
    if not alt.strip():
        raise MetaFaceError("A figure needs alt text that says what it shows, for readers who do not see it.")
    width = round(figure.get_figwidth() * 96)
    source = b64encode(png(figure)).decode()
    return (
        f'<img alt="{html.escape(alt)}" width="{width}" style="max-width: 100%" src="data:image/png;base64,{source}">'
    )


def plain_picture(tag: str) -> str:
    """The picture of an `image_tag` in 256 colours, PNG in base64, for a viewer that drops pictures inside HTML.

    It takes a quarter of the space of the true one, so that a notebook has room for both.
    """
    source = re.search(r'src="data:image/png;base64,([^"]*)"', tag)
    assert source is not None, tag[:80]
    small = io.BytesIO()
    Image.open(io.BytesIO(b64decode(source[1]))).quantize(256).save(small, "PNG", optimize=True)
    return b64encode(small.getvalue()).decode()


def show(figure: Figure, alt: str) -> None:
    """Display the figure below the cell, with `alt` as its text alternative, and close it.

    JupyterLab gives image outputs no alt text, so this is an HTML output whose `<img>` has one. Beside it there is a
    plain picture for viewers that drop those in HTML. nbval compares all but the pixels, which `tests/nbval.cfg` takes
    out: they differ from one version of a font library to the next.
    """
    from IPython.display import display
    from matplotlib import pyplot as plt

    tag = image_tag(figure, alt)
    display({"text/plain": alt, "text/html": tag, "image/png": plain_picture(tag)}, raw=True)
    plt.close(figure)  # or Jupyter shows it a second time


def face_grid(
    images: Tensor,
    columns: int = 10,
    titles: Sequence[str] | None = None,
    borders: Sequence[str | None] | None = None,
    zoom: int | None = None,
    rows: Sequence[str] | None = None,
) -> Figure:
    """Faces in rows of `columns`, each image pixel drawn as `zoom` × `zoom` pixels, so that none is smeared.

    images: uint8 `[M, C, H, W]`, C = 1 or 3.
    columns: faces in a row.
    titles: a line of text above each image.
    borders: the colour of a frame around each image; None for no frame.
    zoom: by default so that faces are 128 pixels high or more.
    rows: what is in each row, in words to its left.

    Raises `MetaFaceError` if the images have another shape or type, or there are more or fewer titles, borders or rows.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images) or str(images.dtype) != "torch.uint8":
        raise MetaFaceError(
            f"face_grid shows uint8 images [M, C, H, W] with C = 1 or 3 and M ≥ 1, but got {images.dtype}"
            f" {list(images.shape)}."
        )
    for name, values in (("titles", titles), ("borders", borders)):
        if values is not None and len(values) != len(images):
            raise MetaFaceError(f"{name} must have one entry for each of the {len(images)} images, not {len(values)}.")
    if columns < 1:
        raise MetaFaceError(f"columns must be at least 1, but is {columns}.")
    columns = min(columns, len(images))
    zoom = zoom or face_zoom(images)
    height, width = (side * zoom + 2 * FRAME for side in images.shape[2:])
    head, gap = (26 if titles else 0), 6
    number = math.ceil(len(images) / columns)
    if rows is not None and len(rows) != number:
        raise MetaFaceError(f"rows must have one entry for each of the {number} rows, not {len(rows)}.")
    side = max((_text_width(line) for name in rows or () for line in name.split("\n")), default=0)
    corners = [
        (gap // 2 + head + i // columns * (height + head + gap), side + gap // 2 + i % columns * (width + gap))
        for i in range(len(images))
    ]
    page = faces_page(images, corners, (number * (height + head + gap), side + columns * (width + gap)), zoom, borders)
    figure = page_figure(page)
    for title, (top, left) in zip(titles or (), corners, strict=False):
        page_text(figure, title, top - 1, left + width / 2, ha="center", va="bottom", fontsize=10)
    for name, (top, _) in zip(rows or (), corners[::columns], strict=False):
        page_text(figure, name, top + height / 2, side - 10, ha="right", va="center", fontsize=10)
    return figure


def _text_width(line: str) -> int:
    """The pixels that a line of words takes beside a picture, with a margin."""
    return math.ceil(TextPath((0, 0), line or " ", size=10).get_extents().width * DPI / 72) + 20


FRAME = 6  # pixels around every face, white or in a colour


def face_zoom(images: Tensor, pixels: int = 128) -> int:
    """How many times to enlarge faces so that they come out `pixels` high or more."""
    return math.ceil(pixels / images.shape[2])


def faces_page(
    images: Tensor,
    corners: Sequence[tuple[int, int]],
    size: tuple[int, int],
    zoom: int = 1,
    borders: Sequence[str | None] | None = None,
) -> NDArray[np.uint8]:
    """Faces on a white page, each image pixel as `zoom` × `zoom` pixels: `[M, C, H, W]` → uint8 `[height, width, 3]`.

    One picture of all faces is many times faster to draw than one pair of axes for each.

    corners: row and column of the top left pixel of each face with its frame.
    size: height and width of the page.
    """
    page = np.full((*size, 3), 255, np.uint8)
    faces = images.cpu().numpy().transpose(0, 2, 3, 1).repeat(zoom, 1).repeat(zoom, 2)
    height, width = faces.shape[1:3]
    for i, (top, left) in enumerate(corners):
        colour = borders[i] if borders else None
        if colour:
            page[top : top + height + 2 * FRAME, left : left + width + 2 * FRAME] = np.multiply(to_rgb(colour), 255)
        page[top + FRAME : top + FRAME + height, left + FRAME : left + FRAME + width] = faces[i]
    return page


class _Page(Artist):
    """Pixels put on the canvas as they are. `figimage` would resample them, which takes most of a second."""

    def __init__(self, page: NDArray[np.uint8]) -> None:
        super().__init__()
        self.pixels = np.dstack([page, np.full(page.shape[:2], 255, np.uint8)])

    def draw(self, renderer: Any) -> None:
        context = renderer.new_gc()
        renderer.draw_image(context, 0, 0, self.pixels[::-1])  # from the bottom up
        context.restore()


def page_figure(page: NDArray[np.uint8]) -> Figure:
    """A figure that is this page, pixel for pixel."""
    figure = Figure(figsize=(page.shape[1] / DPI, page.shape[0] / DPI), dpi=DPI)
    figure.set_layout_engine("none")  # everything has its place already
    figure.add_artist(_Page(page))
    return figure


def page_text(figure: Figure, text: str, row: float, column: float, **style: Any) -> None:
    """Write on a `page_figure` at a place in pixels."""
    width, height = figure.get_size_inches() * DPI
    figure.text(column / width, 1 - row / height, text, **style)


def axes_on_page(figure: Figure, top: float, left: float, bottom: float, right: float) -> Axes:
    """Axes in the course's style on a `page_figure`, between these places in pixels."""
    width, height = figure.get_size_inches() * DPI
    with matplotlib.rc_context(STYLE):
        axes = figure.add_axes((left / width, 1 - bottom / height, (right - left) / width, (bottom - top) / height))
    axes.patch.set_alpha(0)
    return axes


# ------------------------------------------------------------------------------------------------------------- results

# Ahead, behind, and cannot tell: by colour, by marker and in words.
VERDICTS = {"ahead": (COLOURS[0], "o"), "behind": (COLOURS[1], "s"), "cannot tell": ("#666666", "D")}


def forest(rows: Mapping[str, Difference], better: str = "") -> Figure:
    """A forest plot: paired differences, one below the other, each with its 95% intervals.

    The thin line is the widest interval, which the verdict follows. The thick line, where it is known, is the interval
    over episodes. Blue circles are ahead, red squares behind, and the grey, hollow diamonds cannot tell.

    rows: by name, from top to bottom, such as `{"MAML": paired(protonet, maml)}`.
    better: what a positive difference means, such as "ProtoNet is better"; written under the axis.

    Raises `MetaFaceError` if there are no rows. `forest_alt` puts the figure into words.
    """
    if not rows:
        raise MetaFaceError("A forest plot needs at least one difference, but there is none.")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 1.3 + 0.42 * len(rows)))
        axes = figure.subplots()
        axes.axvline(0, color="#333333", linewidth=1.2)
        for height, difference in enumerate(rows.values()):
            colour, marker = VERDICTS[difference.verdict]
            mean, wide, thick = (100 * value for value in (difference.mean, difference.widest, _thick(difference)))
            line: dict[str, Any] = {"color": colour, "solid_capstyle": "butt"}
            axes.plot([mean - wide, mean + wide], [height, height], linewidth=1.4, **line)
            axes.plot([mean - thick, mean + thick], [height, height], linewidth=7, alpha=0.5, **line)
            face = "white" if difference.verdict == "cannot tell" else colour
            axes.plot(mean, height, marker, color=colour, markerfacecolor=face, markersize=5.5, markeredgewidth=1.4)
            said = f"{mean:+.1f} ± {wide:.1f}  {difference.verdict}".replace("-", "−")
            axes.annotate(
                said, (1.02, height), xycoords=("axes fraction", "data"), va="center", fontsize=10, color=colour
            )
        axes.set_yticks(range(len(rows)), labels=list(rows))
        lines = "thin: the widest 95% interval" + ", thick: over episodes" * any(map(_thick, rows.values()))
        axes.set(
            ylim=(len(rows) - 0.4, -0.6), xlabel=f"difference, points{f' (right: {better})' if better else ''}\n{lines}"
        )
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
    return figure


def _thick(difference: Difference) -> float:
    return difference.over_episodes if difference.over_episodes is not None else 0.0


def forest_alt(rows: Mapping[str, Difference], better: str = "") -> str:
    """What `forest` shows, in words."""
    told = "; ".join(f"{name} {difference}, {difference.verdict}" for name, difference in rows.items())
    return f"Forest plot of paired differences{f' (positive: {better})' if better else ''}: {told}."


def curve(
    lines: Mapping[str, Sequence[Estimate]],
    at: Sequence[float],
    xlabel: str,
    ylabel: str = "accuracy, %",
    chance: float | None = None,
) -> Figure:
    """Accuracies along an axis, with a band for the widest of their 95% intervals.

    lines: by name, an estimate at each place, such as `Estimate(result.accuracy, result.over_people)`. Eight at most.
    at: the places.
    xlabel, ylabel: what the axes show.
    chance: the accuracy of guessing, drawn as a dotted line.

    Raises `MetaFaceError` if there are no lines, more than eight, or a line has more or fewer points than `at`.
    `curve_alt` puts the figure into words.
    """
    if not 1 <= len(lines) <= len(COLOURS):
        raise MetaFaceError(
            f"A curve has 1 to {len(COLOURS)} lines, but {len(lines)} were given. Draw several figures."
        )
    for name, estimates in lines.items():
        if len(estimates) != len(at):
            raise MetaFaceError(
                f"'{name}' must have one estimate for each of the {len(at)} places, not {len(estimates)}."
            )
    with matplotlib.rc_context(STYLE):
        figure = Figure()
        axes = figure.subplots()
        if chance is not None:
            axes.axhline(100 * chance, color="#777777", linewidth=1.2, linestyle=":")
            axes.annotate(
                "chance", (1, 100 * chance), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=10,
                color="#555555",
            )  # fmt: skip
        for (name, estimates), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
            mean = np.array([100 * estimate.mean for estimate in estimates])
            half = np.nan_to_num([100 * estimate.widest for estimate in estimates])
            axes.fill_between(at, mean - half, mean + half, color=colour, alpha=0.15, linewidth=0)
            axes.plot(at, mean, color=colour, marker=marker, markersize=6, label=name)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        if len(at) <= 8:
            axes.set_xticks(at, labels=[f"{place:g}" for place in at])
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    return figure


MARKERS = "osD^vP*X"  # one for each of COLOURS, so that lines differ in more than colour


def curve_alt(lines: Mapping[str, Sequence[Estimate]], at: Sequence[float], xlabel: str) -> str:
    """What `curve` shows, in words: the first and the last point of every line."""
    told = "; ".join(
        f"{name} from {_number(ends[0])} to {_number(ends[-1])} %"
        for name, ends in ((n, list(e)) for n, e in lines.items())
    )
    return f"Curves with bands of 95% intervals, for {xlabel} from {at[0]:g} to {at[-1]:g}: {told}."


def heat_maps(
    panels: Mapping[str, Sequence[Sequence[Estimate | None]]],
    rows: Sequence[str],
    columns: Sequence[str],
    axes_of: tuple[str, str] = ("support", "query"),
    across: int = 2,
    chance: float = 0.2,
) -> Figure:
    """Small multiples of matrices of accuracies: each cell has its number in %, and below it half its 95% interval.

    All panels have the same colours, so that they can be compared.

    panels: by title, a matrix of estimates; None leaves a cell empty.
    rows, columns: what the rows and columns of each matrix are.
    axes_of: what all rows, and all columns, have in common.
    across: panels beside each other.
    chance: the accuracy of guessing, which is white.

    Raises `MetaFaceError` if there are no panels, or a matrix has another shape. `heat_maps_alt` puts it into words.
    """
    for name, matrix in panels.items():
        if len(matrix) != len(rows) or any(len(row) != len(columns) for row in matrix):
            raise MetaFaceError(f"'{name}' must be a matrix of {len(rows)} rows and {len(columns)} columns.")
    if not panels:
        raise MetaFaceError("Heat maps need at least one matrix, but there is none.")
    across = min(across, len(panels))
    down = math.ceil(len(panels) / across)
    top = max(cell.mean for matrix in panels.values() for row in matrix for cell in row if cell is not None)
    with matplotlib.rc_context(STYLE):
        height = 1.0 + 0.42 * len(rows)
        figure = Figure(figsize=(across * (1.6 + 0.5 * len(columns)), down * height))
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat:
            axes.set_visible(False)
        for axes, (name, matrix) in zip(grid.flat, panels.items(), strict=False):
            axes.set_visible(True)
            values = np.array([[np.nan if cell is None else 100 * cell.mean for cell in row] for row in matrix])
            axes.imshow(values, vmin=100 * chance, vmax=max(100 * top, 100 * chance + 1), cmap="Blues", aspect="auto")
            for i, row in enumerate(matrix):
                for j, cell in enumerate(row):
                    if cell is None:
                        continue
                    colour = "white" if cell.mean - chance > 0.6 * (top - chance) else "black"
                    style: dict[str, Any] = {"ha": "center", "color": colour}
                    half = f"±{100 * cell.widest:.0f}" if cell.intervals else ""
                    axes.text(j, i + 0.05, f"{100 * cell.mean:.0f}", va="bottom", fontsize=10, **style)
                    axes.text(j, i + 0.05, half, va="top", fontsize=7.5, **style)
            axes.set_xticks(range(len(columns)), labels=list(columns), rotation=40, ha="right")
            axes.set_yticks(range(len(rows)), labels=list(rows))
            axes.set(title=name, ylabel=axes_of[0], xlabel=axes_of[1])
            axes.tick_params(length=0)
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
    return figure


def heat_maps_alt(
    panels: Mapping[str, Sequence[Sequence[Estimate | None]]], rows: Sequence[str], columns: Sequence[str]
) -> str:
    """What `heat_maps` shows, in words: every row of every matrix."""
    told = []
    for name, matrix in panels.items():
        lines = [f"{row} {', '.join(_number(cell) for cell in cells)}" for row, cells in zip(rows, matrix, strict=True)]
        told.append(f"{name}: {'; '.join(lines)}.")
    return f"Heat maps of accuracies in %, columns {', '.join(columns)}. {' '.join(told)}"


def det_axes(axes: Axes, impostors: int, lowest: float = 0.0) -> None:
    """Make axes ready for DET curves: FNMR against FMR, both in % and logarithmic.

    The part left of 30 / `impostors`, where too few impostor pairs are accepted to read a rate from, is shaded. A
    dotted line shows where both errors are equal.

    axes: what to change.
    impostors: the number of impostor pairs.
    lowest: of the rates that are shown, in %; as 3 of the impostor pairs if 0.
    """
    lowest, limit = lowest or 300 / impostors, 3000 / impostors
    ends = (lowest, 100.0)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="FMR, %", ylabel="FNMR, %")
    ticks = [tick for tick in (0.01, 0.1, 1, 10, 100) if tick >= lowest]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        axis.set_minor_formatter("")
    axes.axvspan(lowest, limit, color="#999999", alpha=0.18, linewidth=0)
    axes.annotate(
        f"FMR < 30 / {impostors}", (limit, 0.42), xycoords=("data", "axes fraction"), xytext=(-4, 0),
        textcoords="offset points", ha="right", fontsize=9, rotation=90, color="#555555",
    )  # fmt: skip
    axes.plot(ends, ends, color="#999999", linewidth=1, linestyle=":")


@dataclass(frozen=True, repr=False)
class Table:
    """A table: in a notebook it is HTML and scrolls sideways where it is too wide, elsewhere it is text.

    rows: the name of each row and its cells, as texts.
    columns: their headings.
    title: what it shows, and its units.
    """

    rows: tuple[tuple[str, ...], ...]
    columns: tuple[str, ...]
    title: str = ""

    def __str__(self) -> str:
        longest = max((len(name) for name, *_ in self.rows), default=0)
        corner, above = (self.title, "") if len(self.title) <= longest else ("", f"{self.title}\n")
        lines = [(corner, *self.columns), *self.rows]
        left, *widths = (max(map(len, column)) for column in zip(*lines, strict=True))
        return above + "\n".join(
            "  ".join(
                [f"{name:{left}s}", *(f"{cell:>{width}s}" for cell, width in zip(cells, widths, strict=True))]
            ).rstrip()
            for name, *cells in lines
        )

    __repr__ = __str__  # what nbval compares, and what a file gets

    def _repr_html_(self) -> str:
        """One `<table>`: the title is its caption, and a screen reader hears names and headings with each cell."""
        columns = [[row[place] for row in self.rows] for place in range(1, len(self.columns) + 1)]
        look = [f"text-align: {'right' if _has_numbers(cells) else 'left'}" for cells in columns]
        whole = "white-space: nowrap"  # on each cell, since Jupyter's style says otherwise there
        headings = "".join(
            f'<th scope="col" style="{align}">{html.escape(column)}</th>'
            for column, align in zip(self.columns, look, strict=True)
        )
        body = ""
        for name, *cells in self.rows:
            inside = "".join(
                f'<td style="{align}; {whole}">{html.escape(cell)}</td>'
                for cell, align in zip(cells, look, strict=True)
            )
            body += f'<tr><th scope="row" style="text-align: left; {whole}">{html.escape(name)}</th>{inside}</tr>\n'
        caption = f'<caption style="text-align: left">{html.escape(self.title)}</caption>\n' if self.title else ""
        label = html.escape(self.title or "Table")
        return (  # the keyboard reaches the frame, so that it can scroll
            f'<div style="overflow-x: auto" tabindex="0" role="group" aria-label="{label}">\n'
            '<table class="metaface" style="margin: 0; font-variant-numeric: tabular-nums">\n'
            f"{caption}<thead><tr><td></td>{headings}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>"
        )


def _has_numbers(cells: Sequence[str]) -> bool:
    return any(re.match(r"\s*[+−-]?\d", cell) for cell in cells)


def table(rows: Mapping[str, Sequence[Any]], columns: Sequence[str], title: str = "", digits: int = 1) -> Table:
    """A table with names on the left and numbers in per cent with their intervals.

    As the last line of a cell it is shown; `display` shows it elsewhere in a cell, and `print` writes it as text.

    rows: by name, a cell for each column. An `Estimate` becomes "62.0 ± 3.1" with its widest interval, and a
        `Difference` "+6.9 ± 2.0". An `Evaluation` is shown with its interval over people. A float is a share, 0.62 in
        per cent; an int or a text stays as it is, and None is a dash.
    columns: their headings.
    title: what the table shows, and its units.
    digits: after the point.

    Raises `MetaFaceError` if a row has more or fewer cells than there are columns.
    """
    for name, cells in rows.items():
        if len(cells) != len(columns):
            raise MetaFaceError(f"Row '{name}' must have {len(columns)} cells, one for each column, not {len(cells)}.")
    lines = tuple((name, *(_number(cell, digits) for cell in cells)) for name, cells in rows.items())
    return Table(lines, tuple(columns), title)


def _number(cell: Any, digits: int = 1) -> str:
    """A cell of a `table`."""
    if cell is None:
        return "–"
    if isinstance(cell, Evaluation):
        cell = Estimate(cell.accuracy, cell.over_people)
    if isinstance(cell, Estimate):
        sign = "+" if isinstance(cell, Difference) else ""
        end = f" ± {100 * cell.widest:.{digits}f}" if cell.intervals else ""
        return f"{100 * cell.mean:{sign}.{digits}f}{end}"
    return f"{100 * cell:.{digits}f}" if isinstance(cell, float) else str(cell)
