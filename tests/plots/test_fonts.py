"""Fonts with today's Pillow and with one older than 10.1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import ImageFont

from lycoris_ext.plots import fonts


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    fonts.font.cache_clear()
    yield
    fonts._chosen.clear()
    fonts.font.cache_clear()


def old_pillow(*size: int) -> ImageFont.ImageFont:
    if size:
        raise TypeError("load_default() takes 0 positional arguments but 1 was given")
    return ImageFont.ImageFont()


def test_a_font_of_twice_the_size_is_about_twice_as_wide() -> None:
    assert fonts.font(40).getlength("text") > 1.7 * fonts.font(20).getlength("text")


def test_an_old_pillow_takes_a_font_file_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def truetype(name: str, size: int) -> str:
        asked.append(name)
        if name != "arial.ttf":
            raise OSError
        return f"{name} {size}"

    monkeypatch.setattr(ImageFont, "load_default", old_pillow)
    monkeypatch.setattr(ImageFont, "truetype", truetype)
    assert fonts.font(12) == "arial.ttf 12"
    assert asked[-1] == "arial.ttf" and len(asked) > 1


def test_an_old_pillow_without_a_font_file_takes_its_own_font(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def truetype(name: str, size: int) -> str:
        raise OSError

    monkeypatch.setattr(ImageFont, "load_default", old_pillow)
    monkeypatch.setattr(ImageFont, "truetype", truetype)
    assert isinstance(fonts.font(12), ImageFont.ImageFont)


def test_a_font_that_was_chosen_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ImageFont, "truetype", lambda name, size: (name, size))
    fonts.choose_font(tmp_path / "my.ttf")
    assert fonts.font(9) == (str(tmp_path / "my.ttf"), 9)
