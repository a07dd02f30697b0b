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


SINGLE, DOUBLE = "'\u2018\u2019\u201a\u201b", '"\u201c\u201d\u201e'
DASHES = "-\u2013\u2014\u2015"


def powershell(line: str) -> list[str]:
    """Read a command as PowerShell's documentation says it does, from letter to letter.

    Sources: about_Quoting_Rules (quotes of any shape are the same; a quote in a text is doubled; $
    and ` are read inside of double quotes), about_Parsing (a text in quotes at the start is a
    value, unless & calls it; --% stops the reading) and about_Operators (special characters).

    Raises:
        ValueError: it would not be one call with plain arguments.
    """
    calls = line.startswith("& ")
    words: list[str] = []
    rest = line.removeprefix("& ")
    while rest:
        first = rest[0]
        if first in SINGLE + DOUBLE:
            if not words and not calls:
                raise ValueError("a text in quotes is not called")
            word, rest = in_quotes(rest[1:], SINGLE if first in SINGLE else DOUBLE)
        else:
            word, _, rest = rest.partition(" ")
            if set(word) & set("`$&|;<>(){},\n\r\t\"'" + SINGLE + DOUBLE) or word[0] in "@#%~*?[":
                raise ValueError(f"{word} is not plain")
            if word == "--%" or (words and word[0] in DASHES[1:]):
                raise ValueError(f"{word} is not an argument")
            words.append(word)
            continue
        if rest[:1] not in ("", " "):
            raise ValueError("two arguments stand together")
        words, rest = [*words, word], rest[1:]
    return words


def in_quotes(text: str, quotes: str) -> tuple[str, str]:
    """Return what stands before the quote that ends a text, and what follows it."""
    word = ""
    while text:
        letter, text = text[0], text[1:]
        if letter not in quotes:
            if letter in "$`" and quotes == DOUBLE:
                raise ValueError(f"{letter} is not read as itself")
            word += letter
        elif text[:1] and text[0] in quotes:
            word, text = word + letter, text[1:]
        else:
            return word, text
    raise ValueError("a quote is missing")


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
    name = re.sub('[<>:"/\\\\|?*]', "_", name)
    for path in (PureWindowsPath("C:/", name), PureWindowsPath(name)):
        given = command("lycoris-ext", "train", path, windows=True)
        read = powershell(given)
        assert read[:2] == ["lycoris-ext", "train"] and len(read) == 3
        assert PureWindowsPath(read[2]) == path
        assert not read[2].startswith("-")
        assert powershell(command(path, "train", windows=True))[1:] == ["train"]


@pytest.mark.parametrize(
    ("name", "posix", "windows"),
    [
        ("plain.toml", "plain.toml", "plain.toml"),
        ("My Pictures (2024)", "'My Pictures (2024)'", '"My Pictures (2024)"'),
        ("it's $HOME", "'it'\"'\"'s $HOME'", "'it''s $HOME'"),
        ("100%", "100%", "'100%'"),
        ("--%", "--%", "'--%'"),
        ("it\u2019s", "'it\u2019s'", '"it\u2019s"'),
        ("\u201chis\u201d \u2018hat\u2019", None, "'\u201chis\u201d \u2018\u2018hat\u2019\u2019'"),
        ("a,b;c@d#e", "'a,b;c@d#e'", '"a,b;c@d#e"'),
    ],
)
def test_only_names_that_need_quotes_get_them(name, posix, windows):
    if posix is not None:
        assert command("x", name, windows=False) == f"x {posix}"
    assert command("x", name, windows=True) == f"x {windows}"
    assert powershell(f"x {windows}") == ["x", name]


def test_a_program_in_quotes_is_called_in_powershell():
    program = PureWindowsPath("C:/Program Files/Python/python.exe")
    line = command(program, "-m", "pip", windows=True)
    assert line == r'& "C:\Program Files\Python\python.exe" -m pip'
    assert powershell(line) == [str(program), "-m", "pip"]
    assert command("C:/python.exe", "-m", windows=True) == "C:/python.exe -m"


@pytest.mark.parametrize(
    "line",
    [
        "x 'it's'",
        "x \u2018it\u2019s\u2019",
        'x "$HOME"',
        "x a,b",
        "x --%",
        "x a;b",
        "x @a",
        "x 'a'b",
        '"C:\\x y" z',
    ],
)
def test_the_reader_of_these_tests_refuses_what_powershell_reads_otherwise(line):
    with pytest.raises(ValueError):
        powershell(line)


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


def test_captions_with_control_characters_get_a_config_that_can_be_read(tmp_path):
    write_pictures(tmp_path / "pictures")
    for caption in (tmp_path / "pictures").rglob("*.txt"):
        caption.write_text("\x1b[31mred\x7f, a cat", encoding="utf-8")
    assert init.main([str(tmp_path / "pictures"), "--output", str(tmp_path / "a.toml")]) == 0
    assert "[31mred" in (tmp_path / "a.toml").read_text("utf-8")


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
