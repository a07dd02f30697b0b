"""Build a CLIP tokenizer whose vocabulary is the words of the training captions.

Every word of the captions becomes one token. Other words are split into smaller tokens down to
single bytes, as in CLIP, so that new words, such as trigger words, can be used too.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from transformers import CLIPTokenizer

MAX_TOKENS = 24
END_OF_WORD = "</w>"


def _byte_letters() -> list[str]:
    """Return the 256 printable characters that stand for bytes in GPT-2's BPE, in CLIP's order."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [byte for byte in range(256) if byte not in kept]
    return [chr(byte) for byte in kept] + [chr(256 + i) for i in range(len(moved))]


def _merge(parts: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """Apply byte-pair merges to a word's parts, those of lowest rank first, as a tokenizer does."""
    while True:
        pairs = [pair for pair in itertools.pairwise(parts) if pair in ranks]
        if not pairs:
            return parts
        first = min(pairs, key=ranks.__getitem__)
        at = next(i for i, pair in enumerate(itertools.pairwise(parts)) if pair == first)
        parts = [*parts[:at], first[0] + first[1], *parts[at + 2 :]]


def byte_pair_merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Return byte-pair merges, in order of rank, that make each of the words a single token.

    Merges for later words have a higher rank, so they do not break up earlier words.
    """
    ranks: dict[tuple[str, str], int] = {}
    for word in words:
        parts = _merge([*word[:-1], word[-1] + END_OF_WORD], ranks)
        while len(parts) > 1:
            ranks.setdefault((parts[0], parts[1]), len(ranks))
            parts = [parts[0] + parts[1], *parts[2:]]
    return list(ranks)


def build_tokenizer(captions: Iterable[str], folder: Path) -> CLIPTokenizer:
    """Build a tokenizer for the words of some captions, save its files, and return it.

    Args:
        captions: all training captions; frequent words get lower token ids.
        folder: folder for the tokenizer's files.
    """
    counts = Counter(
        word for caption in captions for word in re.findall(r"[a-z]+|[^a-z\s]", caption.lower())
    )
    merges = byte_pair_merges(word for word, _ in counts.most_common())
    letters = _byte_letters()
    tokens = [
        *letters,
        *(letter + END_OF_WORD for letter in letters),
        *dict.fromkeys(a + b for a, b in merges),
    ]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=MAX_TOKENS
    )
    tokenizer.save_pretrained(str(folder))
    return tokenizer
