"""The data set of a run, and the batches that training takes from it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from lycoris_ext.data.augment import draw_crop, is_drawn_anew
from lycoris_ext.data.buckets import Crop, Resolution
from lycoris_ext.data.caption_forms import known_forms
from lycoris_ext.data.captions import caption_for
from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.examine import Bar, examine
from lycoris_ext.data.findings import Finding, raise_if_errors
from lycoris_ext.data.fingerprint import joint_digest, manifest_of
from lycoris_ext.data.held_out import unchanging
from lycoris_ext.data.order import BatchOrder, Part
from lycoris_ext.data.randomness import python_random
from lycoris_ext.data.scan import CheckedPicture
from lycoris_ext.data.subset import MOST_SAMPLES, Subset
from lycoris_ext.data.token_limit import TokenLimit
from lycoris_ext.errors import ConfigError
from lycoris_ext.words import count


@dataclass(frozen=True)
class BatchPlan:
    """Which pictures a batch shows and how, without the pixels of those whose latents are kept.

    A sample is one of the repeats of a picture in an epoch. Its id also selects its noise, so that
    two repeats of a picture in one batch get different noise.

    Attributes:
        number: of the batch, counted from 0 over the whole run.
        epoch: counted from 0.
        sample_ids: of the samples, B of them; all further fields have one entry a sample.
        pictures: positions in TrainingSet.pictures.
        flipped: whether the picture is mirrored.
        captions: as they are shown in this epoch.
        size_ids: SDXL's size conditioning, see Crop.size_ids.
        is_reg: whether it is a regularisation picture.
        loss_weights: by which its loss is multiplied.
        pixels: of the pictures that are drawn anew, uint8 [C, height, width], and None for the
            others; empty if nobody drew them yet.
    """

    number: int
    epoch: int
    sample_ids: tuple[int, ...]
    pictures: tuple[int, ...]
    flipped: tuple[bool, ...]
    captions: tuple[str, ...]
    size_ids: tuple[tuple[int, int, int, int, int, int], ...]
    is_reg: tuple[bool, ...]
    loss_weights: tuple[float, ...]
    pixels: tuple[Tensor | None, ...] = ()


class TrainingSet:
    """The checked pictures of a run, and every batch that is made of them, by its number.

    Args:
        config: the options that the pictures were read with.
        seed: the run's seed.
        checked: the pictures of an epoch, in an order that is the same every time, and those that
            are held out.
        findings: warnings and notes about them.

    Attributes:
        held_out: the pictures that are not trained; see ``held_out_set``.
        pictures: the picture files that are trained, with their captions, ordered as `checked`.
        crops: how each picture is scaled and cropped.
        digests: hash of the bytes of each picture file.
        drawn_anew: whether the picture looks otherwise each time (random_crop, color_aug, ...).
        masks: hash of the bytes of each picture's mask; None where it has none.
        manifest: everything about pictures, captions and subsets that influences training.
        fingerprint: hash of the manifest; see data/fingerprint.py.
        captions_are_names: whether captions only name encodings that come from elsewhere, so that
            they hold no tags.
        epochs: the order of the samples, and how many batches there are in some epochs.
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
        self.captions_are_names = False
        self.batches_per_step, self.total_steps = 1, 0
        digests = [
            joint_digest(one.file.digest, one.mask.digest if one.mask else None) for one in checked
        ]
        self.manifest = manifest_of(config, [one.picture for one in checked], digests, seed)
        self.fingerprint = self.manifest.fingerprint
        self.held_out = tuple(one for one in checked if one.picture.is_held_out)
        checked = [one for one in checked if not one.picture.is_held_out]
        self.pictures = tuple(one.picture for one in checked)
        self.crops = tuple(one.crop for one in checked)
        self.digests = tuple(one.file.digest for one in checked)
        self.drawn_anew = tuple(is_drawn_anew(one.path, one.subset) for one in self.pictures)
        self.masks = tuple(one.mask.digest if one.mask else None for one in checked)
        samples = sum(math.ceil(picture.repeats) for picture in self.pictures)
        if samples > MOST_SAMPLES:
            raise ConfigError(
                f"an epoch has {count(samples, 'sample')} (pictures times repeats), and at most "
                f"{MOST_SAMPLES:,} are allowed",
                where="num_repeats",
                fix="lower num_repeats, or the number in front of the folders' names, and train "
                "for more epochs instead",
            )
        self._picture_of = [
            number
            for number, picture in enumerate(self.pictures)
            for _ in range(math.ceil(picture.repeats))
        ]
        self.epochs = BatchOrder(
            [self.crops[number].bucket for number in self._picture_of],
            [self.pictures[number].subset.train_batch_size for number in self._picture_of],
            seed,
            self._parts(),
        )

    @property
    def samples_per_epoch(self) -> int:
        """Number of samples in an epoch: pictures times repeats, regularisation included.

        Where repeats are fractions, epochs may differ by a sample for each folder.
        """
        return round(sum(picture.repeats for picture in self.pictures))

    @property
    def reg_samples_per_epoch(self) -> int:
        """Number of samples in an epoch that are regularisation pictures."""
        return round(sum(picture.repeats for picture in self.pictures if picture.is_reg))

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches in the first epoch; where repeats are fractions, others may differ."""
        return self.epochs.batches_in(1)

    def batch_at(self, number: int) -> BatchPlan:
        """Return a batch by its number, counted from 0 over all epochs."""
        slot = self.epochs.batch_at(number)
        pictures = tuple(self._picture_of[sample_id] for sample_id in slot.sample_ids)
        captions = tuple(
            caption_for(
                self.pictures[picture].caption,
                self.pictures[picture].subset,
                seed=self.seed,
                epoch=slot.epoch,
                sample_id=sample_id,
                step=number // self.batches_per_step,
                total_steps=self.total_steps,
                fields=self.pictures[picture].fields,
            )
            for picture, sample_id in zip(pictures, slot.sample_ids, strict=True)
        )
        flipped = tuple(
            self.pictures[picture].subset.flip_aug
            and python_random(self.seed, "flip", slot.epoch, sample_id).random() < 0.5
            for picture, sample_id in zip(pictures, slot.sample_ids, strict=True)
        )
        size_ids = tuple(
            self.crop_at(picture, slot.epoch, sample_id).size_ids(mirrored)
            for picture, sample_id, mirrored in zip(pictures, slot.sample_ids, flipped, strict=True)
        )
        shown = [self.pictures[picture] for picture in pictures]
        return BatchPlan(
            number,
            slot.epoch,
            slot.sample_ids,
            pictures,
            flipped,
            captions,
            size_ids,
            is_reg=tuple(one.is_reg for one in shown),
            loss_weights=tuple(one.subset.loss_weight for one in shown),
        )

    def held_out_set(self) -> TrainingSet | None:
        """Return the pictures that are held out as a set of their own; None if there are none.

        Its first epoch, which is the only one, shows each of them once and as it is.
        """
        if not self.held_out:
            return None
        own = self.config.validation_seed
        seed = self.seed if own is None else own
        return TrainingSet(self.config, seed, [_as_it_is(one) for one in self.held_out])

    def crop_at(self, picture: int, epoch: int, sample_id: int) -> Crop:
        """Return how a picture is scaled and cropped as a sample of an epoch.

        Args:
            picture: its number.
            epoch: counted from 0.
            sample_id: one of the picture's samples.
        """
        crop = self.crops[picture]
        if not self.drawn_anew[picture]:
            return crop
        one = self.pictures[picture]
        rng = python_random(self.seed, "crop", epoch, sample_id)
        return draw_crop(crop, one.path, one.subset, rng)

    def count_steps(self, batches_per_step: int, total_steps: int) -> None:
        """Say which batches make up which optimizer step, for token_warmup_step.

        Args:
            batches_per_step: number of batches in a step; 1 if this was never said.
            total_steps: length of the run in steps.
        """
        self.batches_per_step, self.total_steps = batches_per_step, total_steps

    def known_captions(self) -> list[str]:
        """Return every different text that is shown; only valid if config.knows_captions."""
        forms = (
            known_forms(one.caption, one.subset, self.seed, one.fields) for one in self.pictures
        )
        return list(dict.fromkeys(form for each in forms for form in each))

    def files(self, plan: BatchPlan) -> list[Path]:
        """Return the picture files of a batch, for messages."""
        return [self.pictures[picture].path for picture in plan.pictures]

    def bucket_counts(self) -> dict[Resolution, int]:
        """Return the number of samples in an epoch by bucket: (width, height) -> count."""
        counts = Counter(self.crops[picture].bucket for picture in self._picture_of)
        return dict(sorted(counts.items()))

    def _parts(self) -> list[Part]:
        """Return the samples of each folder of which an epoch shows a part."""
        members: dict[Subset, list[int]] = {}
        for sample_id, number in enumerate(self._picture_of):
            picture = self.pictures[number]
            if picture.repeats % 1 and self._picture_of[sample_id + 1 : sample_id + 2] != [number]:
                members.setdefault(picture.subset, []).append(sample_id)
        return [
            Part(ids, subset.exact_repeats % 1, number, self.seed)
            for number, (subset, ids) in enumerate(members.items())
        ]

    def folder_counts(self, *, is_reg: bool = False) -> dict[str, dict[str, int]]:
        """Return repeats and number of pictures by folder name, for the metadata of a file.

        Args:
            is_reg: count regularisation pictures (ss_reg_dataset_dirs) instead of training pictures
                (ss_dataset_dirs).

        Returns:
            Folder name -> {"n_repeats": ..., "img_count": ...}, as sd-scripts writes them, with
            fractions of repeats rounded up.
        """
        # A picture in several subsets, such as at two resolutions, is one with all their repeats.
        shown: dict[str, Counter[Path]] = {}
        for one in self.pictures:
            if one.is_reg == is_reg:
                shown.setdefault(one.folder, Counter())[one.path] += math.ceil(one.repeats)
        # Regularisation pictures of one folder may differ by a repeat: take the largest number.
        return {
            name: {"n_repeats": max(repeats.values()), "img_count": len(repeats)}
            for name, repeats in sorted(shown.items())
        }

    def tag_counts(self) -> dict[str, dict[str, int]]:
        """Return the number of captions by folder name and tag: sd-scripts' ss_tag_frequency."""
        counts: dict[str, Counter[str]] = {}
        once = {picture.path: picture for picture in reversed(self.pictures)}
        for picture in () if self.captions_are_names else once.values():
            tags = (tag.strip() for tag in picture.caption.split(picture.subset.caption_separator))
            counts.setdefault(picture.folder, Counter()).update(tag for tag in tags if tag)
        return {folder: dict(sorted(tags.items())) for folder, tags in sorted(counts.items())}


