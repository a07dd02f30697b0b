"""Hold pictures out of training, so that the adapter's loss on them can be computed: validation.

They are the pictures that sd-scripts takes for validation. It may train some of them, too, because
it rounds both parts up; here they are never trained, not even from another folder of the config.

Source: sd-scripts 48d368f, split_train_val and DreamBoothDataset in library/train_util.py.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

from lycoris_ext.data.subset import Subset

AS_THEY_ARE: dict[str, Any] = {
    "flip_aug": False,
    "random_crop": False,
    "color_aug": False,
    "face_crop_aug_range": None,
    "shuffle_caption": False,
    "caption_dropout_rate": 0.0,
    "caption_dropout_every_n_epochs": 0,
    "caption_tag_dropout_rate": 0.0,
    "tag_list_dropout_rate": 0.0,
    "token_warmup_step": 0.0,
    "caption_variants": 1,  # where a wildcard draws, always the same
}
"""Options that change how a picture is shown -> the value with which it is shown as it is."""

One = TypeVar("One")


def held_out(pictures: Sequence[One], split: float, seed: int) -> list[One]:
    """Choose the pictures of a folder that are held out.

    Args:
        pictures: of the folder, ordered by file name.
        split: validation_split.
        seed: validation_seed, or the run's seed.
    """
    shuffled = list(pictures)
    random.Random(seed).shuffle(shuffled)
    return shuffled[len(shuffled) - round(len(shuffled) * split) :]


@lru_cache(maxsize=64)
def unchanging(subset: Subset) -> Subset:
    """Return a subset whose pictures are shown the same way every time."""
    return replace(subset, **AS_THEY_ARE)
