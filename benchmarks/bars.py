"""Draw a bar chart: groups of horizontal bars, with one colour per name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lycoris_ext.plots.charts import COLOURS, PAPER, new_chart
from lycoris_ext.plots.colours import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: In pixels: width of the chart, height of a bar with its gap, and height of everything else.
WIDTH, BAR, REST = 820, 19, 130
#: Space after a group of bars, as a multiple of a bar's height.
GAP = 0.8


@dataclass(frozen=True)
class Bar:
    name: str
    value: float


def bar_chart(title: str, axis: str, mark: str, groups: dict[str, list[Bar]]) -> Figure:
    """Draw bars that start at 0, each with its value as text, and a vertical line at 1.

    Args:
        title: text above the chart.
        axis: text under the horizontal axis.
        mark: text for the line at 1 in the legend.
        groups: label -> bars, from top to bottom. Values of the name that comes first are bold.
    """
    bars = [bar for group in groups.values() for bar in group]
    names = list(dict.fromkeys(bar.name for bar in bars))
    colours = dict(zip(names, COLOURS, strict=False))
    height = round((len(bars) + GAP * len(groups)) * BAR) + REST
    with new_chart(title, (WIDTH, height)) as (figure, axes):
        y, middles = 0.0, []
        for group in groups.values():
            middles.append(y + (len(group) - 1) / 2)
            for bar in group:
                axes.barh(y, bar.value, height=0.86, color=colours[bar.name])
                axes.annotate(
                    f"{bar.value:.2f}",
                    (bar.value, y),
                    xytext=(4, 0),
                    textcoords="offset points",
                    verticalalignment="center_baseline",
                    fontweight="bold" if bar.name == names[0] else "normal",
                    # A background keeps the line at 1 from crossing the number.
                    bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.0},
                )
                y += 1
            y += GAP
        line = axes.axvline(1, color=INK, linewidth=1.2, zorder=1.5, label=mark)
        axes.set_yticks(middles, list(groups), color=INK)
        axes.set_ylim(y - GAP - 0.4, -0.6)
        axes.set_xlim(0, 1.07 * max(bar.value for bar in bars))
        axes.set_xlabel(axis, loc="left")
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        swatches = [axes.barh(0, 0, color=colour, label=name) for name, colour in colours.items()]
        axes.legend(
            handles=[*swatches, line],
            ncols=len(swatches) + 1,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            borderaxespad=0.4,
            borderpad=0,
            handlelength=1.2,
        )
    return figure
