"""Which samples are in which batch: a function of (seed, batch number) alone.

Each epoch shows every picture `repeats` times; of a fraction it shows that part of a folder, drawn
anew, so that epochs may differ by some batches. Within an epoch each bucket is shuffled and split
into batches, and then the batches are shuffled. The last batch of a bucket may be smaller; nothing
is dropped. A resumed run asks for its next batch without replaying those before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Protocol

from lycoris_ext.data.buckets import Resolution
from lycoris_ext.data.randomness import python_random


@dataclass(frozen=True)
class Slot:
    """One batch: its epoch, counted from 0, and the ids of its samples."""

    epoch: int
    sample_ids: tuple[int, ...]


class Epochs(Protocol):
    """How many batches there are in some epochs."""

    def batches_in(self, epochs: int) -> int:
        """Return the number of batches of the first epochs together."""

    def complete_in(self, batches: int) -> int:
        """Return how many epochs are complete after some batches."""


class EqualEpochs:
    """Epochs that all have the same number of batches.

    Args:
        batches: of each epoch.
    """

    def __init__(self, batches: int) -> None:
        self._batches = batches

    def batches_in(self, epochs: int) -> int:
        return epochs * self._batches

    def complete_in(self, batches: int) -> int:
        return batches // self._batches


class Part:
    """Samples of which each epoch shows a share, drawn anew.

    Args:
        sample_ids: all of them.
        share: between 0 and 1. After any number of epochs, as many samples were shown as this share
            of all of them, rounded down.
        number: of this part, so that parts are drawn independently of each other.
        seed: the run's seed.
    """

    def __init__(self, sample_ids: Sequence[int], share: Fraction, number: int, seed: int) -> None:
        self.sample_ids = tuple(sample_ids)
        self._each = len(self.sample_ids) * share
        self._number, self._seed = number, seed

    def absent(self, epoch: int) -> set[int]:
        """Return the samples that an epoch does not show."""
        shown = floor((epoch + 1) * self._each) - floor(epoch * self._each)
        rng = python_random(self._seed, "part of a folder", epoch, self._number)
        return set(self.sample_ids) - set(rng.sample(self.sample_ids, shown))


class BatchOrder:
    """The order of batches, epoch after epoch; all samples of a batch are in one bucket.

    Args:
        buckets: the bucket of each sample. A sample's id is its position here.
        batch_sizes: train_batch_size of each sample; only samples with the same one share a batch.
        seed: the run's seed.
        parts: the samples that not every epoch shows.
    """

    def __init__(
        self,
        buckets: Sequence[Resolution],
        batch_sizes: Sequence[int],
        seed: int,
        parts: Sequence[Part] = (),
    ) -> None:
        members: dict[tuple[Resolution, int], list[int]] = defaultdict(list)
        for sample_id, alike in enumerate(zip(buckets, batch_sizes, strict=True)):
            members[alike].append(sample_id)
        self._members = [(size, members[bucket, size]) for bucket, size in sorted(members)]
        self._seed = seed
        self._parts = tuple(parts)
        self._equal = None if parts else EqualEpochs(self._count(0))
        self._ends: list[int] = []  # batches_in(1), batches_in(2), ... where epochs differ
        # The epoch that was asked for last and its batches, because batches are asked for in order.
        self._kept: tuple[int, list[tuple[int, ...]]] = (-1, [])

    def batches_in(self, epochs: int) -> int:
        if self._equal is not None:
            return self._equal.batches_in(epochs)
        while len(self._ends) < epochs:
            before = self._ends[-1] if self._ends else 0
            self._ends.append(before + self._count(len(self._ends)))
        return self._ends[epochs - 1] if epochs else 0

    def complete_in(self, batches: int) -> int:
        if self._equal is not None:
            return self._equal.complete_in(batches)
        while not self._ends or self._ends[-1] <= batches:
            self.batches_in(len(self._ends) + 1)
        return bisect_right(self._ends, batches)

    def batch_at(self, number: int) -> Slot:
        """Return the batch with this number, counted from 0 over all epochs."""
        epoch = self.complete_in(number)
        if self._kept[0] != epoch:
            self._kept = (epoch, self._build_epoch(epoch))
        return Slot(epoch, self._kept[1][number - self.batches_in(epoch)])

    def _shown(self, epoch: int) -> list[tuple[int, list[int]]]:
        """Return the batch size and the samples of each bucket in an epoch."""
        absent = set().union(*(part.absent(epoch) for part in self._parts))
        return [(size, [one for one in ids if one not in absent]) for size, ids in self._members]

    def _count(self, epoch: int) -> int:
        return sum(-(-len(ids) // size) for size, ids in self._shown(epoch))

    def _build_epoch(self, epoch: int) -> list[tuple[int, ...]]:
        batches: list[tuple[int, ...]] = []
        for bucket_number, (size, ids) in enumerate(self._shown(epoch)):
            python_random(self._seed, "picture order", epoch, bucket_number).shuffle(ids)
            batches += [tuple(ids[start : start + size]) for start in range(0, len(ids), size)]
        python_random(self._seed, "batch order", epoch).shuffle(batches)
        return batches
