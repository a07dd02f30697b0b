"""Subsets: folders with options of their own, from the config to the batches."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from lycoris_ext.config import OptionSource, build_config, dump_toml, read_toml
from lycoris_ext.data import (
    DataConfig,
    SubsetEntry,
    cache_latents,
    finding_lines,
    open_training_set,
    scan_folders,
)
from lycoris_ext.data.subset import SubsetOptions
from lycoris_ext.errors import ConfigError, DataError
from tests.tiny_pictures import write_picture, write_pictures


@pytest.fixture
def two(tmp_path) -> Path:
    """Two captioned folders, a/3_shapes with 5 pictures and b/2_shapes with 4 wide ones."""
    write_pictures(tmp_path / "a", count=5, repeats=3)
    write_pictures(tmp_path / "b", count=4, repeats=2, size=(96, 32))
    return tmp_path


def subset(folder: Path, **own) -> dict[str, object]:
    return {"image_dir": str(folder), **own}


def all_plans(training_set):
    return [training_set.batch_at(number) for number in range(2 * training_set.batches_per_epoch)]


def test_an_option_of_a_subset_is_declared_once():
    of_all, of_one = DataConfig.options(), SubsetEntry.options()
    assert set(of_one) - set(of_all) == {"is_reg", "class_tokens", "metadata_file", "multiply"}
    for name, known in SubsetOptions.options().items():
        assert of_all[name] == known
        assert of_one[name] == replace(known, hint=known.hint | None, default=None)


def test_folders_named_with_repeats_give_the_batches_of_equal_subsets(two):
    options = {"resolution": 32, "train_batch_size": 4, "shuffle_caption": True, "flip_aug": True}
    (two / "b" / "2_shapes").rename(two / "a" / "4_wide")
    parent = open_training_set(DataConfig(train_data_dir=str(two / "a"), **options), seed=5)
    tables = [
        subset(two / "a" / "3_shapes", num_repeats=3),
        subset(two / "a" / "4_wide", num_repeats=4),
    ]
    listed = open_training_set(DataConfig(subsets=tables, **options), seed=5)
    assert all_plans(listed) == all_plans(parent)
    assert listed.folder_counts() == parent.folder_counts()


def test_captions_mirroring_and_batch_size_follow_the_subset_of_the_picture(two):
    config = DataConfig(
        train_data_dir=str(two / "a"),
        subsets=[
            subset(
                two / "b" / "2_shapes",
                num_repeats=6,
                caption_prefix="wide,",
                flip_aug=True,
                train_batch_size=5,
            )
        ],
        resolution=32,
        train_batch_size=2,
    )
    sizes, mirrored = Counter(), Counter()
    for plan in all_plans(open_training_set(config, seed=1)):
        wide = {picture >= 5 for picture in plan.pictures}
        assert len(wide) == 1  # the shapes differ, and so do the batch sizes
        assert all(caption.startswith("wide, by") is (True in wide) for caption in plan.captions)
        sizes[True in wide, len(plan.pictures)] += 1
        mirrored[True in wide] += sum(plan.flipped)
    # 15 showings two by two, 24 five by five, in each of two epochs
    assert sizes == {(False, 2): 14, (False, 1): 2, (True, 5): 8, (True, 4): 2}
    assert mirrored[True] > 10 and mirrored[False] == 0


def test_a_batch_never_mixes_resolutions(two):
    folder = two / "a" / "3_shapes"
    config = DataConfig(
        subsets=[subset(folder), subset(folder, resolution="64,64")],
        resolution=32,
        train_batch_size=4,
    )
    training_set = open_training_set(config, seed=0)
    assert training_set.bucket_counts() == {(32, 32): 5, (64, 64): 5}
    for plan in all_plans(training_set):
        assert len({training_set.crops[picture].bucket for picture in plan.pictures}) == 1


def test_a_folder_at_two_resolutions_counts_each_picture_once_with_all_repeats(two):
    folder = two / "a" / "3_shapes"
    tables = [subset(folder, num_repeats=2), subset(folder, num_repeats=3, resolution=64)]
    data = open_training_set(DataConfig(subsets=tables, resolution=32), seed=0)
    once = open_training_set(DataConfig(image_dir=str(folder), resolution=32), seed=0)
    assert data.samples_per_epoch == 25
    assert data.folder_counts() == {"3_shapes": {"n_repeats": 5, "img_count": 5}}
    assert data.tag_counts() == once.tag_counts()


def test_equal_shapes_of_subsets_share_batches(two):
    write_pictures(two / "c", count=5)
    tables = [subset(two / "a" / "3_shapes"), subset(two / "c" / "2_shapes", keep_tokens=1)]
    training_set = open_training_set(
        DataConfig(subsets=tables, resolution=32, train_batch_size=10), seed=0
    )
    assert training_set.batches_per_epoch == 1


def test_a_picture_without_a_mask_counts_everywhere_in_a_batch_with_masks(tmp_path):
    for name, alpha in (("masked", 0), ("plain", 255)):
        (tmp_path / name).mkdir()
        picture = Image.new("RGBA", (32, 32), (200, 0, 0, 255))
        picture.paste((0, 0, 255, alpha), (0, 0, 16, 32))
        picture.save(tmp_path / name / "a.png")
        (tmp_path / name / "a.txt").write_text("x", encoding="utf-8")
    tables = [subset(tmp_path / "masked", alpha_mask=True), subset(tmp_path / "plain")]
    config = DataConfig(subsets=tables, resolution=32, train_batch_size=2)
    training_set = open_training_set(config, seed=0)

    def encode(pixels):
        small = torch.nn.functional.avg_pool2d(pixels, 8)
        return small, torch.zeros_like(small)

    plan = training_set.batch_at(0)
    mask = cache_latents(training_set, encode).batch(plan, seed=0).mask
    assert mask.shape == (2, 1, 4, 4)
    assert bool((mask[plan.pictures.index(1)] == 1).all())
    assert mask[plan.pictures.index(0)][0, :, 0].max() < 0.1


def test_regularisation_matches_the_training_pictures_of_its_resolution(two):
    reg = two / "reg"
    reg.mkdir()
    for number in range(3):
        write_picture(reg / f"{number}.png", number=60 + number)
    tables = [
        subset(two / "a" / "3_shapes", num_repeats=3),
        subset(two / "b" / "2_shapes", resolution=64),
        subset(reg, is_reg=True, class_tokens="a shape"),
        subset(reg, is_reg=True, resolution=64),
        subset(reg, is_reg=True, resolution=128),
    ]
    scan = scan_folders(DataConfig(subsets=tables, resolution=32))
    regular = [(p.subset.resolution, p.repeats, p.caption) for p in scan.pictures if p.is_reg]
    assert regular == [(32, 5, "a shape")] * 3 + [(64, 2, "reg")] + [(64, 1, "reg")] * 2
    (line,) = finding_lines(scan.findings)
    assert line.startswith("note LX017: 3 of 3 regularisation pictures are not used")
    assert "the 0 training pictures of an epoch at 128x128 pixels" in line


def test_class_tokens_are_the_caption_of_pictures_without_one(two):
    folder = two / "a" / "3_shapes"
    (folder / "03.txt").unlink()
    with pytest.raises(DataError, match="1 of 5 pictures has no caption"):
        scan_folders(DataConfig(subsets=[subset(folder)]))
    scan = scan_folders(DataConfig(subsets=[subset(folder, class_tokens="a thing")]))
    assert scan.pictures[3].caption == "a thing"
    (finding,) = scan.findings
    assert finding.what == '1 of 5 pictures has no caption, and "a thing" is trained instead'
    assert finding.severity == "warning"


def test_missing_captions_are_reported_for_each_caption_extension(two):
    with pytest.raises(DataError) as caught:
        scan_folders(
            DataConfig(
                train_data_dir=str(two / "a"),
                subsets=[subset(two / "b" / "2_shapes", caption_extension=".cap")],
                caption_extension=".caption",
            )
        )
    assert "5 of 5 pictures have no caption (no .caption file" in str(caught.value)
    assert "4 of 4 pictures have no caption (no .cap file" in str(caught.value)


def test_an_option_of_a_subset_changes_the_fingerprint(two):
    def fingerprint(**own) -> str:
        tables = [subset(two / "a" / "3_shapes", **own)]
        return open_training_set(DataConfig(subsets=tables, resolution=32), seed=0).fingerprint

    plain = fingerprint()
    assert fingerprint(keep_tokens=0, resolution=32) == plain
    changed = [
        fingerprint(flip_aug=True),
        fingerprint(shuffle_caption=True),
        fingerprint(train_batch_size=2),
        fingerprint(num_repeats=2),
        fingerprint(is_reg=False, caption_suffix="end"),
    ]
    assert len({plain, *changed}) == 6


SUBSETS = """
[data]
resolution = 512
keep_tokens = 1

