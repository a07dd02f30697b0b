"""The data set of a run: pictures, buckets, captions and order, and the batches made of them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lycoris_ext.data.buckets import Placement, place
from lycoris_ext.data.captions import caption_for
from lycoris_ext.data.config import DataConfig, Resolution
from lycoris_ext.data.decode import NOTES
from lycoris_ext.data.folders import Picture, and_more, scan_folders
from lycoris_ext.data.order import BatchOrder
from lycoris_ext.data.pictures import Checked, check_pictures
from lycoris_ext.data.randomness import python_random
from lycoris_ext.errors import ConfigError, DataError


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
        digests: hash of each picture file's bytes.
        fingerprint: hash over names, bytes, captions and repeats.
        warnings: what the user should know.
    """

    def __init__(
        self,
        config: DataConfig,
        seed: int,
        pictures: tuple[Picture, ...],
        placements: tuple[Placement, ...],
        digests: tuple[str, ...],
        fingerprint: str,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.config = config
        self.seed = seed
        self.pictures = pictures
        self.placements = placements
        self.digests = digests
        self.fingerprint = fingerprint
        self.warnings = warnings
        self._picture_of = [n for n, picture in enumerate(pictures) for _ in range(picture.repeats)]
        self.order = BatchOrder(
            [placements[n].bucket for n in self._picture_of], config.train_batch_size, seed
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
        is_reg = tuple(self.pictures[picture].is_reg for picture in pictures)
        return BatchPlan(
            number, slot.epoch, slot.sample_ids, pictures, flipped, captions, size_ids, is_reg
        )

    def fixed_captions(self) -> list[str]:
        """Every caption as it is shown, once; for options that leave captions as they are."""
        shown = (
            caption_for(picture.caption, self.config, seed=self.seed, epoch=0, sample_id=0)
            for picture in self.pictures
        )
        return list(dict.fromkeys(shown))

    def files(self, plan: BatchPlan) -> list[Path]:
        """The picture files of a batch, for messages."""
        return [self.pictures[picture].path for picture in plan.pictures]

    def bucket_counts(self) -> dict[Resolution, int]:
        """Samples per epoch in each bucket, (width, height) -> count."""
        counts = Counter(self.placements[picture].bucket for picture in self._picture_of)
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
    paths = [picture.path for picture in scan.pictures]
    checked = check_pictures(paths, progress, alpha_mask=config.alpha_mask)
    placements = tuple(place(file.size, config) for file in checked)
    _check_shapes(paths, checked, placements)
    return TrainingSet(
        config,
        seed,
        scan.pictures,
        placements,
        tuple(file.digest for file in checked),
        _fingerprint(scan.pictures, checked),
        (*scan.warnings, *_notes(paths, checked)),
    )


def check_bucket_sizes(training_set: TrainingSet, factor: int) -> None:
    """Refuse buckets that an autoencoder cannot turn into whole latents.

    Args:
        training_set: whose buckets.
        factor: pixels a side of one latent.

    Raises:
        ConfigError: a side is no multiple of the factor.
    """
    for width, height in training_set.bucket_counts():
        if width % factor or height % factor:
            raise ConfigError(
                f"{width}x{height} pixels are no multiple of the base model's {factor}",
                where="bucket_reso_steps" if training_set.config.enable_bucket else "resolution",
                fix=f"use multiples of {factor} for resolution and bucket_reso_steps",
            )


def _fingerprint(pictures: Sequence[Picture], checked: Sequence[Checked]) -> str:
    content = [
        [
            picture.path.relative_to(picture.root).as_posix(),
            file.digest,
            picture.caption,
            picture.repeats,
            *(["reg"] if picture.is_reg else []),
        ]
        for picture, file in zip(pictures, checked, strict=True)
    ]
    text = json.dumps(content, ensure_ascii=False)
    # surrogatepass: a file name on Linux need not be text in any encoding.
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _check_shapes(
    paths: Sequence[Path], checked: Sequence[Checked], placements: Sequence[Placement]
) -> None:
    """Refuse pictures so narrow that scaling them over their bucket would fill the memory."""
    limit = Image.MAX_IMAGE_PIXELS or 0
    for path, file, placement in zip(paths, checked, placements, strict=True):
        width, height = placement.resized
        if limit and width * height > limit:
            raise DataError(
                f"its shape {file.size[0]}x{file.size[1]} fits no bucket: to cover "
                f"{placement.bucket[0]}x{placement.bucket[1]} it would grow to {width}x{height}",
                where=str(path),
                fix="cut or delete this picture",
            )


def _notes(paths: Sequence[Path], checked: Sequence[Checked]) -> list[str]:
    """One line for each thing worth knowing of pictures that are used all the same."""
    lines = []
    for note, text in NOTES.items():
        concerned = [path for path, file in zip(paths, checked, strict=True) if note in file.notes]
        if concerned:
            lines.append(f"{len(concerned)} {text}: {and_more(concerned)}")
    return lines
