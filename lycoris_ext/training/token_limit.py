"""How many tokens of a caption a base model reads, found without loading its weights."""

from __future__ import annotations

from functools import cache, partial
from importlib.util import find_spec
from typing import Any

from lycoris_ext.data import TokenLimit
from lycoris_ext.errors import DataError
from lycoris_ext.models import ModelConfig
from lycoris_ext.models.folder import read_json
from lycoris_ext.models.load import find_model
from lycoris_ext.models.tokenizer import MAX_TOKENS, clip_tokenizer, read_tokenizer
from lycoris_ext.models.tokens import count_tokens, token_ids

_MARKS = 2
_END_MARK = 49407
_VOCABULARY = 49408


def token_limit(config: ModelConfig) -> TokenLimit | None:
    """Return how many tokens of a caption are read with some options of the base model.

    A base model in a folder has its own tokenizer there; one in a file has CLIP's. A folder that
    is missing or damaged counts as a file: loading the model reports what is wrong.

    Returns:
        The limit; None if transformers is not installed.
    """
    if find_spec("transformers") is None:
        return None
    try:
        tokenizer, length = _tokenizer_of(config)
    except (DataError, OSError, LookupError, TypeError, ValueError):
        return clip_token_limit(config)
    return _limit(tokenizer, length, config)


def clip_token_limit(config: ModelConfig) -> TokenLimit | None:
    """Return the limit for the tokenizer that Stable Diffusion's text encoders share."""
    if find_spec("transformers") is None:
        return None
    return _limit(clip_tokenizer(_END_MARK), MAX_TOKENS, config)


def _limit(tokenizer: Any, length: int, config: ModelConfig) -> TokenLimit:
    weighted = config.weighted_captions
    # Several rules and the report ask for the same captions.
    count = cache(partial(count_tokens, tokenizer, weighted=weighted))
    ids = partial(token_ids, tokenizer) if tokenizer.vocab_size == _VOCABULARY else None
    return TokenLimit(count, config.max_token_length, length - _MARKS, weighted, ids)


def _tokenizer_of(config: ModelConfig) -> tuple[Any, int]:
    """Return the tokenizer of a base model, and how many tokens its text encoder reads at once."""
    place = find_model(config.pretrained_model_name_or_path)
    if place.is_file():
        return clip_tokenizer(_END_MARK), MAX_TOKENS
    encoder = read_json(place / "text_encoder" / "config.json")
    return read_tokenizer(place / "tokenizer"), int(encoder["max_position_embeddings"])
