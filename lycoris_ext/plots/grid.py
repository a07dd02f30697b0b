"""Lay pictures out as a table with headings and row labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from math import ceil

from PIL import Image, ImageDraw

from lycoris_ext.errors import ConfigError
from lycoris_ext.plots.colours import INK, SOFT_INK
from lycoris_ext.plots.fonts import font
from lycoris_ext.words import count

_PAPER = (250, 250, 251)
_LINE = (222, 226, 232)
_EMPTY = (238, 240, 243)
_FAULT = (179, 38, 30)

#: Small pictures are enlarged until their longer side is about this many pixels.
_READABLE = 128
#: For cells with a longer side of up to this many pixels, text has its default size; for larger
#: cells it grows with them.
_DEFAULT_CELL = 256
_MAX_HEADING_LINES = 4


@dataclass(frozen=True)
class _Type:
    """Font sizes and margins of a grid, in pixels."""

    margin: int = 28
    gap: int = 8
    group_gap: int = 24
    block_gap: int = 48
    label_width: int = 190
    title: int = 30
    subtitle: int = 16
    heading: int = 17
    label: int = 15

    @classmethod
    def for_cells(cls, cell: tuple[int, int]) -> _Type:
        """Return font sizes and margins for a grid with cells of (width, height) pixels."""
        factor = max(1.0, max(cell) / _DEFAULT_CELL)
        return cls(*(round(factor * size) for size in astuple(cls())))


def comparison_grid(
    cells: Sequence[Sequence[Image.Image | None]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str = "",
    *,
    subtitle: str = "",
    blocks: int = 1,
    groups: Sequence[int] = (),
    scale: int | None = None,
) -> Image.Image:
    """Lay pictures out as a labelled table.

    Args:
        cells: rows of pictures. All cells are as large as the widest and the highest picture;
            smaller pictures are centred. None leaves a cell empty.
        row_labels: one per row, wrapped; if all are "", there is no label column. A label that is
            too long for its row is cut before its first line break, where it then ends in "...".
        column_labels: one per column, wrapped to a few lines.
        title, subtitle: text above the table; "" leaves each out.
        blocks: into how many blocks, side by side, the rows are divided: 24 rows in 2 blocks are
            12 rows high.
        groups: indices of columns before which the gap is wider.
        scale: whole number by which all pictures are enlarged; None chooses it so that the longer
            side of the largest picture becomes about 128 pixels, and never shrinks pictures.

    Returns:
        An RGB picture.

    Raises:
        ConfigError: there are no cells, or the labels do not match them in number.
    """
    _check(cells, row_labels, column_labels)
    pictures = [picture for row in cells for picture in row if picture is not None]
    width = max((picture.width for picture in pictures), default=_READABLE)
    height = max((picture.height for picture in pictures), default=_READABLE)
    factor = scale or max(1, round(_READABLE / max(width, height)))
    sheet = _Sheet.measure(
        cell=(width * factor, height * factor),
        row_labels=row_labels,
        column_labels=column_labels,
        blocks=max(1, min(blocks, len(cells))),
        groups=frozenset(groups),
        title=title,
        subtitle=subtitle,
    )
    canvas = Image.new("RGB", sheet.size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    sheet.draw_titles(draw, title, subtitle)
    for block in range(sheet.blocks):
        sheet.draw_headings(draw, block, column_labels)
    for index, row in enumerate(cells):
        sheet.draw_label(draw, index, row_labels[index])
        for column, picture in enumerate(row):
            sheet.place(canvas, draw, index, column, picture, factor)
    return canvas


def crossed_out(picture: Image.Image, words: str) -> Image.Image:
    """Return a copy of a picture with a red cross over it and words at its bottom."""
    picture = picture.copy()
    draw, (width, height) = ImageDraw.Draw(picture), picture.size
    thick = max(2, width // 64)
    draw.line((0, 0, width, height), fill=_FAULT, width=thick)
    draw.line((0, height, width, 0), fill=_FAULT, width=thick)
    draw.rectangle((0, 0, width - 1, height - 1), outline=_FAULT, width=thick)
    size = max(9, width // 10)
    draw.rectangle((0, height - 1.5 * size, width, height), fill=_FAULT)
    draw.text((size // 2, height - 1.35 * size), words, font=font(size), fill="white")
    return picture


@dataclass(frozen=True)
class _Sheet:
    """The layout of a grid: positions and sizes in pixels."""

    type: _Type
    cell: tuple[int, int]
    rows: int
    blocks: int
    columns: tuple[int, ...]  # left edge of every column within its block
    block_width: int
    label_width: int
    top: int  # upper edge of the headings
    heading_height: int
    size: tuple[int, int]

    @classmethod
    def measure(
        cls,
        cell: tuple[int, int],
        row_labels: Sequence[str],
        column_labels: Sequence[str],
        blocks: int,
        groups: frozenset[int],
        title: str,
        subtitle: str,
    ) -> _Sheet:
        sizes = _Type.for_cells(cell)
        label_width = _widest(row_labels, sizes)
        x, columns = label_width, []
        for column in range(len(column_labels)):
            if column:
                x += sizes.group_gap if column in groups else sizes.gap
            columns.append(x)
            x += cell[0]
        lines = [len(_wrap(text, sizes.heading, cell[0])) for text in column_labels]
        heading_height = max(lines, default=0) * _line_height(sizes.heading) + sizes.gap
        rows = ceil(len(row_labels) / blocks)
        width = 2 * sizes.margin + blocks * x + (blocks - 1) * sizes.block_gap
        top, room = sizes.margin, width - 2 * sizes.margin
        for text, size in ((title, sizes.title), (subtitle, sizes.subtitle)):
            top += len(_wrap(text, size, room)) * _line_height(size)
        top += sizes.group_gap if title or subtitle else 0
        height = top + heading_height + rows * (cell[1] + sizes.gap) - sizes.gap + sizes.margin
        return cls(
            sizes,
            cell,
            rows,
            blocks,
            tuple(columns),
            x,
            label_width,
            top,
            heading_height,
            (width, height),
        )

    def _block_left(self, block: int) -> int:
        return self.type.margin + block * (self.block_width + self.type.block_gap)

    def _row_top(self, index: int) -> int:
        return self.top + self.heading_height + (index % self.rows) * (self.cell[1] + self.type.gap)

    def draw_titles(self, draw: ImageDraw.ImageDraw, title: str, subtitle: str) -> None:
        y, room = self.type.margin, self.size[0] - 2 * self.type.margin
        for text, size, colour in (
            (title, self.type.title, INK),
            (subtitle, self.type.subtitle, SOFT_INK),
        ):
            for line in _wrap(text, size, room):
                draw.text((self.type.margin, y), line, font=font(size), fill=colour)
                y += _line_height(size)

    def draw_headings(
        self, draw: ImageDraw.ImageDraw, block: int, column_labels: Sequence[str]
    ) -> None:
        bottom = self.top + self.heading_height - self.type.gap
        for left, text in zip(self.columns, column_labels, strict=True):
            lines = _wrap(text, self.type.heading, self.cell[0])
            y = bottom - len(lines) * _line_height(self.type.heading)
            centre = self._block_left(block) + left + self.cell[0] // 2
            for line in lines:
                draw.text((centre, y), line, font=font(self.type.heading), fill=INK, anchor="ma")
                y += _line_height(self.type.heading)

    def draw_label(self, draw: ImageDraw.ImageDraw, index: int, text: str) -> None:
        if not self.label_width:
            return
        room = self.label_width - 2 * self.type.gap
        most = max(1, self.cell[1] // _line_height(self.type.label))
        lines = _wrap(text, self.type.label, room, most)
        height = len(lines) * _line_height(self.type.label)
        y = self._row_top(index) + (self.cell[1] - height) // 2
        right = self._block_left(index // self.rows) + self.label_width - 2 * self.type.gap
        for line in lines:
            draw.text((right, y), line, font=font(self.type.label), fill=SOFT_INK, anchor="ra")
            y += _line_height(self.type.label)

    def place(
        self,
        canvas: Image.Image,
        draw: ImageDraw.ImageDraw,
        index: int,
        column: int,
        picture: Image.Image | None,
        factor: int,
    ) -> None:
        left = self._block_left(index // self.rows) + self.columns[column]
        top = self._row_top(index)
        box = (left - 1, top - 1, left + self.cell[0], top + self.cell[1])
        draw.rectangle(box, fill=_EMPTY if picture is None else _PAPER, outline=_LINE)
        if picture is None:
            return
        size = (picture.width * factor, picture.height * factor)
        if factor > 1:
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        offset = ((self.cell[0] - size[0]) // 2, (self.cell[1] - size[1]) // 2)
        canvas.paste(picture.convert("RGB"), (left + offset[0], top + offset[1]))


def _check(
    cells: Sequence[Sequence[object]], row_labels: Sequence[str], column_labels: Sequence[str]
) -> None:
    if not cells or not column_labels:
        size = f"{count(len(cells), 'row')} and {count(len(column_labels), 'column')}"
        raise ConfigError(
            f"a grid of {size} is asked for",
            where="comparison_grid",
            fix="give at least one row and one column",
        )
    if len(cells) != len(row_labels):
        raise ConfigError(
            f"{count(len(cells), 'row')} and {count(len(row_labels), 'row label')}",
            where="comparison_grid",
            fix="give one label a row",
        )
    for index, row in enumerate(cells):
        if len(row) != len(column_labels):
            raise ConfigError(
                f"row {index} has {count(len(row), 'picture')}, the grid "
                f"{count(len(column_labels), 'column')}",
                where="comparison_grid",
                fix="fill missing places with None",
            )


def _line_height(size: int) -> int:
    return round(size * 1.32)


def _text_width(text: str, size: int) -> int:
    return ceil(font(size).getlength(text))


def _widest(labels: Sequence[str], sizes: _Type) -> int:
    """Return the width of the label column with its margin; 0 if every label is ""."""
    if not any(labels):
        return 0
    wrapped = [line for text in labels for line in _wrap(text, sizes.label, sizes.label_width)]
    return max(_text_width(line, sizes.label) for line in wrapped) + 3 * sizes.gap


def _wrap(text: str, size: int, room: int, most: int = _MAX_HEADING_LINES) -> list[str]:
    """Break a text into at most `most` lines of at most `room` pixels.

    If the text is too long, its first paragraph is cut and ends in "..."; the others are kept.
    """
    first, *rest = (_lines(paragraph, size, room) for paragraph in text.split("\n"))
    after = [line for lines in rest for line in lines]
    free = max(1, most - len(after))
    return [*_shortened(first, size, room, free), *_shortened(after, size, room, most - 1)]


def _lines(text: str, size: int, room: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        glue = " "
        for piece in _pieces(word, size, room):
            joined = f"{lines[-1]}{glue}{piece}" if lines else piece
            if lines and _text_width(joined, size) <= room:
                lines[-1] = joined
            else:
                lines.append(piece)
            glue = ""
    return lines


def _shortened(lines: list[str], size: int, room: int, most: int) -> list[str]:
    """Return the first `most` lines, the last ending in "..." if lines are left out."""
    if len(lines) <= most or most < 1:
        return lines[: max(0, most)]
    last = lines[most - 1]
    while last and _text_width(f"{last}...", size) > room:
        last = last[:-1]
    return [*lines[: most - 1], f"{last.rstrip()}..."]


def _pieces(word: str, size: int, room: int) -> list[str]:
    """Split a word that is wider than `room` pixels, after punctuation if possible."""
    if _text_width(word, size) <= room:
        return [word]
    pieces = []
    for part in re.findall(r"[^-_./\\]*[-_./\\]*", word):
        while part and _text_width(part, size) > room:
            fits = next(n for n in range(len(part), 0, -1) if _fits(part[:n], size, room))
            pieces.append(part[:fits])
            part = part[fits:]
        if part:
            pieces.append(part)
    return pieces


def _fits(text: str, size: int, room: int) -> bool:
    # A single character counts as fitting, so that splitting always ends.
    return len(text) == 1 or _text_width(text, size) <= room
