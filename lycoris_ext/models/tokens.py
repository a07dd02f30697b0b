"""Turn captions into the tokens that CLIP reads: cut, filled up, and split into pieces.

CLIP reads 77 tokens: a start mark, 75 tokens of text, an end mark. A longer caption is split into
pieces of 75, each of which is encoded between marks of its own; then the outputs are put together
as if they came from one long piece: the start mark's of the first piece, the text's of all pieces,
the last token's of the last piece. That is how sd-scripts does it for max_token_length 150 and 225.

Source: sd-scripts 48d368f, library/strategy_base.py (_get_input_ids, _get_weighted_input_ids),
strategy_sd.py and strategy_sdxl.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lycoris_ext.models.weighted_text import split_by_weight


@dataclass(frozen=True)
class Tokens:
    """Captions as tokens, in pieces.

    Args:
        ids: (B, pieces, L) int64, each piece with its marks, L tokens long.
        weights: (B, pieces * (L - 2) + 2) float32, the factor of each output after ``join_pieces``;
            None if the captions have no weights.
    """

    ids: Tensor
    weights: Tensor | None = None

    @property
    def pieces(self) -> int:
        """Number of pieces of each caption."""
        return self.ids.shape[1]

    def join_pieces(self, states: Tensor) -> Tensor:
        """Put the encoded pieces of each caption together, and weight them.

        Args:
            states: (B * pieces, L, D), the output for ``ids`` with captions and pieces in one
                dimension.

        Returns:
            (B, pieces * (L - 2) + 2, D).
        """
        if self.pieces > 1:
            apart = states.unflatten(0, (-1, self.pieces))
            text = apart[:, :, 1:-1].flatten(1, 2)
            states = torch.cat([apart[:, 0, :1], text, apart[:, -1, -1:]], dim=1)
        if self.weights is None:
            return states
        weighted = states * self.weights.to(states.device).unsqueeze(-1)
        return weighted.to(states.dtype)


def split_captions(
    tokenizer: Any, captions: Sequence[str], length: int, pieces: int, *, weighted: bool = False
) -> Tokens:
    """Turn captions into tokens.

    Args:
        tokenizer: of the text encoder.
        captions: B texts; tokens beyond ``pieces`` pieces are cut off.
        length: L, the number of tokens that the text encoder reads at once, with its two marks.
        pieces: number of pieces into which each caption is split; short ones are filled up.
        weighted: read weights as ``weighted_text`` describes; if False, brackets are characters.

    Returns:
        Tokens on the CPU.
    """
    room = length - 2
    rows, factors = [], []
    for caption in captions:
        ids, weights = _text_tokens(tokenizer, caption, weighted)
        rows.append(_pieces_of(tokenizer, ids[: room * pieces], room, pieces))
        row = [1.0, *weights[: room * pieces]]
        factors.append(row + [1.0] * (room * pieces + 2 - len(row)))
    return Tokens(torch.tensor(rows), torch.tensor(factors) if weighted else None)


def count_tokens(tokenizer: Any, caption: str, *, weighted: bool = False) -> int:
    """Count the tokens of a caption before it is cut, without marks; see ``split_captions``."""
    return len(_text_tokens(tokenizer, caption, weighted)[0])


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the numbers of a text's tokens, without marks."""
    return _text_tokens(tokenizer, text, False)[0]


def _text_tokens(tokenizer: Any, caption: str, weighted: bool) -> tuple[list[int], list[float]]:
    """Return the tokens of a caption and their weights, without marks, before anything is cut."""
    ids: list[int] = []
    weights: list[float] = []
    # Tokenizers take no halves of characters, which names of folders and JSON can hold.
    caption = caption.encode("utf-8", "replace").decode("utf-8")
    for text, weight in split_by_weight(caption) if weighted else [(caption, 1.0)]:
        # verbose: that a caption is longer than the encoder reads is told by a data rule.
        found = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        ids += found
        weights += [weight] * len(found)
    return ids, weights


def _pieces_of(tokenizer: Any, ids: list[int], room: int, pieces: int) -> list[list[int]]:
    """Split the tokens of one caption into pieces with marks and padding, as sd-scripts does.

    Where padding and end mark are the same token (OpenAI's CLIP) every piece has an end mark at its
    end. Else (OpenCLIP) the end mark stands behind the text, and a piece without text has it first.
    """
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    text = [*ids, end]
    text += [pad] * (room * pieces + 1 - len(text))
    last = text.pop()
    split = [[start, *text[n : n + room], last] for n in range(0, room * pieces, room)]
    if pad != end and pieces > 1:
        for piece in split:
            if piece[-2] not in (end, pad):
                piece[-1] = end
            if piece[1] == pad:
                piece[1] = end
    return split
