"""Configs that are written with comments are read back as they were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lycoris_ext.config import OptionSource, all_options, build_config
from lycoris_ext.config.commented import commented_toml
from lycoris_ext.config.toml_file import parse_toml
from lycoris_ext.errors import ConfigError
from lycoris_ext.options import Option, alternatives, holds_tables

OPTIONS = all_options()


ALONE = {
    "caption_fields": ["tags", "artist:0.5"],
    "face_crop_aug_range": "1.5,2.5",
    "optimizer_args": ["weight_decay=0.5"],
}
"""A value of options that take few texts."""


def other_values(known: Option) -> Iterator[object]:
    """Yield values of an option's type that are not its default; some may be out of range."""
    kinds = alternatives(known.hint)
    yield from known.allowed()
    if known.name in ALONE:
        yield ALONE[known.name]
    if known.default in (True, False):
        yield not known.default
    elif bool in kinds:
        yield True
    if holds_tables(known.hint):
        yield (
            [{"image_dir": 'a "b"'}]
            if known.name == "subsets"
            else [{"match": "x\\.y", "network_dim": 3}]
        )
    elif known.is_list:
        yield from (["ä 'x'", 'b"'], [0.5])
    elif str in kinds:
        yield from ("ü\\x", ".x", "a")
    if int in kinds or float in kinds:
        yield from (2, 3, 0.5, 150, 768)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_read_back_as_it_was_written(name: str) -> None:
    tried = 0
    for value in other_values(OPTIONS[name]):
        try:
            config = build_config([OptionSource("test", {name: value})])
        except ConfigError:
            continue  # a value that this option cannot have, or not alone
        text = commented_toml(config, ["From a test."])
        assert build_config([parse_toml(text, "again")]) == config
        tried += config != build_config([])
    assert tried or OPTIONS[name].kinds or name in NOT_ALONE


NOT_ALONE = (
    "adaptive_noise_scale",
    "base_weights_multiplier",
    "cache_text_encoder_outputs",
    "cache_text_encoder_outputs_to_disk",
    "conditioning_data_dir",
    "dim_from_weights",
    "ip_noise_gamma_random_strength",
    "log_with",
    "logging_dir",
    "lr_scheduler_args",
    "noise_offset_random_strength",
    "noising_bias",
    "noising_weight",
)
"""Options that need another one beside them."""


def test_what_is_blank_is_written_as_an_empty_text() -> None:
    text = commented_toml(build_config([]), [], ["train_data_dir"])
    assert "[data]\n# The PARENT of folders named <repeats>_<name>" in text
    assert text.rstrip().endswith('train_data_dir = ""')


def test_comments_hold_no_control_characters() -> None:
    config = build_config([OptionSource("test", {"seed": 5})])
    text = commented_toml(config, ["From a\x1b[31m\x7f\nseed = 99\x85\u2028b\x00."])
    assert build_config([parse_toml(text, "again")]) == config
