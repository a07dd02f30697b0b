"""Values of other programs' configs in the types of our options."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.config import all_options, build_config
from lycoris_ext.config.loosely import UNSET, loose_table, loosely
from lycoris_ext.options import holds_tables
from lycoris_ext.training.config import TrainConfig

OPTIONS = all_options()


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("network_dim", "8", 8),
        ("network_dim", 8.0, 8),
        ("network_dim", "8.5", 8.5),
        ("learning_rate", "1e-4", 1e-4),
        ("learning_rate", 1, 1),
        ("shuffle_caption", "True", True),
        ("shuffle_caption", "0", False),
        ("shuffle_caption", 1, True),
        ("v2", "false", False),
        ("vae", "", UNSET),
        ("vae", "None", UNSET),
        ("vae", False, UNSET),
        ("min_snr_gamma", 0, UNSET),
        ("max_train_epochs", "0", UNSET),
        ("keep_tokens", "0", 0),
        ("unet_lr", 0.0, 0.0),
        ("unet_lr", [1e-4, 1e-4], 1e-4),
        ("unet_lr", [1e-4, 1e-5], [1e-4, 1e-5]),
        ("unet_lr", [], UNSET),
        ("base_weights", [], UNSET),
        ("resolution", [512, 768], [512, 768]),
        ("resolution", "512,768", "512,768"),
        ("output_name", 5, "5"),
        ("save_precision", "FP16", "fp16"),
        ("mixed_precision", "NO", "no"),
        ("seed", "one", "one"),
    ],
)
def test_what_is_meant_is_read_whatever_its_type(name, value, kept):
    found = loosely(OPTIONS[name], value)
    assert found is kept if kept is UNSET else (found == kept and type(found) is type(kept))


def test_options_that_are_not_set_are_left_out_of_a_table():
    assert loose_table({"vae": "", "seed": "3", "other": ""}, OPTIONS) == {"seed": 3, "other": ""}


SINGLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)


@given(st.sampled_from(sorted(OPTIONS)), SINGLE | st.lists(SINGLE, max_size=3))
def test_no_value_is_too_strange(name, value):
    loosely(OPTIONS[name], value)


def test_every_default_stays_what_it_is():
    for name, value in TrainConfig().flat().items():
        if value not in (None, "", ()) and not holds_tables(OPTIONS[name].hint):
            assert loosely(OPTIONS[name], value) == value
    assert build_config([]) == TrainConfig()
