"""The fingerprint of a data set changes with every input of training, and with nothing else."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lycoris_ext.data import DataConfig, open_training_set
from tests.tiny_pictures import write_picture

FILES = {
    "named/2_cat/a.png": "a",
    "named/2_cat/a.txt": "1girl, solo",
    "named/2_cat/b.png": "b",
    "named/2_cat/b.txt": "long hair, hat",
    "named/2_cat/caption_sets/mine/b.txt": "only in a set",
    "nested/multiply.txt": "1",
    "nested/dog/c.png": "c",
    "nested/dog/c.txt": "a dog",
    "nested/dog/multiply.txt": "3",
    "listed/d.png": "d",
    "meta.json": json.dumps({"d": {"caption": "one", "tags": "two"}}),
    "reg/1_class/e.png": "e",
    "fields/g.png": "g",
    "fields/.g_meta.json": json.dumps({"characters": ["Anisphia"], "tags": ["hat"]}),
    "rules.toml": '["*"]\nadd = "screen"',
    "masked/h.png": "h",
    "masked/h.txt": "a mask in a folder",
    "masks/h.png": "the mask",
    "mask/f.png": "f",
    "mask/f.txt": "a mask in its alpha",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with every kind of input that a data set has."""
    folder = tmp_path_factory.mktemp("original")
    for number, (name, content) in enumerate(FILES.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            picture = Image.new("RGBA", (64, 64), (40 + number, 9 * number, 200, 255))
            picture.putpixel((1, 1), (1, 2, 3, 128))
            picture.save(path)
        else:
            path.write_text(content, encoding="utf-8")
    return folder


def fingerprint(folder: Path) -> str:
    subsets = [
        {"image_dir": str(folder / "named" / "2_cat"), "caption_set": "mine", "num_repeats": 2},
        {"image_dir": str(folder / "nested" / "dog")},
        {"image_dir": str(folder / "listed"), "metadata_file": str(folder / "meta.json")},
        {"image_dir": str(folder / "mask"), "alpha_mask": True},
        {"image_dir": str(folder / "masked"), "conditioning_data_dir": str(folder / "masks")},
        {"image_dir": str(folder / "fields"), "caption_fields": ["character", "tags:0.5"]},
    ]
    options = {"reg_data_dir": str(folder / "reg"), "level_rules": str(folder / "rules.toml")}
    config = DataConfig(subsets=subsets, resolution=64, masked_loss=True, **options)
    return open_training_set(config, 0).fingerprint


def nested(folder: Path) -> str:
    config = DataConfig(train_data_dir=str(folder / "nested"), resolution=64)
    return open_training_set(config, 0).fingerprint


@pytest.fixture(scope="module")
def known(original: Path) -> str:
    return fingerprint(original)


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "copy")


def _text(path: Path, old: str, new: str) -> None:
    content = path.read_text("utf-8")
    assert old in content
    path.write_text(content.replace(old, new), encoding="utf-8")


def _mask(path: Path) -> None:
    with Image.open(path) as opened:
        picture = opened.copy()
    picture.putpixel((1, 1), (1, 2, 3, 129))
    picture.save(path)


def _longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a caption": lambda f: _text(f / "named/2_cat/a.txt", "solo", "sola"),
    "a caption of a set": lambda f: _text(
        f / "named/2_cat/caption_sets/mine/b.txt", "only", "Only"
    ),
    "a caption into a set": lambda f: (f / "named/2_cat/caption_sets/mine/a.txt").write_text("new"),
    "a rule of folder levels": lambda f: _text(f / "rules.toml", "screen", "aniscreen"),
    "a field of a caption": lambda f: _text(f / "fields/.g_meta.json", "hat", "cat"),
    "a caption in metadata_file": lambda f: _text(f / "meta.json", "one", "One"),
    "tags in metadata_file": lambda f: _text(f / "meta.json", "two", "too"),
    "multiply.txt": lambda f: _text(f / "nested/dog/multiply.txt", "3", "4"),
    "a fraction in multiply.txt": lambda f: _text(f / "nested/dog/multiply.txt", "3", "2.5"),
    "a pixel of a mask": lambda f: write_picture(f / "masks/h.png", 3, (64, 64)),
    "alpha of a pixel": lambda f: _mask(f / "mask/f.png"),
    "a pixel": lambda f: write_picture(f / "named/2_cat/a.png", 7, (64, 64)),
    "a byte behind a picture": lambda f: _longer(f / "reg/1_class/e.png"),
    "a new picture": lambda f: write_picture(f / "reg/1_class/z.png", 7, (64, 64)),
    "a picture that is gone": lambda f: (f / "named/2_cat/a.png").unlink(),
    "another name": lambda f: (
        (f / "listed/d.png").rename(f / "listed/d.webp.png")
        and _text(f / "meta.json", '"d"', '"d.webp"')
    ),
    "the name of a class": lambda f: (f / "reg/1_class").rename(f / "reg/1_other"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_input_of_a_data_set_changes_its_fingerprint(
    known: str, copy: Path, change: str
) -> None:
    CHANGES[change](copy)
    assert fingerprint(copy) != known


def test_times_and_places_of_files_do_not_change_it(known: str, copy: Path) -> None:
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    assert fingerprint(copy) == known
    moved = copy.rename(copy.with_name("at another place"))
    assert fingerprint(moved) == known
    (moved / "named/2_cat/notes.md").write_text("no caption")
    assert fingerprint(moved) == known


def test_what_is_no_part_of_a_caption_does_not_change_it(known: str, copy: Path) -> None:
    caption = copy / "named/2_cat/a.txt"
    caption.write_bytes(b"\xef\xbb\xbf" + caption.read_bytes() + b"\r\n")
    assert fingerprint(copy) == known


def test_multiply_of_nested_folders_changes_it(original: Path, copy: Path) -> None:
    assert nested(copy) == nested(original)
    (copy / "nested/dog/multiply.txt").write_text("0.5")
    assert nested(copy) != nested(original)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_of_a_caption_or_picture_changes_it(
    original: Path, known: str, copy: Path, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(["named/2_cat/a.txt", "mask/f.txt", "named/2_cat/a.png"]))
    path = copy / name
    raw = bytearray(path.read_bytes())
    if path.suffix == ".png":
        raw += bytes([data.draw(st.integers(0, 255))])
    else:
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place] = data.draw(st.sampled_from([b for b in b"abcXYZ_#" if b != raw[place]]))
    path.write_bytes(raw)
    try:
        assert fingerprint(copy) != known
    finally:
        shutil.copyfile(original / name, path)


def test_the_formula_is_that_of_earlier_versions() -> None:
    """A run that an earlier version began must be continued, and its adapter known again."""
    from lycoris_ext.data.fingerprint import Entry, ListedSubset, Manifest

    subsets = (ListedSubset("", [], {}), ListedSubset("x", ["reg"], {"keep_tokens": 2}))
    entries = (Entry("a/0.png", "00ff", "1girl, é", 2, 0), Entry("1.png", "01", "", 0.5, 1))
    made = Manifest({"resolution": 32}, subsets, entries)
    assert made.fingerprint == "3f68e826cd79d8da69c3285ce447a207"


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_a_file_name_that_is_no_text_has_a_fingerprint(pictures: Path) -> None:
    folder = os.fsencode(pictures / "2_shapes")
    os.rename(folder + b"/00.png", folder + b"/\xff.png")
    os.rename(folder + b"/00.txt", folder + b"/\xff.txt")
    found = open_training_set(DataConfig(train_data_dir=str(pictures), resolution=32), 0)
    assert len(found.fingerprint) == 32
