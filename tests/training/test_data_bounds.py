"""Bounds of data sets: workers, samples, captions; and captions of one long word."""

from __future__ import annotations

import json
import os

import pytest

from lycoris_ext.data import dataset, open_training_set
from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.examine import examine
from lycoris_ext.data.loader import check_workers
from lycoris_ext.errors import ConfigError, DataError
from tests.tiny_pictures import write_picture, write_pictures


def test_more_workers_than_the_machine_can_use_are_refused(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    check_workers(64)
    with pytest.raises(ConfigError, match="on a machine of 16 cores at most 64 processes"):
        check_workers(65)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    check_workers(8)  # sd-scripts' default


def test_a_training_asks_for_workers_before_the_base_is_loaded(run):
    with pytest.raises(ConfigError, match="max_data_loader_n_workers is 1000"):
        run(max_data_loader_n_workers=1000)


def test_more_samples_than_the_bound_are_refused_before_they_are_listed(tmp_path, monkeypatch):
    pictures = write_pictures(tmp_path / "p", count=3, repeats=5)
    config = DataConfig(train_data_dir=str(pictures), resolution=32)
    monkeypatch.setattr(dataset, "MOST_SAMPLES", 15)
    assert open_training_set(config, 0).samples_per_epoch == 15
    monkeypatch.setattr(dataset, "MOST_SAMPLES", 14)
    with pytest.raises(ConfigError, match=r"an epoch has 15 samples .* at most 14"):
        open_training_set(config, 0)


@pytest.mark.parametrize(
    "caption", ["a" * 300_000, "(a:" + "1" * 300_000, "a" + " " * 300_000 + "b", "a_" * 100_000]
)
def test_a_caption_of_one_long_word_is_examined_in_linear_time(tmp_path, caption):
    write_picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text(caption, encoding="utf-8")
    assert examine(DataConfig(image_dir=str(tmp_path), resolution=32)).pictures


def test_a_caption_file_over_the_bound_is_named(tmp_path):
    write_picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a, " * 400_000, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        open_training_set(DataConfig(image_dir=str(tmp_path), resolution=32), 0)
    assert "a.txt" in str(caught.value) and "it has 1.20 MB, and at most 1.00 MB" in str(
        caught.value
    )


def test_a_caption_in_a_metadata_file_has_the_same_bound(tmp_path):
    write_picture(tmp_path / "a.png")
    content = {"a.png": {"caption": "a" * 1_000_001}}
    (tmp_path / "meta.json").write_text(json.dumps(content), encoding="utf-8")
    config = DataConfig(image_dir=str(tmp_path), in_json=str(tmp_path / "meta.json"), resolution=32)
    with pytest.raises(DataError, match=r"a text of 1,000,001 characters for 'a\.png'"):
        open_training_set(config, 0)
