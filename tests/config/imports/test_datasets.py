"""sd-scripts' dataset_config: which value an option has in each subset."""

from __future__ import annotations

from collections import Counter

import pytest

from lycoris_ext.config import build_config, dump_toml, read_config
from lycoris_ext.data import open_training_set
from tests.config.imports.reads import BASE, built, refusals, skipped, written
from tests.tiny_pictures import write_pictures

TRAINING = 'network_module = "networks.lora"\nkeep_tokens = 1\nshuffle_caption = true\n'
DATASETS = """
[general]
caption_extension = ".cap"
keep_tokens = 2
enable_bucket = true

[[datasets]]
resolution = 256
batch_size = 4
keep_tokens = 3

  [[datasets.subsets]]
  image_dir = "a"
  num_repeats = 5
  keep_tokens = 4

  [[datasets.subsets]]
  image_dir = "b"
  class_tokens = "a cat"

[[datasets]]
resolution = [320, 256]

  [[datasets.subsets]]
  image_dir = "a"
  is_reg = true
  keep_tokens_separator = "|||"
  caption_prefix = "x "
"""


def test_a_subset_decides_before_its_data_set_general_and_the_training_file(tmp_path):
    path = written(tmp_path, "train.toml", TRAINING + 'dataset_config = "data.toml"\n')
    written(tmp_path, "data.toml", DATASETS)
    data = built(path).data
    first, second, third = data.own_subsets
    assert [each.keep_tokens for each in (first, second, third)] == [4, 3, 2]
    assert [each.size for each in (first, second, third)] == [(256, 256), (256, 256), (320, 256)]
    assert [each.train_batch_size for each in (first, second, third)] == [4, 4, 1]
    assert [each.num_repeats for each in (first, second, third)] == [5, 1, 1]
    assert {each.caption_extension for each in (first, second, third)} == {".cap"}
    assert all(each.shuffle_caption and each.enable_bucket for each in (first, second, third))
    assert (second.class_tokens, third.is_reg) == ("a cat", True)
    assert (third.keep_tokens_separator, third.caption_prefix) == ("|||", "x ")


def test_a_dataset_config_is_read_alone_inside_the_training_file_and_as_json(tmp_path):
    inside = built(written(tmp_path, "one.toml", TRAINING + DATASETS)).data
    path = written(
        tmp_path,
        "train.toml",
        TRAINING + f'dataset_config = "{tmp_path}/d.toml"\n'.replace("\\", "/"),
    )
    alone = written(tmp_path, "d.toml", DATASETS)
    assert built(path).data == inside
    two = build_config(
        [read_config(written(tmp_path, "t.toml", TRAINING)), read_config(alone), BASE]
    )
    assert two.data == inside
    assert built(alone).data.own_subsets[0].keep_tokens == 4
    text = '{"datasets": [{"subsets": [{"image_dir": "a", "num_repeats": 2}]}]}'
    (subset,) = built(written(tmp_path, "d.json", text)).data.own_subsets
    assert (subset.image_dir, subset.num_repeats) == ("a", 2)


def test_what_the_only_data_set_says_holds_for_the_whole_one(tmp_path):
    text = '[[datasets]]\nresolution = 768\nbatch_size = 2\n[[datasets.subsets]]\nimage_dir = "a"\n'
    data = built(written(tmp_path, "d.toml", text)).data
    assert (data.resolution, data.train_batch_size) == (768, 2)
    assert "resolution" not in data.subsets[0].changed()


def test_folders_of_the_training_file_are_not_trained_beside_a_dataset_config(tmp_path):
    text = TRAINING + 'train_data_dir = "x"\nreg_data_dir = "y"\n' + DATASETS
    data = built(written(tmp_path, "a.toml", text)).data
    assert (data.train_data_dir, data.reg_data_dir) == ("", "")


def test_a_dataset_config_that_is_not_there_can_be_left_out(tmp_path):
    path = written(tmp_path, "a.toml", TRAINING + 'dataset_config = "none.toml"\n')
    (said,) = refusals(path)
    assert "dataset_config names 'none.toml', and there is no such file" in said
    config, _ = skipped(path)
    assert "none.toml" in dump_toml(config)


def test_what_a_subset_cannot_have_is_refused_with_the_rest(tmp_path):
    subset = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "a"\n{}\n'
    for setting in ("custom_attributes = {a = 1}", 'resize_interpolation = "area"'):
        (said,) = refusals(written(tmp_path, "a.toml", subset.format(setting)))
        assert f"{setting.partition(' ')[0]} = " in said
    for setting in ("random_crop = false", "token_warmup_step = 0", "validation_split = 0.0"):
        assert len(built(written(tmp_path, "a.toml", subset.format(setting))).data.subsets) == 1


