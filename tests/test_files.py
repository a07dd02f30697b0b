"""Files that users name are opened in one place, which takes regular files alone."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from lycoris_ext.errors import EnvironmentFault
from lycoris_ext.files import expanded, open_file, read_bytes, read_text, told_in_words
from lycoris_ext.options.texts import fault_of_path, fault_of_text
from lycoris_ext.os_errors import remedy, remedy_for_reading

ROOT = Path(__file__).resolve().parents[1]
OWN_FILES = {
    "cli/extra.py": "of the installed package",
    "functional/product.py": "the system's description of its processor",
    "hosts/comfyui.py": "of an installation of this package",
    "mini/judges.py": "of this package",
    "models/tokenizer.py": "of this package",
    "pages/assemble.py": "parts of pages, of this package",
}
"""Modules that read without ``files``, and what."""


def test_every_module_reads_files_of_users_through_one() -> None:
    reads = re.compile(r"\.read_text\(|\.read_bytes\(|(?<!\w)open\(|\.open\(\"rb|expanduser\(")
    found = set()
    for path in (ROOT / "lycoris_ext").rglob("*.py"):
        name = path.relative_to(ROOT / "lycoris_ext").as_posix()
        text = path.read_text("utf-8")
        writes = re.sub(r"(os|Image)\.open\(|open\([^()]*\"[wax]b?\"", "", text)
        if reads.search(writes) and not name.startswith("mini/building"):
            found.add(name)
    assert found - {"files.py"} <= set(OWN_FILES)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_pipe_is_refused_at_once_and_told_as_one(tmp_path: Path) -> None:
    pipe = tmp_path / "a.toml"
    os.mkfifo(pipe)
    for read in (open_file, read_bytes, read_text):
        with pytest.raises(OSError, match="a pipe, not a file") as caught:
            read(pipe)  # type: ignore[operator]
        assert "in a file" in remedy_for_reading(caught.value)
        assert "in a file" in remedy(caught.value)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no /dev/zero")
def test_a_device_is_not_read_without_end(tmp_path: Path) -> None:
    link = tmp_path / "a.toml"
    link.symlink_to("/dev/zero")
    with pytest.raises(OSError, match="a device"):
        read_bytes(link)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_names_that_no_file_can_have_are_errors_of_the_system(name: str) -> None:
    for read in (read_bytes, read_text):
        with pytest.raises(OSError):
            read(name)  # type: ignore[operator]


def test_text_has_line_breaks_as_python_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffé\r\nb\rc\n".encode())
    assert read_text(path, "utf-8-sig") == "é\nb\nc\n" == path.read_text("utf-8-sig")
    with pytest.raises(IsADirectoryError):
        read_text(tmp_path)


def test_a_home_that_nobody_has_is_no_crash() -> None:
    assert expanded("~") == Path.home() and expanded("a") == Path("a")
    with pytest.raises(FileNotFoundError, match="no home folder"):
        expanded("~nobody-of-this-name/x")
    assert fault_of_path("~nobody-of-this-name/x") and not fault_of_path("a/~b")


@pytest.mark.parametrize("text", ["a\0", "a\ud800", "\udcc3\udca9"])
def test_texts_that_are_none_are_told(text: str) -> None:
    assert fault_of_text(text)
    assert not fault_of_text("été\n森")


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_what_the_system_refuses_is_told_with_a_remedy(number: int) -> None:
    error = OSError(number, os.strerror(number), "there.txt")
    with pytest.raises(EnvironmentFault) as caught, told_in_words():
        raise error
    assert caught.value.where == "there.txt" and caught.value.fix
    assert os.strerror(number) in caught.value.what


def test_a_librarys_own_oserror_stays_what_it_is() -> None:
    with pytest.raises(OSError, match="is not the path of a folder"), told_in_words():
        raise OSError("it is not the path of a folder")
