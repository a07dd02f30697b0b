"""What holds for every format: recognised alone, complete, and no crash on any content."""

from __future__ import annotations

import copy
from contextlib import suppress
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lycoris_ext.config.imports import FORMATS, other_files
from lycoris_ext.config.imports.foreign import Foreign, Format
from lycoris_ext.errors import ConfigError, LycorisExtError
from tests.config.imports.building import built
from tests.config.imports.samples import SAMPLES

EACH = pytest.mark.parametrize("name", SAMPLES)
WHERE = "no/such/folder/config"

#: What is in a file of sd-scripts, of kohya_ss's window and of ours.
OTHERS: dict[str, dict[str, Any]] = {
    "sd-scripts": {
        "pretrained_model_name_or_path": "sd15.safetensors",
        "network_module": "networks.lora",
        "learning_rate": 1e-4,
        "dataset_config": "data.toml",
    },
    "dataset_config": {
        "general": {"enable_bucket": True},
        "datasets": [{"resolution": 512, "subsets": [{"image_dir": "a", "num_repeats": 1}]}],
    },
    "kohya_ss": {"LoRA_type": "Standard", "max_resolution": "512,512", "lr_warmup": "10"},
    "ours": {"model": {"clip_skip": 1}, "network": {"algo": "loha"}, "data": {"image_dir": "a"}},
}


def read(name: str) -> Foreign:
    known, document = SAMPLES[name]
    return known.read(document, WHERE)


def recognising(document: dict[str, Any]) -> list[Format]:
    return [known for known in FORMATS if known.recognises(document)]


@EACH
def test_a_config_is_recognised_by_its_own_format_alone(name: str) -> None:
    known, document = SAMPLES[name]
    assert recognising(document) == [known]


@pytest.mark.parametrize("document", OTHERS.values(), ids=OTHERS)
def test_configs_of_sd_scripts_and_ours_are_left_to_their_own_readers(
    document: dict[str, Any],
) -> None:
    ours = [known for known, _ in SAMPLES.values()]
    assert not set(recognising(document)) & {*ours, other_files.FORMAT}


@EACH
def test_a_usual_config_is_read_without_anything_left_over(name: str) -> None:
    foreign = read(name)
    assert [str(error) for error in foreign.unsupported] == []
    built(foreign)


@pytest.mark.parametrize("name", [name for name in SAMPLES if not name.startswith("easy")])
def test_what_other_programs_do_without_a_word_is_not_left_to_sd_scripts(name: str) -> None:
    # A config with data sets has sd-scripts' defaults there: no buckets, and .caption files.
    values = read(name).values
    assert values["caption_extension"] == ".txt"
    assert values["enable_bucket"] is True
    assert "network_module" not in values  # it stands for a whole config of sd-scripts


@EACH
def test_a_config_without_a_base_model_does_not_train_the_small_one(name: str) -> None:
    known, document = SAMPLES[name]
    document = copy.deepcopy(document)
    tables = [document, document.get("model", {}), document.get("general_args", {}).get("args", {})]
    if name == "ai_toolkit":
        tables.append(document["config"]["process"][0]["model"])
    for table in tables:
        for key in ("base_model", "base_model_name", "name_or_path"):
            table.pop(key, None)
        for key in ("pretrained_model_name_or_path", "--pretrained_model_name_or_path"):
            table.pop(key, None)
    if name == "easy_json":
        document["base_model"] = ""
    values = known.read(document, WHERE).values
    assert values["pretrained_model_name_or_path"] != "mini"


@EACH
def test_reading_does_not_change_the_document(name: str) -> None:
    known, document = SAMPLES[name]
    before = copy.deepcopy(document)
    known.read(document, WHERE)
    assert document == before


@pytest.mark.parametrize("name", [name for name in SAMPLES if not name.startswith("easy")])
def test_a_setting_that_nobody_knows_is_listed_with_its_value(name: str) -> None:
    known, document = SAMPLES[name]
    document = copy.deepcopy(document)
    table = document["config"]["process"][0]["train"] if name == "ai_toolkit" else document
    table["brand_new_trick"] = 0.25
    (error,) = known.read(document, WHERE).unsupported
    assert "brand_new_trick = 0.25" in str(error)
    assert known.program in str(error)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a document, tables and lists included."""
    if isinstance(document, dict):
        inner = [place for key, part in document.items() for place in places(part, (*path, key))]
    elif isinstance(document, list):
        inner = [place for at, part in enumerate(document) for place in places(part, (*path, at))]
    else:
        inner = []
    return [path, *inner] if path else inner


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["NONE", "EPOCH", "1e-4", "512,768", "true", "re:(", "${a}", "---"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4) | st.sampled_from(["lr", "args"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@EACH
@settings(max_examples=25)
@given(data=st.data())
def test_whatever_a_setting_holds_it_is_read_or_refused(name: str, data: st.DataObject) -> None:
    known, document = SAMPLES[name]
    document = copy.deepcopy(document)
    path = data.draw(st.sampled_from(places(document)))
    table: Any = document
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = data.draw(anything)
    if not known.recognises(document):
        return
    try:
        foreign = known.read(document, WHERE)
    except LycorisExtError as error:
        assert error.fix or error.parts
        return
    assert all(error.where == WHERE and error.fix for error in foreign.unsupported)
    with suppress(ConfigError):  # an option out of range is told by its own check
        built(foreign)


STUMBLING: list[Any] = [
    *(-1, 0, nan, inf, -inf, 10**400, "9" * 5000, "1e400", "nan", "-1"),
    *([], {}, [[]], [{}], {"a": {}}, [None], "\0", "~nobody-of-this-name/x", "x" * 5000),
    '${times:"' + "9" * 5000 + '"}',
]
"""Values at which numbers, paths and tables make Python itself stumble."""


@EACH
def test_no_value_of_any_setting_is_a_traceback(name: str) -> None:
    known, document = SAMPLES[name]
    for path in places(document):
        for value in STUMBLING:
            changed = copy.deepcopy(document)
            table: Any = changed
            for key in path[:-1]:
                table = table[key]
            table[path[-1]] = value
            if known.recognises(changed):
                with suppress(LycorisExtError):
                    known.read(changed, WHERE)


@EACH
def test_no_sentence_is_without_its_file_and_its_remedy(name: str) -> None:
    known, document = SAMPLES[name]
    document = copy.deepcopy(document)
    document["unheard_of"] = "yes"
    for error in known.read(document, WHERE).unsupported:
        assert str(error).startswith(f"{WHERE}: ")
        assert "\n  -> " in str(error)
