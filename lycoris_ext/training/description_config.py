"""Options that describe an adapter in its file, under sd-scripts' names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lycoris_ext.options import Section, option


def _text(help: str, unset: str) -> Any:
    return option(None, help, unset=unset, may_change="always")


@dataclass(frozen=True, init=False)
class DescriptionConfig(Section):
    """Texts in the adapter's metadata for those who get the file; training does not use them."""

    training_comment: str | None = _text(
        "A note about the training, which the adapter's metadata keep as ss_training_comment.",
        "none",
    )
    metadata_title: str | None = _text(
        "Title of the adapter in its metadata (modelspec.title).", "output_name"
    )
    metadata_author: str | None = _text(
        "Who made the adapter, in its metadata (modelspec.author).", "nobody is named"
    )
    metadata_description: str | None = _text(
        "What the adapter is for, in its metadata (modelspec.description).", "none"
    )
    metadata_license: str | None = _text(
        "License of the adapter in its metadata (modelspec.license).", "none is named"
    )
    metadata_tags: str | None = _text(
        "Keywords of the adapter in its metadata (modelspec.tags), with commas between them.",
        "none",
    )
    metadata_trigger_phrase: str | None = _text(
        "The words that call up what the adapter learnt, in its metadata "
        "(modelspec.trigger_phrase).",
        "the tags that nearly all captions of a folder have",
    )
    metadata_usage_hint: str | None = _text(
        "How to use the adapter, in its metadata (modelspec.usage_hint).", "none"
    )
    metadata_merged_from: str | None = _text(
        "What the adapter was merged from, in its metadata (modelspec.merged_from).", "none"
    )
    metadata_thumbnail: str | None = _text(
        "A picture of what the adapter does, as a data: address, in its metadata "
        "(modelspec.thumbnail).",
        "none",
    )
