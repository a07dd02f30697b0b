"""Change a caption each time its picture is shown: shuffle and drop tags, as sd-scripts does it."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lycoris_ext.data.caption_fields import (
    Field,
    Wanted,
    drawn,
    is_drawn,
    joined_fields,
    wanted_fields,
)
from lycoris_ext.data.caption_sets import check_set_name
from lycoris_ext.data.randomness import python_random
from lycoris_ext.errors import ConfigError, Faults, LycorisExtError
from lycoris_ext.options import Section, option

PRUNED = "pruned"
"""The caption set that caption_mode = "pruned" reads."""


@dataclass(frozen=True, init=False)
class CaptionOptions(Section):
    """Where captions are read from, and how they are changed when a picture is shown."""

    caption_extension: str = option(
        ".txt",
        "Ending of the caption files: with .txt the caption of cat.png is read from cat.txt beside "
        "it.",
    )
    caption_set: str = option(
        "",
        "Name of a caption set: the captions in the folder caption_sets/NAME beside the pictures "
        "are used; a picture that has none there keeps its own.",
    )
    caption_mode: str = option(
        "all",
        "How much of the captions is trained: all of them; pruned, the captions of the caption set "
        '"pruned" where it has one; trigger, only the tags that keep_tokens or '
        "keep_tokens_separator protect, or without these options the concepts in the name of the "
        "folder; or none, no captions at all.",
        choices=("all", "pruned", "trigger", "none"),
    )
    caption_fields: tuple[str, ...] = option(
        (),
        "Build captions of these fields, in this order: npeople, character, copyright, image_type, "
        "artist, rating, crop_info, tags. They are read from the file .cat_meta.json beside "
        'cat.png, which anime_screenshot_pipeline writes; "tags:0.5" shows a field with a chance '
        "of one half, drawn anew in every epoch. None: captions are read from caption files.",
    )
    level_rules: str = option(
        "",
        "A TOML file of rules that add tags to captions and remove tags from them by the levels in "
        "the names of folders; caption files are not changed.",
        is_path=True,
        may_change="always",
    )
    allow_missing_captions: bool = option(
        False,
        "Use the name of its folder as the caption of a picture that has none; off: a training "
        "picture without a caption is an error.",
        may_change="always",
    )
    shuffle_caption: bool = option(
        False, "Put the tags of each caption into a new random order in every epoch."
    )
    keep_tokens: int = option(
        0,
        "Number of tags at the beginning of a caption that keep their place and are never dropped.",
        low=0,
    )
    keep_tokens_separator: str = option(
        "",
        'A mark in captions, such as "|||": the tags before it keep their place and are never '
        "dropped; so do the tags behind a second mark. In a caption without the mark keep_tokens "
        "says which tags keep their place.",
    )
    caption_separator: str = option(",", "The text that stands between the tags of a caption.")
    secondary_separator: str = option(
        "",
        'A mark in captions, such as ";", that joins several tags, which are then shuffled and '
        "dropped together; caption_separator replaces the mark before the model reads the caption.",
    )
    caption_prefix: str = option("", "Text put before every caption, with a space between.")
    caption_suffix: str = option("", "Text put after every caption, with a space between.")
    enable_wildcard: bool = option(
        False,
        'In every epoch draw one of the alternatives in "{red|blue}" and, of a caption file with '
        'several lines, one line; write "{{" and "}}" for braces.',
    )
    caption_dropout_rate: float = option(
        0.0, "Chance from 0 to 1 that a picture is shown without its caption.", low=0, high=1
    )
    caption_dropout_every_n_epochs: int = option(
        0, "In every n-th epoch show all pictures without captions; 0: never.", low=0
    )
    caption_tag_dropout_rate: float = option(
        0.0,
        "Chance from 0 to 1 that a tag is left out of its caption; tags that keep_tokens or "
        "keep_tokens_separator protect stay.",
        low=0,
        high=1,
    )
    tag_list_dropout_rate: float = option(
        0.0,
        "Chance from 0 to 1 that a picture is shown without all of its tags except those that "
        "keep_tokens or keep_tokens_separator protect; caption_tag_dropout_rate draws for each tag "
        "instead.",
        low=0,
        high=1,
    )
    token_warmup_min: int = option(
        1,
        "Number of tags of each caption that the first step shows if token_warmup_step is set; "
        "tags that keep_tokens protects are shown besides.",
        low=0,
    )
    token_warmup_step: float = option(
        0.0,
        "Show only the first tags of each caption at the beginning of the run, and more and more "
        "of them until this step, from which on all are shown; below 1 it is a share of the run, "
        "such as 0.2. 0: all tags from the first step on.",
        low=0,
    )

    caption_variants: int = option(
        0,
        "Show only a fixed set of this many variants of each caption, in turn, an epoch each, "
        "where shuffle_caption, caption_tag_dropout_rate, enable_wildcard or caption_fields "
        "changes captions, so that they can be cached. 0: every epoch shows a new variant.",
        low=0,
        high=1000,
    )

    @property
    def caption_sets(self) -> tuple[str, ...]:
        """Names of the caption sets that are read; of several the first that has a caption."""
        names = [PRUNED] if self.caption_mode == "pruned" else []
        return tuple(dict.fromkeys(name for name in (*names, self.caption_set) if name))

    @property
    def between_tags(self) -> str:
        """What stands between the tags of captions that are put together."""
        separator = self.caption_separator
        return separator if separator[-1:].isspace() else f"{separator} "

    @property
    def wanted_fields(self) -> tuple[Wanted, ...]:
        """The fields that captions are built of; () if they are not."""
        return wanted_fields(self.caption_fields, self.keep_tokens_separator)

    @property
    def dropping(self) -> bool:
        """Whether pictures may be shown without their captions."""
        return bool(self.caption_dropout_rate or self.caption_dropout_every_n_epochs)

    @property
    def unforeseen(self) -> tuple[str, ...]:
        """Names of the options that are set and make texts that cannot be listed before the run."""
        names = ["token_warmup_step"]
        if not self.caption_variants:
            names += ["shuffle_caption", "enable_wildcard", "caption_tag_dropout_rate"]
            names += ["tag_list_dropout_rate"]
            names += ["caption_fields"] if is_drawn(self.wanted_fields) else []
        return tuple(name for name in names if getattr(self, name))

    def contradictions(self) -> Iterator[LycorisExtError]:
        yield from super().contradictions()
        if self.caption_set:
            faults = Faults()
            with faults:
                check_set_name(self.caption_set, "caption_set")
            yield from faults.found
        faults = Faults()
        with faults:
            wanted_fields(self.caption_fields, self.keep_tokens_separator)
        yield from faults.found
        if not self.caption_separator:
            yield ConfigError(
                "caption_separator is '', expected a text such as ','",
                where="caption_separator",
                fix="change caption_separator",
            )
        if not self.caption_extension.startswith("."):
            yield ConfigError(
                f"caption_extension is {self.caption_extension!r}, expected an ending with its "
                "dot, such as '.txt'",
                where="caption_extension",
                fix="change caption_extension",
            )


class Showing(NamedTuple):
    """When a caption is shown: everything that its changes depend on.

    Attributes:
        seed: the run's seed.
        epoch, sample_id: of the sample; those of a variant stand for all samples that show it.
        step, total_steps: of the optimizer, for token_warmup_step.
    """

    seed: int
    epoch: int
    sample_id: int
    step: int = 0
    total_steps: int = 0


def caption_for(
    caption: str,
    options: CaptionOptions,
    *,
    seed: int,
    epoch: int,
    sample_id: int,
    step: int = 0,
    total_steps: int = 0,
    fields: Sequence[Field] = (),
) -> str:
    """Return the caption that a sample is shown with in one epoch.

    Args:
        caption: the text of the caption file.
        options: those of the picture's subset: prefix, wildcards, shuffling, dropping of tags.
        seed, epoch, sample_id, step, total_steps: as for ``Showing``.
        fields: those of which the caption is made anew in every epoch; () if it is not.

    Returns:
        The caption to encode; "" if the whole caption is dropped.
    """
    every = options.caption_dropout_every_n_epochs
    # sd-scripts counts epochs from 1.
    if every and (epoch + 1) % every == 0:
        return ""
    if python_random(seed, "caption dropout", epoch, sample_id).random() < (
        options.caption_dropout_rate
    ):
        return ""
    showing = Showing(seed, epoch, sample_id, step, total_steps)
    if number := options.caption_variants:
        first = python_random(seed, "caption variant", sample_id).randrange(number)
        showing = as_variant(showing, caption, (first + epoch) % number)
    return changed_caption(caption, options, showing, fields=fields)


def as_variant(showing: Showing, caption: str, position: int) -> Showing:
    """Return a showing for which ``changed_caption`` returns a variant of the caption.

    The variant depends on the seed, the caption and its position alone, so that pictures with the
    same caption share it, and a later run finds it in a cache.
    """
    text = caption.encode("utf-8", "surrogatepass")
    own = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    return showing._replace(epoch=position, sample_id=own)


def changed_caption(
    caption: str,
    options: CaptionOptions,
    showing: Showing,
    choose: Callable[[list[str]], str] | None = None,
    fields: Sequence[Field] = (),
) -> str:
    """Return a caption as it is shown, unless the whole caption is dropped.

    Args:
        caption: the text of the caption file.
        options: those of the picture's subset.
        showing: decides what is drawn.
        choose: draws one of several lines, and of the alternatives of each wildcard from left to
            right; None: at random.
        fields: those of which the caption is made anew in every epoch; () if it is not.
    """
    if options.caption_mode == "none":
        return ""
    if fields:
        shown = drawn(fields, options.wanted_fields, *showing[:3])
        caption = joined_fields(shown, options.between_tags, options.keep_tokens_separator)
    if choose is None:
        choose = python_random(showing.seed, "wildcard", showing.epoch, showing.sample_id).choice
    if options.enable_wildcard:
        caption = choose(caption.split("\n"))
    parts = (options.caption_prefix, caption, options.caption_suffix)
    caption = " ".join(part for part in parts if part)
    if options.enable_wildcard:
        caption = _fill_wildcards(caption, choose)
    caption = _arrange(caption, options, showing)
    if options.secondary_separator:
        caption = caption.replace(options.secondary_separator, options.caption_separator)
    return caption


def _fill_wildcards(caption: str, choose: Callable[[list[str]], str]) -> str:
    """Replace each {a|b} by what ``choose`` takes of [a, b], and doubled braces by single ones."""

    def fill(match: re.Match[str]) -> str:
        braces = {"{{": "{", "}}": "}"}.get(match[0])
        return braces or choose(match[1].split("|"))

    return re.sub(r"\{\{|\}\}|\{([^{}]+)\}", fill, caption)


def _arrange(caption: str, options: CaptionOptions, showing: Showing) -> str:
    """Cut, shuffle and drop tags, except those that keep_tokens or its separator protect."""
    separator, rate = options.keep_tokens_separator, options.caption_tag_dropout_rate
    of_list = options.tag_list_dropout_rate
    marked = bool(separator) and separator in caption
    warming = options.token_warmup_step > 0.0
    if not (marked or options.shuffle_caption or rate > 0.0 or of_list > 0.0 or warming):
        return caption

    def tags(text: str) -> list[str]:
        parts = (tag.strip() for tag in text.split(options.caption_separator))
        return [tag for tag in parts if tag]

    if marked:
        first, middle, last = map(tags, [*caption.split(separator, 2), ""][:3])
    else:
        kept = options.keep_tokens
        first, middle, last = tags(caption)[:kept], tags(caption)[kept:], []
    middle = middle[: _warmed_up(len(middle), options, showing)]
    seed, epoch, sample_id = showing[:3]
    if options.shuffle_caption:
        python_random(seed, "caption shuffle", epoch, sample_id).shuffle(middle)
    if rate > 0.0:
        rng = python_random(seed, "tag dropout", epoch, sample_id)
        middle = [tag for tag in middle if rng.random() >= rate]
    if python_random(seed, "tag list dropout", epoch, sample_id).random() < of_list:
        middle = []
    return ", ".join([*first, *middle, *last])


def _warmed_up(tags: int, options: CaptionOptions, showing: Showing) -> int:
    """Return how many of a caption's tags are shown at a step.

    Source: sd-scripts 48d368f, library/train_util.py, process_caption.
    """
    end = options.token_warmup_step
    if end < 1:
        end = math.floor(end * showing.total_steps)
    if showing.step >= end:
        return tags
    first = options.token_warmup_min
    return first + math.floor(showing.step * ((tags - first) / end))
