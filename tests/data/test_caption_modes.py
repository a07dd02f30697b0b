"""caption_mode and the dropout of whole lists of tags."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lycoris_ext.data import DataConfig, examine, open_training_set, scan_folders
from lycoris_ext.data.caption_forms import longest_forms
from lycoris_ext.data.caption_sets import set_file
from lycoris_ext.data.captions import CaptionOptions, caption_for
from lycoris_ext.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One picture whose caption begins with a trigger, and one without a caption file."""
    place = tmp_path / "3_characters~fanart~Anisphia+Tilty"
    place.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (32, 32), (ord(name), 0, 0)).save(place / f"{name}.png")
    (place / "a.txt").write_text("anis, 1girl, red hair")
    set_file(place / "a.png", "pruned").parent.mkdir(parents=True)
    set_file(place / "a.png", "pruned").write_text("anis, 1girl")
    return tmp_path


def trained(folder: Path, **options: object) -> list[str]:
    """What the two pictures are shown with."""
    config = DataConfig(train_data_dir=str(folder), resolution=32, **options)
    training_set = open_training_set(config, seed=1)
    plans = [training_set.batch_at(number) for number in range(training_set.batches_per_epoch)]
    shown = {plan.pictures[0]: plan.captions[0] for plan in plans}
    assert set(shown.values()) <= set(training_set.known_captions())
    return [shown[number] for number in sorted(shown)]


def test_four_runs_of_one_file(folder: Path) -> None:
    options = {"keep_tokens": 1, "allow_missing_captions": True}
    named = "characters~fanart~Anisphia+Tilty"
    assert trained(folder, caption_mode="all", **options) == ["anis, 1girl, red hair", named]
    assert trained(folder, caption_mode="pruned", **options) == ["anis, 1girl", named]
    assert trained(folder, caption_mode="trigger", **options) == ["anis", "Anisphia, Tilty"]
    assert trained(folder, caption_mode="none", **options) == ["", ""]


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({}, "Anisphia, Tilty"),
        ({"keep_tokens": 2}, "anis, 1girl"),
        ({"keep_tokens_separator": "1girl"}, "anis"),
        ({"caption_prefix": "sks,", "keep_tokens": 1}, "sks,"),
        ({"caption_prefix": "sks,", "keep_tokens": 2}, "sks, anis"),
        ({"caption_prefix": "best,"}, "best, Anisphia, Tilty"),
        ({"caption_separator": ";"}, "Anisphia; Tilty"),
    ],
)
def test_the_trigger_is_what_keeps_its_place(
    folder: Path, options: dict[str, object], first: str
) -> None:
    assert trained(folder, caption_mode="trigger", **options)[0] == first


@pytest.mark.parametrize("mode", ["trigger", "none"])
def test_pictures_need_no_caption_where_none_is_read(folder: Path, mode: str) -> None:
    trained(folder, caption_mode=mode)
    with pytest.raises(DataError, match="LX009"):
        trained(folder)


def test_the_pruned_mode_falls_back_to_the_caption_set(folder: Path) -> None:
    place = folder / "3_characters~fanart~Anisphia+Tilty"
    for name in ("a", "b"):
        file = set_file(place / f"{name}.png", "mine")
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"mine {name}")
    assert trained(folder, caption_mode="pruned", caption_set="mine") == ["anis, 1girl", "mine b"]
    assert trained(folder, caption_set="mine") == ["mine a", "mine b"]


def test_the_pruned_mode_needs_its_set(folder: Path) -> None:
    for file in folder.rglob("caption_sets/*/*"):
        file.unlink()
    config = DataConfig(train_data_dir=str(folder), caption_mode="pruned", resolution=32)
    found = examine(config, open_pictures=False).findings
    assert next(one.text() for one in found if one.code == "LX071").startswith(
        "there is no caption in the caption set 'pruned'"
    )


def test_a_subset_has_a_mode_of_its_own(folder: Path) -> None:
    place = str(folder / "3_characters~fanart~Anisphia+Tilty")
    tables = [
        {"image_dir": place, "caption_mode": mode, "class_tokens": "x"} for mode in ("all", "none")
    ]
    found = scan_folders(DataConfig(subsets=tables, resolution=32)).pictures
    assert [one.caption for one in found] == ["anis, 1girl, red hair", "x", "", ""]


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="one of all, pruned, trigger, none"):
        DataConfig(image_dir="x", caption_mode="tags")


def shown(options: CaptionOptions, sample: int) -> str:
    return caption_for("anis, 1girl, red hair", options, seed=3, epoch=0, sample_id=sample)


def test_the_whole_list_of_tags_is_dropped_or_none_of_it() -> None:
    options = CaptionOptions(tag_list_dropout_rate=0.5, keep_tokens=1)
    texts = [shown(options, sample) for sample in range(2000)]
    assert set(texts) == {"anis", "anis, 1girl, red hair"}
    assert 900 < texts.count("anis") < 1100  # 4.5 standard deviations
    assert longest_forms("a, b", options) == ["a, b"]
    assert shown(options, 7) == shown(options, 7)


def test_both_dropouts_of_tags_draw_for_themselves() -> None:
    each = CaptionOptions(caption_tag_dropout_rate=0.5)
    both = CaptionOptions(caption_tag_dropout_rate=0.5, tag_list_dropout_rate=0.5)
    whole = CaptionOptions(tag_list_dropout_rate=0.5)
    for sample in range(50):
        assert shown(both, sample) == (shown(each, sample) if shown(whole, sample) else "")


def test_a_dropped_list_cannot_be_cached_without_variants() -> None:
    kept = {"image_dir": "x", "cache_text_encoder_outputs": True, "tag_list_dropout_rate": 0.5}
    with pytest.raises(ConfigError, match="tag_list_dropout_rate"):
        DataConfig(**kept)
    assert DataConfig(caption_variants=4, **kept).knows_captions
