"""Reading the lists, ranges and patterns that sd-scripts writes into single arguments."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Mapping

from lycoris_ext.errors import ConfigError
from lycoris_ext.patterns import pattern_faults
from lycoris_ext.words import count


def wrong(name: str, text: str, expected: str) -> ConfigError:
    return ConfigError(
        f"{name} is {text!r}, expected {expected}", where="network_args", fix=f"change {name}"
    )


def whole(name: str, text: str) -> int:
    if not text.strip().isdecimal():
        raise wrong(name, text, "a rank; 0 leaves the layers out")
    return int(text)


def ranks_of(name: str, text: str, length: int) -> list[int]:
    parts = text.strip().removeprefix("[").removesuffix("]").split(",")
    expected = f"{count(length, 'rank')} between commas; 0 leaves layers out"
    if len(parts) != length or not all(part.strip().isdecimal() for part in parts):
        raise wrong(name, text, expected)
    return [int(part) for part in parts]


def block_numbers(name: str, text: str) -> list[range]:
    """Read numbers of blocks: "all", "none" or "0-3,7"."""
    if text.strip() in ("all", "none", ""):
        return [range(1000)] if text.strip() == "all" else []
    ranges = []
    for part in text.split(","):
        first, dash, last = (side.strip() for side in part.partition("-"))
        if not first.isdecimal() or (dash and not (last.isdecimal() and int(first) <= int(last))):
            raise wrong(name, text, 'numbers of blocks such as 0-3,7, or "all" or "none"')
        ranges.append(range(int(first), int(last if dash else first) + 1))
    return ranges


def pairs(
    name: str, arguments: Mapping[str, str], kind: type[int] | type[float]
) -> list[tuple[str, float]]:
    """Read "pattern=number,pattern=number"."""
    pairs = []
    for part in filter(str.strip, arguments.get(name, "").split(",")):
        pattern, equals, number = (side.strip() for side in part.rpartition("="))
        try:
            value = kind(number)
        except ValueError:
            value = -1
        if not (equals and pattern) or not 0 <= value < float("inf"):
            raise wrong(name, part, "a pattern, = and a number")
        pairs.append((_checked(name, pattern), value))
    return pairs


def patterns_of(name: str, arguments: Mapping[str, str]) -> tuple[str, ...]:
    """Read a pattern, or a list of patterns in Python's spelling: ['.*mlp.*', '.*attn.*']."""
    text = arguments.get(name, "").strip()
    if not text:
        return ()
    try:
        found = literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        found = text
    patterns = found if isinstance(found, (list, tuple)) else [found]
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise wrong(name, text, "patterns: ['.*mlp.*', '.*attn.*']")
    return tuple(_checked(name, pattern) for pattern in patterns)


def _checked(name: str, pattern: str) -> str:
    for fault in pattern_faults(pattern):
        raise fault.within(f"network_args, {name}")
    return pattern
