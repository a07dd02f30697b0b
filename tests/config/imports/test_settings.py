"""The tables of settings: nothing is lost, and values are read as programs write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lycoris_ext.config.imports.json_text import read_json
from lycoris_ext.config.imports.settings import (
    NOTHING,
    Settings,
    becomes,
    flag,
    number,
    only,
    share,
    whole,
)
from lycoris_ext.errors import ConfigError


def settings(**document: Any) -> Settings:
    return Settings("Trainer", "a.json", document)


def test_settings_in_tables_have_names_with_dots() -> None:
    read = settings(unet={"lr": 1, "deep": {"er": 2}}, rows=[{"a": 1}])
    assert read.left == {"unet.lr": 1, "unet.deep.er": 2, "rows": [{"a": 1}]}


def test_a_name_comes_before_a_pattern_and_a_pattern_before_none() -> None:
    read = settings(unet={"lr": "1e-4", "name": "x"}, other=3, empty=None)
    read.follow({"unet.*": NOTHING, "unet.lr": becomes("unet_lr", number)})
    assert read.values == {"unet_lr": 1e-4}
    (error,) = read.unsupported
    assert "other = 3 is not known as a setting of Trainer" in str(error)


@pytest.mark.parametrize("value", [None, "", [], {}, False, "false", 1, 1.0, "1", "1.0", "NONE"])
def test_values_that_change_nothing_are_taken_without_a_word(value: object) -> None:
    read = Settings("Trainer", "a.json", {"scale": value})
    read.follow({"scale": only(1, "none", fix="remove it")})
    assert read.unsupported == []


@pytest.mark.parametrize("value", [True, 0, 2, "1,0", [1], "some"])
def test_any_other_value_is_refused_as_it_is_written(value: object) -> None:
    read = settings(scale=value)
    read.follow({"scale": only(1, "none", fix="remove it")})
    (error,) = read.unsupported
    assert str(error).startswith("a.json: scale = ")
    assert error.fix == "remove it"


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (number, "1e-4", 1e-4),
        (whole, "8", 8),
        (whole, 8.0, 8),
        (share, "0.5", 0.5),
        (flag, "True", True),
        (flag, False, False),
    ],
)
def test_values_are_read_from_texts(kind: Any, value: object, expected: object) -> None:
    assert kind(value) == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (number, True),
        (number, "fast"),
        (number, [1]),
        (whole, 1.5),
        (whole, "inf"),
        (whole, "nan"),
        (share, 1.5),
        (flag, "yes"),
        (flag, 1),
    ],
)
def test_nothing_is_guessed(kind: Any, value: object) -> None:
    with pytest.raises(ValueError):
        kind(value)


def test_words_of_another_program_are_translated_or_listed() -> None:
    rule = becomes("loss_type", {"mse": "l2", "mae": "l1"})
    read = settings(loss="MSE")
    read.follow({"loss": rule})
    assert read.values == {"loss_type": "l2"}
    read = settings(loss="wavelet")
    read.follow({"loss": rule})
    (error,) = read.unsupported
    assert error.fix == "write one of mse, mae"


def test_a_file_beside_the_config_may_be_written_by_hand(tmp_path: Path) -> None:
    def content(text: str) -> tuple[object, Settings]:
        (tmp_path / "data.json").write_text(text, encoding="utf-8")
        read = Settings("Trainer", str(tmp_path / "a.json"), {})
        return read.read_companion("data", "data.json", read_json, "the folders"), read

    assert content('[{"a": 1,},]')[0] == [{"a": 1}]
    found, read = content("[" * 50_000)
    assert found is None and "nested too deeply" in str(read.unsupported[0])
    with pytest.raises(ConfigError, match="deep, which no config needs"):
        content("[" * 60 + "]" * 60)
