"""How much of each caption is trained: all of it, its trigger, or nothing (caption_mode)."""

from __future__ import annotations

from lycoris_ext.data.folder_tree import concepts_in, levels_in
from lycoris_ext.data.subset import Subset
from lycoris_ext.data.tag_edits import split_tags


def as_mode(caption: str, subset: Subset) -> str:
    """Return what the caption_mode of a subset leaves of a caption.

    Args:
        caption: of the file, "" if there is none; of several lines each is treated.
        subset: the options of the picture's folder; its class_tokens stand for a missing caption.
    """
    if subset.caption_mode == "none":
        return ""
    if subset.caption_mode == "trigger":
        lines = (_trigger(line, subset) for line in caption.split("\n"))
        return "\n".join(dict.fromkeys(lines))
    return caption or subset.class_tokens


def _trigger(line: str, subset: Subset) -> str:
    """Return the tags that keep_tokens or its mark protect, or else the concepts of the folder."""
    between = f"{subset.caption_separator} "
    sections = split_tags(line, subset)
    if len(sections) > 1:
        kept = sections[0]
    else:
        # keep_tokens counts the tags of the prefix, too.
        prefix = split_tags(subset.caption_prefix, subset)[0]
        kept = sections[0][: max(0, subset.keep_tokens - len(prefix))]
        if subset.keep_tokens and prefix:
            return between.join(kept)
    return between.join(kept or concepts_in(levels_in(subset.class_tokens)[1]))
