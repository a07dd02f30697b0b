"""Captions that sd-scripts makes of a metadata JSON; run by its Python in its folder.

Arguments: the folder of the pictures, and the JSON. Prints an object: enable_wildcard as "false" or
"true" -> the key of each picture -> the caption that is trained, or with enable_wildcard the lines
of which one is drawn.
"""

from __future__ import annotations

import json
import os
import sys

sys.path.insert(0, os.getcwd())

from library.strategy_base import LatentsCachingStrategy
from library.strategy_sd import SdSdxlLatentsCachingStrategy
from library.train_util import FineTuningDataset, FineTuningSubset

UNUSED = {
    "alpha_mask": False,
    "num_repeats": 1,
    "shuffle_caption": False,
    "caption_separator": ",",
    "keep_tokens": 0,
    "keep_tokens_separator": "",
    "secondary_separator": None,
    "color_aug": False,
    "flip_aug": False,
    "face_crop_aug_range": None,
    "random_crop": False,
    "caption_dropout_rate": 0,
    "caption_dropout_every_n_epochs": 0,
    "caption_tag_dropout_rate": 0,
    "caption_prefix": None,
    "caption_suffix": None,
    "token_warmup_min": 1,
    "token_warmup_step": 0,
}


def captions(folder: str, file: str, wildcard: bool) -> dict[str, str]:
    subset = FineTuningSubset(
        image_dir=folder, metadata_file=file, enable_wildcard=wildcard, **UNUSED
    )
    buckets = (False, None, None, None, False)
    dataset = FineTuningDataset([subset], 1, (64, 64), 1.0, *buckets, False, 0, 0.0, None)
    return {
        key: picture.caption if wildcard else dataset.process_caption(subset, picture.caption)
        for key, picture in dataset.image_data.items()
    }


LatentsCachingStrategy.set_strategy(SdSdxlLatentsCachingStrategy(True, False, 1, False))
found = {str(wild).lower(): captions(*sys.argv[1:], wild) for wild in (False, True)}
print(json.dumps(found))
