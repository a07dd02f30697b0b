"""Finding pictures and captions in folders, and refusing folders that are not as they should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from lycoris_ext.data import DataConfig, finding_lines, scan_folders
from lycoris_ext.data.folders import options_for
from lycoris_ext.errors import ConfigError, DataError
from tests.tiny_pictures import write_picture, write_pictures


def scan(folder: Path, **options):
    return scan_folders(DataConfig(train_data_dir=str(folder), **options))


def test_pictures_are_found_in_order_with_their_repeats_and_captions(tmp_path):
    write_pictures(tmp_path, count=3, repeats=10)
    write_picture(tmp_path / "10_shapes" / "x.JPG")
    (tmp_path / "10_shapes" / "x.txt").write_text("last", encoding="utf-8")
    found = scan(tmp_path)
    assert [picture.path.name for picture in found.pictures] == [
        "00.png",
        "01.png",
        "02.png",
        "x.JPG",
    ]
    assert {picture.repeats for picture in found.pictures} == {10}
    assert found.pictures[-1].caption == "last"
    assert found.findings == ()


def test_repeats_are_read_from_a_folder_name_with_tildes(tmp_path):
    folder = tmp_path / "53_characters~fanart~OyamaMihari"
    folder.mkdir()
    write_picture(folder / "a.png")
    (folder / "a.txt").write_text("OyamaMihari, fanart", encoding="utf-8")
    assert scan(tmp_path).pictures[0].repeats == 53


def test_a_data_set_without_a_folder_is_refused():
    with pytest.raises(ConfigError, match="no pictures are given") as caught:
        scan_folders(DataConfig())
    assert "train_data_dir" in str(caught.value)


def test_a_missing_folder_is_refused_by_its_path(tmp_path):
    with pytest.raises(DataError, match="does not exist") as caught:
        scan(tmp_path / "nothing")
    assert str(tmp_path / "nothing") in str(caught.value)


def test_a_train_data_dir_that_holds_the_pictures_itself_names_the_parent(tmp_path):
    write_pictures(tmp_path, count=2, repeats=10)
    with pytest.raises(DataError, match="2 pictures lie directly in") as caught:
        scan(tmp_path / "10_shapes")
    assert f"train_data_dir is the PARENT folder: set it to {tmp_path}" in str(caught.value)


def test_loose_pictures_are_refused_with_both_remedies(tmp_path):
    write_picture(tmp_path / "a.png")
    with pytest.raises(DataError, match="1 picture lies directly") as caught:
        scan(tmp_path)
    assert "image_dir" in str(caught.value)
    assert f"10_{tmp_path.name}" in str(caught.value)


def test_a_stray_picture_beside_the_folders_is_left_out_and_told(pictures):
    write_picture(pictures / "frog.png")
    found = scan(pictures)
    assert len(found.pictures) == 6
    (finding,) = found.findings
    assert (finding.code, finding.severity) == ("LX002", "warning")
    assert finding.line().endswith('frog.png -> move them into such a folder, such as "2_shapes"')


def test_a_folder_with_more_pictures_beside_than_in_its_folders_is_refused(tmp_path):
    write_pictures(tmp_path, count=1)
    for number in range(2):
        write_picture(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match="2 pictures lie directly in"):
        scan(tmp_path)


@pytest.mark.parametrize(("loose", "option"), [(0, "train"), (2, "train"), (3, "image")])
def test_a_folder_is_the_parent_of_its_folders_unless_more_pictures_lie_beside(
    tmp_path, loose, option
):
    write_pictures(tmp_path, count=2)
    for number in range(loose):
        write_picture(tmp_path / f"{number}.png")
    options = options_for(tmp_path)
    assert options.get("train_data_dir", options.get("image_dir")) == tmp_path.as_posix()
    assert next(iter(options)) == {"train": "train_data_dir", "image": "image_dir"}[option]


def test_a_folder_of_pictures_alone_has_the_repeats_of_its_name(tmp_path):
    write_pictures(tmp_path, count=1, repeats=7)
    assert options_for(tmp_path / "7_shapes")["num_repeats"] == 7
    (tmp_path / "7_shapes").rename(tmp_path / "shapes")
    assert options_for(tmp_path / "shapes")["num_repeats"] == 1


def test_the_ending_of_most_captions_is_taken_for_a_folder(tmp_path):
    write_pictures(tmp_path, count=3)
    folder = tmp_path / "2_shapes"
    (folder / "00.txt").rename(folder / "00.caption")
    assert "caption_extension" not in options_for(tmp_path)
    (folder / "01.txt").rename(folder / "01.caption")
    assert options_for(tmp_path)["caption_extension"] == ".caption"
    options = {"train_data_dir": str(tmp_path), "allow_missing_captions": True}
    (finding,) = scan_folders(DataConfig(**options)).findings
    assert finding.fix == '2 of them have a .caption file: set caption_extension = ".caption"'


def test_a_folder_without_repeats_in_its_name_is_refused_with_a_better_name(tmp_path):
    write_pictures(tmp_path, count=1)
    (tmp_path / "mystyle").mkdir()
    write_picture(tmp_path / "mystyle" / "a.png")
    with pytest.raises(DataError, match="has no repeats in its name") as caught:
        scan(tmp_path)
    assert str(tmp_path / "mystyle") in str(caught.value)
    assert 'rename "mystyle" to "10_mystyle"' in str(caught.value)


def test_a_train_data_dir_without_folders_is_refused(tmp_path):
    with pytest.raises(DataError, match="no folder named <repeats>_<name>"):
        scan(tmp_path)


def test_folders_without_pictures_are_refused(tmp_path):
    (tmp_path / "10_x").mkdir()
    (tmp_path / "10_x" / "a.txt").write_text("a", encoding="utf-8")
    with pytest.raises(DataError, match="there is no picture in the folders of train_data_dir"):
        scan(tmp_path)


def test_missing_captions_are_counted_and_named(tmp_path):
    write_pictures(tmp_path, count=14)
    folder = tmp_path / "2_shapes"
    for number in range(12):
        (folder / f"{number:02d}.txt").unlink()
    with pytest.raises(DataError, match="12 of 14 pictures have no caption") as caught:
        scan(tmp_path)
    text = str(caught.value)
    assert "00.png" in text and "09.png" in text and "and 2 more" in text
    assert "allow_missing_captions" in text


def test_captions_under_another_ending_are_found_and_named(tmp_path):
    """sd-scripts' own default is .caption; whoever has such files must not be told to write
    captions."""
    write_pictures(tmp_path, count=3)
    for number in range(3):
        caption = tmp_path / "2_shapes" / f"{number:02d}.txt"
        caption.rename(caption.with_suffix(".caption"))
    with pytest.raises(DataError, match="3 of 3 pictures have no caption") as caught:
        scan(tmp_path)
    assert '3 of them have a .caption file: set caption_extension = ".caption"' in str(caught.value)
    assert scan(tmp_path, caption_extension=".caption").pictures[0].caption.startswith("by tester")


def test_one_caption_of_another_ending_does_not_ask_to_give_up_the_others(tmp_path):
    write_pictures(tmp_path, count=5)
    folder = tmp_path / "2_shapes"
    (folder / "00.txt").rename(folder / "00.caption")
    (folder / "01.txt").unlink()
    with pytest.raises(DataError) as caught:
        scan(tmp_path)
    text = str(caught.value)
    assert '1 of them has a .caption file: change its name to end in ".txt"; or write' in text
    assert "allow_missing_captions = true" in text and "set caption_extension" not in text


def test_most_captions_of_another_ending_decide_and_the_others_may_be_allowed(tmp_path):
    write_pictures(tmp_path, count=5)
    for number in range(4):
        caption = tmp_path / "2_shapes" / f"{number:02d}.txt"
        caption.rename(caption.with_suffix(".cap"))
    with pytest.raises(DataError) as caught:
        scan(tmp_path)
    text = str(caught.value)
    assert '4 of them have a .cap file: set caption_extension = ".cap"; or write' in text
    assert "allow_missing_captions = true" in text


def test_an_empty_caption_counts_as_missing(pictures):
    (pictures / "2_shapes" / "03.txt").write_bytes(b"\xef\xbb\xbf \r\n")
    with pytest.raises(DataError, match="1 of 6 pictures has no caption") as caught:
        scan(pictures)
    assert "03.png" in str(caught.value)


def test_allow_missing_captions_takes_the_folder_name_as_the_caption(pictures):
    (pictures / "2_shapes" / "03.txt").unlink()
    found = scan(pictures, allow_missing_captions=True)
    assert found.pictures[3].caption == "shapes"
    assert found.without_caption == 1
    (finding,) = found.findings
    assert (finding.code, finding.severity) == ("LX009", "warning")
    assert finding.what == '1 of 6 pictures has no caption, and "shapes" is trained instead'


def test_a_byte_order_mark_in_a_caption_is_dropped(pictures):
    (pictures / "2_shapes" / "02.txt").write_bytes(b"\xef\xbb\xbfred, blue\r\n")
    assert scan(pictures).pictures[2].caption == "red, blue"


def test_only_the_first_line_of_a_caption_is_used_with_a_warning(pictures):
    (pictures / "2_shapes" / "02.txt").write_text("one\ntwo\n", encoding="utf-8")
    found = scan(pictures)
    assert found.pictures[2].caption == "one"
    (line,) = finding_lines(found.findings)
    assert line.startswith("warning LX011: 1 caption has several lines, and only the first is used")
    assert line.endswith("02.txt")


def test_files_that_operating_systems_leave_behind_are_ignored(pictures):
    folder = pictures / "2_shapes"
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "._00.png"):
        (folder / name).write_bytes(b"junk")
    (pictures / "__MACOSX").mkdir()
    (pictures / "__MACOSX" / "._00.png").write_bytes(b"junk")
    (pictures / ".git").mkdir()
    found = scan(pictures)
    assert len(found.pictures) == 6
    assert found.findings == ()


def test_folders_pictures_and_files_that_are_left_out_are_reported(pictures):
    (pictures / "2_shapes" / "a.gif").write_bytes(b"x")
    (pictures / "2_shapes" / "deep").mkdir()
    write_picture(pictures / "2_shapes" / "deep" / "a.png")
    (pictures / "0_off").mkdir()
    off, deep, other = (line.split(" -> ")[0] for line in finding_lines(scan(pictures).findings))
    folder, said = pictures / "2_shapes", "is left out, because"
    asks = "its name or multiply.txt asks for 0 repeats"
    assert off == f"note LX006: 1 folder {said} {asks}: {pictures / '0_off'}"
    assert deep == (
        f"warning LX007: 1 picture {said} sub-folders are not read: {folder / 'deep'} (1 picture)"
    )
    assert other == f"warning LX008: 1 file {said} the format is not supported: {folder / 'a.gif'}"


def test_image_dir_takes_a_folder_of_any_name(tmp_path):
    write_pictures(tmp_path, count=2)
    (tmp_path / "2_shapes").rename(tmp_path / "mine")
    found = scan_folders(DataConfig(image_dir=str(tmp_path / "mine"), num_repeats=3))
    assert [picture.repeats for picture in found.pictures] == [3, 3]


@pytest.mark.parametrize("name", ["été 画像 🌸", "n" * 200])
def test_pictures_with_unicode_and_long_names_are_read(tmp_path, name):
    folder = tmp_path / f"3_{name[:80]}"
    folder.mkdir()
    write_picture(folder / f"{name}.png")
    (folder / f"{name}.txt").write_text("über, 桜", encoding="utf-8")
    (picture,) = scan(tmp_path).pictures
    assert (picture.caption, picture.repeats, picture.folder) == ("über, 桜", 3, folder.name)


def test_train_data_dir_and_image_dir_together_are_refused():
    with pytest.raises(ConfigError, match="both train_data_dir"):
        DataConfig(train_data_dir="a", image_dir="b")


def test_a_folder_without_pictures_is_refused_by_what_lies_there_instead(tmp_path):
    def refused(folder):
        with pytest.raises(DataError) as caught:
            options_for(folder)
        return caught.value

    assert "there is no picture in this folder" in refused(tmp_path).what
    assert ".png" in str(refused(tmp_path).fix)
    write_pictures(tmp_path / "img", count=2, repeats=10)
    assert "but in img/10_shapes" in refused(tmp_path).what
    assert refused(tmp_path).fix == f"name the folder {tmp_path / 'img'}"
    (tmp_path / "a.HEIC").write_bytes(b"")
    assert "there are a.HEIC" in refused(tmp_path).what
    (tmp_path / "my.toml").write_text("", encoding="utf-8")
    assert "this is a file" in refused(tmp_path / "my.toml").what
    assert "lycoris-ext import" in str(refused(tmp_path / "my.toml").fix)
    assert options_for(tmp_path / "img")["train_data_dir"]


def test_captions_under_a_name_that_is_nearly_right_are_found_and_named(tmp_path):
    write_pictures(tmp_path, count=3)
    folder = next(tmp_path.iterdir())
    (folder / "00.txt").rename(folder / "00.png.txt")
    with pytest.raises(DataError) as caught:
        scan(tmp_path)
    assert "1 of them has a caption file of another name: rename 00.png.txt to 00.txt" in str(
        caught.value
    )
