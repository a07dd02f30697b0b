"""The table of sd-scripts' options: complete, and without rows for options that exist here."""

from __future__ import annotations

from lycoris_ext.config import all_options
from lycoris_ext.config.sd_scripts_options import (
    DEFAULTS,
    OF_OTHER_FAMILIES,
    SD_SCRIPTS,
    Row,
    row_of,
)
from lycoris_ext.data.subset import SubsetEntry


def test_defaults_are_valid_values_of_options_that_differ_from_ours():
    options = all_options()
    for name, value in DEFAULTS.items():
        assert options[name].convert(value) == value != options[name].default


def test_an_option_that_exists_here_is_never_taken_for_one_of_other_families():
    assert not [name for name in all_options() if name in OF_OTHER_FAMILIES]
    assert not [name for name in SubsetEntry.options() if name in OF_OTHER_FAMILIES]


def test_a_row_takes_what_is_off_and_what_happens_anyway_in_any_spelling():
    row = Row("use another one", (75, "area"))
    for value in (None, "", False, 0, 0.0, [], "False", "none", 75, 75.0, "75", "area"):
        assert row.changes_nothing(value)
    for value in (True, 1, "True", "x", [1], 76, "lanczos"):
        assert not row.changes_nothing(value)
    assert Row().changes_nothing("anything")


def test_options_of_other_families_are_known_by_their_patterns():
    for name in ("t5xxl", "sd3_clip_l", "flux1_checkbox", "img_attn_dim", "compile_mode"):
        assert row_of(name) == Row()
    for name in ("clip_skip_", "flux", "network_dims", "qqqq"):
        assert row_of(name) is None


def test_every_refusal_says_what_to_do():
    for row in SD_SCRIPTS.values():
        assert not row.fix or row.fix[0].islower()
