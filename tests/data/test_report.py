"""What a data set holds, counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from lycoris_ext.cli import main
from lycoris_ext.cli.dataset.reading import data_config
from lycoris_ext.data import TokenLimit, examine
from lycoris_ext.data.report import Report, make_report
from tests.data.test_balance import SEED


def _picture(path: Path, size: tuple[int, int] = (64, 64), caption: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    if caption:
        path.with_suffix(".txt").write_text(caption)


def _report(place: Path) -> Report:
    limit = TokenLimit(lambda text: len(text.split()))
    scan = examine(data_config(place).data, open_pictures=False, token_limit=limit)
    return make_report(scan, place)


def test_a_folder_like_the_seeds_is_counted_level_by_level(tmp_path: Path) -> None:
    for name, number in SEED.items():
        _picture(tmp_path / name / "0.png")
        for one in range(1, number):  # the same file by another name, because pictures cost time
            (tmp_path / name / f"{one}.png").hardlink_to(tmp_path / name / "0.png")
    report = _report(tmp_path)
    assert (report.whole.pictures, report.whole.samples) == (6_360, 19_425)
    samples = {levels: amount.samples for levels, amount in report.levels.items()}
    assert samples[("characters", "fanart")] == 5_364
    assert samples[("characters", "screenshots")] == 4_876
    assert samples[("artists",)] == 9_185
    assert report.concepts["Tilty"].pictures == 95 + 24
    assert set(report.domains["Tilty"]) == {"characters~screenshots"}
    assert set(report.domains["Anisphia"]) == {"characters~fanart", "characters~screenshots"}
    assert report.together["Anisphia", "Euphyllia"].pictures == 97 + 165
    assert report.uncaptioned == 6_360


def test_sizes_are_upright_and_the_crop_tells_what_is_lost(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # lying on its side
    (tmp_path / "1_a").mkdir()
    Image.new("RGB", (600, 300)).save(tmp_path / "1_a" / "lying.jpg", exif=exif)
    Image.new("RGB", (600, 300)).save(tmp_path / "1_a" / "lying.png", exif=exif)
    Image.new("RGB", (512, 512)).save(tmp_path / "1_a" / "square.webp")
    Image.new("RGB", (2000, 500)).save(tmp_path / "1_a" / "wide.png")
    report = _report(tmp_path)
    assert report.sizes == {(300, 600): 2, (512, 512): 1, (2000, 500): 1}
    lost = {one.picture.path.name: one.lost for one in report.pictures}
    assert lost["square.webp"] == 0
    crop = next(one.crop for one in report.pictures if one.picture.path.name == "wide.png")
    assert crop is not None
    width, height = crop.resized
    assert lost["wide.png"] == pytest.approx(1 - crop.bucket[0] * crop.bucket[1] / (width * height))


def test_tags_tokens_and_damaged_headers_are_counted(tmp_path: Path) -> None:
    _picture(tmp_path / "2_a" / "x.png", caption="red fox, forest, red fox,")
    _picture(tmp_path / "2_a" / "y.png", caption="forest " + "very " * 30)
    (tmp_path / "2_a" / "z.png").write_bytes(b"no picture")
    report = _report(tmp_path)
    assert {tag: amount.pictures for tag, amount in report.tags.items()}["red fox"] == 1
    assert report.tags["forest"].samples == 2
    assert report.tokens == {0: 1, 25: 1}
    assert report.buckets[512, 512].pictures == 2
    assert [one.crop for one in report.pictures][2] is None


def test_regularisation_stands_apart(tmp_path: Path) -> None:
    _picture(tmp_path / "p" / "2_a" / "x.png", caption="a")
    _picture(tmp_path / "r" / "1_b" / "x.png")
    _picture(tmp_path / "r" / "1_b" / "y.png")
    config = tmp_path / "my.toml"
    config.write_text(f"train_data_dir = '{tmp_path / 'p'}'\nreg_data_dir = '{tmp_path / 'r'}'\n")
    report = _report(config)
    assert (report.whole.pictures, report.whole.samples) == (1, 2)
    assert (report.regularisation.pictures, report.regularisation.samples) == (2, 2)
    assert "b" not in report.concepts


def test_nested_folders_without_multiply_are_seen_by_the_report(tmp_path: Path) -> None:
    _picture(tmp_path / "a" / "x" / "1.png", caption="t")
    _picture(tmp_path / "a" / "y" / "1.png", caption="t")
    _picture(tmp_path / "b" / "1.png", caption="t")
    report = _report(tmp_path)
    assert {levels: one.pictures for levels, one in report.levels.items()} == {
        (): 3,
        ("a",): 2,
        ("a", "x"): 1,
        ("a", "y"): 1,
        ("b",): 1,
    }


def test_the_command_prints_tables_or_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _picture(tmp_path / "3_fanart~A+B" / "x.png", (300, 200), caption="A, B, hat")
    _picture(tmp_path / "1_screens~A" / "y.png", caption="A, scarf")
    assert main(["dataset", "report", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    # The same name below two levels is two rows.
    assert [line.split()[0] for line in told.splitlines()[3:8]] == [
        "all",
        "fanart",
        "A+B",
        "screens",
        "A",
    ]
    assert "2 pictures, 4 samples in an epoch" in told
    assert "A (fanart, screens)" in told
    assert "A + B" in told
    assert main(["dataset", "report", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["samples"] == 4
    assert report["each"][0]["levels"] == ["screens", "A"]
    assert report["together"] == [{"concepts": ["A", "B"], "pictures": 1, "samples": 3}]


def test_pictures_held_out_are_counted_by_themselves(tmp_path: Path, capsys) -> None:
    for number in range(10):
        _picture(tmp_path / "p" / "3_a" / f"{number}.png", caption="red")
    config = tmp_path / "a.toml"
    config.write_text(
        f"train_data_dir = '{(tmp_path / 'p').as_posix()}'\nvalidation_split = 0.2\n"
        'pretrained_model_name_or_path = "none"\nresolution = 64\n',
        encoding="utf-8",
    )
    report = _report(config)
    assert (report.whole.pictures, report.whole.samples) == (8, 24)
    assert (report.held_out.pictures, report.levels[()].pictures) == (2, 8)
    assert report.tags["red"].pictures == 8 and len(report.pictures) == 10
    assert main(["dataset", "report", str(config)]) == 0
    assert "held out for validation: 2 pictures" in capsys.readouterr().out
    assert main(["dataset", "report", str(config), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["held_out"]["pictures"] == 2
    assert sum(each["held_out"] for each in content["each"]) == 2


def test_damaged_exif_is_passed_over_without_a_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.ImageDescription] = 6, "a cat"
    picture = tmp_path / "1_x" / "a.jpg"
    picture.parent.mkdir()
    Image.new("RGB", (64, 48)).save(picture, exif=exif)
    raw = bytearray(picture.read_bytes())
    raw[raw.index(b"Exif") + 14] = 9  # entries, of which two are there
    picture.write_bytes(raw)
    assert list(_report(tmp_path).sizes) == [(48, 64)]
    assert not recwarn.list
