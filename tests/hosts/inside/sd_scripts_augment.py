"""Crops, colours and masks as sd-scripts computes them; run by its Python in its folder.

Argument: a folder with case.json, colours.png and mask.png. Writes colours.raw there, the picture
once for each seed, and prints an object with the rest.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, os.getcwd())

import numpy as np
import torch
from library import train_util
from library.custom_train_functions import apply_masked_loss
from library.train_util import (
    IMAGE_TRANSFORMS,
    AugHelper,
    BaseDataset,
    load_image,
    resize_image,
    trim_and_resize_if_required,
)

FOLDER = Path(sys.argv[1])
CASE = json.loads((FOLDER / "case.json").read_text("utf-8"))


def colours() -> None:
    """Change the colours of one picture once with each seed."""
    picture = load_image(str(FOLDER / "colours.png"))
    changed = []
    for seed in range(CASE["colours"]):
        random.seed(seed)
        changed.append(AugHelper().color_aug(picture.copy())["image"])
    (FOLDER / "colours.raw").write_bytes(np.stack(changed).tobytes())


def places(width: int, height: int) -> np.ndarray:
    """Return a picture whose pixels tell their column and row."""
    picture = np.zeros((height, width, 3), np.float32)
    picture[..., 0], picture[..., 1] = np.meshgrid(np.arange(width), np.arange(height))
    return picture


def faces() -> list[list[int]]:
    """Crop pictures to faces; return the size that each is scaled to, and the crop's left, top."""
    sizes: list[tuple[int, int]] = []

    def resize(image, width, height, new_width, new_height, interpolation):
        sizes.append((new_width, new_height))
        return places(new_width, new_height)

    train_util.resize_image = resize
    found = []
    for seed, case in enumerate(CASE["faces"]):
        random.seed(seed)
        dataset = SimpleNamespace(width=case["bucket"][0], height=case["bucket"][1])
        subset = SimpleNamespace(
            face_crop_aug_range=case["range"],
            random_crop=case["random_crop"],
            resize_interpolation=None,
        )
        cut = BaseDataset.crop_target(dataset, subset, places(*case["size"]), *case["face"])
        assert cut.shape[:2] == (dataset.height, dataset.width)
        found.append([*sizes.pop(), *(int(number) for number in cut[0, 0, :2])])
    train_util.resize_image = resize_image
    return found


def crops() -> list[list[int]]:
    """Crop scaled pictures at random; return the left and top of each crop."""
    found = []
    for seed, case in enumerate(CASE["crops"]):
        random.seed(seed)
        picture = places(*case["resized"])
        cut, _, _ = trim_and_resize_if_required(True, picture, case["bucket"], case["resized"])
        found.append([int(number) for number in cut[0, 0, :2]])
    return found


def masked() -> list[float]:
    """Weigh a loss of 1 everywhere by a mask, and return the weights."""
    mask = load_image(str(FOLDER / "mask.png"))
    width, height = CASE["mask"]
    mask = resize_image(mask, mask.shape[1], mask.shape[0], width, height, None)
    batch = {"conditioning_images": IMAGE_TRANSFORMS(mask)[None]}
    loss = apply_masked_loss(torch.ones(1, 4, height // 8, width // 8), batch)
    return loss[0, 0].flatten().tolist()


colours()
print(json.dumps({"faces": faces(), "crops": crops(), "masked": masked()}))
