"""Size, files and colours that all pictures share. They are drawn by matplotlib without a display."""

from __future__ import annotations

import html
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mam.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "#7f8792"
# Colours with a contrast of at least 3:1 on the page's light and dark backgrounds.
COLOURS = (
    "#2f78c4",
    "#d0611f",
    "#3f9150",
    "#9465c0",
    "#a8821c",
    "#c9537a",
    "#3f92a6",
    "#8a8f98",
    "#b5794a",
    "#6b8e23",
    "#a0665a",
)


@dataclass(frozen=True)
class Role:
    """The look of the source or of a control, the same in every picture."""

    name: str
    colour: str
    marker: str


SOURCE = Role("source", COLOURS[0], "o")
ROLES = {
    "none": SOURCE,
    "shrink": Role("shrink", COLOURS[1], "s"),
    "shrink_qk": Role("shrink_qk", COLOURS[4], "s"),
    "shrink_v": Role("shrink_v", COLOURS[8], "s"),
    "add": Role("add", COLOURS[6], "P"),
    "random_iid": Role("random_iid", COLOURS[7], "D"),
    "random_spectrum": Role("random_spectrum", COLOURS[2], "D"),
    "aligned_random": Role("aligned_random", COLOURS[9], "D"),
    "rotate": Role("rotate", COLOURS[3], "^"),
    "shuffle_layers": Role("shuffle_layers", COLOURS[5], "v"),
    "self": Role("self", COLOURS[10], "X"),
}


def role_of(control: str) -> Role:
    """Return the look of a control, ``none`` for the source; those of plug-ins share one colour."""
    return ROLES.get(control, Role(control, GREY, "*"))


def plain_axes(axes: Axes) -> None:
    """Remove the frame on the two sides that carry no ticks."""
    axes.spines[["top", "right"]].set_visible(False)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches."""
    from matplotlib.figure import Figure  # imported here: takes half a second, and most commands draw nothing

    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """Write a PNG atomically."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def as_svg(figure: Figure, name: str, description: str) -> str:
    """Return the figure as an SVG element for the page.

    It uses the page's text colour, unique ids and a description for screen readers.

    Args:
        figure: the figure.
        name: prefix of the ids.
        description: read out by screen readers.
    """
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = svg.replace("#000000", "currentColor")
    svg = re.sub(r"(<text\b[^>]*?style=\")", r"\1fill: currentColor; ", svg)
    label = html.escape(description, quote=True)
    return re.sub(r"<svg\b", f'<svg role="img" aria-label="{label}" class="figure"', svg, count=1)
