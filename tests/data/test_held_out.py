"""Pictures that are held out for validation: which, and that they are in no batch of training."""

from __future__ import annotations

import json
import math
import random
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.data import DataConfig, LatentCache, MemoryStore, TrainingSet, open_training_set
from lycoris_ext.data.differences import differences
from lycoris_ext.data.examine import examine
from lycoris_ext.data.held_out import held_out
from lycoris_ext.errors import DataError
from tests.tiny_pictures import write_picture, write_pictures


def open_set(folder: Path, **options) -> TrainingSet:
    config = DataConfig(train_data_dir=str(folder), **{"resolution": 32, **options})
    return open_training_set(config, seed=3)


def subset(folder: Path, **own) -> dict[str, object]:
    return {"image_dir": str(folder), **own}


def held(training_set: TrainingSet) -> set[str]:
    return {one.picture.path.name for one in training_set.held_out}


def trained(training_set: TrainingSet) -> set[str]:
    plans = (training_set.batch_at(n) for n in range(3 * training_set.batches_per_epoch))
    return {path.name for plan in plans for path in training_set.files(plan)}


def findings(config: DataConfig) -> list[tuple[str, str]]:
    found = [one for one in examine(config).findings if one.code == "LX090"]
    return [(one.severity, one.what) for one in found]


@given(st.integers(0, 400), st.floats(0, 1), st.integers(0, 2**63 - 1))
def test_the_rounded_share_of_a_folder_is_held_out_whatever_the_names(number, split, seed):
    numbers = held_out(range(number), split, seed)
    assert len(set(numbers)) == len(numbers) == round(number * split)
    assert set(numbers) <= set(range(number))
    assert [str(n) for n in numbers] == held_out([str(n) for n in range(number)], split, seed)


@given(st.integers(1, 200), st.floats(0, 1), st.integers(0, 2**31))
def test_pictures_that_sd_scripts_would_train_are_trained_unless_it_validates_them(
    number, split, seed
):
    shuffled = list(range(number))
    random.Random(seed).shuffle(shuffled)
    theirs = set(shuffled[: math.ceil(number * (1 - split))])
    ours = set(range(number)) - set(held_out(range(number), split, seed))
    assert ours <= theirs and len(theirs - ours) <= 1


def test_held_out_pictures_are_in_no_batch_and_others_are_as_before(tmp_path):
    folder = write_pictures(tmp_path / "p", count=10, repeats=3)
    changes = {"flip_aug": True, "shuffle_caption": True, "caption_tag_dropout_rate": 0.5}
    split = open_set(folder, validation_split=0.3, **changes)
    assert len(held(split)) == 3 and not held(split) & trained(split)
    assert held(split) | trained(split) == {f"{n:02d}.png" for n in range(10)}
    for name in held(split):
        (folder / "3_shapes" / name).unlink()
        (folder / "3_shapes" / name).with_suffix(".txt").unlink()
    without = open_set(folder, **changes)
    numbers = range(2 * without.batches_per_epoch)
    assert list(map(split.batch_at, numbers)) == list(map(without.batch_at, numbers))
    assert split.samples_per_epoch == without.samples_per_epoch == 21
    assert split.folder_counts() == without.folder_counts()
    assert split.tag_counts() == without.tag_counts()


def test_held_out_pictures_are_shown_once_and_as_they_are(tmp_path):
    folder = write_pictures(tmp_path / "p", count=10, repeats=4)
    options = {
        "flip_aug": True,
        "shuffle_caption": True,
        "caption_dropout_rate": 0.9,
        "caption_dropout_every_n_epochs": 1,
        "caption_tag_dropout_rate": 0.9,
        "tag_list_dropout_rate": 0.9,
        "token_warmup_step": 100,
        "caption_prefix": "art of",
        "train_batch_size": 2,
    }
    shown = open_set(folder, validation_split=0.5, **options).held_out_set()
    plans = [shown.batch_at(number) for number in range(shown.batches_per_epoch)]
    assert sorted(len(plan.pictures) for plan in plans) == [1, 2, 2]
    assert not any(flip for plan in plans for flip in plan.flipped)
    for plan in plans:
        for path, caption in zip(shown.files(plan), plan.captions, strict=True):
            assert caption == "art of " + path.with_suffix(".txt").read_text("utf-8")


def test_a_wildcard_of_a_held_out_picture_is_always_filled_in_the_same_way(tmp_path):
    folder = write_pictures(tmp_path / "p", count=6)
    for file in folder.glob("*/*.txt"):
        file.write_text("a {red|blue|green|black} shape", encoding="utf-8")
    shown = open_set(folder, validation_split=0.5, enable_wildcard=True).held_out_set()
    captions = {text for n in range(shown.batches_per_epoch) for text in shown.batch_at(n).captions}
    assert captions == set(shown.known_captions())


def test_a_held_out_picture_is_shown_with_all_fields_of_its_caption(tmp_path):
    folder = write_pictures(tmp_path / "p", count=6)
    for number in range(6):
        content = {"characters": ["Ann"], "processed_tags": ["red", "blue"]}
        file = folder / "2_shapes" / f".{number:02d}_meta.json"
        file.write_text(json.dumps(content), encoding="utf-8")
    fields = ["character:0.5", "tags:0.5"]
    shown = open_set(folder, validation_split=0.5, caption_fields=fields).held_out_set()
    captions = {text for n in range(shown.batches_per_epoch) for text in shown.batch_at(n).captions}
    assert captions == {"Ann, red, blue"}


