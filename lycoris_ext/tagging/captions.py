"""Make a caption of what a tagger says of a picture, as sd-scripts' script does."""

from __future__ import annotations

from collections.abc import Mapping

from lycoris_ext.tagging.labels import Label, Labels
from lycoris_ext.tagging.options import TagOptions

Scores = Mapping[int, float]
"""Output -> confidence."""


class CaptionMaker:
    """Chooses and orders the tags of captions.

    Args:
        labels: what the outputs mean.
        options: which tags are taken.
    """

    def __init__(self, labels: Labels, options: TagOptions) -> None:
        self._labels, self._options = labels, options
        self._first = options.listed(options.always_first_tags)
        replaced = options.replacements()
        unwanted = set(options.listed(options.undesired_tags))
        self._written = {
            number: tuple(tag for tag in self._tags(one, replaced) if tag not in unwanted)
            for number, one in labels.by_output.items()
        }

    def tags(self, scores: Scores) -> list[str]:
        """Return the tags of a picture in their order.

        Args:
            scores: at least those that reach a threshold, and those of ratings and qualities.
        """
        options, by_confidence = self._options, self._labels.by_confidence
        found = [number for number in sorted(scores) if self._is_taken(number, scores[number])]
        if by_confidence:
            found.sort(key=lambda number: -scores[number])
        if options.character_tags_first:
            named = [n for n in found if self._labels.by_output[n].category == "character"]
            others = [number for number in found if number not in set(named)]
            found = [*(named if by_confidence else reversed(named)), *others]
        tags = [tag for number in found for tag in self._written[number]]
        for category, first, last in (
            ("quality", options.use_quality_tags, options.use_quality_tags_as_last_tag),
            ("rating", options.use_rating_tags, options.use_rating_tags_as_last_tag),
        ):
            likeliest = self._likeliest(category, scores) if first or last else ()
            tags = [*likeliest, *tags] if first else [*tags, *likeliest]
        for tag in self._first:
            if tag in tags:
                tags.remove(tag)
                tags.insert(0, tag)
        return list(dict.fromkeys(tags))

    def caption(self, scores: Scores, there: str = "") -> str:
        """Return a caption.

        Args:
            scores: as for ``tags``.
            there: with ``append_tags``, the caption that is there, of one line or of several; the
                new tags are appended to each of them.
        """
        tags = self.tags(scores)
        if not (self._options.append_tags and there):
            return self._options.caption_separator.join(tags)
        return "\n".join(self._appended(line, tags) for line in there.split("\n"))

    def _appended(self, line: str, tags: list[str]) -> str:
        own = self._options.listed(line)
        return self._options.caption_separator.join([*own, *(t for t in tags if t not in own)])

    def _is_taken(self, number: int, confidence: float) -> bool:
        one = self._labels.by_output.get(number)
        if one is None or one.category in ("rating", "quality"):
            return False
        return confidence >= self._options.threshold(one.category)

    def _likeliest(self, category: str, scores: Scores) -> tuple[str, ...]:
        """Return the most likely tag of a category; () if it is unwanted, or none is likely."""
        known = [number for number in self._labels.of(category) if number in scores]
        if self._labels.by_confidence:  # as sd-scripts has it for these taggers alone
            least = self._options.lowest()
            known = [
                number for number in known if self._written[number] and scores[number] >= least
            ]
        return self._written[max(known, key=lambda number: scores[number])] if known else ()

    def _tags(self, one: Label, replaced: list[tuple[str, str]]) -> list[str]:
        """Return what is written for an output, which may be two tags."""
        tags = [one.tag]
        if self._options.character_tag_expand and one.category == "character":
            tags = _expanded(one.tag)
        if self._options.remove_underscore:
            tags = [tag.replace("_", " ") if len(tag) > 3 else tag for tag in tags]
        for old, new in replaced:
            tags = [new if tag == old else tag for tag in tags]
        return [tag for tag in tags if tag]


def _expanded(tag: str) -> list[str]:
    """Split the last parentheses of a name off: "a_(b)_(c)" is "a_(b)" and "c"."""
    if not tag.endswith(")") or "(" not in tag:
        return [tag]
    name, _, series = tag.rpartition("(")
    return [name.removesuffix("_"), series.replace(")", "")]
