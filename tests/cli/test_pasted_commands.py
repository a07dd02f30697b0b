"""Commands that are printed run when they are pasted, whatever the folder is called."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext import cli
from lycoris_ext.cli import init
from lycoris_ext.cli.new_config import file_name, new_config
from lycoris_ext.runs.paths import is_file_name
from lycoris_ext.words import command
from tests.tiny_pictures import write_pictures

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


def powershell(line: str) -> list[str]:
    """Split a command as PowerShell does: quotes are doubled inside single quotes."""
    words, rest = [], line
    while rest:
        single = re.match("'((?:[^'‘’‚‛]|['‘’‚‛]{2})*)'(?: |$)", rest)
        double = re.match('"([^"“”„$`]*)"(?: |$)', rest)
        plain = re.match(r"([\w\\/.:+=-]+)(?: |$)", rest)
        found = single or double or plain
        assert found, rest
        word = re.sub("(['‘’‚‛]){2}", r"\1", found[1]) if single else found[1]
        words.append(word)
        rest = rest[found.end() :]
    return words


@given(NAMES)
def test_a_command_for_posix_is_read_back_by_the_shells_rules(name):
    path = PurePosixPath(name)
    words = shlex.split(command("lycoris-ext", "train", path, windows=False))
    assert words[:2] == ["lycoris-ext", "train"]
    assert words[2].removeprefix("./") == str(path).removeprefix("./")
    assert not words[2].startswith("-")


# Windows allows no control characters and none of <>:"/\|?* in names.
@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1))
def test_a_command_for_windows_is_read_back_by_powershells_rules(name):
    path = PureWindowsPath("C:/", re.sub('[<>:"/\\\\|?*]', "_", name))
    assert powershell(command("lycoris-ext", path, windows=True)) == ["lycoris-ext", str(path)]


@pytest.mark.parametrize(
    ("name", "posix", "windows"),
    [
        ("plain.toml", "plain.toml", "plain.toml"),
        ("My Pictures (2024)", "'My Pictures (2024)'", '"My Pictures (2024)"'),
        ("it's $HOME", "'it'\"'\"'s $HOME'", "'it''s $HOME'"),
        ("100%", "100%", "'100%'"),
    ],
)
def test_only_names_that_need_quotes_get_them(name, posix, windows):
    assert command("x", name, windows=False) == f"x {posix}"
    assert command("x", name, windows=True) == f"x {windows}"


@given(NAMES)
def test_every_folders_name_becomes_a_name_of_a_run(name):
    assert is_file_name(file_name(name))


@pytest.mark.parametrize("name", ["My Pictures (2024)", 'it\'s $5 `x` "q"', "-dash", "写真 é"])
def test_what_init_prints_trains_the_config_that_it_wrote(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / name)
    assert init.main([str(tmp_path / name)]) == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if "train:" in line]
    words = shlex.split(printed[0].partition("train:")[2])
    assert words[:2] == ["lycoris-ext", "train"]
    assert cli.main(["doctor", words[2]]) == 0
    heading = Path(words[2]).read_text("utf-8").partition("Train with: ")[2].partition("\n")[0]
    assert shlex.split(heading) == words


def test_a_new_config_ends_in_toml_and_may_be_put_into_a_folder(tmp_path):
    assert new_config(tmp_path, "a").name == "a.toml"
    assert new_config(tmp_path / "mine", "a") == tmp_path / "mine.toml"
    assert new_config(tmp_path / "v1.2", "a") == tmp_path / "v1.2.toml"
    assert new_config(None, "what?.") == Path("what_.toml")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_a_folder_whose_name_is_no_text_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_pictures(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")))
    assert cli.main(["init", os.fsdecode(b"caf\xe9")]) == 3
    assert "no text in UTF-8" in capsys.readouterr().err