[[data.subsets]]
image_dir = "/home/rosalind/cats"
num_repeats = 10
resolution = [768, 512]
caption_dropout_rate = 0.1

[[data.subsets]]
image_dir = "/home/rosalind/people"
is_reg = true
class_tokens = "person"
"""


def test_subsets_are_read_from_tables_and_written_back_the_same(tmp_path):
    path, resolved = tmp_path / "a.toml", tmp_path / "resolved.toml"
    path.write_text(SUBSETS, encoding="utf-8")
    config = build_config([read_toml(path)])
    first, second = config.data.own_subsets
    assert (first.size, first.num_repeats, first.keep_tokens) == ((768, 512), 10, 1)
    assert (second.is_reg, second.class_tokens, second.size) == (True, "person", (512, 512))
    resolved.write_text(dump_toml(config), encoding="utf-8")
    assert build_config([read_toml(resolved)]) == config
    assert config.changed_since(json.loads(json.dumps(config.flat()))) == {}
    shared = dump_toml(config, for_sharing=True)
    assert 'image_dir = "cats"' in shared and "rosalind" not in shared


def refused(**values) -> str:
    with pytest.raises(ConfigError) as caught:
        build_config([OptionSource("my.toml", {"train_data_dir": "x", **values})])
    return str(caught.value)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"image_dir": "a", "flip_augg": True}, "did you mean flip_aug?"),
        ({"image_dir": "a", "flip_aug": 1}, "flip_aug is 1, expected true or false"),
        ({"image_dir": "a", "caption_dropout_rate": 2.0}, "caption_dropout_rate is 2.0"),
        ({"num_repeats": 2}, "a subset has no image_dir"),
        ({"image_dir": "a", "resolution": 2048}, "max_bucket_reso 1024 is below the resolution"),
        ({"image_dir": "a", "train_data_dir": "b"}, "unknown option train_data_dir"),
    ],
)
def test_subsets_that_are_wrong_are_refused_by_name(table, said):
    assert said in refused(subsets=[table], max_bucket_reso=1024)


def test_cached_text_encodings_refuse_captions_that_change_in_any_subset():
    kept = {"cache_text_encoder_outputs": True, "network_train_unet_only": True}
    text = refused(subsets=[{"image_dir": "a", "shuffle_caption": True}], **kept)
    assert "shuffle_caption = true changes captions from epoch to epoch" in text
    assert "set caption_variants = 10, or remove one of" in text
    warmed = refused(token_warmup_step=0.5, caption_variants=3, **kept)
    assert "token_warmup_step = 0.5 changes captions from step to step" in warmed
    # What the data set says for all does not matter where every subset says something else.
    config = DataConfig(
        subsets=[{"image_dir": "a", "shuffle_caption": False}],
        shuffle_caption=True,
        cache_text_encoder_outputs=True,
    )
    assert config.knows_captions


def test_all_that_is_wrong_with_subsets_is_said_at_once():
    with pytest.raises(ConfigError) as caught:
        DataConfig(
            subsets=[
                {"image_dir": "a", "resolution": 256, "min_bucket_reso": 512},
                {"image_dir": "b", "caption_separator": ""},
            ]
        )
    text = str(caught.value)
    assert 'subsets, image_dir = "a": min_bucket_reso 512 is above the resolution 256' in text
    assert "subsets, image_dir = \"b\": caption_separator is ''" in text