def test_what_a_subset_draws_anew_is_read(tmp_path):
    text = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "a"\ncolor_aug = true\n'
    text += 'face_crop_aug_range = [1.0, 3.0]\n[[datasets.subsets]]\nimage_dir = "b"\n'
    one, other = built(written(tmp_path, "a.toml", text)).data.own_subsets
    assert (one.color_aug, one.face_crop_aug_range) == (True, "1.0,3.0")
    assert (other.color_aug, other.face_crop_aug_range) == (False, None)


def test_data_sets_keep_their_own_resolutions_and_batch_sizes(tmp_path):
    folder = write_pictures(tmp_path / "p", count=4, repeats=1) / "1_shapes"
    text = "".join(
        f"[[datasets]]\nresolution = {side}\nbatch_size = {size}\nenable_bucket = false\n"
        f"[[datasets.subsets]]\nimage_dir = {str(folder)!r}\nnum_repeats = 3\n"
        'caption_extension = ".txt"\n'
        for side, size in ((32, 4), (48, 2), (64, 1))
    )
    data = open_training_set(built(written(tmp_path, "a.toml", text)).data, seed=0)
    batches = Counter()
    for number in range(data.batches_per_epoch):
        plan = data.batch_at(number)
        (bucket,) = {data.crops[picture].bucket for picture in plan.pictures}
        batches[bucket[0], len(plan.pictures)] += 1
    assert batches == {(32, 4): 3, (48, 2): 6, (64, 1): 12}


def test_masks_of_a_subset_are_read_with_masked_loss(tmp_path):
    subset = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "a"\nconditioning_data_dir = "m"\n'
    data = built(written(tmp_path, "a.toml", "masked_loss = true\n" + subset)).data
    assert data.masked_loss and data.own_subsets[0].conditioning_data_dir == "m"


def test_a_split_for_validation_belongs_to_a_data_set_or_a_subset_or_all(tmp_path):
    text = (
        "[general]\nvalidation_seed = 7\n"
        '[[datasets]]\nvalidation_split = 0.25\n[[datasets.subsets]]\nimage_dir = "a"\n'
        '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "b"\n'
        '[[datasets.subsets]]\nimage_dir = "c"\nvalidation_split = 1.0\n'
    )
    steps = "validation_split = 0.1\nvalidate_every_n_steps = 50\nmax_validation_steps = 9\n"
    (tmp_path / "data.toml").write_text(text, encoding="utf-8")
    named = f"{TRAINING}{steps}dataset_config = '{(tmp_path / 'data.toml').as_posix()}'\n"
    config = built(written(tmp_path, "a.toml", named))
    found = [(each.image_dir, each.validation_split) for each in config.data.own_subsets]
    assert found == [("a", 0.25), ("b", 0.1), ("c", 1.0)]
    assert {each.validation_seed for each in config.data.own_subsets} == {7}
    options = config.validation
    assert (options.validate_every_n_steps, options.max_validation_steps) == (50, 9)
    assert options.validate_every_n_epochs is None


def test_a_subset_that_is_repeated_0_times_is_left_out_as_in_sd_scripts(tmp_path):
    text = (
        '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "a"\n'
        '[[datasets.subsets]]\nimage_dir = "b"\nnum_repeats = 0\n'
    )
    assert len(built(written(tmp_path, "a.toml", text)).data.subsets) == 1


def test_a_data_set_of_musubi_tuner_is_a_folder_itself(tmp_path):
    text = (
        "[general]\nresolution = [320, 256]\nbatch_size = 2\nenable_bucket = true\n"
        '[[datasets]]\nimage_directory = "a"\ncache_directory = "c"\nnum_repeats = 3\n'
    )
    (subset,) = built(written(tmp_path, "a.toml", text)).data.own_subsets
    assert (subset.image_dir, subset.num_repeats, subset.size) == ("a", 3, (320, 256))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("datasets = []\n", "datasets has no subset"),
        ("[[datasets]]\nresolution = 5\n", "datasets has no subset"),
        ('datasets = ["a"]\n', "datasets holds 'a', expected a table"),
        ('[[datasets]]\nsubsets = ["a"]\n', "datasets.subsets holds 'a', expected a table"),
    ],
)
def test_tables_without_pictures_are_refused_by_their_names(tmp_path, text, said):
    (found,) = refusals(written(tmp_path, "a.toml", text))
    assert said in found and "did you mean" not in found
