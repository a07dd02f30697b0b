"""Tags are chosen, written and ordered as sd-scripts' options say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lycoris_ext.errors import ConfigError
from lycoris_ext.tagging.captions import CaptionMaker
from lycoris_ext.tagging.labels import Label, Labels
from lycoris_ext.tagging.options import TaggingOptions, TagOptions

LISTED = (
    *(("general", "rating"), ("explicit", "rating")),
    *(("long_hair", "general"), ("^_^", "general"), ("solo", "general")),
    *(("miku_(vocaloid)", "character"), ("saber_(dress)_(fate)", "character")),
    *(("someone", "artist"), ("best", "quality")),
)
SCORES = dict(enumerate((0.3, 0.2, 0.5, 0.9, 0.36, 0.4, 0.6, 0.7, 0.8)))


def caption(by_confidence: bool = False, there: str = "", **options: Any) -> str:
    found = {number: Label(*one) for number, one in enumerate(LISTED)}
    labels = Labels(Path("list"), found, len(found), exact=True, by_confidence=by_confidence)
    return CaptionMaker(labels, TagOptions(**options)).caption(SCORES, there)


PLAIN = "long_hair, ^_^, solo, miku_(vocaloid), saber_(dress)_(fate), someone"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, PLAIN),
        ({"thresh": 0.6}, "^_^, saber_(dress)_(fate), someone"),
        ({"thresh": 2.0}, ""),
        ({"character_threshold": 1.5, "artist_threshold": 0.71}, "long_hair, ^_^, solo"),
        ({"general_threshold": 0.9}, "^_^, miku_(vocaloid), saber_(dress)_(fate), someone"),
        (
            {"remove_underscore": True},
            "long hair, ^_^, solo, miku (vocaloid), saber (dress) (fate), someone",
        ),
        (
            {"character_tag_expand": True, "general_threshold": 1.0},
            "miku, vocaloid, saber_(dress), fate, someone",
        ),
        ({"undesired_tags": "solo , ^_^,someone"}, PLAIN.replace("^_^, solo, ", "")[:-9]),
        (
            {"character_tags_first": True},
            "saber_(dress)_(fate), miku_(vocaloid), long_hair, ^_^, solo, someone",
        ),
        ({"always_first_tags": "solo, nobody, ^_^", "thresh": 0.36, "character_threshold": 1,
          "artist_threshold": 1}, "^_^, solo, long_hair"),
        ({"use_rating_tags": True}, f"general, {PLAIN}"),
        ({"use_rating_tags_as_last_tag": True}, f"{PLAIN}, general"),
        ({"use_rating_tags": True, "undesired_tags": "general"}, PLAIN),
        ({"use_quality_tags": True, "use_rating_tags": True}, f"general, best, {PLAIN}"),
        ({"caption_separator": " "}, PLAIN.replace(", ", " ")),
        (
            {"tag_replacement": r"solo,alone;^_^,a\,b\;c;someone,long_hair"},
            "long_hair, a,b;c, alone, miku_(vocaloid), saber_(dress)_(fate)",
        ),
    ],
)  # fmt: skip
def test_options_change_a_caption_in_the_order_of_outputs(
    options: dict[str, Any], wanted: str
) -> None:
    assert caption(**options) == wanted


def test_taggers_with_a_json_write_the_most_likely_tag_first() -> None:
    by_confidence = "^_^, someone, saber_(dress)_(fate), long_hair, miku_(vocaloid), solo"
    assert caption(True) == by_confidence
    first = "saber_(dress)_(fate), miku_(vocaloid), ^_^, someone, long_hair, solo"
    assert caption(True, character_tags_first=True) == first
    assert caption(True, use_rating_tags=True) == by_confidence  # none reaches the threshold
    rated = caption(True, use_rating_tags_as_last_tag=True, meta_threshold=0.25)
    assert rated == f"{by_confidence}, general"


def test_tags_are_appended_to_each_line_that_is_there() -> None:
    options = {"append_tags": True, "thresh": 0.5, "artist_threshold": 1, "character_threshold": 1}
    assert caption(there="a cat,^_^\nsolo", **options) == (
        "a cat, ^_^, long_hair\nsolo, long_hair, ^_^"
    )
    assert caption(there="", **options) == "long_hair, ^_^"


@pytest.mark.parametrize(
    "options",
    [
        {"thresh": -1},
        {"thresh": float("nan")},
        {"use_rating_tags": True, "use_rating_tags_as_last_tag": True},
        {"use_quality_tags": True, "use_quality_tags_as_last_tag": True},
        {"caption_separator": ""},
        {"caption_separator": "\n"},
        {"tag_replacement": "a"},
        {"tag_replacement": "a,b,c"},
        {"tag_replacement": ",b"},
        {"batch_size": 0},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as told:
        TaggingOptions(**options)
    assert next(iter(options)) in str(told.value)
