"""sd-scripts' tagger: the same pixels are seen and the same captions written, by its own script."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lycoris_ext.data.pictures import open_picture
from lycoris_ext.tagging.captions import CaptionMaker
from lycoris_ext.tagging.labels import CSV, JSON, read_labels
from lycoris_ext.tagging.options import TagOptions
from lycoris_ext.tagging.preprocess import prepared
from tests.hosts.checkouts import Checkout, run_script

pytestmark = pytest.mark.hosts

INSIDE = Path(__file__).resolve().parent / "inside"
RATINGS = ("general", "sensitive", "questionable", "explicit")
GENERAL = ("1girl", "long_hair", "^_^", "solo", "red_eyes", "a", "looking_at_viewer", "hat")
CHARACTERS = ("miku_(vocaloid)", "saber_(dress)_(fate)", "plain_name", "x_(y)")
OTHERS = {
    "someone": "Artist",
    "a_series": "Copyright",
    "translated": "Meta",
    "sdxl": "Model",
    "best_quality": "Quality",
    "bad_quality": "Quality",
}
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"thresh": 0.7},
    {"general_threshold": 0.8, "character_threshold": 0.2},
    {"character_threshold": 1.5},
    {"remove_underscore": True, "character_tags_first": True},
    {"character_tag_expand": True},
    {"undesired_tags": "solo,general,someone,hat"},
    {"always_first_tags": "1girl,hat,solo", "use_rating_tags": True},
    {"use_rating_tags_as_last_tag": True, "batch_size": 3},
    {"character_tags_first": True, "caption_separator": "; ", "undesired_tags": "solo;hat"},
    {"append_tags": True},
    {"use_quality_tags": True, "use_rating_tags": True, "artist_threshold": 0.9},
    {"use_quality_tags_as_last_tag": True, "copyright_threshold": 0.9, "model_threshold": 2.0},
)
KINDS: tuple[Callable[[Image.Image], Image.Image], ...] = (
    lambda picture: picture,
    lambda picture: picture.convert("L"),
    lambda picture: picture.convert("1"),
    lambda picture: picture.convert("P"),
    lambda picture: picture.convert("RGBA"),
    lambda picture: picture.convert("LA"),
)
SIZES = ((448, 448), (896, 896), (1344, 500), (600, 800), (1000, 333), (300, 200), (17, 1500))


def write_pictures(folder: Path) -> list[Path]:
    folder.mkdir()
    noise = np.random.default_rng(0)
    for number, (width, height) in enumerate(SIZES):
        for kind, convert in enumerate(KINDS if number < 2 else KINDS[:1]):
            pixels = noise.integers(0, 256, (height, width, 3), dtype=np.uint8)
            picture = convert(Image.fromarray(pixels))
            if picture.mode in ("RGBA", "LA"):
                opacity = noise.integers(0, 256, (height, width), dtype=np.uint8)
                picture.putalpha(Image.fromarray(opacity))
            picture.save(folder / f"{number}{kind}.png")
    return sorted(folder.glob("*.png"))


def write_lists(folder: Path) -> dict[str, Path]:
    """Write the lists of tags of both kinds where the script looks for its models."""
    lists = {"csv": folder / "a_csv", "json": folder / "a_json" / "model"}
    for place in lists.values():
        place.mkdir(parents=True)
    categories = {**dict.fromkeys(RATINGS, 9), **dict.fromkeys(GENERAL, 0)}
    categories |= dict.fromkeys(CHARACTERS, 4)
    rows = [f"{number},{tag},{kind},1" for number, (tag, kind) in enumerate(categories.items())]
    (lists["csv"] / CSV).write_text("\n".join(["tag_id,name,category,count", *rows]) + "\n")
    named = {**dict.fromkeys(RATINGS, "Rating"), **dict.fromkeys(GENERAL, "General")}
    named |= dict.fromkeys(CHARACTERS, "Character") | OTHERS
    shuffled = random.Random(0).sample(sorted(named.items()), len(named))
    table = {str(n): {"tag": tag, "category": kind} for n, (tag, kind) in enumerate(shuffled)}
    (lists["json"] / JSON).write_text(json.dumps(table))
    (lists["json"] / "model_optimized.onnx").write_bytes(b"")
    return lists


def flags(options: dict[str, Any]) -> list[str]:
    return [
        f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()
    ]


def test_pixels_and_captions_are_those_of_the_script(
    sd_scripts: Checkout, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    pictures, lists = write_pictures(tmp_path / "pictures"), write_lists(tmp_path)
    drawn, cases = random.Random(1), []
    for kind, options in ((kind, options) for kind in lists for options in OPTIONS):
        labels = read_labels(lists[kind])
        # With a CSV, the script of February 2026 stops at the first name of a character.
        never = labels.of("character") if kind == "csv" else []
        answers = [
            [
                0.0 if number in never else drawn.random() if kind == "csv" else drawn.gauss(0, 2)
                for number in range(labels.outputs)
            ]
            for _ in pictures
        ]
        there = {path.stem: "solo, a cat,hat" for path in pictures[::2]}
        case = {"kind": kind, "options": flags(options), "answers": answers}
        cases.append({**case, "there": there if "append_tags" in options else {}})
    (tmp_path / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    run = run_script(sd_scripts, INSIDE / "sd_scripts_tagger.py", str(tmp_path))
    theirs = json.loads(run.output.splitlines()[-1])
    for case, options, written in zip(cases, OPTIONS * 2, theirs, strict=True):
        labels = read_labels(lists[str(case["kind"])])
        chosen = {name: value for name, value in options.items() if name != "batch_size"}
        maker = CaptionMaker(labels, TagOptions(**chosen))
        for path, answers in zip(pictures, case["answers"], strict=True):
            values = np.array(answers, dtype=np.float32)
            values = values if case["kind"] == "csv" else 1 / (1 + np.exp(-values))
            scores = dict(enumerate(values.tolist()))
            ours = maker.caption(scores, case["there"].get(path.stem, ""))
            assert f"{ours}\n" == written[path.stem], (case["kind"], options)
    record_property("captions", sum(map(len, theirs)))
    with np.load(tmp_path / "seen.npz") as seen:
        for path in pictures:
            ours = prepared(open_picture(path), 448)
            apart = np.abs(ours - seen[path.stem].astype(np.float32))
            # Where an average lies halfway between two numbers, OpenCV's own sums round by chance.
            assert apart.max() <= 1 and (apart > 0).mean() < 0.02, path.stem
            record_property(f"apart {path.stem}", float((apart > 0).mean()))
