"""What strangers' files say can do nothing to a terminal, a log or a page."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from lycoris_ext import cli
from lycoris_ext.data.findings import Code
from lycoris_ext.errors import ConfigError, DataError, FormatError, together
from lycoris_ext.printable import LONGEST_LINE, printable
from lycoris_ext.runs.paths import is_file_name

CONTROLS = "\x00\x07\x08\r\x1b\x7f\x85\x9b\u061c\u200e\u200f\u2028\u2029"
CONTROLS += "\u202a\u202e\u2066\u2069\ud800\ufeff"


@pytest.mark.parametrize("letter", CONTROLS, ids=ascii)
def test_control_characters_become_escapes(letter: str) -> None:
    shown = printable(f"a{letter}b")
    assert shown.isprintable() and shown.startswith("a\\") and shown.endswith("b")


@pytest.mark.parametrize("text", ["a\nb\tc", "été 森　x", "👩‍👩‍👧", "می‌خواهم", ""])
def test_texts_of_all_scripts_stay_as_they_are(text: str) -> None:
    assert printable(text) == text


@given(st.text(st.characters(exclude_categories=()), max_size=300))
def test_no_text_keeps_a_control_character(text: str) -> None:
    shown = printable(text)
    allowed = "\n\t\u200c\u200d"
    assert all(c in allowed or unicodedata.category(c) not in ("Cc", "Cf", "Cs") for c in shown)
    assert printable(shown) == shown
    shown.encode("utf-8")


def test_a_line_of_millions_of_characters_is_cut_in_its_middle() -> None:
    first, second = printable(f"{'a' * 5_000_000}end\nshort").split("\n")
    assert len(first) == LONGEST_LINE and first.endswith("end") and second == "short"


def test_an_error_shows_no_control_character_of_a_name() -> None:
    evil = "\x1b]0;title\x07\u202ex\ny"
    error = FormatError(f"layer {evil}: rank 0", where=f"{evil}", fix=f"rename {evil}")
    for told in (error, error.within(evil), together([error, ConfigError(evil)])):
        assert printable(str(told)) == str(told)
    assert "\n" not in (error.where or "")
    assert str(DataError("first:\n  second")) == "first:\n  second"


def test_a_finding_is_one_line_whatever_the_picture_is_called() -> None:
    found = Code("LX999", "error", "x").finding([Path("a\x1b[31m\nb.png")], "bad")
    assert found.line().isprintable() and "\x1b" not in str(found.as_error())


def test_no_command_prints_control_characters_of_an_adapter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = "lora_unet_\x1b]0;PWNED\x07\x1b[31m\u202ex"
    tensors = {
        f"{layer}.lora_down.weight": torch.zeros(0, 4),
        f"{layer}.lora_up.weight": torch.zeros(4, 0),
    }
    path = tmp_path / "a.safetensors"
    save_file(tensors, path, {"ss_output_name": "\x1b[31m", "ss_\x1b[0m": "x"})
    for command in ("info", "config"):
        cli.main([command, str(path)])
        told = "".join(capsys.readouterr())
        assert told and not set(told) & set(CONTROLS)


@pytest.mark.parametrize("name", ["a\x1b[31m", "a\nb", "a\tb", "a\u202eb", "a\x7f", "a\ud800"])
def test_no_run_is_named_with_control_characters(name: str) -> None:
    assert not is_file_name(name)
