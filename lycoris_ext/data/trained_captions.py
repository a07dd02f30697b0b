"""What is trained of a caption that was read: with the rules of its levels, and by its mode."""

from __future__ import annotations

from typing import NamedTuple

from lycoris_ext.data.caption_fields import ALWAYS, MARK, Field, is_drawn, joined_fields
from lycoris_ext.data.caption_files import caption_in
from lycoris_ext.data.caption_modes import as_mode
from lycoris_ext.data.level_rules import LevelRules
from lycoris_ext.data.queries import as_compared
from lycoris_ext.data.subset import Subset
from lycoris_ext.data.tag_edits import Place, edited

Fields = tuple[Field, ...]


class Trained(NamedTuple):
    """What is trained of a caption.

    Attributes:
        caption: the text.
        fields: those of which it is made anew in every epoch, and has all; () if it is not.
        is_there: whether a caption was read, and its rules left something of it.
        is_missing: whether it is not there and would be needed.
        several_lines: whether lines were left out.
    """

    caption: str
    fields: Fields
    is_there: bool
    is_missing: bool
    several_lines: bool


def trained(read: str | Fields | None, subset: Subset, rules: LevelRules, place: Place) -> Trained:
    """Return what is trained of the caption of a picture.

    Args:
        read: the text of its file, or its fields; empty if there is no file, None if it cannot be
            read.
        subset: the options of its folder.
        rules: of all levels.
        place: where it stands.
    """
    fields: Fields = ()
    several = False
    if isinstance(read, tuple):
        fields = fields_by_rules(read, subset, rules, place)
        caption = joined_fields(fields, subset.between_tags, subset.keep_tokens_separator)
    else:
        caption, several = caption_in(read or "", all_lines=subset.enable_wildcard)
        caption = by_rules(caption, subset, rules, place)
    whole = subset.caption_mode in ("all", "pruned")
    varies = whole and is_drawn(subset.wanted_fields)
    shown = as_mode(caption, subset)
    if whole and not caption:
        shown = by_rules(shown, subset, rules, place)
    missing = whole and not caption and read is not None
    return Trained(shown, fields if varies else (), bool(caption), missing, several)


def by_rules(caption: str, subset: Subset, rules: LevelRules, place: Place) -> str:
    """Return a caption with the rules of its levels; "" stays what it is."""
    if not (caption and rules.rules and rules.fitting(place)):
        return caption
    return edited(caption, subset, [rules], place)


def fields_by_rules(fields: Fields, subset: Subset, rules: LevelRules, place: Place) -> Fields:
    """Return fields with the rules of their levels; tags that are added are always shown.

    Such a tag is taken out of a field that is not shown each time, and added where the rule says.
    """
    if not (fields and rules.rules and rules.fitting(place)):
        return fields
    added = frozenset().union(*(rule.added for rule in rules.fitting(place)))
    uncertain = {one.name for one in subset.wanted_fields if one.chance < 1}

    def tags_in(one: Field) -> list[str]:
        tags = filter(None, map(str.strip, one.text.split(subset.caption_separator)))
        moved = added if one.name in uncertain else ()
        return [tag for tag in tags if as_compared(tag) not in moved]

    padded = (Field(ALWAYS, ""), *fields, Field(ALWAYS, ""))
    texts = map(subset.between_tags.join, rules(list(map(tags_in, padded)), place))
    made = (Field(one.name, text) for one, text in zip(padded, texts, strict=True))
    return tuple(one for one in made if one.text or one.name == MARK)
