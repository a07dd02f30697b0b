"""Whatever a file holds: it is read, or refused by an error that the user can mend."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lycoris_ext.config import OptionSource, Reading, all_options, build_config
from lycoris_ext.config.imports import kohya_gui
from lycoris_ext.config.imports.command_line import read_command
from lycoris_ext.config.sd_scripts_options import SD_SCRIPTS
from lycoris_ext.errors import LycorisExtError
from tests.config.imports.test_kohya_gui import FIELDS

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
    | st.sampled_from(["0", "1e-4", "True", "a=b", "a=b c=d", "512,512", "x" * 300, "\x00"])
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
OF_SD_SCRIPTS = sorted({
    *all_options(), *SD_SCRIPTS, "network_module", "network_args", "optimizer_args", "algo",
    "use_8bit_adam", "use_lion_optimizer", "t5xxl", "model_train_type", "training_script",
})  # fmt: skip
SUBSET = st.dictionaries(
    st.sampled_from(["image_dir", "num_repeats", "class_tokens", "resolution", "validation_split"]),
    VALUES,
)
DATASET = st.dictionaries(st.sampled_from(["subsets", "batch_size"]), st.lists(SUBSET) | VALUES)


def only_errors_to_mend(source: OptionSource) -> None:
    for skip in (False, True):
        try:
            build_config([source], Reading(skip_unsupported=skip))
        except LycorisExtError as error:
            assert str(error)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(OF_SD_SCRIPTS) | st.text(max_size=5), VALUES, max_size=5))
def test_any_options_of_sd_scripts(values: dict[str, Any]) -> None:
    only_errors_to_mend(OptionSource("a.toml", values, is_foreign=True))


@settings(max_examples=60)
@given(
    st.lists(DATASET, max_size=2) | VALUES, st.dictionaries(st.text(max_size=4), VALUES) | VALUES
)
def test_any_tables_of_a_dataset_config(datasets: Any, general: Any) -> None:
    values = {"datasets": datasets, "general": general}
    only_errors_to_mend(OptionSource("a.toml", values, is_foreign=True))


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), VALUES, max_size=4))
def test_any_fields_of_kohya_ss(fields: dict[str, Any]) -> None:
    try:
        read = kohya_gui.FORMAT.read({**FIELDS, **fields}, "a.json")
    except LycorisExtError:
        return
    only_errors_to_mend(OptionSource("a.json", read.values, True, {}, read.unsupported))


PIECES = ("train_network.py", "--a", "=", " ", "'", '"', "\\", "\n", "$x", "x=1", "%x%", "`", "^")


@settings(max_examples=150)
@given(st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=15).map("".join))
def test_any_script(text: str) -> None:
    try:
        read_command(text, "a.sh")
    except LycorisExtError as error:
        assert "no command that trains" in str(error)
