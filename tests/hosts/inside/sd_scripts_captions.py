"""What sd-scripts' code and ours make of captions; run by sd-scripts' Python in its folder.

Argument: a folder with CLIP's tokenizer under the ids that sd-scripts asks the hub for. Prints as
JSON the largest difference of the encoded captions by case, and the captions of a warm-up of tags.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lycoris_ext.data import DataConfig
from lycoris_ext.data.captions import caption_for
from lycoris_ext.formats.families import FAMILIES
from lycoris_ext.models import BaseSchedule, Pipeline

sys.path.insert(0, os.getcwd())

from library.strategy_sd import SdTextEncodingStrategy, SdTokenizeStrategy
from library.strategy_sdxl import SdxlTextEncodingStrategy, SdxlTokenizeStrategy
from library.train_util import BaseDataset

CAPTIONS = [
    "",
    "a cat",
    "(a cat:1.3) and [a (very red:0.5) hat], ((!!:2)), \\(fate\\) \\ :( :1.2)",
    "red hat! " * 25,  # 75 tokens: exactly one piece
    "red hat! " * 26,
    "!!!?! " + "red hat! " * 24 + "!red !!! " * 9,
    ", ".join(f"(tag number {n}:{0.5 + n / 40})" for n in range(80)),
    "(" + "hat, " * 130,
]
OPENAI = {"hidden_size": 32, "hidden_act": "quick_gelu", "projection_dim": 32}
OPENCLIP = {"hidden_size": 48, "hidden_act": "gelu", "projection_dim": 24}
Strategies = tuple[Any, Any]


def encoder(kind: Any, options: dict[str, Any]) -> Any:
    """Build a small text encoder; sd-scripts counts the layers of SDXL's first one from the start,
    so that it must have 12."""
    config = CLIPTextConfig(
        intermediate_size=64, num_hidden_layers=12, num_attention_heads=2, **options
    )
    return kind(config).eval()


def theirs_sd(v2: bool, length: int | None, skip: int | None, folder: str) -> Strategies:
    tokenize = SdTokenizeStrategy(v2, length, folder)
    if v2:
        tokenize.tokenizer.pad_token_id = 0  # as the file of Stable Diffusion 2 has it
    return tokenize, SdTextEncodingStrategy(skip)


def encode(strategies: Strategies, models: list[Any], weighted: bool) -> list[Tensor]:
    tokenize, encoding = strategies
    if weighted:
        tokens, weights = tokenize.tokenize_with_weights(CAPTIONS)
        return encoding.encode_tokens_with_weights(tokenize, models, tokens, weights)
    return encoding.encode_tokens(tokenize, models, tokenize.tokenize(CAPTIONS))


def ours(
    family: str, models: list[Any], tokenizers: list[Any], length: int, weighted: bool
) -> Pipeline:
    return Pipeline(
        family=FAMILIES[family],
        unet=nn.Linear(1, 1),
        vae=None,
        text_encoder=models[0],
        tokenizer=tokenizers[0],
        text_encoder_2=models[1] if len(models) > 1 else None,
        tokenizer_2=tokenizers[1] if len(models) > 1 else None,
        schedule_config={},
        noise_schedule=BaseSchedule(torch.ones(1), "epsilon"),
        name=family,
        max_token_length=length,
        weighted_captions=weighted,
    )


def warm_up() -> Iterator[tuple[str, str]]:
    """Yield (their caption, our caption) at each step of several warm-ups of tags."""
    caption = "me ||| a, b,c , d, e, f, g"
    for options in (
        {"token_warmup_step": 10},
        {"token_warmup_step": 0.25, "token_warmup_min": 3},
        {"token_warmup_step": 7.5, "token_warmup_min": 9, "keep_tokens": 2},
        {"token_warmup_step": 0.5, "token_warmup_min": 0},
        {"token_warmup_step": 12, "keep_tokens_separator": "|||"},
    ):
        config = DataConfig(**options)
        # sd-scripts writes the length of the warm-up into its subset.
        subset = SimpleNamespace(**config.values())
        for step in range(40):
            run = SimpleNamespace(
                current_epoch=1, current_step=step, max_train_steps=40, replacements={}
            )
            mine = caption_for(
                caption, config, seed=0, epoch=0, sample_id=0, step=step, total_steps=40
            )
            yield BaseDataset.process_caption(run, subset, caption), mine


def difference(mine: Tensor, other: Tensor) -> float:
    assert mine.shape == other.shape, (mine.shape, other.shape)
    return float((mine - other).abs().max())


@torch.no_grad()
def main(folder: str) -> None:
    torch.manual_seed(0)
    first = encoder(CLIPTextModel, OPENAI)
    models = {
        "sd1": [first],
        "sd2": [encoder(CLIPTextModel, OPENCLIP)],
        "sdxl": [first, encoder(CLIPTextModelWithProjection, OPENCLIP)],
    }
    found = {}
    for family, length, weighted in (
        (family, length, weighted)
        for family in models
        for length in (None, 150, 225)
        for weighted in (False, True)
    ):
        for skip in (None,) if family == "sdxl" else (None, 2):
            if family == "sdxl":
                strategies = SdxlTokenizeStrategy(length, folder), SdxlTextEncodingStrategy()
                tokenizers = [strategies[0].tokenizer1, strategies[0].tokenizer2]
            else:
                strategies = theirs_sd(family == "sd2", length, skip, folder)
                tokenizers = [strategies[0].tokenizer]
            states = encode(strategies, models[family], weighted)
            mine = ours(family, models[family], tokenizers, length or 75, weighted)
            text = mine.encode_text(CAPTIONS, skip)
            case = f"{family} {length} weighted={weighted} skip={skip}"
            if family == "sdxl":
                found[case] = difference(text.states, torch.cat(states[:2], dim=-1))
                found[f"{case} pooled"] = difference(text.pooled, states[2])
            else:
                found[case] = difference(text.states, states[0])
    print(json.dumps({"differences": found, "warm-up": list(warm_up())}))


if __name__ == "__main__":
    main(*sys.argv[1:])
