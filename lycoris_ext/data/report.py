"""What a data set holds, counted: folders, concepts, sizes, buckets, tags and captions.

Sizes come from the headers of the picture files, so that nothing is decoded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from lycoris_ext.data.augment import usual_crop
from lycoris_ext.data.buckets import Crop, Resolution
from lycoris_ext.data.finding_formats import as_json as findings_as_json
from lycoris_ext.data.findings import Finding
from lycoris_ext.data.folder_tree import CONCEPTS, LEVELS
from lycoris_ext.data.pictures import quiet_pillow, upright_size
from lycoris_ext.data.scan import Picture, Scan
from lycoris_ext.errors import DataError

TOKEN_STEP = 25
"""Width of a column in the histogram of caption lengths, in tokens."""


@dataclass(frozen=True)
class PictureFacts:
    """What is known of one picture without decoding it.

    Args:
        picture: the file, its caption and its subset.
        levels: of its folder, see ``folder_tree``.
        crop: how it is scaled and cropped; None if its header cannot be read.
        tokens: of its caption; None if nobody counted them.
    """

    picture: Picture
    levels: tuple[str, ...]
    crop: Crop | None
    tokens: int | None

    @property
    def concepts(self) -> tuple[str, ...]:
        """What the picture shows, by the name of its folder."""
        return tuple(filter(None, self.levels[-1].split(CONCEPTS))) if self.levels else ()

    @property
    def lost(self) -> float:
        """The share of the scaled picture that its crop cuts off; 0 if the crop is unknown."""
        return self.crop.lost if self.crop else 0.0

    @property
    def tags(self) -> list[str]:
        """The parts of the first line of its caption, without empty ones and each once."""
        line = self.picture.caption.partition("\n")[0] if self.picture.has_caption_file else ""
        parts = (tag.strip() for tag in line.split(self.picture.subset.caption_separator))
        return list(dict.fromkeys(filter(None, parts)))


@dataclass
class Amount:
    """A number of pictures and of samples in an epoch.

    Args:
        pictures: the number of files.
        samples: pictures times repeats.
    """

    pictures: int = 0
    samples: float = 0

    def add(self, picture: Picture) -> None:
        """Count a picture."""
        self.pictures += 1
        self.samples += picture.repeats


@dataclass
class Report:
    """What a data set holds. Keys are in the order in which they were met, unless told otherwise.

    Args:
        folder: the root, or the config, that was asked for.
        whole: all pictures of training.
        regularisation: all pictures of regularisation.
        held_out: all pictures that are held out for validation.
        levels: ("characters", "fanart") -> all pictures below this level; () is the root.
        concepts: concept -> its pictures.
        domains: concept -> name of the level above it -> its pictures there.
        together: two concepts of one folder, in alphabetical order -> pictures that show both.
        sizes: (width, height) in pixels, upright -> number of pictures.
        buckets: (width, height) in pixels -> its pictures.
        tags: tag -> its captions; the most frequent first.
        tokens: the least number of tokens of a column, a multiple of ``TOKEN_STEP`` -> number of
            captions. Empty if nobody counted them.
        uncaptioned: number of training pictures without a caption.
        findings: what is wrong or notable.
        pictures: the single pictures, in order.
    """

    folder: str
    whole: Amount = field(default_factory=Amount)
    regularisation: Amount = field(default_factory=Amount)
    held_out: Amount = field(default_factory=Amount)
    levels: dict[tuple[str, ...], Amount] = field(default_factory=dict)
    concepts: dict[str, Amount] = field(default_factory=dict)
    domains: dict[str, dict[str, Amount]] = field(default_factory=dict)
    together: dict[tuple[str, str], Amount] = field(default_factory=dict)
    sizes: Counter[Resolution] = field(default_factory=Counter)
    buckets: dict[Resolution, Amount] = field(default_factory=dict)
    tags: dict[str, Amount] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    uncaptioned: int = 0
    findings: tuple[Finding, ...] = ()
    pictures: list[PictureFacts] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the report as lists and dictionaries that json can write."""
        whole = self.whole.samples or 1
        return {
            "folder": self.folder,
            **asdict(self.whole),
            "regularisation": asdict(self.regularisation),
            "held_out": asdict(self.held_out),
            "uncaptioned": self.uncaptioned,
            "levels": [
                {"levels": list(levels), **asdict(amount), "share": amount.samples / whole}
                for levels, amount in self.levels.items()
            ],
            "concepts": [
                {
                    "concept": concept,
                    **asdict(amount),
                    "domains": {name: asdict(one) for name, one in self.domains[concept].items()},
                }
                for concept, amount in self.concepts.items()
            ],
            "together": [
                {"concepts": list(both), **asdict(amount)} for both, amount in self.together.items()
            ],
            "sizes": [{"size": list(size), "pictures": n} for size, n in self.sizes.most_common()],
            "buckets": [
                {"size": list(size), **asdict(amount)} for size, amount in self.buckets.items()
            ],
            "tags": [{"tag": tag, **asdict(amount)} for tag, amount in self.tags.items()],
            "tokens": [{"from": low, "captions": n} for low, n in self.tokens.items()],
            "findings": findings_as_json(self.findings),
            "each": [_row(one) for one in self.pictures],
        }


