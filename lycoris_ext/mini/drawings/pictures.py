"""The one interface between the pictures and everything that learns from them.

The base model, the judges and the shipped training sets see only `PictureSource`, so the drawings
made by code (`drawn.py`) and the emoji of three design teams (`emoji_source.py`) can replace each
other: a machine with an accelerator builds the emoji base with the same commands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

SIZE = 64
"""Pixels on each side of every picture."""


@dataclass(frozen=True)
class Picture:
    """A picture with the words that describe it.

    Args:
        image: RGB, SIZE x SIZE.
        style: whose hand it is, the word after "by" in the caption.
        subject: what it shows.
        rest: further tags, in the order in which the caption names them.
    """

    image: Image.Image
    style: str
    subject: str
    rest: tuple[str, ...] = ()

    @property
    def caption(self) -> str:
        """Comma-separated tags, the style first: "by flat, cat, orange"."""
        return ", ".join((f"by {self.style}", self.subject, *self.rest))


class PictureSource(Protocol):
    """Pictures in several styles of many subjects, each one a function of its seed.

    `learned_style` and `character` stay out of the base model: they are what an adapter has to
    learn. `learned_subjects` are the subjects that the adapter sees in the learned style; the
    others are held out, and drawing THEM in the learned style is what shows that the style itself
    was learned.
    """

    name: str
    base_styles: tuple[str, ...]
    learned_style: str
    character: str
    subjects: tuple[str, ...]
    learned_subjects: tuple[str, ...]

    def draw(self, style: str, subject: str, seed: int) -> Picture:
        """Draw one subject; the seed decides all that the style and the subject leave open."""
        ...

    def draw_character(self, style: str, seed: int) -> Picture:
        """Draw the character that the base model has never seen."""
        ...


def held_out_subjects(source: PictureSource) -> tuple[str, ...]:
    """The subjects that no training picture shows in the learned style."""
    seen = set(source.learned_subjects)
    return tuple(subject for subject in source.subjects if subject not in seen)
