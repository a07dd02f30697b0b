"""Which pictures of a data set its page shows, where it cannot show them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

from lycoris_ext.data.findings import Finding
from lycoris_ext.data.report import Report

MOST = 2_000
"""Pictures that a page shows if nobody says how many: about 30 MB of small copies."""
OF_A_FINDING = 60
"""Pictures of one finding that a page shows, at most."""
WORST_CROPS = 24
TAGS = 5_000
"""Tags in the table of the page: the most frequent ones."""


def choose(report: Report, most: int = MOST) -> list[int]:
    """Choose the pictures of a page: numbers in ``report.pictures``, in order.

    All of them if there are few enough. Else first those behind findings, up to half of the number,
    then those that lose most to their crop, then one of every tag, up to a quarter; the folders
    share the rest, each with pictures at even distances.

    Args:
        report: what the data set holds.
        most: the largest number of pictures.
    """
    if len(report.pictures) <= most:
        return list(range(len(report.pictures)))
    places = Places(report)
    of_each = max(1, min(OF_A_FINDING, most // 2 // max(1, len(report.findings))))
    behind = chain.from_iterable(islice(places.of(one), of_each) for one in report.findings)
    wanted: dict[int, None] = {}
    for some in (
        islice(behind, most // 2),
        worst_crops(report)[: most // 8],
        islice(_of_every_tag(report), most // 4),
    ):
        wanted.update(dict.fromkeys(some))
    chosen = set(islice(wanted, most))
    chosen.update(islice(_spread(report, chosen, most - len(chosen)), most - len(chosen)))
    return sorted(chosen)


def worst_crops(report: Report) -> list[int]:
    """Return the numbers of the pictures that lose most to their crop, the worst first."""
    lost = {number: one.lost for number, one in enumerate(report.pictures) if one.lost > 0.01}
    return sorted(lost, key=lambda number: -lost[number])[:WORST_CROPS]


class Places:
    """Finds the pictures that a finding is about: by their own paths or by those of captions.

    Args:
        report: the pictures.
        numbers: those that count; None for all.
    """

    def __init__(self, report: Report, numbers: Iterable[int] | None = None) -> None:
        self._by_path: dict[Path, int] = {}
        self._by_stem: dict[Path, int] = {}
        for number in range(len(report.pictures)) if numbers is None else numbers:
            path = report.pictures[number].picture.path
            self._by_path.setdefault(path, number)
            self._by_stem.setdefault(path.with_suffix(""), number)

    def find(self, path: Path) -> int | None:
        """Return the number of the picture of a file; None if it is no picture's."""
        if path in self._by_path or not path.name:
            return self._by_path.get(path)
        return self._by_stem.get(path.with_suffix(""))

    def of(self, finding: Finding) -> Iterator[int]:
        """Yield the numbers of a finding's pictures."""
        found = (self.find(path) for path, _ in finding.where)
        return (number for number in found if number is not None)


def _of_every_tag(report: Report) -> Iterator[int]:
    """Yield pictures so that every tag of the table stands at one of them."""
    missing = set(islice(report.tags, TAGS))
    for number, one in enumerate(report.pictures):
        if not missing.isdisjoint(one.tags):
            missing.difference_update(one.tags)
            yield number


def _spread(report: Report, taken: set[int], room: int) -> Iterator[int]:
    """Yield pictures of all folders, as many of each as far as there are, at even distances."""
    folders: dict[Path, list[int]] = {}
    for number, one in enumerate(report.pictures):
        if number not in taken:
            folders.setdefault(one.picture.path.parent, []).append(number)
    yield from chain.from_iterable(
        (numbers[step * len(numbers) // share] for step in range(share))
        for numbers, share in _shares(folders, room)
    )


def _shares(folders: Mapping[Path, list[int]], room: int) -> Iterator[tuple[list[int], int]]:
    """Share a number among folders: what the small ones do not need goes to the large ones."""
    waiting = sorted(folders.values(), key=len)
    for left, numbers in zip(range(len(waiting), 0, -1), waiting, strict=True):
        share = min(len(numbers), room // left)
        room -= share
        yield numbers, share
