"""The page of a data set's report: what it holds, where it is written, what it leaves alone."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from lycoris_ext.cli import main
from lycoris_ext.cli.arguments.dataset import PICTURES
from lycoris_ext.cli.dataset.reading import data_config
from lycoris_ext.data import TokenLimit, examine
from lycoris_ext.data.report import Report, make_report
from lycoris_ext.errors import DataError
from lycoris_ext.pages.dataset.choice import MOST, choose, worst_crops
from lycoris_ext.pages.dataset.content import page_content
from lycoris_ext.pages.dataset.page import check_place, write_report_page
from tests.grids.test_page import HOSTILE, Tags

NAME = "<img src=x onerror=alert(1)>&'@data@"


def write(path: Path, caption: str | None = None, size: tuple[int, int] = (96, 64)) -> Path:
    """Write a picture that is unlike others, with a caption."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size, f"#{hashlib.sha256(path.name.encode()).hexdigest()[:6]}")
    ImageDraw.Draw(picture).ellipse((10, 10, 40, 40), fill="white")
    picture.save(path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, "utf-8")
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for number in range(4):
        write(root / "2_girls~fanart~A" / f"{number}.png", f"A, hat, tag {number}")
    write(root / "3_girls~screens~A+B" / "wide.png", "A, B, " + "very " * 72, (400, 60))
    write(root / "3_girls~screens~B" / "none.png")
    write(root / f"1_{NAME}" / "x.png", f"{HOSTILE}, hat")
    return root


def report_on(place: Path) -> Report:
    limit = TokenLimit(lambda text: len(text.split()))
    scan = examine(data_config(place).data, open_pictures=False, token_limit=limit)
    return make_report(scan, place)


def content_of(report: Report, most: int = MOST) -> dict[str, Any]:
    return page_content(report, choose(report, most), {}, {}, str)


