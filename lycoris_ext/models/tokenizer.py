"""Reading CLIP's tokenizer from a model's folder, or building it from OpenAI's vocabulary."""

from __future__ import annotations

import gzip
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from lycoris_ext.models.faults import fault_in, library_errors
from lycoris_ext.models.part_configs import CONFIGS

MAX_TOKENS = 77
START, END = "<|startoftext|>", "<|endoftext|>"
_MERGES = 49152 - 256 - 2  # the merges that CLIP uses; the file has 262,144


def read_tokenizer(folder: Path) -> Any:
    """Read a tokenizer from its folder.

    Raises:
        DataError: the files are damaged.
    """
    from transformers import CLIPTokenizer, CLIPTokenizerFast

    fault = fault_in(folder)  # before a library reads more than is good
    if fault is not None:
        raise fault
    # Before transformers 5 CLIPTokenizer reads only vocab.json and merges.txt.
    kind = CLIPTokenizer if (folder / "vocab.json").is_file() else CLIPTokenizerFast
    with library_errors(folder):
        return kind.from_pretrained(str(folder), local_files_only=True)


def clip_tokenizer(padding: int) -> Any:
    """Build the tokenizer that all CLIP text encoders share, for captions of up to 77 tokens.

    Args:
        padding: id of the token that fills up short captions: 49407 (the end mark) for OpenAI's
            encoder, 0 for OpenCLIP's.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_clip_tokenizer(folder)
        tokenizer = read_tokenizer(folder)
    # Set only now: given as pad_token in the file, a "!" in a caption would be read as padding.
    tokenizer.pad_token_id = padding
    return tokenizer


def write_clip_tokenizer(folder: Path) -> None:
    """Write the files of OpenAI's tokenizer in a form that every version of transformers reads.

    Args:
        folder: an existing folder, for vocab.json, merges.txt and tokenizer_config.json.
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
    """Read CLIP's vocabulary from the file that OpenAI published with it.

    Returns:
        Token -> id, and the merges of byte pair encoding in order.
    """
    with gzip.open(CONFIGS / "bpe_simple_vocab_16e6.txt.gz", "rt", encoding="utf-8") as file:
        merges = file.read().split("\n")[1 : _MERGES + 1]
    symbols = _byte_symbols()
    tokens = [*symbols, *(f"{symbol}</w>" for symbol in symbols)]
    tokens += [merge.replace(" ", "") for merge in merges]
    tokens += [START, END]
    return {token: number for number, token in enumerate(tokens)}, merges


def _byte_symbols() -> list[str]:
    """Return the printable character that stands for each byte, in the vocabulary's order.

    This is GPT-2's table.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    printable += range(ord("®"), ord("ÿ") + 1)
    others = 256 - len(printable)
    return [chr(code) for code in (*printable, *range(256, 256 + others))]
