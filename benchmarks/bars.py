"""A bar chart as SVG: groups of horizontal bars, one colour per name."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from math import ceil

COLOURS = ("#2563a8", "#c77b30", "#7d8590", "#4a8f5b")
WIDTH, LEFT, RIGHT, TOP = 760, 170, 60, 64
BAR, GAP, BOTTOM = 14, 12, 40


@dataclass(frozen=True)
class Bar:
    name: str
    value: float


def bar_chart(title: str, axis: str, groups: dict[str, list[Bar]]) -> str:
    """Bars from 0, with a line at 1."""
    bars = [bar for group in groups.values() for bar in group]
    names = list(dict.fromkeys(bar.name for bar in bars))
    colours = dict(zip(names, COLOURS, strict=False))
    most = max(bar.value for bar in bars)
    step = next(size for size in (0.5, 1, 2, 5, 10, 20) if most / size <= 10)
    end = ceil(most / step) * step

    def x(value: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * value / end, 1)

    height = TOP + sum(BAR * len(group) + GAP for group in groups.values()) + BOTTOM
    parts = [f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>', _text(16, 24, title, 15)]
    for number, name in enumerate(names):
        left = LEFT + 130 * number
        parts.append(_rect(left, 36, 12, 12, colours[name]))
        parts.append(_text(left + 18, 46, name))
    foot = height - BOTTOM
    for tick in range(round(end / step) + 1):
        place = x(tick * step)
        parts.append(_line(place, foot, "#e3e6ea"))
        parts.append(_text(place, foot + 16, f"{tick * step:g}", anchor="middle"))
    parts.append(_text(x(0), foot + 32, axis))
    y, values = float(TOP), []
    for label, group in groups.items():
        middle = y + BAR * len(group) / 2 + 4
        parts.append(_text(LEFT - 10, middle, label, anchor="end"))
        for bar in group:
            parts.append(
                _rect(x(0), y + 1, round(x(bar.value) - x(0), 1), BAR - 2, colours[bar.name])
            )
            values.append(_text(x(bar.value) + 5, y + BAR - 3, f"{bar.value:.2f}"))
            y += BAR
        y += GAP
    # The line ends before a value and goes on behind it.
    halo = '<g stroke="#ffffff" stroke-width="4" paint-order="stroke">'
    parts += [_line(x(1), foot, "#1b1f24"), halo, *values, "</g>"]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
    style = 'font-family="sans-serif" fill="#1b1f24"'
    return "\n".join([f'{head} viewBox="0 0 {WIDTH} {height}" {style}>', *parts, "</svg>", ""])


def _text(x: float, y: float, text: str, size: int = 12, anchor: str = "start") -> str:
    place = f'x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(text)}</text>"


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{colour}"/>'


def _line(x: float, foot: float, colour: str) -> str:
    return f'<line x1="{x:g}" x2="{x:g}" y1="{TOP - 6}" y2="{foot:g}" stroke="{colour}"/>'
