"""Repeat regularisation pictures to the number of training pictures, as sd-scripts does it."""

from __future__ import annotations

from collections.abc import Sequence


def match_repeats(repeats: Sequence[int], wanted: int) -> list[int]:
    """Choose repeats so that an epoch shows enough regularisation pictures.

    Enough are at least as many as training pictures. They are taken in order, each with the repeats
    of its folder. If all of them are too few, the repeats of each are raised by one, in order and
    round after round.

    Args:
        repeats: of each regularisation picture, as its folder says; 1 or more.
        wanted: number of training samples in an epoch, repeats included.

    Returns:
        The repeats of the first pictures; those behind the end of the list are not needed.

    Source: sd-scripts, DreamBoothDataset in library/train_util.py.
    """
    matched: list[int] = []
    total = 0
    for count in repeats:
        if total >= wanted:
            break
        matched.append(count)
        total += count
    if not matched:
        return []
    rounds, rest = divmod(max(0, wanted - total), len(matched))
    return [count + rounds + (number < rest) for number, count in enumerate(matched)]
