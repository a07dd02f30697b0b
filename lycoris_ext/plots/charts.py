"""Draw charts with matplotlib in one common style; the same chart always gives the same bytes.

    with new_chart("What a step costs", size=(820, 480)) as (figure, axes):
        axes.plot(steps, losses, color=COLOURS[0])
    save_chart(Path("cost.svg"), figure)

The background is always white, so that a chart can be read on a dark page too.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lycoris_ext.errors import ConfigError, EnvironmentFault
from lycoris_ext.formats import atomic_write
from lycoris_ext.plots.colours import INK, SOFT_INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours for the series of a chart, in order; the first is for the most important series.
COLOURS = ("#1f5fb4", "#e08a2e", "#8a94a3", "#3d8f5f", "#9a5fb5")
LINE, PAPER = "#e3e6ea", "#ffffff"

#: Pixels an inch, as browsers count: sizes in pixels mean the same in SVG and PNG.
_DPI = 96
#: File type -> (scale factor, metadata that matplotlib must not write). PNGs have twice the
#: resolution, for screens with a high pixel density.
_KINDS = {"svg": (1, ("Date", "Creator")), "png": (2, ("Software",))}
#: Margin around the chart, in inches.
_MARGIN = 0.14
_STYLE: dict[Any, Any] = {
    "figure.dpi": _DPI,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": _MARGIN,
    "figure.constrained_layout.h_pad": _MARGIN,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,  # in points: 12 pixels
    "figure.titlesize": 11.25,  # 15 pixels
    "figure.titleweight": "bold",
    "axes.labelcolor": SOFT_INK,
    "axes.edgecolor": LINE,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "text.color": INK,
    "xtick.color": SOFT_INK,
    "ytick.color": SOFT_INK,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "legend.frameon": False,
    # Text becomes outlines, so that the font need not be installed; ids are not random.
    "svg.fonttype": "path",
    "svg.hashsalt": "lycoris-ext",
}


@contextmanager
def new_chart(title: str = "", size: tuple[int, int] = (820, 480)) -> Iterator[tuple[Figure, Axes]]:
    """Make an empty chart; everything drawn inside the `with` block gets the common style.

    Args:
        title: text above the chart, at the left.
        size: (width, height) in pixels; a page on GitHub is about 830 pixels wide.

    Yields:
        matplotlib's Figure and Axes.

    Raises:
        EnvironmentFault: matplotlib is not installed.
    """
    with _styled():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(size[0] / _DPI, size[1] / _DPI))
        if title:
            figure.suptitle(title, x=_MARGIN / (size[0] / _DPI), horizontalalignment="left")
        yield figure, figure.add_subplot()


def chart_bytes(figure: Figure, kind: str) -> bytes:
    """Return a chart as the bytes of a file, without date and version.

    Args:
        figure: a figure from `new_chart`.
        kind: the file type, "svg" or "png".

    Raises:
        EnvironmentFault: matplotlib is not installed.
    """
    sharpness, left_out = _KINDS[kind]
    stream = io.BytesIO()
    with _styled():
        metadata = dict.fromkeys(left_out)
        figure.savefig(stream, format=kind, dpi=_DPI * sharpness, metadata=metadata)
    return stream.getvalue()


def save_chart(path: Path, figure: Figure) -> Path:
    """Write a chart to a .svg or .png file, atomically, and return the path.

    Raises:
        ConfigError: the file has another extension.
        EnvironmentFault: matplotlib is not installed, or the file cannot be written.
    """
    kind = path.suffix[1:].lower()
    if kind not in _KINDS:
        raise ConfigError(
            f"a chart cannot be written as {path.suffix or 'a file without ending'}",
            where=str(path),
            fix="name a file that ends in .svg or .png",
        )
    atomic_write(path, chart_bytes(figure, kind))
    return path


@contextmanager
def _styled() -> Iterator[None]:
    """Apply the style for the time of a `with` block, without changing the caller's own style."""
    try:
        import matplotlib
    except ImportError as error:
        raise EnvironmentFault(
            f"matplotlib cannot be imported ({error})",
            where="charts",
            fix='pip install "lycoris-ext[plots]" (or: pip install matplotlib)',
        ) from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield
