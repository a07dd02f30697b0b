"""Paths stay inside the allowed folders, and names cannot lead out of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lycoris_ext.errors import ConfigError
from webui_extension.allowed_folders import AllowedFolders, NotAllowed, clean_name


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    folder = tmp_path / "allowed"
    (folder / "run").mkdir(parents=True)
    (tmp_path / "allowed too long").mkdir()
    return folder


def test_a_path_inside_an_allowed_folder_is_resolved(inside: Path) -> None:
    allowed = AllowedFolders(lambda: [inside, inside, inside.parent / "nowhere"])
    assert allowed.folders() == [Path(os.path.realpath(inside))]
    for text in (str(inside), f"  {inside}/run ", str(inside / "run" / ".." / "run")):
        assert allowed.resolve(text).is_dir()


def test_a_path_outside_of_the_allowed_folders_is_refused(inside: Path) -> None:
    allowed = AllowedFolders(lambda: [inside])
    for text in (
        "",
        " ",
        "/",
        "\0",
        "run",
        f"{inside}/..",
        f"{inside} too long",
        f"{inside}/run/../../x",
        "~",
    ):
        with pytest.raises(NotAllowed):
            allowed.resolve(text)


def test_a_link_that_leads_out_of_an_allowed_folder_is_refused(inside: Path) -> None:
    (inside / "link").symlink_to(inside.parent, target_is_directory=True)
    with pytest.raises(NotAllowed, match="not inside a folder that the host allows"):
        AllowedFolders(lambda: [inside]).resolve(inside / "link" / "allowed too long")


def test_a_path_outside_is_refused_without_looking_at_the_disk(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    follow = os.path.realpath

    def watched(path: str | Path) -> str:
        looked.append(str(path))
        return follow(path)

    monkeypatch.setattr(os.path, "realpath", watched)
    with pytest.raises(NotAllowed):
        AllowedFolders(lambda: [inside]).resolve("//host/share/run")
    assert looked == [str(inside)]


def test_an_allowed_folder_may_be_a_link(inside: Path) -> None:
    (inside.parent / "link").symlink_to(inside, target_is_directory=True)
    allowed = AllowedFolders(lambda: [inside.parent / "link"])
    run = Path(os.path.realpath(inside / "run"))
    assert allowed.resolve(inside.parent / "link" / "run") == run == allowed.resolve(run)


def test_names_that_are_unsafe_for_a_file_are_refused() -> None:
    for name in ("tilty", "my style v2", "漢字-1"):
        assert clean_name(f" {name} ") == name
    for name in (
        "",
        "..",
        ".x",
        "a/b",
        "a\\b",
        "a:b",
        "<b>",
        "con",
        "NUL.x",
        "aux .x",
        "com¹",
        "CONOUT$",
        "x.",
        "a\nb",
        "x" * 121,
    ):
        with pytest.raises(ConfigError, match="cannot be a file's name"):
            clean_name(name)


def test_a_name_of_letters_of_several_bytes_fits_a_file_or_is_refused(tmp_path: Path) -> None:
    fits = clean_name("\u732b" * 60)
    (tmp_path / f".{fits}.safetensors.{'0' * 32}.tmp").touch()
    with pytest.raises(ConfigError, match="it is too long\n  -> use fewer letters"):
        clean_name("\u732b" * 61)


@given(st.text(max_size=30))
def test_a_clean_name_never_leaves_its_folder(text: str) -> None:
    try:
        name = clean_name(text)
    except ConfigError:
        return
    path = os.path.normpath(os.path.join("/folder", name + ".png"))
    assert os.path.dirname(path) == "/folder"


def test_a_path_that_no_file_can_have_is_refused_in_words(inside: Path) -> None:
    allowed = AllowedFolders(lambda: [inside])
    for text in (f"{inside}/{'x' * 300}", f"{inside}/" + "x/" * 5000, f"{inside}/\0"):
        with pytest.raises(NotAllowed, match="no file can have this path"):
            allowed.resolve(text)


def test_a_refusal_names_the_folders_to_those_alone_who_may_read_them(inside: Path) -> None:
    for told in (True, False):
        with pytest.raises(NotAllowed) as caught:
            AllowedFolders(lambda: [inside], told=lambda told=told: told).resolve("/etc")  # type: ignore[misc]
        assert (str(inside) in str(caught.value)) is told
