"""The options of tagging, with the names, meanings and defaults of sd-scripts' script.

This module imports nothing heavy, because the flags of the command line are made of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.options import Section, option

_SAME = "thresh counts"
_OFF = "With a number above 1 there are none."


@dataclass(frozen=True, init=False)
class TagOptions(Section):
    """Which tags a caption gets, and in which order."""

    thresh: float = option(
        0.35, "Confidence, from 0 to 1, from which on a tag is put into the caption.", low=0
    )
    general_threshold: float | None = option(
        None, "Confidence from which on general tags are taken.", unset=_SAME, low=0
    )
    character_threshold: float | None = option(
        None, f"Confidence from which on names of characters are taken. {_OFF}", unset=_SAME, low=0
    )
    meta_threshold: float | None = option(
        None, f"Confidence from which on meta tags are taken. {_OFF}", unset=_SAME, low=0
    )
    model_threshold: float | None = option(
        None, f"Confidence from which on names of models are taken. {_OFF}", unset=_SAME, low=0
    )
    copyright_threshold: float | None = option(
        None, f"Confidence from which on names of series are taken. {_OFF}", unset=_SAME, low=0
    )
    artist_threshold: float | None = option(
        None, f"Confidence from which on names of artists are taken. {_OFF}", unset=_SAME, low=0
    )
    remove_underscore: bool = option(
        False, 'Write spaces for "_" in tags of more than three characters, which keeps "^_^".'
    )
    undesired_tags: str = option(
        "", 'Tags that no caption gets, with commas between them, as in "solo,simple background".'
    )
    tag_replacement: str = option(
        "",
        'Tags and what is written in their place, as in "old1,new1;old2,new2"; a comma or '
        r"semicolon inside of a tag is written as \, or \;.",
    )
    character_tag_expand: bool = option(
        False, 'Make two tags of the name of a character: "name_(series)" becomes "name, series".'
    )
    character_tags_first: bool = option(False, "Put names of characters before all other tags.")
    always_first_tags: str = option(
        "",
        'Tags that stand at the beginning wherever a caption has them, as in "1girl,1boy"; of '
        "several, the last one of this list comes first.",
    )
    use_rating_tags: bool = option(False, "Put the most likely rating before the other tags.")
    use_rating_tags_as_last_tag: bool = option(
        False, "Put the most likely rating behind the other tags."
    )
    use_quality_tags: bool = option(
        False, "Put the most likely quality before the other tags, if the tagger knows qualities."
    )
    use_quality_tags_as_last_tag: bool = option(
        False, "Put the most likely quality behind the other tags, if the tagger knows qualities."
    )
    caption_separator: str = option(", ", "Text between two tags of a caption.")
    append_tags: bool = option(
        False,
        "Keep the captions that are there, and append only tags that they lack, instead of writing "
        "new ones.",
    )

    def contradictions(self) -> Iterator[LycorisExtError]:
        for name in ("use_rating_tags", "use_quality_tags"):
            if getattr(self, name) and getattr(self, f"{name}_as_last_tag"):
                yield ConfigError(
                    f"{name} and {name}_as_last_tag are both set",
                    where=name,
                    fix="remove one of them",
                )
        if not self.caption_separator or "\n" in self.caption_separator:
            yield ConfigError(
                f"caption_separator is {self.caption_separator!r}, which cannot stand between tags",
                where="caption_separator",
                fix='write a text such as ", "',
            )
        try:
            self.replacements()
        except ConfigError as error:
            yield error

    def threshold(self, category: str) -> float:
        """Return the confidence from which on tags of a category are taken."""
        own = getattr(self, f"{category}_threshold", None)
        return float(self.thresh if own is None else own)

    def lowest(self) -> float:
        """Return the smallest of all thresholds."""
        names = ("general", "character", "meta", "model", "copyright", "artist")
        return min(self.thresh, *map(self.threshold, names))

    def listed(self, text: str) -> list[str]:
        """Split a list of tags, such as ``undesired_tags``, at the separator without its spaces."""
        mark = self.caption_separator.strip() or self.caption_separator
        return [tag for tag in map(str.strip, text.split(mark)) if tag]

    def replacements(self) -> list[tuple[str, str]]:
        """Return the pairs (old, new) of ``tag_replacement``.

        Raises:
            ConfigError: a part of it is no pair.
        """
        text = self.tag_replacement.replace(r"\,", "\0").replace(r"\;", "\1")
        pairs = []
        for part in text.split(";") if text.strip() else ():
            both = [side.replace("\0", ",").replace("\1", ";").strip() for side in part.split(",")]
            if len(both) != 2 or not both[0]:
                raise ConfigError(
                    f"{part.strip()!r:.80} is no pair of an old and a new tag",
                    where="tag_replacement",
                    fix=r'write pairs such as "old1,new1;old2,new2", with \, for a comma in a tag',
                )
            pairs.append((both[0], both[1]))
        return pairs


@dataclass(frozen=True, init=False)
class TaggingOptions(TagOptions):
    """All options of a command that tags a folder."""

    batch_size: int = option(
        1, "Number of pictures that go through the tagger together.", low=1, high=1024
    )
    max_data_loader_n_workers: int | None = option(
        None,
        "Number of threads that read pictures.",
        unset="one for each core, but at most 4",
        low=1,
        high=32,
    )
    recursive: bool = option(
        False,
        "Tag every picture in the folder and below it, also those that training would leave out.",
    )
    frequency_tags: bool = option(False, "Print how many captions have each tag.")
