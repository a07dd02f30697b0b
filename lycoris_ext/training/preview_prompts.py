"""Prompts for pictures during training, if the user has given none."""

from __future__ import annotations

from lycoris_ext.data import TrainingSet

CAPTIONS_SHOWN = 4


def caption_prompts(pictures: TrainingSet) -> list[str]:
    """Return a few captions of the training pictures, spread over the whole set.

    Captions of regularisation pictures are left out: the base model can draw these already.
    """
    lines = (picture.caption.split("\n")[0] for picture in pictures.pictures if not picture.is_reg)
    captions = list(dict.fromkeys(lines))
    return captions[:: max(1, len(captions) // CAPTIONS_SHOWN)][:CAPTIONS_SHOWN]
