"""Choosing layers of the U-Net as other programs do, by patterns over diffusers' names."""

from __future__ import annotations

from collections.abc import Iterable


def leave_out_others(patterns: Iterable[str]) -> str:
    """Return an entry of ``exclude`` that keeps only the U-Net's layers that one pattern finds.

    Text encoders are not touched.

    Args:
        patterns: regular expressions that are searched for in paths such as
            ``down_blocks.0.attentions.0.proj_in``.
    """
    return rf"^unet\.(?!{any_of(patterns)})"


def any_of(patterns: Iterable[str]) -> str:
    """Return a regular expression that fits what follows "unet." if one pattern finds something.

    Args:
        patterns: as in ``leave_out_others``; ^ is the start of the path inside the U-Net.
    """
    parts = (part[1:] if part.startswith("^") else f".*(?:{part})" for part in patterns)
    return f"(?:{'|'.join(parts)})"
