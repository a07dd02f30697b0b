"""Latents in files equal those in memory, and are found by all that they depend on."""

from __future__ import annotations

import shutil

import pytest
import torch
from PIL import Image

from lycoris_ext.data import DataConfig, DiskStore, cache_latents, open_training_set
from lycoris_ext.errors import DataError
from tests.tiny_pictures import write_picture, write_pictures


class Vae:
    """Stands for a VAE: latents of half the size with four channels; counts its calls."""

    def __init__(self, shift=0.0):
        self.asked = 0
        self.shift = shift

    def __call__(self, pixels):
        assert pixels.shape[:2] == (1, 3)
        self.asked += 1
        small = torch.nn.functional.avg_pool2d(pixels, 2) + self.shift
        return torch.cat([small, small[:, :1]], dim=1), torch.full_like(small, 0.1)[:, [0, 1, 2, 0]]


def training_set(pictures, **options):
    options = {"resolution": 32, "train_batch_size": 2, "flip_aug": True, **options}
    return open_training_set(DataConfig(train_data_dir=str(pictures), **options), seed=7)


def all_batches(data, cache):
    return [cache.batch(data.batch_at(number), seed=7) for number in range(12)]


def cached(data, folder, *, vae="v1", shift=0.0):
    """Return the latents that are cached in a folder, and how often the VAE was needed for them."""
    encode = Vae(shift)
    cache = cache_latents(data, encode, store=DiskStore(folder), vae=vae)
    assert cache.encoded == encode.asked
    return cache, encode.asked


def test_latents_from_files_equal_those_in_memory_bit_for_bit(pictures, tmp_path):
    data = training_set(pictures)
    expected = all_batches(data, cache_latents(data, Vae()))
    for asked in (12, 0):
        cache, needed = cached(data, tmp_path / "cache")
        assert needed == asked
        for batch, other in zip(all_batches(data, cache), expected, strict=True):
            assert torch.equal(batch.latents, other.latents)
            assert batch.mask is None


def test_a_changed_picture_vae_or_size_computes_its_latents_anew_and_no_others(pictures, tmp_path):
    """Whatever the latents depend on, a change of it computes them anew, and of it alone."""
    folder = tmp_path / "cache"
    first = training_set(pictures)
    assert cached(first, folder)[1] == 12
    write_picture(pictures / "2_shapes" / "03.png", number=77)
    assert cached(training_set(pictures), folder)[1] == 2
    assert cached(training_set(pictures), folder, vae="v2")[1] == 12
    assert cached(training_set(pictures, resolution=64), folder)[1] == 12
    assert cached(training_set(pictures, enable_bucket=False, resolution="48,32"), folder)[1] == 12
    assert cached(training_set(pictures, alpha_mask=True), folder)[1] == 12
    # Names, captions and repeats do not matter; nor does the order.
    (pictures / "2_shapes" / "03.png").rename(pictures / "2_shapes" / "zz.png")
    (pictures / "2_shapes" / "03.txt").rename(pictures / "2_shapes" / "zz.txt")
    (pictures / "2_shapes").rename(pictures / "5_other")
    assert cached(training_set(pictures), folder)[1] == 0


def test_latents_in_files_are_not_kept_in_memory(tmp_path):
    """Nothing stays but the files: a large folder must not fill the memory."""
    data = training_set(write_pictures(tmp_path / "p", count=3))
    cache, _ = cached(data, tmp_path / "cache")
    plan = data.batch_at(0)
    before = cache.batch(plan, seed=7).latents
    assert cache.encoded == 6
    shutil.rmtree(tmp_path / "cache")
    assert torch.equal(cache.batch(plan, seed=7).latents, before)
    assert cache.encoded == 6 + len(plan.pictures)


def test_a_damaged_file_is_rebuilt_in_the_middle_of_a_run(pictures, tmp_path):
    data = training_set(pictures)
    cache, _ = cached(data, tmp_path / "cache")
    expected = all_batches(data, cache)
    for path in (tmp_path / "cache").iterdir():
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
    assert all(
        torch.equal(batch.latents, other.latents)
        for batch, other in zip(all_batches(data, cache), expected, strict=True)
    )
    assert cache.encoded > 12


def test_a_picture_that_changed_after_it_was_checked_is_refused(pictures):
    data = training_set(pictures)
    write_picture(pictures / "2_shapes" / "04.png", number=99)
    with pytest.raises(DataError, match="changed since the pictures were checked") as caught:
        cache_latents(data, Vae())
    assert "04.png" in str(caught.value)


@pytest.fixture
def masked(tmp_path):
    """One picture whose left half is transparent over blue, one without an alpha channel."""
    folder = tmp_path / "p" / "1_x"
    folder.mkdir(parents=True)
    picture = Image.new("RGBA", (64, 64), (255, 0, 0, 255))
    picture.paste((0, 0, 255, 0), (0, 0, 32, 64))
    picture.save(folder / "a.png")
    Image.new("RGB", (64, 64), (255, 0, 0)).save(folder / "b.png")
    for name in "ab":
        (folder / f"{name}.txt").write_text("x", encoding="utf-8")
    return tmp_path / "p"


@pytest.mark.parametrize("store", ["memory", "disk"])
def test_alpha_becomes_a_mask_of_latent_size(masked, tmp_path, store):
    data = training_set(masked, alpha_mask=True)

    def exact(pixels):
        mean, std = Vae()(pixels)
        return mean, std * 0

    cache = cache_latents(data, exact, store=DiskStore(tmp_path / "c") if store == "disk" else None)
    seen = set()
    for number in range(12):
        plan = data.batch_at(number)
        batch = cache.batch(plan, seed=7)
        assert batch.mask is not None and batch.mask.shape == (2, 1, 16, 16)
        for picture, flipped, latents, mask in zip(
            plan.pictures, plan.flipped, batch.latents, batch.mask, strict=True
        ):
            seen.add((picture, flipped))
            upright = mask.flip(-1) if flipped else mask
            if picture == 1:
                assert bool((mask == 1).all())
                continue
            # Half the width, and one column that Lanczos mixed.
            assert bool((upright[..., :7] < 0.05).all()) and bool((upright[..., 9:] > 0.95).all())
            blue = (latents.flip(-1) if flipped else latents)[2]
            assert bool((blue[:, :7] > 0.9).all()) and bool((blue[:, 9:] < -0.9).all())
    assert len(seen) == 4


def test_without_alpha_mask_the_transparent_half_is_white(masked):
    data = training_set(masked, flip_aug=False)
    cache = cache_latents(data, Vae())
    assert cache.batch(data.batch_at(0), seed=7).mask is None
    mean = cache.posterior(0, mirrored=False)["mean"]
    assert bool((mean[:3, :, :7] > 0.95).all())