def test_the_run_seed_draws_where_no_validation_seed_is_set(tmp_path):
    folder = write_pictures(tmp_path / "p", count=20)
    own = {"train_data_dir": str(folder), "validation_split": 0.4, "resolution": 32}
    drawn = [held(open_training_set(DataConfig(**own), seed=seed)) for seed in (1, 2)]
    assert drawn[0] != drawn[1]
    own["validation_seed"] = 1
    assert [held(open_training_set(DataConfig(**own), seed=seed)) for seed in (1, 2)] == [
        drawn[0],
        drawn[0],
    ]


def test_a_subset_has_its_own_split_and_1_takes_all_of_it(tmp_path):
    write_pictures(tmp_path / "a", count=4)
    write_pictures(tmp_path / "b", count=3)
    tables = [
        subset(tmp_path / "a" / "2_shapes"),
        subset(tmp_path / "b" / "2_shapes", validation_split=1, num_repeats=5),
    ]
    found = open_training_set(DataConfig(subsets=tables, resolution=32), seed=0)
    assert {one.picture.path.parent for one in found.held_out} == {tmp_path / "b" / "2_shapes"}
    assert len(found.held_out) == 3 and found.samples_per_epoch == 4


def test_a_picture_held_out_in_one_subset_is_not_trained_in_another_one(tmp_path):
    folder = write_pictures(tmp_path / "p", count=8) / "2_shapes"
    again = str(folder.parent / "x" / ".." / folder.name)  # the same folder in other words
    (folder.parent / "x").mkdir()
    tables = [
        subset(folder, validation_split=0.25),
        subset(again, resolution=64),
        subset(folder, is_reg=True, class_tokens="shape"),
    ]
    config = DataConfig(subsets=tables, resolution=32)
    found = open_training_set(config, seed=0)
    assert len(held(found)) == 2 and not held(found) & trained(found)
    told = "4 pictures are not trained in one place, because another place holds the same file out"
    assert ("note", f"{told} for validation") in findings(config)


def test_regularisation_pictures_are_not_held_out_and_match_what_is_trained(tmp_path):
    folder = write_pictures(tmp_path / "train", count=10, repeats=2)
    reg = tmp_path / "reg" / "1_shape"
    reg.mkdir(parents=True)
    for number in range(5):
        write_picture(reg / f"{number}.png", 50 + number)
    found = open_set(folder, reg_data_dir=str(reg.parent), validation_split=0.5)
    assert len(found.held_out) == 5 and not any(one.picture.is_reg for one in found.held_out)
    assert found.reg_samples_per_epoch == 10 == found.samples_per_epoch - 10


def test_a_split_that_leaves_nothing_to_train_is_an_error(tmp_path):
    folder = write_pictures(tmp_path / "p", count=3)
    with pytest.raises(DataError, match="nothing is left to train"):
        open_set(folder, validation_split=1.0)


def test_a_split_that_rounds_to_nothing_or_to_all_is_told(tmp_path):
    write_pictures(tmp_path / "p", count=4, repeats=1)
    one = tmp_path / "p" / "1_one"
    one.mkdir()
    write_picture(one / "a.png", 60)
    (one / "a.txt").write_text("red", encoding="utf-8")
    both = {"train_data_dir": str(tmp_path / "p"), "resolution": 32}
    ((severity, told),) = findings(DataConfig(validation_split=0.1, **both))
    assert severity == "warning"
    assert told.startswith("validation_split holds out no picture of 2 folders, because its share")
    most = findings(DataConfig(validation_split=0.6, **both))
    assert most == [("warning", "validation_split leaves nothing to train of 1 folder")]
    assert findings(DataConfig(validation_split=0.5, **both))[0][1].startswith("validation_split h")
    assert findings(DataConfig(**both)) == []


def test_a_copy_that_is_trained_of_a_held_out_picture_is_told(tmp_path):
    folder = write_pictures(tmp_path / "p", count=4) / "2_shapes"
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    tables = [subset(folder), subset(other, validation_split=1)]
    (told,) = findings(DataConfig(subsets=tables, resolution=32))
    assert told[0] == "warning" and told[1].startswith("4 pictures are trained of which")


def test_a_split_is_part_of_the_fingerprint_and_what_it_holds_out_is_told(tmp_path):
    folder = write_pictures(tmp_path / "p", count=6)
    plain, split = open_set(folder), open_set(folder, validation_split=0.5)
    assert open_set(folder, validation_seed=7).fingerprint == plain.fingerprint
    assert plain.fingerprint != split.fingerprint
    found = differences(plain.manifest, split.manifest)
    assert {Path(name).name for name in found.validation} == held(split)


def test_latents_of_a_held_out_picture_are_kept_under_the_key_of_a_trained_one(tmp_path):
    folder = write_pictures(tmp_path / "p", count=4)
    store, encoded = MemoryStore(), []

    def encode(pixels):
        encoded.append(pixels)
        return pixels[:, :1], pixels[:, :1]

    plain, split = open_set(folder), open_set(folder, validation_split=0.5)
    for number in range(4):
        LatentCache(plain, encode, store, "vae").posterior(number, mirrored=False)
    cache = LatentCache(split.held_out_set(), encode, store, "vae")
    assert torch.is_tensor(cache.posterior(0, mirrored=False)["mean"]) and len(encoded) == 4
