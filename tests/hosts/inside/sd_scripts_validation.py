"""Pictures that sd-scripts takes for validation; run by its Python in its folder.

Arguments: the folder of the pictures, and a JSON list of [validation_split, validation_seed].
Prints a list: for each of these [names of the pictures to train, names of those for validation].
"""

from __future__ import annotations

import json
import os
import sys

sys.path.insert(0, os.getcwd())

from library.train_util import glob_images, split_train_val


def chosen(split: float, seed: int) -> list[list[str]]:
    paths = glob_images(sys.argv[1])
    parts = [
        split_train_val(paths, [None] * len(paths), each, split, seed) for each in (True, False)
    ]
    return [[os.path.basename(path) for path in found] for found, _ in parts]


print(json.dumps([chosen(*each) for each in json.loads(sys.argv[2])]))
