"""The data set of a run: pictures, buckets, captions and order, and the batches made of them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.data.buckets import Placement, place
from lycoris_ext.data.captions import caption_for
from lycoris_ext.data.config import DataConfig, Resolution
from lycoris_ext.data.folders import Picture, scan_folders
from lycoris_ext.data.order import BatchOrder
from lycoris_ext.data.pictures import check_pictures
from lycoris_ext.data.randomness import python_random


@dataclass(frozen=True)
class BatchPlan:
    """What a batch shows, without pixels: small enough to travel between processes.

    A sample is one of a picture's repeats; its id also selects its noise, so two repeats of a
    picture in one batch are trained at different noise.
    """

    number: int
    epoch: int
    sample_ids: tuple[int, ...]
    pictures: tuple[int, ...]
    flipped: tuple[bool, ...]
    captions: tuple[str, ...]
    size_ids: tuple[tuple[int, int, int, int, int, int], ...]
    is_reg: tuple[bool, ...]


class TrainingSet:
    """Pictures of a run with their buckets, and every batch of it by number.

    Args:
        config: the options the pictures were read with.
        seed: the run's seed.
        pictures: picture files with captions, in their stable order.
        placements: bucket and cut of each picture.
        fingerprint: hash over names, bytes, captions and repeats.
        warnings: what the user should know.
    """

    def __init__(
        self,
        config: DataConfig,
        seed: int,
        pictures: tuple[Picture, ...],
        placements: tuple[Placement, ...],
        fingerprint: str = "",
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.config = config
        self.seed = seed
        self.pictures = pictures
        self.placements = placements
        self.fingerprint = fingerprint
        self.warnings = warnings
        self._picture_of = [n for n, picture in enumerate(pictures) for _ in range(picture.repeats)]
        self.order = BatchOrder(
            [placements[n].bucket for n in self._picture_of], config.train_batch_size, seed
        )

    @property
    def samples_per_epoch(self) -> int:
        """Pictures times repeats."""
        return len(self._picture_of)

    @property
    def batches_per_epoch(self) -> int:
        return self.order.batches_per_epoch

    def batch_at(self, number: int) -> BatchPlan:
        """The batch with this number, counted from 0 over all epochs; depends on nothing else."""
        slot = self.order.batch_at(number)
        pictures = tuple(self._picture_of[sample_id] for sample_id in slot.sample_ids)
        captions = tuple(
            caption_for(
                self.pictures[picture].caption,
                self.config,
                seed=self.seed,
                epoch=slot.epoch,
                sample_id=sample_id,
            )
            for picture, sample_id in zip(pictures, slot.sample_ids, strict=True)
        )
        flipped = tuple(
            self.config.flip_aug
            and python_random(self.seed, "flip", slot.epoch, sample_id).random() < 0.5
            for sample_id in slot.sample_ids
        )
        size_ids = tuple(
            self.placements[picture].size_ids(mirrored)
            for picture, mirrored in zip(pictures, flipped, strict=True)
        )
        is_reg = (False,) * len(pictures)
        return BatchPlan(
            number, slot.epoch, slot.sample_ids, pictures, flipped, captions, size_ids, is_reg
        )

    def files(self, plan: BatchPlan) -> list[Path]:
        """The picture files of a batch, for messages."""
        return [self.pictures[picture].path for picture in plan.pictures]

    def bucket_counts(self) -> dict[Resolution, int]:
        """Samples per epoch in each bucket, (width, height) -> count."""
        counts = Counter(self.placements[picture].bucket for picture in self._picture_of)
        return dict(sorted(counts.items()))

    def folder_counts(self) -> dict[str, dict[str, int]]:
        """Folder name -> {"n_repeats", "img_count"}: sd-scripts' ss_dataset_dirs."""
        images = Counter(picture.folder for picture in self.pictures)
        repeats = {picture.folder: picture.repeats for picture in self.pictures}
        return {
            name: {"n_repeats": repeats[name], "img_count": images[name]} for name in sorted(images)
        }

    def tag_counts(self) -> dict[str, dict[str, int]]:
        """Folder name -> tag -> number of captions that have it: sd-scripts' ss_tag_frequency."""
        counts: dict[str, Counter[str]] = {}
        for picture in self.pictures:
            tags = (tag.strip() for tag in picture.caption.split(self.config.caption_separator))
            counts.setdefault(picture.folder, Counter()).update(tag for tag in tags if tag)
        return {folder: dict(sorted(tags.items())) for folder, tags in sorted(counts.items())}


def open_training_set(
    config: DataConfig, seed: int, progress: Callable[[int], object] | None = None
) -> TrainingSet:
    """Read captions, check every picture and place it in its bucket.

    Args:
        config: folders and options.
        seed: the run's seed.
        progress: called with the number of pictures checked since the last call.

    Raises:
        ConfigError, DataError: as scan_folders and check_pictures.
    """
    scan = scan_folders(config)
    checked = check_pictures([picture.path for picture in scan.pictures], progress)
    placements = tuple(place(file.size, config) for file in checked)
    content = [
        [
            picture.path.relative_to(scan.root).as_posix(),
            file.digest,
            picture.caption,
            picture.repeats,
        ]
        for picture, file in zip(scan.pictures, checked, strict=True)
    ]
    text = json.dumps(content, ensure_ascii=False)
    fingerprint = hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()
    return TrainingSet(config, seed, scan.pictures, placements, fingerprint, scan.warnings)
