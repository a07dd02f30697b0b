"""Regularisation pictures: as many of them an epoch as training pictures, as sd-scripts does it."""

from __future__ import annotations

from collections.abc import Sequence


def match_repeats(repeats: Sequence[int], wanted: int) -> list[int]:
    """Repeat regularisation pictures until an epoch shows as many as training pictures.

    Each in turn is taken with its folder's repeats; where all of them were not enough, each in turn
    is shown once more, round after round.

    Args:
        repeats: of each regularisation picture, by its folder; each at least 1.
        wanted: training pictures of an epoch, repeats included.

    Returns:
        The repeats to use; shorter than `repeats` where the last pictures are not needed.

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