@quiet_pillow()
def make_report(
    scan: Scan, asked: Path, progress: Callable[[int], object] = lambda _: None
) -> Report:
    """Count what a data set holds.

    Args:
        scan: its folders and captions, and what the data rules found; the tokens of captions are
            counted if it has a token_limit.
        asked: the folder or config that was asked for. The levels of pictures below this folder
            begin there, those of others at the folder that the config names.
        progress: called with the number of pictures read since the last call.
    """
    report = Report(str(asked), uncaptioned=scan.without_caption, findings=scan.findings)
    tags: dict[str, Amount] = {}
    for one in _facts(scan, asked):
        progress(1)
        report.pictures.append(one)
        _kind(report, one.picture).add(one.picture)
        if one.crop is not None:
            report.sizes[one.crop.original] += 1
            report.buckets.setdefault(one.crop.bucket, Amount()).add(one.picture)
        if one.tokens is not None and one.picture.has_caption_file:
            low = one.tokens // TOKEN_STEP * TOKEN_STEP
            report.tokens[low] = report.tokens.get(low, 0) + 1
        if not one.picture.is_training:
            continue
        for depth in range(len(one.levels) + 1):
            report.levels.setdefault(one.levels[:depth], Amount()).add(one.picture)
        for tag in one.tags:
            tags.setdefault(tag, Amount()).add(one.picture)
        _add_concepts(report, one)
    report.levels = dict(sorted(report.levels.items()))
    report.buckets = dict(sorted(report.buckets.items()))
    report.tokens = dict(sorted(report.tokens.items()))
    report.tags = dict(sorted(tags.items(), key=lambda item: (-item[1].pictures, item[0])))
    return report


def _kind(report: Report, picture: Picture) -> Amount:
    if picture.is_held_out:
        return report.held_out
    return report.regularisation if picture.is_reg else report.whole


def _add_concepts(report: Report, one: PictureFacts) -> None:
    domain = LEVELS.join(one.levels[:-1])
    for concept in one.concepts:
        report.concepts.setdefault(concept, Amount()).add(one.picture)
        domains = report.domains.setdefault(concept, {})
        domains.setdefault(domain, Amount()).add(one.picture)
    for both in combinations(sorted(set(one.concepts)), 2):
        report.together.setdefault(both, Amount()).add(one.picture)


def _facts(scan: Scan, asked: Path) -> Iterator[PictureFacts]:
    levels: dict[Path, tuple[str, ...]] = {}
    scan = replace(scan, place=asked)
    for picture in scan.pictures:
        folder = picture.path.parent
        if folder not in levels:
            levels[folder] = scan.levels(picture)
        tokens = None
        if scan.token_limit is not None:
            tokens = scan.token_limit.count_longest(picture.caption, picture.subset)
        yield PictureFacts(picture, levels[folder], _crop(picture), tokens)


def _crop(picture: Picture) -> Crop | None:
    try:
        return usual_crop(upright_size(picture.path), picture.subset)
    except DataError:  # a data rule tells it when the pictures are decoded
        return None


def _row(one: PictureFacts) -> dict[str, Any]:
    crop = one.crop
    return {
        "file": str(one.picture.path),
        "levels": list(one.levels),
        "repeats": one.picture.repeats,
        "held_out": one.picture.is_held_out,
        "size": list(crop.original) if crop else None,
        "bucket": list(crop.bucket) if crop else None,
        "lost": round(one.lost, 4),
        "tokens": one.tokens,
        "tags": one.tags,
    }
