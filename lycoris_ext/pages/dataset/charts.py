"""The numbers behind the charts of a data set's page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lycoris_ext.data.report import PictureFacts, Report
from lycoris_ext.data.token_limit import TokenLimit
from lycoris_ext.formats.families import CLIP_TEXT

POINTS = 1_500
"""Sizes of pictures; more of them are put together with others of about their size."""
CONCEPTS = 40
"""Concepts of the table of which ones stand together."""
COLUMNS = 13
"""Columns of caption lengths; the last one holds all that are longer."""
LOST = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Where the columns begin that count how much of pictures their crops cut off."""


def together(report: Report) -> dict[str, Any]:
    """Return the concepts that stand together with others, and how often each two of them do."""
    often: Counter[str] = Counter()
    for both, amount in report.together.items():
        for concept in both:
            often[concept] += amount.pictures
    most = {concept for concept, _ in often.most_common(CONCEPTS)}
    names = sorted(most, key=by_letters)
    place = {concept: number for number, concept in enumerate(names)}
    pairs = [
        [place[one], place[other], amount.pictures, amount.samples]
        for (one, other), amount in report.together.items()
        if one in place and other in place
    ]
    return {"names": names, "pairs": pairs, "all": len(often)}


def sizes(found: Mapping[tuple[int, int], int]) -> list[list[int]]:
    """Return width, height and number of pictures; many sizes are rounded to 24 an octave."""
    if len(found) <= POINTS:
        return [[*size, number] for size, number in found.items()]
    rounded: Counter[tuple[int, ...]] = Counter()
    for size, number in found.items():
        rounded[tuple(round(2 ** (round(24 * math.log2(side)) / 24)) for side in size)] += number
    return [[*size, number] for size, number in rounded.most_common(POINTS)]


def lost(pictures: Sequence[PictureFacts]) -> list[list[float]]:
    """Return columns: from, to, and the number of pictures that lose so much to their crop."""
    counts = [0] * len(LOST)
    for one in pictures:
        if one.crop is not None:
            counts[sum(one.lost >= low for low in LOST) - 1] += 1
    ends = [*LOST[1:], 1.0]
    return [[low, end, number] for low, end, number in zip(LOST, ends, counts, strict=True)]


def tokens(pictures: Sequence[PictureFacts], limit: TokenLimit | None) -> dict[str, Any]:
    """Return how many captions have 1 to 25 tokens, 26 to 50 and so on, up to 300 and above.

    A text encoder that reads another number than 75 has columns of another width, so that its
    limits lie between columns, too.
    """
    piece = limit.piece if limit else CLIP_TEXT
    step = piece // next(parts for parts in (3, 2, 1) if piece % parts == 0)
    counted = [
        one.tokens for one in pictures if one.tokens is not None and one.picture.has_caption_file
    ]
    columns = Counter(min(max(0, tokens - 1) // step, COLUMNS - 1) for tokens in counted)
    return {
        "step": step,
        "last": COLUMNS - 1,
        "columns": [columns[number] for number in range(max(columns, default=-1) + 1)],
        "longest": max(counted, default=0),
        "read": limit.max_token_length if limit else CLIP_TEXT,
        "limits": [
            [CLIP_TEXT * times, piece * times, sum(tokens > piece * times for tokens in counted)]
            for times in (1, 2, 3)
        ],
        "captions": len(counted),
    }


def by_letters(name: str) -> tuple[str, str]:
    """Return the key that sorts names by their letters, large or small."""
    return name.casefold(), name
