"""Subsets: the folders that a data set is made of, each of which may have options of its own.

``SubsetOptions`` declares the options that a subset may set. ``DataConfig`` (data/config.py) has
them, too: its values are the defaults of all subsets. A ``SubsetEntry`` is one table
``[[data.subsets]]`` as it was written, with only some options set. A ``Subset`` is a folder with a
value for every option.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from lycoris_ext.data.buckets import BucketOptions
from lycoris_ext.data.captions import CaptionOptions
from lycoris_ext.data.faces import read_face_range
from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.files import expanded
from lycoris_ext.options import Option, Section, option

MOST_SAMPLES = 10_000_000
"""Samples of an epoch: pictures times repeats. The order of all of them is kept in memory."""


@dataclass(frozen=True, init=False)
class SubsetOptions(CaptionOptions, BucketOptions):
    """The options that may differ between the folders of a data set."""

    num_repeats: int = option(
        1,
        "Number of times that an epoch shows each picture of a folder, unless the folder's name "
        "says it, as 10_name does.",
        low=1,
        high=100_000,
    )
    flip_aug: bool = option(
        False, "Mirror each picture left to right with a chance of one half, anew in every epoch."
    )
    random_crop: bool = option(
        False,
        "Cut each picture at a random place, anew each time it is shown, instead of in the middle. "
        "Its latents are not cached: the picture is decoded and encoded by the VAE in every step.",
    )
    color_aug: bool = option(
        False,
        "Change the colours or the brightness of every third picture a little, anew each time it "
        "is shown. Latents are not cached: pictures are decoded and encoded by the VAE in every "
        "step.",
    )
    face_crop_aug_range: str | None = option(
        None,
        'Cut pictures around a face: "2.0,4.0" draws crops of two to four times the size of the '
        "face, anew each time. Only with enable_bucket = false, and for pictures called "
        "NAME_X_Y_WIDTH_HEIGHT, with the face's middle and size in pixels; their latents are not "
        "cached.",
        unset="crops do not look for faces",
        read=read_face_range,
    )
    alpha_mask: bool = option(
        False,
        "Leave transparent parts of pictures out of the loss (half transparent parts count half); "
        "the model still sees the colours beneath the transparency. Off: transparent parts become "
        "white and count like all others.",
    )
    validation_split: float = option(
        0.0,
        "Share of the pictures of each folder, from 0 to 1, that are held out: they are never "
        "trained, and the loss of the adapter on them is computed on the way (validation). 1 takes "
        "all of the folder; regularisation pictures are never held out. 0: no validation.",
        low=0,
        high=1,
    )
    validation_seed: int | None = option(
        None,
        "Seed that draws the pictures that validation_split holds out, and the noise on them.",
        unset="as seed",
        low=0,
        below=2**63,
    )
    conditioning_data_dir: str = option(
        "",
        "Folder with a mask for each picture, a picture of the same name: where the mask's red "
        "channel is 255 the picture counts fully in the loss, where it is 0 not at all. Needs "
        "masked_loss = true; with alpha_mask, too, the masks take the place of transparency.",
        is_path=True,
        may_change="always",
    )
    loss_weight: float = option(
        1.0,
        "Multiply the loss of each picture by this number, so that it counts more or less than "
        "others; 0: its loss does not count. That of a batch is still divided by the number of its "
        "pictures.",
        low=0,
        high=1000,
    )
    train_batch_size: int = option(
        1, "Number of pictures in a batch, which go through the model together.", low=1, high=65536
    )


@dataclass(frozen=True, init=False)
class SubsetFolder(Section):
    """The options that a subset has and the whole data set does not."""

    image_dir: str = option(
        "", "Folder with the pictures and captions of this subset.", is_path=True
    )
    metadata_file: str = option(
        "",
        "The metadata JSON of sd-scripts' fine-tuning method, which names the pictures and holds "
        "their captions and tags; caption files are then not read. image_dir may be left out if "
        "the JSON gives whole paths.",
        is_path=True,
    )
    multiply: float = option(
        1.0,
        "Number by which num_repeats is multiplied, as in EveryDream2; with 0.5 an epoch shows "
        "half of the pictures of this folder, drawn anew. A file multiply.txt in the folder says "
        "the same.",
        above=0,
        high=10_000,
    )
    is_reg: bool = option(
        False,
        "Whether these are regularisation pictures: an epoch shows as many of them as there are "
        "training pictures of the same resolution.",
    )
    class_tokens: str = option(
        "",
        "Caption of the pictures in this folder that have no caption file. If it is empty, such "
        "pictures are an error; regularisation pictures get the folder's name instead.",
    )


@dataclass(frozen=True, init=False)
class SubsetEntry(SubsetFolder):
    """One table ``[[data.subsets]]`` of a config: a folder, and the options that the table sets."""

    @classmethod
    def kind_options(cls) -> Iterable[Option]:
        return _may_be_unset()

    def contradictions(self) -> Iterator[LycorisExtError]:
        yield from super().contradictions()
        if not (self.image_dir or self.metadata_file):
            yield ConfigError(
                "a subset has no image_dir",
                where="subsets",
                fix='write image_dir = "..." (or metadata_file) into each table of subsets',
            )

    @property
    def where(self) -> str:
        """How error messages name this table."""
        if not self.image_dir:
            return f'subsets, metadata_file = "{self.metadata_file}"'
        return f'subsets, image_dir = "{self.image_dir}"'


@cache
def _may_be_unset() -> tuple[Option, ...]:
    """Declare the options of a subset with None as default, which means the data set's value."""
    return tuple(
        replace(known, hint=known.hint | None, default=None)
        for known in SubsetOptions.options().values()
    )


@dataclass(frozen=True, init=False)
class Subset(SubsetOptions, SubsetFolder):
    """A folder of pictures with a value for every option."""

    def contradictions(self) -> Iterator[LycorisExtError]:
        yield from super().contradictions()
        if self.metadata_file and self.caption_fields:
            yield ConfigError(
                f"captions cannot be read from a metadata JSON ({self.metadata_file}) and be built "
                "of caption_fields, too",
                where="caption_fields",
                fix="give one of them",
            )

    @property
    def place(self) -> Path:
        """The folder of pictures; without one, the metadata_file that names them."""
        return expanded(self.image_dir or self.metadata_file)

    @property
    def exact_repeats(self) -> Fraction:
        """num_repeats times multiply."""
        return self.num_repeats * Fraction(str(self.multiply))

    @property
    def repeats(self) -> float:
        """``exact_repeats`` as a number, a whole one where it is whole."""
        exact = self.exact_repeats
        return exact.numerator if exact.denominator == 1 else float(exact)

    @classmethod
    def of(cls, defaults: SubsetOptions, **own: Any) -> Subset:
        """Make a subset that sets some options itself and takes the others from the data set.

        Args:
            defaults: the options of the data set.
            own: image_dir, and the options that the subset sets itself.

        Raises:
            ConfigError: options contradict each other.
        """
        return cls(**{name: getattr(defaults, name) for name in SubsetOptions.options()} | own)
