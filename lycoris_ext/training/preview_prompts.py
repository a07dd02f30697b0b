"""What a run draws where nobody names prompts."""

from __future__ import annotations

from lycoris_ext.data import TrainingSet

CAPTIONS_SHOWN = 4


def caption_prompts(pictures: TrainingSet) -> list[str]:
    """A few captions of the training pictures, spread over the whole set.

    Regularisation pictures are left out: they show what the base model can do already.
    """
    lines = (picture.caption.split("\n")[0] for picture in pictures.pictures if not picture.is_reg)
    captions = list(dict.fromkeys(lines))
    return captions[:: max(1, len(captions) // CAPTIONS_SHOWN)][:CAPTIONS_SHOWN]
