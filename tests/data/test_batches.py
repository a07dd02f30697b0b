"""Captions, order and latents depend on seed, epoch and sample, and on nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from lycoris_ext.data import (
    DataConfig,
    cache_latents,
    derive_seed,
    iterate_batches,
    open_training_set,
    torch_generator,
)
from lycoris_ext.data.captions import caption_for
from lycoris_ext.errors import DataError
from tests.tiny_pictures import write_pictures

CAPTION = "a, b, c, d, e, f, g, h"


@pytest.fixture
def training_set(tmp_path):
    write_pictures(tmp_path / "p", count=5, repeats=3)
    write_pictures(tmp_path / "q", count=4, repeats=2, size=(128, 32))
    (tmp_path / "q" / "2_shapes").rename(tmp_path / "p" / "2_wide")
    config = DataConfig(
        train_data_dir=str(tmp_path / "p"),
        resolution=32,
        train_batch_size=4,
        shuffle_caption=True,
        keep_tokens=1,
        caption_dropout_rate=0.2,
        caption_tag_dropout_rate=0.2,
        flip_aug=True,
    )
    return open_training_set(config, seed=7)


def test_derived_seeds_are_the_same_in_every_version_and_differ_from_each_other():
    # The value is a promise: the same seed gives the same pictures in every version.
    assert derive_seed(0, "noise", 1, 2) == 8206195150748915899
    seeds = {
        derive_seed(s, p, a, b) for s in range(3) for p in "xy" for a in range(9) for b in (0, 1)
    }
    assert len(seeds) == 3 * 2 * 9 * 2
    assert derive_seed(0, "noise", 1, 11) != derive_seed(0, "noise", 11, 1)


def test_every_sample_comes_once_an_epoch_in_batches_of_one_bucket(training_set):
    buckets = set()
    for epoch in range(3):
        numbers = range(
            epoch * training_set.batches_per_epoch, (epoch + 1) * training_set.batches_per_epoch
        )
        plans = [training_set.batch_at(number) for number in numbers]
        seen = Counter(sample for plan in plans for sample in plan.sample_ids)
        assert seen == dict.fromkeys(range(5 * 3 + 4 * 2), 1)
        assert {plan.epoch for plan in plans} == {epoch}
        for plan in plans:
            in_batch = {training_set.crops[picture].bucket for picture in plan.pictures}
            assert len(in_batch) == 1
            buckets |= in_batch
    assert len(buckets) == 2
    assert training_set.batches_per_epoch == 4 + 2


def test_a_picture_is_shown_as_often_an_epoch_as_its_repeats(training_set):
    plans = [training_set.batch_at(n) for n in range(training_set.batches_per_epoch)]
    shown = Counter(picture for plan in plans for picture in plan.pictures)
    assert [shown[n] for n in range(9)] == [2] * 4 + [3] * 5


def test_epochs_differ_in_order_and_asking_for_batches_changes_none(training_set):
    size = training_set.batches_per_epoch
    later = training_set.batch_at(5 * size + 3)
    first = [training_set.batch_at(n) for n in range(size)]
    second = [training_set.batch_at(n) for n in range(size, 2 * size)]
    assert [p.sample_ids for p in first] != [p.sample_ids for p in second]
    assert training_set.batch_at(5 * size + 3) == later
    assert [training_set.batch_at(n) for n in range(size)] == first


@pytest.mark.filterwarnings(
    "ignore:This DataLoader will create 2 worker:UserWarning"
)  # of one core
def test_worker_processes_bring_the_same_batches(training_set):
    expected = [training_set.batch_at(n) for n in range(3, 12)]
    assert list(iterate_batches(training_set, 3, 12)) == expected
    object.__setattr__(training_set.config, "max_data_loader_n_workers", 2)
    assert list(iterate_batches(training_set, 3, 12)) == expected


def test_without_options_a_caption_is_left_as_it_is():
    caption = "a,b ,  weird   spacing"
    assert caption_for(caption, DataConfig(), seed=0, epoch=0, sample_id=0) == caption


def test_shuffling_keeps_the_first_tags_in_place():
    config = DataConfig(shuffle_caption=True, keep_tokens=2)
    shown = {caption_for(CAPTION, config, seed=0, epoch=epoch, sample_id=4) for epoch in range(20)}
    assert len(shown) > 15
    for caption in shown:
        assert caption.startswith("a, b, ")
        assert sorted(caption.split(", ")) == sorted(CAPTION.split(", "))


def test_dropping_tags_spares_those_of_keep_tokens():
    config = DataConfig(caption_tag_dropout_rate=0.5, keep_tokens=1)
    shown = [caption_for(CAPTION, config, seed=0, epoch=0, sample_id=n) for n in range(400)]
    assert all(caption.startswith("a") for caption in shown)
    kept = sum(len(caption.split(", ")) - 1 for caption in shown) / (400 * 7)
    assert 0.45 < kept < 0.55
    everything = DataConfig(caption_tag_dropout_rate=1.0, keep_tokens=1)
    assert caption_for(CAPTION, everything, seed=0, epoch=0, sample_id=0) == "a"


def test_caption_dropout_rate_drops_that_share_of_the_captions():
    config = DataConfig(caption_dropout_rate=0.25)
    shown = [caption_for(CAPTION, config, seed=0, epoch=0, sample_id=n) for n in range(400)]
    assert 0.2 < shown.count("") / 400 < 0.3
    assert set(shown) == {"", CAPTION}


def encode(pixels):
    """Stand in for a VAE: latents of half the size with four channels, and a spread above zero."""
    small = torch.nn.functional.avg_pool2d(pixels, 2)
    mean = torch.cat([small, small[:, :1]], dim=1)
    return mean, torch.full_like(mean, 0.1)


def test_latents_of_a_batch_are_the_same_for_the_same_seed(training_set):
    cache = cache_latents(training_set, encode)
    plan = training_set.batch_at(4)
    latents = cache.batch(plan, seed=7).latents
    height, width = training_set.crops[plan.pictures[0]].bucket[::-1]
    assert latents.shape == (len(plan.sample_ids), 4, height // 2, width // 2)
    assert torch.equal(cache.batch(plan, seed=7).latents, latents)
    assert not torch.equal(cache.batch(plan, seed=8).latents, latents)
    assert cache.batch(plan, seed=7).mask is None


def test_latents_are_mirrored_where_the_batch_says_so_about_half_of_the_time(training_set):
    def exact(pixels):
        mean, spread = encode(pixels)
        return mean, spread * 0

    cache = cache_latents(training_set, exact)
    flips = Counter()
    seen = {}
    for number in range(40):
        plan = training_set.batch_at(number)
        for latent, picture, flipped in zip(
            cache.batch(plan, 0).latents, plan.pictures, plan.flipped, strict=True
        ):
            flips[flipped] += 1
            upright = latent.flip(-1) if flipped else latent
            torch.testing.assert_close(seen.setdefault(picture, upright), upright)
    assert 0.35 < flips[True] / flips.total() < 0.65


def test_a_vae_that_overflows_names_the_picture(training_set):
    def broken(pixels):
        mean, spread = encode(pixels)
        return mean * float("nan"), spread

    with pytest.raises(DataError, match="NaN") as caught:
        cache_latents(training_set, broken)
    assert ".png" in str(caught.value)


def test_folders_tags_and_buckets_are_counted_for_the_metadata(training_set):
    assert training_set.folder_counts() == {
        "2_wide": {"n_repeats": 2, "img_count": 4},
        "3_shapes": {"n_repeats": 3, "img_count": 5},
    }
    assert training_set.tag_counts()["3_shapes"]["by tester"] == 5
    assert sum(training_set.bucket_counts().values()) == training_set.samples_per_epoch == 23


def test_seeded_generators_are_on_the_cpu():
    assert torch_generator(0, "x").device == torch.device("cpu")


@pytest.mark.skipif(shutil.which("ps") is None, reason="asks ps for processes")
def test_worker_processes_end_when_the_main_process_is_killed_at_their_start(pictures):
    """A worker that is not up yet must not wait for a killed main process for ever."""
    code = (
        "from lycoris_ext.data import DataConfig, open_training_set, iterate_batches\n"
        "if __name__ == '__main__':\n"
        "    config = DataConfig(image_dir=sys.argv[1], max_data_loader_n_workers=1)\n"
        "    next(iterate_batches(open_training_set(config, 0), 0, 5))\n"
    )
    main = pictures / "main.py"
    main.write_text("import sys\n" + code, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, str(main), str(pictures / "2_shapes")],
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    deadline = time.monotonic() + 120
    while not _group(process.pid) - {process.pid} and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    while _group(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _group(process.pid) == set()


def _group(leader: int) -> set[int]:
    """Return the ids of the processes of a session that have not ended, as `ps` lists them."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,sid=,stat="], capture_output=True, text=True, check=True
    )
    rows = (line.split() for line in listed.stdout.splitlines())
    return {int(pid) for pid, sid, stat in rows if int(sid) == leader and stat[0] != "Z"}
