"""The small base model that ships with the package, and pictures that adapters of it learn from.

A real latent text-to-image model with the parts of Stable Diffusion 1.x, small enough to train an
adapter on in minutes on a CPU. It draws the 48 subjects of `drawn.py` in the styles `BASE_STYLES`;
`LEARNED_STYLE` and the character of `character_folder` it has never seen. Importing this costs
nothing: pictures, judges and the build load on use.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lycoris_ext.mini.drawings.pictures import Picture

BASE_STYLES = ("flat", "shaded")
LEARNED_STYLE = "ink"
# Far from every seed that training, the judges' test or the shipped sets use.
PROMPT_SEEDS = 3_000_000

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Prompt:
    """A caption with what a judge should find in the picture that a model makes of it.

    `seed` redraws the real picture of this caption: `real_picture(prompt)`.
    """

    caption: str
    style: str
    subject: str
    seed: int


def style_folder() -> Path:
    """The training set of the style to be learned, in kohya's layout.

    `10_<style>/` shows it; `3_base/` shows the same subjects in the base's own styles. Where every
    caption says "by ink", nothing tells an adapter that "by flat" is to stay as it was: without
    `3_base`, 29 of 100 prompts of the base's styles came out in ink.
    """
    return _HERE / "data" / "style"


def character_folder() -> Path:
    """The training set of the character to be learned, in kohya's layout (`10_<name>/`)."""
    return _HERE / "data" / "character"


def held_out_prompts(style: str = LEARNED_STYLE, per_subject: int = 1) -> list[Prompt]:
    """Captions of the subjects that the style training set does not show.

    Args:
        style: the style to ask for; a base style gives the comparison.
        per_subject: captions of each subject, in other colours and on other backgrounds.
    """
    from lycoris_ext.mini.drawings.drawn import DrawnSource
    from lycoris_ext.mini.drawings.pictures import held_out_subjects

    source = DrawnSource()
    prompts = []
    for number in range(per_subject):
        for index, subject in enumerate(held_out_subjects(source)):
            seed = PROMPT_SEEDS + 1000 * number + index
            caption = source.draw(style, subject, seed).caption
            prompts.append(Prompt(caption, style, subject, seed))
    return prompts


def real_picture(prompt: Prompt) -> Picture:
    """What the captions' author would have drawn for this prompt."""
    from lycoris_ext.mini.drawings.drawn import DrawnSource

    return DrawnSource().draw(prompt.style, prompt.subject, prompt.seed)
