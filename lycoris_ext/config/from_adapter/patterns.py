r"""Find few patterns for some layers of a model: regular expressions over their paths.

A path is a tuple of words: the model's name, then the names on the way to the layer. A pattern
consists of words, too, so that patterns that differ in one word can be joined:

    ("unet", "down_blocks", "1", "attentions", "0", "proj_in")
    ^unet\.down_blocks\.[12]\b.*\.proj_in$
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

from lycoris_ext.formats.families import TEXT_ENCODERS

Path = tuple[str, ...]
DOT = r"\."
#: Between two words of a path that is known with underscores alone, as kohya's keys have it.
DOT_OR_UNDERSCORE = "[._]"
#: Models of these names are those that files call unet; a file's "" may be any model.
_MODELS = {"unet": r"(?:unet|diffusion_model)", "": r"[^.]+"}


class _Piece(NamedTuple):
    """What some paths have in common.

    Attributes:
        model: first word of the path; None: any.
        start: words right behind the model.
        words: words that follow ``start`` somewhere, next to each other.
        at_end: whether the last of these words is the last one of the path.
    """

    model: str | None
    start: Path
    words: Path
    at_end: bool


@dataclass(frozen=True)
class Pattern:
    """A piece in which several words may stand in one place."""

    model: str | None
    start: tuple[frozenset[str], ...]
    words: tuple[frozenset[str], ...]
    at_end: bool

    def text(self, dot: str = DOT) -> str:
        """Write the pattern as a regular expression that is searched for in "model.path".

        Args:
            dot: what stands between two words.
        """
        known = dot == DOT
        model = "" if self.model is None else self.model if known else None
        head = "" if self.model is None else "^" + (model or _MODELS.get(self.model, self.model))
        text = head
        if self.start:
            text += DOT + dot.join(map(_one_of, self.start))
        if self.words:
            if head:
                # Behind the name of the model comes a dot, and behind a start there may be either.
                text += r"\b.*" if known else rf"(?:{dot if self.start else DOT}.*)?"
            text += dot + dot.join(map(_one_of, self.words))
        return text + ("$" if self.at_end else dot)


def cover(inside: Collection[Path], outside: Iterable[Path]) -> list[Pattern]:
    """Return few patterns that each path of ``inside`` fits, and none of ``outside``."""
    wrong = {piece for path in outside for piece in _pieces(path)}
    fitting: dict[_Piece, set[Path]] = {}
    for path in inside:
        for piece in _pieces(path):
            if piece not in wrong:
                fitting.setdefault(piece, set()).add(path)
    # The piece that covers most of the rest comes first. A piece's count only ever falls, so that
    # the first of the heap is the best one as soon as its count is right.
    heap = [
        (-len(paths), _length(piece), number, piece)
        for number, (piece, paths) in enumerate(fitting.items())
    ]
    heapify(heap)
    chosen: list[_Piece] = []
    left = set(inside)
    while left:
        count, length, number, piece = heap[0]
        found = len(fitting[piece] & left)
        if -count != found:
            heapreplace(heap, (-found, length, number, piece))
            continue
        heappop(heap)
        chosen.append(piece)
        left -= fitting[piece]
    needed = [
        piece
        for number, piece in enumerate(chosen)
        if fitting[piece].difference(*(fitting[other] for other in chosen[number + 1 :]))
    ]
    return _joined(map(_as_pattern, needed))


def exactly(paths: Iterable[Path]) -> list[Pattern]:
    """Return few patterns that these paths fit, and no other path of any model.

    Text encoders are an exception: their paths may have more words in front, because some versions
    of transformers put ``text_model`` there.
    """
    pieces = []
    for model, *words in paths:
        start = () if model in TEXT_ENCODERS else tuple(words)
        pieces.append(_Piece(model, start, () if start else tuple(words), True))
    return _joined(map(_as_pattern, pieces))


def _pieces(path: Path) -> Iterator[_Piece]:
    """Yield every piece that a path has."""
    model, *rest = path
    words = tuple(rest)
    size = len(words)
    yield _Piece(model, (), (), False)
    for first in range(size):
        for last in range(first + 1, size + 1):
            run = words[first:last]
            yield _Piece(None, (), run, last == size)
            yield _Piece(model, (), run, last == size)
    if model in TEXT_ENCODERS:
        return  # text_model may come first, depending on the version of transformers
    yield _Piece(model, words, (), True)
    for last in range(1, size):
        yield _Piece(model, words[:last], (), False)
        for first in range(last, size):
            yield _Piece(model, words[:last], words[first:], True)


def _length(piece: _Piece) -> tuple[int, int]:
    """Return by what of two pieces for the same paths the shorter one is found."""
    words = (*piece.start, *piece.words)
    parts = (piece.model is not None) + bool(piece.start) + bool(piece.words)
    parts += bool(words) and words[0].isdecimal()  # "2.attentions" does not say of what
    return parts, sum(map(len, words)) + len(words)


def _as_pattern(piece: _Piece) -> Pattern:
    start, words = (tuple(frozenset({word}) for word in part) for part in piece[1:3])
    return Pattern(piece.model, start, words, piece.at_end)


def _joined(patterns: Iterable[Pattern]) -> list[Pattern]:
    """Join patterns that differ in one word, until none do."""
    found = list(patterns)
    places = max((len(one.start) + len(one.words) for one in found), default=0)
    before = 0
    while len(found) != before:
        before = len(found)
        for place in reversed(range(places)):
            alike: dict[object, list[Pattern]] = {}
            for pattern in found:
                alike.setdefault(_without(pattern, place), []).append(pattern)
            found = [_union(group, place) for group in alike.values()]
    return found


def _without(pattern: Pattern, place: int) -> object:
    """Return what two patterns must have in common to differ in one word alone, that at a place."""
    words = (*pattern.start, *pattern.words)
    rest = (*words[:place], *words[place + 1 :])
    return pattern.model, len(pattern.start), len(words), pattern.at_end, rest, place < len(words)


def _union(patterns: list[Pattern], place: int) -> Pattern:
    first = patterns[0]
    if len(patterns) == 1:
        return first
    size = len(first.start)
    words = [*first.start, *first.words]
    words[place] = frozenset[str]().union(*((*one.start, *one.words)[place] for one in patterns))
    return Pattern(first.model, tuple(words[:size]), tuple(words[size:]), first.at_end)


def _one_of(words: frozenset[str]) -> str:
    """Write a choice of words as a regular expression: "proj_in", "[0-2]", "(?:to_k|to_v)"."""
    counted = {word for word in words if re.fullmatch("0|[1-9][0-9]{0,8}", word)}
    parts = [*_numbers(sorted(map(int, counted))), *sorted(map(re.escape, words - counted))]
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def _numbers(numbers: list[int]) -> Iterator[str]:
    """Yield regular expressions that fit just these numbers: "[0-9]", "1[0-9]", "2[03]"."""
    digits: dict[str, list[int]] = {}
    for number in numbers:
        digits.setdefault(str(number)[:-1], []).append(number % 10)
    starts: dict[str, list[str]] = {}
    for start, last in digits.items():
        starts.setdefault(_digits(last), []).append(start)
    for last_digits, found in starts.items():
        tens = [int(start) for start in found if len(start) == 1]
        yield from (start + last_digits for start in found if len(start) != 1)
        if tens:
            yield _digits(tens) + last_digits


def _digits(digits: list[int]) -> str:
    """Write some digits in ascending order as one: "3", "[03]", "[0-7]"."""
    first, last = digits[0], digits[-1]
    if first == last:
        return str(first)
    run = len(digits) > 2 and last - first == len(digits) - 1
    return f"[{first}-{last}]" if run else f"[{''.join(map(str, digits))}]"
