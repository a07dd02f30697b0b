"""Describe a training set in a few lines, so that users see whether captions were read."""

from __future__ import annotations

from lycoris_ext.data.dataset import TrainingSet
from lycoris_ext.data.scan import Picture
from lycoris_ext.words import count, short, table

FOLDERS_SHOWN = 40
CAPTION_SHOWN = 60


def summarize(training_set: TrainingSet) -> list[str]:
    """Return a table of the folders of a training set, then its buckets and totals, as lines.

    The line of a folder has its name, number of pictures, samples in an epoch, number of caption
    files, and the first caption.
    """
    folders: dict[tuple[bool, str], list[Picture]] = {}
    for picture in training_set.pictures:
        folders.setdefault((picture.is_reg, picture.folder), []).append(picture)
    rows = [("folder", "pictures", "an epoch", "captions", "the first caption")]
    for (is_reg, name), pictures in list(folders.items())[:FOLDERS_SHOWN]:
        first = short(pictures[0].caption.partition("\n")[0], CAPTION_SHOWN)
        in_files = sum(picture.has_caption_file for picture in pictures)
        rows.append(
            (
                f"{short(name)} (regularisation)" if is_reg else short(name),
                str(len(pictures)),
                f"{sum(picture.repeats for picture in pictures):g}",
                str(in_files),
                f'"{first}"',
            )
        )
    lines = table(rows, left=(0, 4))
    if len(folders) > FOLDERS_SHOWN:
        lines.append(f"and {count(len(folders) - FOLDERS_SHOWN, 'more folder')}")
    buckets = ", ".join(f"{w}x{h}: {n}" for (w, h), n in training_set.bucket_counts().items())
    lines.append(f"buckets: {buckets}")
    if training_set.held_out:
        lines.append(f"{count(len(training_set.held_out), 'picture')} held out for validation")
    if anew := sum(training_set.drawn_anew):
        lines.append(
            f"{count(anew, 'picture is', 'pictures are')} drawn anew each time (random_crop, "
            "color_aug, face_crop_aug_range): no latents are kept, the VAE runs in every step"
        )
    pictures_in_all = count(len(training_set.pictures), "picture")
    lines.append(
        f"{pictures_in_all}, {training_set.samples_per_epoch} per epoch, "
        f"{count(training_set.batches_per_epoch, 'batch', 'batches')} per epoch"
    )
    return lines
