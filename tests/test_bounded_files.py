"""Files over a bound, and what is no file, are refused before they are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lycoris_ext.files import read_text_within, read_within, size_within
from lycoris_ext.os_errors import Unreadable, reason, remedy_for_reading


def test_a_file_is_read_up_to_the_bound_and_not_beyond(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_within(path, 5) == b"12345" and size_within(path, 5) == 5
    with pytest.raises(Unreadable) as caught:
        read_within(path, 4)
    assert reason(caught.value) == "it has 0.0 kB, and at most 0.0 kB are read"
    assert "check that it is the right file" in remedy_for_reading(caught.value)


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    monkeypatch.setattr("lycoris_ext.files.size_within", lambda *_: 1)
    with pytest.raises(Unreadable, match="it grew while it was read"):
        read_within(path, 4)


def test_texts_of_windows_are_read_as_python_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes("\ufeffä\r\nb\rc\n".encode())
    assert read_text_within(path) == path.read_text(encoding="utf-8-sig") == "ä\nb\nc\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("kind", ["a pipe", "a device"])
def test_pipes_and_devices_are_no_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    if kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(Unreadable, match=f"it is {kind}, not a file"):
        read_within(path, 10)
