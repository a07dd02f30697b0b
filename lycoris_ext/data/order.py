"""Which samples are in which batch: a function of (seed, batch number) alone.

Each epoch shows every picture `repeats` times. Within an epoch each bucket is shuffled and split
into batches, and then the batches are shuffled. The last batch of a bucket may be smaller; nothing
is dropped. A resumed run asks for its next batch without replaying those before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from lycoris_ext.data.buckets import Resolution
from lycoris_ext.data.randomness import python_random


@dataclass(frozen=True)
class Slot:
    """One batch: its epoch, counted from 0, and the ids of its samples."""

    epoch: int
    sample_ids: tuple[int, ...]


class BatchOrder:
    """The order of batches, epoch after epoch; all samples of a batch are in one bucket.

    Args:
        buckets: the bucket of each sample. A sample's id is its position here.
        batch_sizes: train_batch_size of each sample; only samples with the same one share a batch.
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
        # The epoch that was asked for last and its batches, because batches are asked for in order.
        self._kept: tuple[int, list[tuple[int, ...]]] = (-1, [])

    def batch_at(self, number: int) -> Slot:
        """Return the batch with this number, counted from 0 over all epochs."""
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
