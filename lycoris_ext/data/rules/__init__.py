"""Data rules: functions that find what is wrong or notable in a data set.

A rule is given a ``Scan`` and yields findings of one code. Importing the file that holds it
registers it; from then on every training run, ``lycoris-ext doctor`` and ComfyUI node asks it:

    TABS = Code("MY001", "warning", "A caption holds a tab.")

    @rule(TABS)
    def captions_with_tabs(scan: Scan) -> Iterator[Finding]:
        paths = [picture.path for picture in scan.pictures if "\\t" in picture.caption]
        if paths:
            yield TABS.finding(paths, "captions hold tabs", "replace them by spaces")

Codes that begin with LX belong to this package; docs/data.md lists them.
"""

from lycoris_ext.data.rules import (
    appearance,
    augmentations,
    caption_sets,
    captions,
    copies,
    folders,
    latents,
    level_rules,
    levels,
    masks,
    metadata,
    pictures,
    regularisation,
    sizes,
    spelling,
    tags,
    triggers,
    validation,
)
from lycoris_ext.data.rules.registry import all_rules, find_all, remove_rule, rule

__all__ = [
    "all_rules",
    "appearance",
    "augmentations",
    "caption_sets",
    "captions",
    "copies",
    "find_all",
    "folders",
    "latents",
    "level_rules",
    "levels",
    "masks",
    "metadata",
    "pictures",
    "regularisation",
    "remove_rule",
    "rule",
    "sizes",
    "spelling",
    "tags",
    "triggers",
    "validation",
]
