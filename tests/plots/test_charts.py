"""Charts of matplotlib have the same bytes each time, and their style changes no other chart."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure
from PIL import Image

from lycoris_ext.errors import ConfigError, EnvironmentFault
from lycoris_ext.plots.charts import COLOURS, chart_bytes, new_chart, save_chart


def falling() -> Figure:
    with new_chart("Loss < 1", size=(400, 240)) as (figure, axes):
        axes.plot([1, 2, 3], [0.9, 0.5, 0.4], color=COLOURS[0], label="loss")
        axes.legend()
    return figure


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_same_chart_has_the_same_bytes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = chart_bytes(falling(), kind)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    assert chart_bytes(falling(), kind) == first
    assert matplotlib.__version__.encode() not in first, "no version, which changes for nothing"


def test_charts_have_the_size_in_pixels_and_white_paper() -> None:
    with Image.open(io.BytesIO(chart_bytes(falling(), "png"))) as picture:
        assert picture.size == (800, 480), "twice as sharp"
        assert picture.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
    assert b'width="300pt" height="180pt"' in chart_bytes(falling(), "svg"), "3/4 point a pixel"


def test_the_ending_of_the_file_decides_the_format_of_a_chart(tmp_path: Path) -> None:
    written = save_chart(tmp_path / "new" / "a.SVG", falling()).read_text(encoding="utf-8")
    assert "<!-- Loss &lt; 1 -->" in written
    assert save_chart(tmp_path / "a.png", falling()).read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ConfigError, match=r"a\.gif: .*\n  -> .*\.svg or \.png"):
        save_chart(tmp_path / "a.gif", falling())


def test_drawing_a_chart_leaves_matplotlibs_style_as_it_was() -> None:
    before = dict(matplotlib.rcParams)
    chart_bytes(falling(), "svg")
    assert dict(matplotlib.rcParams) == before


def test_another_style_of_matplotlib_does_not_change_a_chart() -> None:
    before = chart_bytes(falling(), "svg")
    with matplotlib.rc_context({"axes.facecolor": "black", "lines.linewidth": 9}):
        assert chart_bytes(falling(), "svg") == before


def test_without_matplotlib_the_pip_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EnvironmentFault, match=r'pip install "lycoris-ext\[plots\]"'), new_chart():
        pass
