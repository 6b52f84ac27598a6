"""Pictures of the report: colours of light and dark pages, bytes of their files, and a common look of axes."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from study.store_names import BASELINES


@dataclass(frozen=True)
class Theme:
    """The colours of a figure.

    Attributes:
        ink: of text and axes.
        faint: of grid lines.
        paper: of the background.
        before: of values before registration.
        baselines: of the baselines, in the order of `BASELINES`.
        methods: of the methods by `study.report.store.records.ArmRecord.look`; they repeat after the last.
    """

    ink: str
    faint: str
    paper: str
    before: str
    baselines: tuple[str, ...]
    methods: tuple[str, ...]

    def of_baseline(self, name: str) -> str:
        """Return the colour of a baseline."""
        return self.baselines[list(BASELINES).index(name)]

    def of_look(self, look: int) -> str:
        """Return the colour of a method."""
        return self.methods[look % len(self.methods)]


LIGHT = Theme(
    ink="#1f2933",
    faint="#d5dbe1",
    paper="#ffffff",
    before="#7b8794",
    baselines=("#17806d", "#8a6d1b"),
    methods=("#2f6fb2", "#c8591a", "#6b4fa0", "#b03a5b", "#3f7d20", "#00788c", "#7a5230", "#4c4fc4"),
)
DARK = Theme(
    ink="#e4e9ee",
    faint="#3a444e",
    paper="#171c21",
    before="#9aa5b1",
    baselines=("#4fc9b0", "#d9b95a"),
    methods=("#6cabea", "#f2935c", "#b39ae0", "#ef86a4", "#93cf6d", "#56c3d6", "#cda27c", "#9b9df2"),
)
MARKERS = ("s", "o", "D", "^", "v", "P", "X", "h")
"""Markers of the methods by their look; they repeat after the last."""


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: the stem of its files.
        title: its heading.
        alt: its text alternative.
        note: an explanation for the reader.
        draw: a function that draws it in the colours of a theme.
        photo: whether it shows scans, which are the same on a light and a dark page.
    """

    name: str
    title: str
    alt: str
    note: str
    draw: Callable[[Theme], Figure]
    photo: bool = False

    def uri(self, dark: bool) -> str:
        """Return the picture as a data URI for a light or a dark page."""
        if self.photo:
            return _data("image/webp", self._photo["webp"])
        return _data("image/svg+xml", figure_bytes(self.draw(DARK), "svg") if dark else self._light["svg"])

    @property
    def file_names(self) -> tuple[str, ...]:
        """The names of its files."""
        return (f"{self.name}.png",) if self.photo else (f"{self.name}.svg", f"{self.name}.png")

    def files(self) -> dict[str, bytes]:
        """Return the content of the picture's files by name, in the colours of the light theme."""
        drawn = self._photo if self.photo else self._light
        return {f"{self.name}.{kind}": content for kind, content in drawn.items() if kind != "webp"}

    @cached_property
    def _photo(self) -> dict[str, bytes]:
        return photo_bytes(self.draw(LIGHT))

    @cached_property
    def _light(self) -> dict[str, bytes]:
        drawn = self.draw(LIGHT)
        vectors = figure_bytes(drawn, "svg")
        drawn.set_facecolor(LIGHT.paper)  # opaque, so that the file is readable on any colour
        return {"svg": vectors, "png": figure_bytes(drawn, "png")}


def dress(axes: Axes, theme: Theme) -> None:
    """Set the theme's colours and a light horizontal grid."""
    axes.set_facecolor("none")
    axes.grid(axis="y", color=theme.faint, linewidth=0.7, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=theme.ink, labelsize=8, length=0)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(theme.faint)


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """Return the figure as an `svg` or `png` file. The bytes are reproducible."""
    stream = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "jointnet"}):
        figure.savefig(stream, format=kind, dpi=150, metadata=metadata, facecolor=figure.get_facecolor())
    return stream.getvalue()


def photo_bytes(figure: Figure) -> dict[str, bytes]:
    """Return the figure as `webp` for the page and as `png` with 256 colours for a file."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    images = {}
    fewer = drawn.quantize(256, method=Image.Quantize.FASTOCTREE)
    for kind, image, options in (("webp", drawn, {"quality": 78, "method": 2}), ("png", fewer, {})):
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        images[kind] = stream.getvalue()
    return images


def _data(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
