"""sd-scripts' own code draws the same crops and colours from the same random numbers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lycoris_ext.data import DataConfig, cache_latents, open_training_set
from lycoris_ext.data.augment import draw_crop
from lycoris_ext.data.buckets import Crop
from lycoris_ext.data.colour import draw_colours
from lycoris_ext.data.faces import Face, crop_to_face
from lycoris_ext.data.pictures import cropped
from lycoris_ext.data.subset import Subset
from tests.hosts.checkouts import Checkout, run_script

pytestmark = pytest.mark.hosts

INSIDE = Path(__file__).resolve().parent / "inside"
SEEDS = 60
SIZE = (48, 40)
MASK = (96, 64)


def cases() -> dict[str, Any]:
    rng = random.Random(8)
    faces = [
        {
            "size": (rng.randint(512, 2000), rng.randint(768, 2000)),
            "bucket": (512, 768),
            "face": (rng.randint(1, 500), rng.randint(1, 760), rng.randint(9, 600), 80),
            "range": sorted((round(rng.uniform(0.5, 5), 2), rng.choice((1.5, 2.0, 4.0)))),
            "random_crop": seed % 2 == 0,
        }
        for seed in range(200)
    ]
    faces += [{**each, "range": (2.0, 2.0)} for each in faces[:20]]
    crops = [
        {"resized": (512 + rng.randint(0, 99), 512 + rng.choice((0, 40))), "bucket": (512, 512)}
        for _ in range(50)
    ]
    return {"colours": SEEDS, "faces": faces, "crops": crops, "mask": MASK}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with every kind of colour in a picture, a mask, and what is to be cropped."""
    place = tmp_path_factory.mktemp("augment")
    noise = random.Random(5).randbytes(SIZE[0] * SIZE[1] * 3)
    Image.frombytes("RGB", SIZE, noise).save(place / "colours.png")
    rows = bytes((x * 3 + y * 5) % 256 for y in range(2 * MASK[1]) for x in range(2 * MASK[0]))
    red = Image.frombytes("L", (2 * MASK[0], 2 * MASK[1]), rows)
    Image.merge("RGB", (red, red.point(lambda v: 255 - v), red)).save(place / "mask.png")
    (place / "case.json").write_text(json.dumps(cases()), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def theirs(sd_scripts: Checkout, folder: Path) -> dict[str, Any]:
    run = run_script(sd_scripts, INSIDE / "sd_scripts_augment.py", str(folder))
    return json.loads(run.output.splitlines()[-1])


def test_colours_are_those_of_opencv_up_to_rounding(theirs: Any, folder: Path) -> None:
    raw = torch.frombuffer(bytearray((folder / "colours.raw").read_bytes()), dtype=torch.uint8)
    expected = raw.view(SEEDS, SIZE[1], SIZE[0], 3).permute(0, 3, 1, 2).int()
    picture = cropped(Image.open(folder / "colours.png"), Crop(SIZE, SIZE, SIZE))
    changed = set()
    for seed in range(SEEDS):
        ours = draw_colours(picture, random.Random(seed)).int()
        # Its vector code cuts the last number off where its other code, as ours, rounds it.
        assert int((ours - expected[seed]).abs().max()) <= 1, seed
        changed |= {seed} if not torch.equal(ours, picture.int()) else set()
    assert 10 < len(changed) < 30


def test_crops_to_faces_are_the_same_numbers(theirs: Any) -> None:
    for seed, (case, (*resized, left, top)) in enumerate(
        zip(cases()["faces"], theirs["faces"], strict=True)
    ):
        x, y, width, height = case["face"]
        crop = Crop(case["size"], case["bucket"], case["bucket"])
        drawn = crop_to_face(
            crop,
            Face((x, y), (width, height)),
            case["range"],
            random.Random(seed),
            anywhere=case["random_crop"],
        )
        assert (*drawn.resized, *drawn.crop_box[:2]) == (*resized, left, top), case


def test_random_crops_are_the_same_numbers(theirs: Any) -> None:
    subset = Subset(image_dir="x", random_crop=True)
    for seed, (case, place) in enumerate(zip(cases()["crops"], theirs["crops"], strict=True)):
        crop = Crop(case["resized"], case["bucket"], case["resized"])
        drawn = draw_crop(crop, Path("a.png"), subset, random.Random(seed))
        assert list(drawn.crop_box[:2]) == place


def test_masks_weigh_the_loss_alike(theirs: Any, folder: Path) -> None:
    """Where the mask has the shape of its bucket: elsewhere sd-scripts squeezes it."""
    pictures = folder / "pictures"
    masks = folder / "masks"
    for place in (pictures, masks):
        place.mkdir()
        Image.open(folder / "mask.png").save(place / "a.png")
    (pictures / "a.txt").write_text("x", encoding="utf-8")
    config = DataConfig(
        image_dir=str(pictures),
        conditioning_data_dir=str(masks),
        masked_loss=True,
        resolution=f"{MASK[0]},{MASK[1]}",
        enable_bucket=False,
    )

    def encode(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        small = torch.nn.functional.avg_pool2d(pixels, 8)
        return small, torch.zeros_like(small)

    cache = cache_latents(open_training_set(config, seed=0), encode)
    ours = cache.posterior(0, mirrored=False)["mask"].flatten()
    # They scale by areas, we with Lanczos as the picture: of eight by eight pixels little is left.
    assert ours.tolist() == pytest.approx(theirs["masked"], abs=0.02)
