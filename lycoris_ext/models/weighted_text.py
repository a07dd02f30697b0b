"""Weights that are written into captions: "(red hair:1.2)", "(hat)", "[hat]".

The rules are those of AUTOMATIC1111's prompts, as sd-scripts reads them in captions:

- ``(text:1.2)`` multiplies the weight of the text by 1.2, ``(text)`` by 1.1, ``[text]`` by 1 / 1.1.
- Brackets may be nested; their factors are multiplied. A bracket that is never closed reaches to
  the end. A closing one without an opening one is an ordinary character.
- ``\\(``, ``\\)``, ``\\[``, ``\\]`` and ``\\\\`` stand for the character itself; any other
  backslash is dropped.

Source: sd-scripts 48d368f, library/strategy_base.py, parse_prompt_attention.
"""

from __future__ import annotations

import math
import re

ROUND, SQUARE = 1.1, 1 / 1.1
"""The factors of a pair of round and of square brackets without a number."""
_SYMBOLS = re.compile(r"\\[()\[\]\\]?|[()\[\]]|:(?P<number>[+-]?[.\d]+)\)|:|[^()\[\]\\:]+")


def split_by_weight(text: str) -> list[tuple[str, float]]:
    """Split a caption into parts of one weight each.

    Args:
        text: such as "a (red:1.2) hat".

    Returns:
        The parts in order with their weights, such as [("a ", 1.0), ("red", 1.2), (" hat", 1.0)];
        neighbours differ in weight. A text without characters is one part of weight 1.
    """
    texts: list[str] = []
    weights: list[float] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def close(bracket: str, factor: float) -> None:
        for position in range(opened[bracket].pop(), len(weights)):
            weights[position] *= factor

    for match in _SYMBOLS.finditer(text):
        symbol, number = match[0], _number(match["number"])
        if symbol in opened:
            opened[symbol].append(len(texts))
        elif number is not None and opened["("]:
            close("(", number)
        elif symbol == ")" and opened["("]:
            close("(", ROUND)
        elif symbol == "]" and opened["["]:
            close("[", SQUARE)
        else:
            texts.append(symbol[1:] if symbol.startswith("\\") else symbol)
            weights.append(1.0)
    for bracket, factor in (("(", ROUND), ("[", SQUARE)):
        while opened[bracket]:
            close(bracket, factor)
    return _joined(texts, weights)


def _number(digits: str | None) -> float | None:
    """Read the number in "(text:1.2)"; None for something like "1.2.3", which is text."""
    try:
        number = float(digits or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _joined(texts: list[str], weights: list[float]) -> list[tuple[str, float]]:
    """Join neighbours of the same weight."""
    parts: list[tuple[str, float]] = []
    for text, weight in zip(texts, weights, strict=True):
        if parts and parts[-1][1] == weight:
            parts[-1] = (parts[-1][0] + text, weight)
        else:
            parts.append((text, weight))
    return parts or [("", 1.0)]
