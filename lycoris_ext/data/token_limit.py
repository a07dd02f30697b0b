"""How a base model reads captions, for the rules about captions that it reads otherwise.

The text encoders' tokenizer is given as a function, because this package knows no base models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lycoris_ext.data.caption_forms import longest_forms
from lycoris_ext.data.captions import CaptionOptions
from lycoris_ext.formats.families import CLIP_TEXT


@dataclass(frozen=True)
class TokenLimit:
    """How many tokens of a caption the text encoders read, and whether weights are read in it.

    Args:
        count: returns the number of tokens of a text.
        max_token_length: the option's value.
        piece: number of tokens that the text encoder reads for each 75 of max_token_length; only
            for the small base model it is another number.
        weighted: whether weights such as "(hat:1.2)" are read, not taken as plain text.
        clip_ids: returns the tokens of a text by their numbers in CLIP's vocabulary; None if the
            text encoder has another one.
    """

    count: Callable[[str], int]
    max_token_length: int = CLIP_TEXT
    piece: int = CLIP_TEXT
    weighted: bool = False
    clip_ids: Callable[[str], list[int]] | None = None

    @property
    def tokens(self) -> int:
        """The largest number of tokens that are read."""
        return self.max_token_length // CLIP_TEXT * self.piece

    def count_longest(self, caption: str, options: CaptionOptions) -> int:
        """Count the tokens of a caption in the longest form in which it can be shown."""
        return max(self.count(text) for text in longest_forms(caption, options))

    def enough_for(self, tokens: int) -> int:
        """Return the smallest max_token_length that reads this many; above 225 if none does."""
        return -(-tokens // self.piece) * CLIP_TEXT
