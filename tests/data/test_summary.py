"""The table of folders that a run prints at its start."""

from __future__ import annotations

from lycoris_ext.data import DataConfig, open_training_set, summarize
from lycoris_ext.data.summary import FOLDERS_SHOWN
from tests.tiny_pictures import write_picture, write_pictures


def lines_of(**options):
    return summarize(open_training_set(DataConfig(resolution=32, **options), seed=0))


def test_the_summary_lists_folders_captions_buckets_and_totals(tmp_path):
    write_pictures(tmp_path / "p", count=5, repeats=3)
    write_pictures(tmp_path / "q", count=2, repeats=1, size=(128, 32))
    (tmp_path / "q" / "1_shapes").rename(tmp_path / "p" / "1_a very long name of a folder")
    reg = tmp_path / "reg" / "2_shape"
    reg.mkdir(parents=True)
    write_picture(reg / "a.png", 70)
    lines = lines_of(train_data_dir=str(tmp_path / "p"), reg_data_dir=str(tmp_path / "reg"))
    first = '"by tester, red, square, bright, plain"'
    assert lines == [
        "folder                          pictures  an epoch  captions  the first caption",
        f"1_a very long name of a folder         2         2         2  {first}",
        f"3_shapes                               5        15         5  {first}",
        '2_shape (regularisation)               1        17         0  "shape"',
        "buckets: 32x32: 32, 64x16: 2",
        "8 pictures, 34 per epoch, 34 batches per epoch",
    ]


def test_the_summary_cuts_long_captions(tmp_path):
    folder = tmp_path / "1_x"
    folder.mkdir()
    write_picture(folder / "a.png")
    (folder / "a.txt").write_text("tag, " * 50, encoding="utf-8")
    row = lines_of(train_data_dir=str(tmp_path))[1]
    assert row.endswith('tag, ta..."') and len(row) <= 100


def test_the_summary_counts_the_folders_that_it_does_not_show(tmp_path):
    for number in range(FOLDERS_SHOWN + 3):
        folder = tmp_path / f"1_{number:03d}"
        folder.mkdir()
        write_picture(folder / "a.png")
    lines = lines_of(train_data_dir=str(tmp_path), allow_missing_captions=True)
    assert len(lines) == 1 + FOLDERS_SHOWN + 3
    assert lines[-3] == "and 3 more folders"