def state(folder: Path) -> dict[Path, tuple[int, bytes]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_the_command_writes_a_page_and_leaves_the_data_set_alone(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state(pictures)
    folder = tmp_path / "page"
    assert main(["dataset", "report", str(pictures), "--html", str(folder)]) == 0
    assert capsys.readouterr().out == f"written: {folder / 'index.html'}\n"
    assert state(pictures) == before
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "thumbnails"]
    assert len(list((folder / "thumbnails").iterdir())) == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page", "set"]


def test_with_check_the_page_has_the_findings_that_need_pictures_decoded(
    pictures: Path, tmp_path: Path
) -> None:
    transparent = pictures / "3_girls~screens~B" / "glass.png"
    Image.new("RGBA", (64, 64), (255, 0, 0, 128)).save(transparent)
    found = {}
    for flags in ((), ("--check",)):
        folder = tmp_path / f"page{len(flags)}"
        assert main(["dataset", "report", str(pictures), "--html", str(folder), *flags]) == 0
        tags = Tags()
        tags.feed((folder / "index.html").read_text("utf-8"))
        found[flags] = {one["code"]: one["where"] for one in json.loads(tags.texts[0])["findings"]}
    assert "LX016" not in found[()]
    assert found["--check",]["LX016"][0]["path"] == str(transparent.relative_to(pictures))
    assert "picture" in found["--check",]["LX016"][0]


def test_foreign_texts_never_become_tags_and_only_the_pages_own_script_may_run(
    pictures: Path, tmp_path: Path
) -> None:
    page = write_report_page(tmp_path / "page", report_on(pictures)).read_text("utf-8")
    tags = Tags()
    tags.feed(page)
    seen = [tag for tag, _ in tags.seen]
    assert seen.count("script") == 2 and seen.count("img") == 1
    for tag, attributes in tags.seen:
        assert not {"src", "href", "style", "onclick", "onerror"} & set(attributes), tag
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    content = json.loads(tags.texts[0])
    assert content["concepts"][0]["name"] == NAME
    assert HOSTILE in [tag["name"] for tag in content["tags"]]
    (policy,) = [a["content"] for tag, a in tags.seen if tag == "meta" and "http-equiv" in a]
    style = page[page.index("<style>") + 7 : page.index("</style>")]
    for kind, text in (("script", tags.texts[-1]), ("style", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy and f"{kind}-src 'sha256-{digest}';" in policy
    assert policy and "default-src 'none'" in policy and "connect-src 'none'" in policy
    assert "unsafe" not in policy


def test_a_second_page_makes_copies_of_changed_pictures_alone(
    pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "page"
    write_report_page(folder, report_on(pictures))
    first = state(folder / "thumbnails")
    own = folder / "thumbnails" / "mine.jpg"
    own.touch()
    write(pictures / "2_girls~fanart~A" / "0.png", size=(80, 80))
    (pictures / "2_girls~fanart~A" / "1.png").unlink()
    write_report_page(folder, report_on(pictures))
    second = state(folder / "thumbnails")
    assert len(second.keys() & first.keys()) == 5
    assert all(second[path] == first[path] for path in second.keys() & first.keys())
    assert len(second.keys() - first.keys()) == 2 and own in second


def test_a_page_is_written_neither_into_the_data_set_nor_over_other_files(
    pictures: Path, tmp_path: Path
) -> None:
    for inside in (pictures, pictures / "report", pictures / "2_girls~fanart~A" / "x"):
        with pytest.raises(DataError, match="lies in the data set"):
            check_place(inside, [pictures])
    check_place(pictures / ".report", [pictures])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "index.html").write_text("my own page")
    with pytest.raises(DataError, match="holds other files"):
        check_place(tmp_path / "full", [pictures])
    with pytest.raises(DataError, match="cannot be written there"):
        check_place(tmp_path / "full" / "index.html", [pictures])
    (tmp_path / "empty").mkdir()
    check_place(tmp_path / "empty", [pictures])
    write_report_page(tmp_path / "page", report_on(pictures))
    check_place(tmp_path / "page", [pictures])


def test_the_command_refuses_a_page_in_the_folders_that_a_config_names(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "my.toml"
    config.write_text(f"[data]\ntrain_data_dir = '{pictures}'\nallow_missing_captions = true\n")
    page = pictures / "3_girls~screens~B" / "page"
    assert main(["dataset", "report", str(config), "--html", str(page)]) != 0
    assert "lies in the data set" in capsys.readouterr().err and not page.exists()
    assert main(["dataset", "report", str(config), "--html", str(tmp_path / "page")]) == 0


def test_shares_are_those_of_now_and_those_that_balance_would_make(pictures: Path) -> None:
    content = content_of(report_on(pictures))
    levels = {tuple(one["levels"]): one for one in content["levels"]}
    assert levels["girls",]["samples"] == 4 * 2 + 3 + 3
    assert levels["girls", "fanart", "A"]["repeats"] == (2, 1)
    # A quarter for fanart's four pictures, an eighth for each of two with screenshots.
    after = {levels_: one["after"] for levels_, one in levels.items()}
    assert (after["girls",], after["girls", "fanart"], after["girls", "screens"]) == (8, 4, 4)
    assert after[NAME,] == 8 and content["after"] == after[()] == 16


def test_tags_are_counted_in_every_folder(pictures: Path) -> None:
    content = content_of(report_on(pictures))
    hat = next(tag for tag in content["tags"] if tag["name"] == "hat")
    inside = dict(zip(hat["in"][::2], hat["in"][1::2], strict=True))
    concepts = {number: content["folders"][number]["concepts"] for number in inside}
    assert {tuple(concepts[number]): captions for number, captions in inside.items()} == {
        ("A",): 4,
        (NAME,): 1,
    }
    assert hat["samples"] == 4 * 2 + 1


def test_a_caption_as_long_as_a_limit_is_not_beyond_it(tmp_path: Path) -> None:
    for number, words in enumerate((75, 76, 300, 301)):
        write(tmp_path / "1_a" / f"{number}.png", "very " * words)
    tokens = content_of(report_on(tmp_path))["tokens"]
    assert tokens["limits"] == [[75, 75, 3], [150, 150, 2], [225, 225, 2]]
    assert tokens["columns"] == [0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]


def test_the_columns_of_an_encoder_that_reads_22_tokens_end_at_its_limits(tmp_path: Path) -> None:
    for number, words in enumerate((11, 12, 22, 23)):
        write(tmp_path / "1_a" / f"{number}.png", "very " * words)
    report, limit = report_on(tmp_path), TokenLimit(len, max_token_length=150, piece=22)
    tokens = page_content(report, choose(report), {}, {}, str, limit)["tokens"]
    assert tokens["columns"] == [1, 2, 1] and tokens["step"] == 11 and tokens["read"] == 150
    assert tokens["limits"] == [[75, 22, 1], [150, 44, 0], [225, 66, 0]]


def test_the_crop_of_a_picture_is_a_box_inside_of_it(pictures: Path) -> None:
    content = content_of(report_on(pictures))
    wide = next(one for one in content["pictures"] if one["file"].endswith("wide.png"))
    left, top, right, bottom = wide["box"]
    assert (
        (top, bottom) == (0, 1)
        and 0 < left < right < 1
        and left == pytest.approx(1 - right, abs=0.01)
    )
    assert (right - left) * (bottom - top) == pytest.approx(1 - wide["lost"], abs=1e-3)
    assert content["pictures"][content["worst"][0]] is wide
    assert sum(number for _, _, number in content["lost"]) == 7


def test_of_many_pictures_the_page_shows_findings_rare_tags_and_all_folders(
    tmp_path: Path,
) -> None:
    for folder, number in (("1_many", 200), ("1_few", 3)):
        first = write(tmp_path / folder / "0000.png", "common")
        for one in range(1, number):
            other = first.with_name(f"{one:04}.png")
            other.hardlink_to(first)
            other.with_suffix(".txt").write_text("common, rare" if one == 150 else "common")
    (tmp_path / "1_many" / "0123.txt").unlink()
    report = report_on(tmp_path)
    content = content_of(report, most=20)
    shown = {one["file"] for one in content["pictures"]}
    assert len(shown) == 20 and content["all_pictures"] == 203
    assert {str(Path("1_many", name)) for name in ("0123.png", "0150.png")} <= shown
    assert sum(name.startswith("1_few") for name in shown) == 3
    (finding,) = [one for one in content["findings"] if one["code"] == "LX009"]
    assert content["pictures"][finding["where"][0]["picture"]]["file"].endswith("0123.png")
    assert len(choose(report, 0)) == 0 and len(choose(report, 500)) == 203
    assert len(worst_crops(report)) == 24


def test_a_picture_that_cannot_be_read_is_shown_with_the_reason(
    pictures: Path, tmp_path: Path
) -> None:
    damaged = pictures / "3_girls~screens~B" / "damaged.png"
    damaged.write_bytes(b"no picture")
    page = write_report_page(tmp_path / "page", report_on(pictures))
    tags = Tags()
    tags.feed(page.read_text("utf-8"))
    content = json.loads(tags.texts[0])
    (shown,) = [one for one in content["pictures"] if one["file"].endswith("damaged.png")]
    assert shown["fault"].startswith("not a picture") and shown["thumb"] == ""
    (finding,) = [one for one in content["findings"] if one["code"] == "LX012"]
    assert finding["where"][0]["detail"] == shown["fault"]


def test_a_data_set_of_only_regularisation_or_of_loose_pictures_has_a_page(tmp_path: Path) -> None:
    write(tmp_path / "loose" / "a.png", "x")
    content = content_of(report_on(tmp_path / "loose"))
    assert content["whole"]["pictures"] == 1 and content["pictures"][0]["file"] == "a.png"
    assert write_report_page(tmp_path / "page", report_on(tmp_path / "loose")).is_file()


def test_the_number_of_pictures_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert PICTURES == MOST
    for wrong in ("-1", "many"):
        with pytest.raises(SystemExit):
            main(["dataset", "report", "x", "--html", "y", "--pictures", wrong])
        assert "--pictures" in capsys.readouterr().err
