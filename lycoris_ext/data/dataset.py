"""The data set of a run: pictures, buckets, captions and order, and the batches made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.data.buckets import Resolution
from lycoris_ext.data.captions import caption_for
from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.examine import examine
from lycoris_ext.data.findings import Finding, raise_if_errors
from lycoris_ext.data.fingerprint import fingerprint
from lycoris_ext.data.order import BatchOrder
from lycoris_ext.data.randomness import python_random
from lycoris_ext.data.scan import CheckedPicture
from lycoris_ext.errors import ConfigError


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
        checked: the pictures of an epoch, in their stable order.
        findings: what is notable about them.

    Attributes:
        pictures: picture files with captions, in the same order.
        crops: bucket and cut of each picture.
        digests: hash of each picture file's bytes.
        fingerprint: see data/fingerprint.py.
    """

    def __init__(
        self,
        config: DataConfig,
        seed: int,
        checked: Sequence[CheckedPicture],
        findings: tuple[Finding, ...] = (),
    ) -> None:
        self.config = config
        self.seed = seed
        self.findings = findings
        self.pictures = tuple(one.picture for one in checked)
        self.crops = tuple(one.crop for one in checked)
        self.digests = tuple(one.file.digest for one in checked)
        self.fingerprint = fingerprint(config, checked)
        self._picture_of = [
            number for number, picture in enumerate(self.pictures) for _ in range(picture.repeats)
        ]
        self.order = BatchOrder(
            [self.crops[number].bucket for number in self._picture_of],
            [self.pictures[number].subset.train_batch_size for number in self._picture_of],
            seed,
        )

    @property
    def samples_per_epoch(self) -> int:
        """Pictures times repeats, regularisation included."""
        return len(self._picture_of)

    @property
    def reg_samples_per_epoch(self) -> int:
        """Regularisation pictures times their repeats."""
        return sum(picture.repeats for picture in self.pictures if picture.is_reg)

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
                self.pictures[picture].subset,
                seed=self.seed,
                epoch=slot.epoch,
                sample_id=sample_id,
            )
            for picture, sample_id in zip(pictures, slot.sample_ids, strict=True)
        )
        flipped = tuple(
            self.pictures[picture].subset.flip_aug
            and python_random(self.seed, "flip", slot.epoch, sample_id).random() < 0.5
            for picture, sample_id in zip(pictures, slot.sample_ids, strict=True)
        )
        size_ids = tuple(
            self.crops[picture].size_ids(mirrored)
            for picture, mirrored in zip(pictures, flipped, strict=True)
        )
        is_reg = tuple(self.pictures[picture].is_reg for picture in pictures)
        return BatchPlan(
            number, slot.epoch, slot.sample_ids, pictures, flipped, captions, size_ids, is_reg
        )

    def fixed_captions(self) -> list[str]:
        """Every caption as it is shown, once; for options that leave captions as they are."""
        shown = (
            caption_for(picture.caption, picture.subset, seed=self.seed, epoch=0, sample_id=0)
            for picture in self.pictures
        )
        return list(dict.fromkeys(shown))

    def files(self, plan: BatchPlan) -> list[Path]:
        """The picture files of a batch, for messages."""
        return [self.pictures[picture].path for picture in plan.pictures]

    def bucket_counts(self) -> dict[Resolution, int]:
        """Samples per epoch in each bucket, (width, height) -> count."""
        counts = Counter(self.crops[picture].bucket for picture in self._picture_of)
        return dict(sorted(counts.items()))

    def folder_counts(self, *, is_reg: bool = False) -> dict[str, dict[str, int]]:
        """Folder name -> {"n_repeats", "img_count"}: sd-scripts' ss_dataset_dirs, or
        ss_reg_dataset_dirs.
        """
        members = [picture for picture in self.pictures if picture.is_reg == is_reg]
        images = Counter(picture.folder for picture in members)
        # Regularisation pictures of one folder may differ by a repeat: the most is told.
        repeats = {
            name: max(picture.repeats for picture in members if picture.folder == name)
            for name in images
        }
        return {
            name: {"n_repeats": repeats[name], "img_count": images[name]} for name in sorted(images)
        }

    def tag_counts(self) -> dict[str, dict[str, int]]:
        """Folder name -> tag -> number of captions that have it: sd-scripts' ss_tag_frequency."""
        counts: dict[str, Counter[str]] = {}
        for picture in self.pictures:
            tags = (tag.strip() for tag in picture.caption.split(picture.subset.caption_separator))
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
        ConfigError: no folder of training pictures is given.
        DataError: folders, captions or pictures are not as they should be; the message says
            everything that is wrong.
    """
    scan = examine(config, progress)
    raise_if_errors(scan.findings)
    return TrainingSet(config, seed, scan.checked, scan.findings)


def check_bucket_sizes(training_set: TrainingSet, factor: int) -> None:
    """Refuse buckets that an autoencoder cannot turn into whole latents.

    Args:
        training_set: whose buckets.
        factor: pixels a side of one latent.

    Raises:
        ConfigError: a side is no multiple of the factor.
    """
    wrong = [
        f"{width}x{height}"
        for width, height in training_set.bucket_counts()
        if width % factor or height % factor
    ]
    if wrong:
        raise ConfigError(
            f"{', '.join(wrong)} pixels are no multiple of the base model's {factor}",
            where="bucket_reso_steps" if training_set.config.enable_bucket else "resolution",
            fix=f"use multiples of {factor} for resolution and bucket_reso_steps",
        )
