"""The small base model that ships with the package, and pictures to train adapters for it.

It is a latent text-to-image model with the components of Stable Diffusion 1.x, so small that an
adapter trains in minutes on a CPU. It can draw the 48 subjects of `drawn.py` in the styles
`BASE_STYLES`. It was not trained on `LEARNED_STYLE` and on the character of `character_folder`, so
that adapters can learn these. Pictures, judges and the builder are imported only when used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lycoris_ext.mini.drawings.pictures import Picture

BASE_STYLES = ("flat", "shaded")
LEARNED_STYLE = "ink"
# Seeds from here on were used neither for training, nor for testing the judges, nor for data/.
PROMPT_SEEDS = 3_000_000

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Prompt:
    """A prompt for the small base model, with the style and subject that its picture should show.

    Args:
        caption: the prompt.
        style, subject: what the judges should recognise in the picture.
        seed: makes `real_picture` draw the picture that this caption describes.
    """

    caption: str
    style: str
    subject: str
    seed: int


def style_folder() -> Path:
    """Return the folder of the training set for the style "ink", in kohya's layout.

    `10_ink/` holds pictures in this style, `3_base/` the same subjects in the base model's own
    styles. The latter keep "by flat" and "by shaded" as they were: without them, 29 of 100 prompts
    for the base model's styles came out in ink.
    """
    return _HERE / "data" / "style"


def character_folder() -> Path:
    """Return the folder of the training set for a character, in kohya's layout (`10_<name>/`)."""
    return _HERE / "data" / "character"


def held_out_prompts(style: str = LEARNED_STYLE, per_subject: int = 1) -> list[Prompt]:
    """Return prompts for the subjects that the style's training set does not show.

    Args:
        style: the style to ask for.
        per_subject: number of prompts for each subject, with different colours and backgrounds.
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
    """Draw the picture that a prompt describes, by code instead of by a model."""
    from lycoris_ext.mini.drawings.drawn import DrawnSource

    return DrawnSource().draw(prompt.style, prompt.subject, prompt.seed)
