"""Data sets that are given by train_data_dir, image_dir and reg_data_dir: what was recorded before
there were subsets comes out today, so that a run of an earlier version goes on exactly.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict
from pathlib import Path

import pytest

from lycoris_ext.data import DataConfig, open_training_set

RECORD = Path(__file__).parents[1] / "oracles" / "batches.json"
"""Written by commit 410b93b: `python tests/data/test_same_batches.py`."""

CAPTIONS = (
    "by me, red fox, {day|night}, forest",
    "by me, ||| blue; bird, tree, sky, leaves ||| end",
    "by me, a very plain caption",
    "by me, one, two, three, four, five",
)
RANDOM = {
    "shuffle_caption": True,
    "keep_tokens": 1,
    "caption_dropout_rate": 0.2,
    "caption_tag_dropout_rate": 0.3,
    "caption_dropout_every_n_epochs": 3,
    "flip_aug": True,
    "train_batch_size": 3,
}
WORDS = {
    "enable_wildcard": True,
    "keep_tokens_separator": "|||",
    "secondary_separator": ";",
    "caption_prefix": "photo,",
    "caption_suffix": "end",
    "shuffle_caption": True,
}
CASES: dict[str, dict[str, object]] = {
    "parent": {"train_data_dir": "train", "resolution": 64},
    "parent, everything random": {"train_data_dir": "train", "resolution": 64, **RANDOM},
    "parent, words": {"train_data_dir": "train", "resolution": 64, **WORDS},
    "one folder": {"image_dir": "train/3_wide", "num_repeats": 5, "resolution": 48, **RANDOM},
    "regularisation": {
        "train_data_dir": "train",
        "reg_data_dir": "reg",
        "resolution": 64,
        "bucket_no_upscale": True,
        **RANDOM,
    },
    "without buckets": {
        "train_data_dir": "train",
        "enable_bucket": False,
        "resolution": "32,48",
        "alpha_mask": True,
        "allow_missing_captions": True,
        "caption_extension": ".caption",
    },
}


def write_bmp(path: Path, width: int, height: int, shade: int) -> None:
    """Write a picture of one shade; no library decides on the bytes of such a file."""
    row = bytes([shade, 90, 255 - shade] * width).ljust((width * 3 + 3) // 4 * 4, b"\0")
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    start = struct.pack("<2sIHHI", b"BM", 54 + len(row) * height, 0, 0, 54)
    path.write_bytes(start + header + row * height)


def write_data_set(root: Path) -> None:
    """Write two folders of training pictures in several shapes, and one for regularisation."""
    folders = {
        "train/10_été": (5, (40, 40)),
        "train/3_wide": (4, (96, 32)),
        "reg/2_cat": (3, (50, 70)),
    }
    for number, (name, (count, (width, height))) in enumerate(folders.items()):
        folder = root / name
        folder.mkdir(parents=True)
        for picture in range(count):
            path = folder / f"{picture}.bmp"
            write_bmp(path, width + 8 * (picture % 2), height, 20 * picture + number)
            if not name.startswith("reg"):
                caption = CAPTIONS[(picture + number) % len(CAPTIONS)]
                path.with_suffix(".txt").write_text(caption, encoding="utf-8")


def record(root: Path, options: dict[str, object]) -> dict[str, object]:
    """Return all that a run learns of a data set."""
    places = {
        name: str(root / str(options[name]))
        for name in ("train_data_dir", "image_dir", "reg_data_dir")
        if name in options
    }
    training_set = open_training_set(DataConfig(**{**options, **places}), seed=11)
    plans = [asdict(training_set.batch_at(n)) for n in range(4 * training_set.batches_per_epoch)]
    assert {plan.pop("pixels") for plan in plans} == {()}  # of pictures drawn anew alone
    assert {weight for plan in plans for weight in plan.pop("loss_weights")} == {1.0}
    text = json.dumps(plans, ensure_ascii=False)
    return {
        "fingerprint": training_set.fingerprint,
        "batches_per_epoch": training_set.batches_per_epoch,
        "folders": training_set.folder_counts(),
        "reg_folders": training_set.folder_counts(is_reg=True),
        "tags": training_set.tag_counts(),
        "buckets": {str(bucket): n for bucket, n in training_set.bucket_counts().items()},
        "captions of the first batches": [plan["captions"] for plan in plans[:4]],
        "batches": hashlib.sha256(text.encode("utf-8")).hexdigest(),
    }


@pytest.mark.parametrize("case", CASES)
def test_a_run_of_an_earlier_version_goes_on_with_the_same_batches(tmp_path, case):
    write_data_set(tmp_path)
    found = json.loads(json.dumps(record(tmp_path, CASES[case])))
    assert found == json.loads(RECORD.read_text("utf-8"))[case]


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        write_data_set(Path(name))
        recorded = {case: record(Path(name), options) for case, options in CASES.items()}
        RECORD.write_text(
            json.dumps(recorded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
