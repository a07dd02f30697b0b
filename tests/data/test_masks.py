"""Masks from a folder: which picture has which, how they weigh, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from lycoris_ext.data import DataConfig, DiskStore, cache_latents, examine, open_training_set
from lycoris_ext.data.masks import fits
from lycoris_ext.errors import ConfigError, DataError
from tests.tiny_pictures import write_picture, write_pictures


@pytest.fixture
def place(tmp_path) -> Path:
    """Three captioned pictures of 48x32 in pictures/2_shapes, and masks, left half white."""
    write_pictures(tmp_path / "pictures", count=3, size=(48, 32))
    (tmp_path / "masks").mkdir()
    for number in range(3):
        half_white(tmp_path / "masks" / f"0{number}.png")
    return tmp_path


def half_white(path: Path, size: tuple[int, int] = (48, 32), rest: int = 0) -> None:
    mask = Image.new("RGB", size, (rest, 255, 255))  # green and blue say nothing
    mask.paste((255, 0, 0), (0, 0, size[0] // 2, size[1]))
    mask.save(path)


def config(place: Path, **options) -> DataConfig:
    known = {
        "train_data_dir": str(place / "pictures"),
        "conditioning_data_dir": str(place / "masks"),
        "masked_loss": True,
        "resolution": 32,
        "enable_bucket": False,
    }
    return DataConfig(**known | options)


def encode(pixels):
    small = torch.nn.functional.avg_pool2d(pixels, 4)
    return small, torch.zeros_like(small)


def found(place: Path, **options) -> dict[str, list[str]]:
    """Return code -> names of the files concerned, of the rules about masks."""
    findings = examine(config(place, **options)).findings
    return {
        one.code: [each.path.name for each in one.where]
        for one in findings
        if "LX085" <= one.code <= "LX089" or one.severity == "error"
    }


def masks_of(place: Path, **options) -> dict[str, torch.Tensor]:
    data = open_training_set(config(place, **options), seed=0)
    cache = cache_latents(data, encode)
    return {
        picture.path.name: cache.posterior(number, mirrored=False)["mask"]
        for number, picture in enumerate(data.pictures)
    }


def test_a_mask_is_cropped_as_its_picture_and_its_red_channel_counts(place):
    # 48x32 is cut to its middle 32x32; the edge of the white half stays in the middle.
    expected = torch.zeros(1, 8, 8)
    expected[..., :4] = 1
    for mask in masks_of(place).values():
        assert torch.equal(mask, expected)


def test_grey_counts_by_its_brightness_and_a_smaller_mask_is_enlarged(place):
    half_white(place / "masks" / "00.png", size=(24, 16), rest=51)
    mask = masks_of(place)["00.png"]
    assert mask[0, 0, 0] == 1
    assert mask[0, 0, 7] == pytest.approx(0.2)


def test_the_mask_of_a_mirrored_picture_is_mirrored(place):
    data = open_training_set(config(place), seed=0)
    cache = cache_latents(data, encode)
    kept, mirrored = (cache.posterior(0, mirrored=flip)["mask"] for flip in (False, True))
    assert torch.equal(kept.flip(2), mirrored) and not torch.equal(kept, mirrored)


def test_a_mask_takes_the_place_of_transparency(place):
    picture = Image.new("RGBA", (48, 32), (200, 10, 10, 0))
    picture.paste((0, 0, 255, 255), (24, 0, 48, 32))
    picture.save(place / "pictures" / "2_shapes" / "00.png")
    mask = masks_of(place, alpha_mask=True)["00.png"]
    assert mask[0, 0, 0] == 1 and mask[0, 0, 7] == 0


def test_masks_may_lie_in_folders_called_as_those_of_the_pictures(place):
    write_pictures(place / "more", count=2, repeats=3, size=(48, 32))
    (place / "more" / "3_shapes").rename(place / "pictures" / "3_other")
    (place / "masks" / "3_other").mkdir()
    for name in ("00.jpg", "01.PNG"):
        half_white(place / "masks" / "3_other" / name, rest=255)
    assert found(place) == {}
    data = open_training_set(config(place), seed=0)
    files = [picture.mask.relative_to(place / "masks").as_posix() for picture in data.pictures]
    assert files == ["00.png", "01.png", "02.png", "3_other/00.jpg", "3_other/01.PNG"]


def test_a_changed_mask_alone_is_cached_anew_and_changes_the_fingerprint(place):
    def encoded() -> int:
        data = open_training_set(config(place), seed=0)
        prints.append(data.fingerprint)
        return cache_latents(data, encode, store=DiskStore(place / "cache"), vae="v").encoded

    prints: list[str] = []
    assert [encoded(), encoded()] == [3, 0]
    half_white(place / "masks" / "01.png", rest=9)
    assert encoded() == 1
    assert prints[0] == prints[1] != prints[2]


def test_a_moved_folder_of_masks_is_the_same_data_set(place):
    before = open_training_set(config(place), seed=0).fingerprint
    (place / "masks").rename(place / "moved")
    moved = config(place, conditioning_data_dir=str(place / "moved"))
    assert open_training_set(moved, seed=0).fingerprint == before


def test_without_masks_neither_cache_nor_fingerprint_knows_of_them(tmp_path):
    """Caches and runs of versions without masks stay valid; the values are of such a version."""
    Image.new("RGB", (48, 32), (10, 200, 30)).save(tmp_path / "a.bmp")
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    only = {"image_dir": str(tmp_path), "resolution": 32, "enable_bucket": False}
    data = open_training_set(DataConfig(**only), seed=0)
    cache_latents(data, encode, store=DiskStore(tmp_path / "cache"), vae="v")
    assert data.fingerprint == "7b8743749994427e4a6373c525e5370d"
    (file,) = (tmp_path / "cache").iterdir()
    assert file.stem == "91667a6bfc39954a51c894f63a8a2ab9a25fbdec"


def test_missing_and_spare_masks_are_told(place):
    (place / "masks" / "01.png").unlink()
    half_white(place / "masks" / "ghost.png")
    assert found(place) == {"LX085": ["01.png"], "LX086": ["ghost.png"]}


def test_regularisation_pictures_need_no_mask(place):
    (place / "reg" / "1_thing").mkdir(parents=True)
    write_picture(place / "reg" / "1_thing" / "r.png", 7)
    assert found(place, reg_data_dir=str(place / "reg")) == {}


def test_masks_of_other_proportions_are_refused_and_others_scaled(place):
    half_white(place / "masks" / "00.png", size=(32, 32))
    half_white(place / "masks" / "01.png", size=(97, 64))
    assert found(place) == {"LX087": ["00.png"]}


@pytest.mark.parametrize(
    ("mask", "picture", "good"),
    [
        ((512, 512), (1024, 1024), True),
        ((500, 333), (1500, 1000), True),
        ((3, 2), (1000, 700), True),
        ((640, 480), (480, 640), False),
        ((1000, 1000), (1000, 1020), False),
    ],
)
def test_proportions_are_compared_up_to_rounding(mask, picture, good):
    assert fits(mask, picture) is good


def test_a_black_or_damaged_mask_is_refused_by_its_name(place):
    Image.new("L", (48, 32), 0).save(place / "masks" / "00.png")
    (place / "masks" / "02.png").write_bytes(b"nothing")
    with pytest.raises(DataError) as told:
        open_training_set(config(place), seed=0)
    message = str(told.value)
    assert "black all over" in message and str(place / "masks" / "00.png") in message
    assert str(place / "masks" / "02.png") in message


def test_a_mask_that_changes_after_the_check_is_noticed(place):
    data = open_training_set(config(place), seed=0)
    half_white(place / "masks" / "00.png", rest=77)
    with pytest.raises(DataError, match="changed since"):
        cache_latents(data, encode)


@pytest.mark.parametrize("folder", ["nowhere", "pictures/2_shapes"])
def test_a_folder_that_holds_no_masks_is_told_once(place, folder):
    options = {
        "image_dir": str(place / "pictures" / "2_shapes"),
        "train_data_dir": "",
        "conditioning_data_dir": str(place / folder),
    }
    assert found(place, **options) == {"LX085": [Path(folder).name]}


def test_masked_loss_without_any_mask_is_told(place):
    assert found(place, conditioning_data_dir="") == {"LX088": []}
    assert found(place, conditioning_data_dir="", alpha_mask=True) == {}


def test_masks_that_masked_loss_does_not_use_are_refused(place):
    with pytest.raises(ConfigError, match="masked_loss = false does not use them"):
        config(place, masked_loss=False)
