"""CLIP's tokenizer: from a model's folder, or from the vocabulary that all of them share."""

from __future__ import annotations

import gzip
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from lycoris_ext.models.faults import unreadable
from lycoris_ext.models.part_configs import CONFIGS

MAX_TOKENS = 77
START, END = "<|startoftext|>", "<|endoftext|>"
_MERGES = 49152 - 256 - 2  # CLIP's vocabulary; the file goes on to 262,144


def read_tokenizer(folder: Path) -> Any:
    """Read a tokenizer from its folder.

    Raises:
        DataError: the files are damaged.
    """
    from transformers import CLIPTokenizer, CLIPTokenizerFast

    try:
        # The plain one reads vocab.json and merges.txt alone before transformers 5.
        kind = CLIPTokenizer if (folder / "vocab.json").is_file() else CLIPTokenizerFast
        return kind.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise unreadable(folder, error) from error


def clip_tokenizer(padding: int) -> Any:
    """Build CLIP's own tokenizer, 77 tokens long.

    Args:
        padding: id of the token that fills short captions: 49407 (the end mark) for OpenAI's
            encoder, 0 for OpenCLIP's.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_clip_tokenizer(folder)
        tokenizer = read_tokenizer(folder)
    # Set afterwards: named as pad_token above, a "!" in a caption would be read as padding.
    tokenizer.pad_token_id = padding
    return tokenizer


def write_clip_tokenizer(folder: Path) -> None:
    """Write the files of OpenAI's tokenizer, as every version of transformers reads them.

    Args:
        folder: exists; gets vocab.json, merges.txt and tokenizer_config.json.
    """
    symbols, merges = clip_vocabulary()
    (folder / "vocab.json").write_text(json.dumps(symbols), encoding="utf-8")
    lines = "\n".join(["#version: 0.2", *merges, ""])
    (folder / "merges.txt").write_text(lines, encoding="utf-8", newline="\n")
    options = {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
        "model_max_length": MAX_TOKENS,
        "do_lower_case": True,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(options), encoding="utf-8")


@cache
def clip_vocabulary() -> tuple[dict[str, int], list[str]]:
    """Token -> id, and the merges in order, from the file that OpenAI's CLIP came with."""
    with gzip.open(CONFIGS / "bpe_simple_vocab_16e6.txt.gz", "rt", encoding="utf-8") as file:
        merges = file.read().split("\n")[1 : _MERGES + 1]
    symbols = _byte_symbols()
    tokens = [*symbols, *(f"{symbol}</w>" for symbol in symbols)]
    tokens += [merge.replace(" ", "") for merge in merges]
    tokens += [START, END]
    return {token: number for number, token in enumerate(tokens)}, merges


def _byte_symbols() -> list[str]:
    """A printable character for each byte, in the vocabulary's order: GPT-2's table."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    printable += range(ord("®"), ord("ÿ") + 1)
    others = 256 - len(printable)
    return [chr(code) for code in (*printable, *range(256, 256 + others))]