def _as_it_is(one: CheckedPicture) -> CheckedPicture:
    """Return a picture that is held out as one that is shown the same way every time."""
    subset = unchanging(one.picture.subset)
    picture = replace(one.picture, is_held_out=False, subset=subset, fields=())
    return replace(one, picture=picture)


def open_training_set(
    config: DataConfig,
    seed: int,
    bar: Bar | None = None,
    token_limit: TokenLimit | None = None,
) -> TrainingSet:
    """Read and check all pictures and captions of a data set.

    Args:
        config: folders and options.
        seed: the run's seed.
        bar: shows the progress while pictures are decoded.
        token_limit: how many tokens of a caption are read, to find captions that are longer.

    Raises:
        ConfigError: no folder of training pictures is given.
        DataError: something is wrong with folders, captions or pictures; one message lists it all.
    """
    scan = examine(config, bar, token_limit=token_limit, seed=seed)
    raise_if_errors(scan.findings)
    return TrainingSet(config, seed, scan.checked, scan.findings)


def check_bucket_sizes(training_set: TrainingSet, factor: int) -> None:
    """Refuse buckets whose sides the VAE cannot divide into latents.

    Args:
        training_set: the buckets of its pictures are checked.
        factor: number of pixels along the side of one latent, such as 8.

    Raises:
        ConfigError: the side of a bucket is no multiple of the factor.
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
