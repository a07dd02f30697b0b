"""Which pictures stand in which batch: a pure function of (seed, batch number).

Each epoch shows every picture `repeats` times. Within an epoch each bucket is shuffled and cut into
batches (the last one of a bucket may be smaller: nothing is dropped), then the batches are
shuffled. No state is kept, so a run continues at any batch without replaying the ones before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from lycoris_ext.data.buckets import Resolution
from lycoris_ext.data.randomness import python_random


@dataclass(frozen=True)
class Slot:
    """One batch: its epoch and the sample ids in it."""

    epoch: int
    sample_ids: tuple[int, ...]


class BatchOrder:
    """The endless sequence of batches over samples that lie in buckets.

    Args:
        buckets: the bucket of each sample; the position in this sequence is the sample id.
        batch_sizes: samples per batch, of each sample; those of one batch have the same.
        seed: the run's seed.
    """

    def __init__(
        self, buckets: Sequence[Resolution], batch_sizes: Sequence[int], seed: int
    ) -> None:
        members: dict[tuple[Resolution, int], list[int]] = defaultdict(list)
        for sample_id, alike in enumerate(zip(buckets, batch_sizes, strict=True)):
            members[alike].append(sample_id)
        self._members = [(size, members[bucket, size]) for bucket, size in sorted(members)]
        self._seed = seed
        self.batches_per_epoch = sum(-(-len(ids) // size) for size, ids in self._members)
        # Batches are asked for in order: one epoch at a time is kept.
        self._kept: tuple[int, list[tuple[int, ...]]] = (-1, [])

    def batch_at(self, number: int) -> Slot:
        """The batch with this number, counted from 0 over all epochs."""
        epoch, position = divmod(number, self.batches_per_epoch)
        if self._kept[0] != epoch:
            self._kept = (epoch, self._build_epoch(epoch))
        return Slot(epoch, self._kept[1][position])

    def _build_epoch(self, epoch: int) -> list[tuple[int, ...]]:
        batches: list[tuple[int, ...]] = []
        for bucket_number, (size, members) in enumerate(self._members):
            ids = list(members)
            python_random(self._seed, "picture order", epoch, bucket_number).shuffle(ids)
            batches += [tuple(ids[start : start + size]) for start in range(0, len(ids), size)]
        python_random(self._seed, "batch order", epoch).shuffle(batches)
        return batches
