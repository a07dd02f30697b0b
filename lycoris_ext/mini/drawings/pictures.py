"""The interface between sources of pictures and the models that are trained on them.

All training uses only `PictureSource`, so that the small base model can be built either from
pictures drawn by code (`drawn.py`) or from emoji (`emoji_source.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

SIZE = 64
"""Pixels on each side of every picture."""


@dataclass(frozen=True)
class Picture:
    """A picture with the tags that describe it.

    Args:
        image: RGB, SIZE x SIZE pixels.
        style: the drawing style, named after "by" in the caption.
        subject: what the picture shows.
        rest: further tags, in the order of the caption.
    """

    image: Image.Image
    style: str
    subject: str
    rest: tuple[str, ...] = ()

    @property
    def caption(self) -> str:
        """The tags joined by commas, the style first, such as "by flat, cat, orange"."""
        return ", ".join((f"by {self.style}", self.subject, *self.rest))


class PictureSource(Protocol):
    """A source of pictures of many subjects in several styles; each is a function of its seed.

    The base model is not trained on `learned_style` and `character`, which adapters learn.
    An adapter's training set shows only `learned_subjects` in the learned style. If it can draw
    the other subjects in this style too, it has learned the style itself.
    """

    name: str
    base_styles: tuple[str, ...]
    learned_style: str
    character: str
    subjects: tuple[str, ...]
    learned_subjects: tuple[str, ...]

    def draw(self, style: str, subject: str, seed: int) -> Picture:
        """Draw a subject in a style; the seed decides colours, background and so on."""
        ...

    def draw_character(self, style: str, seed: int) -> Picture:
        """Draw the character that the base model is not trained on."""
        ...


def held_out_subjects(source: PictureSource) -> tuple[str, ...]:
    """Return the subjects that no training picture of an adapter shows in the learned style."""
    seen = set(source.learned_subjects)
    return tuple(subject for subject in source.subjects if subject not in seen)
