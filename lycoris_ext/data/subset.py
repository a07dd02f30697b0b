"""Subsets: a data set is made of folders, and each may have options of its own.

``SubsetOptions`` declares what a subset may decide. The data set's options (data/config.py) include
them, as the values for all subsets; a ``SubsetEntry`` is what a config says of one folder, and a
``Subset`` is the folder with every option decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from lycoris_ext.data.buckets import BucketOptions
from lycoris_ext.data.captions import CaptionOptions
from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.options import Option, Section, option


@dataclass(frozen=True, init=False)
class SubsetOptions(CaptionOptions, BucketOptions):
    """What a subset may decide for itself; otherwise the data set decides."""

    num_repeats: int = option(
        1,
        "Number of times that an epoch shows each picture of a folder, unless the folder's name "
        "says it, as 10_name does.",
        low=1,
    )
    flip_aug: bool = option(False, "Show pictures mirrored half of the time.")
    alpha_mask: bool = option(
        False,
        "Leave transparent parts of pictures out of the loss (half transparent parts count half); "
        "the model sees the colours beneath them. Off: transparent parts become white.",
    )
    train_batch_size: int = option(
        1, "Number of pictures that go through the model at once.", low=1
    )


@dataclass(frozen=True, init=False)
class SubsetFolder(Section):
    """Which folder a subset is."""

    image_dir: str = option(
        "", "Folder with the pictures and captions of this subset.", is_path=True
    )
    is_reg: bool = option(
        False,
        "Whether these are regularisation pictures: an epoch shows as many of them as there are "
        "training pictures of the same resolution.",
    )
    class_tokens: str = option(
        "",
        "Caption of the pictures in this folder that have no caption file; unset: such pictures "
        "are an error, or, for regularisation, have the folder's name as their caption.",
    )


@dataclass(frozen=True, init=False)
class SubsetEntry(SubsetFolder):
    """A subset as a config gives it: its folder, and the options that it decides for itself."""

    @classmethod
    def kind_options(cls) -> Iterable[Option]:
        return _may_be_unset()

    def contradictions(self) -> Iterator[LycorisExtError]:
        yield from super().contradictions()
        if not self.image_dir:
            yield ConfigError(
                "a subset has no image_dir",
                where="subsets",
                fix='write image_dir = "..." into each table of subsets',
            )

    @property
    def where(self) -> str:
        """How messages name it."""
        return f'subsets, image_dir = "{self.image_dir}"'


@cache
def _may_be_unset() -> tuple[Option, ...]:
    """A subset's options, with "unset" (the data set decides) as their default."""
    return tuple(
        replace(known, hint=known.hint | None, default=None)
        for known in SubsetOptions.options().values()
    )


@dataclass(frozen=True, init=False)
class Subset(SubsetOptions, SubsetFolder):
    """A folder of pictures with every option decided."""

    @classmethod
    def of(cls, defaults: SubsetOptions, **own: Any) -> Subset:
        """The subset that decides some options itself.

        Args:
            defaults: what holds for the others.
            own: image_dir and what else the subset decides.

        Raises:
            ConfigError: options contradict each other.
        """
        return cls(**{name: getattr(defaults, name) for name in SubsetOptions.options()} | own)
