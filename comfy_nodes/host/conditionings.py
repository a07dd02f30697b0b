"""Captions that other nodes have encoded: ComfyUI's CONDITIONINGs in the place of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lycoris_ext.errors import ConfigError, Faults

from .fingerprint import conditioning_digest

_CHANGE_TEXTS = (
    "caption_prefix",
    "caption_suffix",
    "shuffle_caption",
    "caption_tag_dropout_rate",
    "enable_wildcard",
    "token_warmup_step",
)


def encoded_captions(
    given: Sequence[Any], empty: Sequence[Any] | None, options: Mapping[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    """Give each conditioning a name that stands in the place of its caption.

    A name holds a hash of the content, so that a run is known again by what it was trained on.

    Args:
        given: a list of CONDITIONINGs, each of one or more entries; nodes that sort pictures into
            buckets give a list of CONDITIONINGs in the place of an entry.
        empty: the CONDITIONING of an empty text, in a list; None if there is none.
        options: of the data set.

    Returns:
        The name of each entry in order, and name -> CONDITIONING of one entry; "" is the name of
        the empty text.

    Raises:
        ConfigError: options would change the texts of captions, which are encoded already; or
            ``empty`` holds nothing.
    """
    faults = Faults()
    for name in _CHANGE_TEXTS:
        with faults:
            if options.get(name):
                raise ConfigError(
                    f"{name} changes texts, and the captions are encoded already",
                    where=name,
                    fix=f"remove {name} here, and change the texts before they are encoded",
                )
    faults.raise_all()
    single = [[entry] for conditioning in given for entry in _entries(conditioning)]
    names = [f"conditioning {conditioning_digest(each)}" for each in single]
    encoded = dict(zip(names, single, strict=True))
    if empty:
        first = next(_entries(empty[0]), None)
        if first is None:
            raise ConfigError(
                "it holds no conditioning",
                where="empty_conditioning",
                fix="connect the node that encodes an empty text, or nothing",
            )
        encoded[""] = [first]
    return names, encoded


def _entries(conditioning: Any) -> Any:
    """Return the pairs [tensor, dict] of a CONDITIONING, or of a list of them."""
    for entry in conditioning:
        if len(entry) == 2 and isinstance(entry[1], Mapping):
            yield entry
        else:
            yield from _entries(entry)
