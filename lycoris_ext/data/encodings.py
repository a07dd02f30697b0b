"""Guess the encoding of caption files that are not UTF-8.

Zero bytes and byte order marks tell UTF-16 for certain. The encodings of Windows before UTF-8 can
only be guessed: the bytes are decoded by each of them, and each text is given the probability of
its characters, one after the other, in the language that the encoding is for. Files of one folder
mostly come from one program, so that they are judged together: what two characters of a short
caption leave open, the whole folder decides.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lycoris_ext.errors import ConfigError

CLEAR = 7.0
"""An encoding is taken as recognised if its text is e**7, about 1000, times as probable as any
other."""
_READ = 20_000
"""Number of characters of a file that are judged."""
_EXCEPTION = 12.0
"""How much less probable (in powers of e) the folder's encoding may be for one file of it."""


# The probability that a character of the second kind follows one of the first: "letter" and "mark"
# are ASCII, "other" is not. Asian characters stand apart from Latin letters, accented ones stand
# inside of words, and Cyrillic ones hardly ever touch a Latin letter.
_APART = {
    ("other", "other"): 0.75,
    ("other", "mark"): 0.24,
    ("other", "letter"): 0.01,
    ("mark", "other"): 0.4,
    ("mark", "mark"): 0.3,
    ("mark", "letter"): 0.3,
    ("letter", "other"): 0.005,
    ("letter", "mark"): 0.195,
    ("letter", "letter"): 0.8,
}
_INSIDE = {
    ("other", "other"): 0.02,
    ("other", "mark"): 0.23,
    ("other", "letter"): 0.75,
    ("mark", "other"): 0.03,
    ("mark", "mark"): 0.27,
    ("mark", "letter"): 0.7,
    ("letter", "other"): 0.03,
    ("letter", "mark"): 0.17,
    ("letter", "letter"): 0.8,
}
_ALONE = {**_APART, ("letter", "other"): 0.0005, ("other", "letter"): 0.0005}


@dataclass(frozen=True)
class Guess:
    """What a file's bytes seem to be.

    Args:
        encoding: Python's name of the encoding; "" if none is recognised.
        says: the finding as a phrase, such as "looks like Japanese (cp932)".
        text: the decoded text; "" if no encoding is recognised.
        certain: whether the bytes themselves say what they are, as a byte order mark does.
    """

    encoding: str
    says: str
    text: str = ""
    certain: bool = False


@dataclass(frozen=True)
class Encoding:
    """An encoding of Windows, and how often the characters of its language occur.

    Args:
        name: as Python knows it.
        label: for users.
        share: of the files that are met, roughly.
        follows: how often characters that are not ASCII stand beside others.
        sample: typical text; its characters get most of the probability.
        common: ranges of codes of everyday characters.
        rare: ranges of codes of characters that are seldom seen.
    """

    name: str
    label: str
    share: float
    follows: Mapping[tuple[str, str], float]
    sample: str
    common: tuple[tuple[int, int], ...]
    rare: tuple[tuple[int, int], ...] = ()

    def log_probability(self, raw: bytes) -> tuple[str, float] | None:
        """Decode bytes and return the text with the logarithm of its probability.

        Returns:
            None if the bytes are no text in this encoding.
        """
        try:
            text = raw.decode(self.name)
        except UnicodeDecodeError:
            return None
        if not _is_text(text):
            return None
        total, before = math.log(self.share), "mark"
        for letter in text[:_READ]:
            kind = _kind(letter)
            total += math.log(self.follows[before, kind])
            total += self._letter(letter) if kind == "other" else -math.log(40)
            before = kind
        return text, total

    @cached_property
    def _frequencies(self) -> Mapping[str, float]:
        counts = Counter(letter for letter in self.sample if not letter.isascii())
        return {letter: number / counts.total() for letter, number in counts.items()}

    def _letter(self, letter: str) -> float:
        """Return the log-probability of one character that is not ASCII."""
        code = int.from_bytes(letter.encode(self.name), "big")
        chance = 0.6 * self._frequencies.get(letter, 0.0)
        for ranges, share in ((self.common, 0.35), (self.rare, 0.03)):
            if any(low <= code <= high for low, high in ranges):
                chance += share / sum(high - low + 1 for low, high in ranges)
        return math.log(chance + 2e-7)


def _is_text(text: str) -> bool:
    return all(letter.isprintable() or letter.isspace() or letter == "\ufeff" for letter in text)


def _kind(letter: str) -> str:
    if not letter.isascii():
        return "other"
    return "letter" if letter.isalnum() else "mark"


def _rows(first: int, last: int, low: int = 0xA1, high: int = 0xFE) -> tuple[tuple[int, int], ...]:
    """Return the codes of two bytes with this first byte and any second one."""
    return tuple((row << 8 | low, row << 8 | high) for row in range(first, last + 1))


ENCODINGS = (
    Encoding(
        "cp932",
        "Japanese (cp932)",
        0.25,
        _APART,
        "女の子、一人、少女が立っている。長い髪、短い髪、黒髪、金髪、銀髪、茶髪、青い目、赤い目、緑の目、"
        "笑顔、制服、白い背景、空と海の風景、夜の街、花を持つ、座る、見る、ネコミミ、スカート、"
        "セーラー、リボン、アニメ、イラスト、シンプル、キャラクター、ポニーテール、かわいい、です、ます、"
        "した、という、こと、もの、から、まで、上半身、全身、正面、横顔、微笑み、写真、絵、色、男性、女性",
        (
            *((0x829F, 0x82F1), (0x8340, 0x8396), (0x889F, 0x88FC), (0x9840, 0x9872)),
            *_rows(0x89, 0x97, 0x40, 0xFC),
        ),
        (*_rows(0x99, 0x9F, 0x40, 0xFC), *_rows(0xE0, 0xEA, 0x40, 0xFC), (0x8140, 0x81AC)),
    ),
    Encoding(
        "gbk",
        "simplified Chinese (GBK)",
        0.25,
        _APART,
        "一个女孩，少女，单人，站在，坐着，长发，短发，黑色头发，白色头发，金发，蓝色眼睛，红色的眼睛，"
        "绿色，微笑，看着镜头，连衣裙，裙子，衣服，校服，白色背景，简单的背景，花，天空，大海，城市，"
        "夜晚，阳光，高质量，最好的，照片，风格，动漫，插画，男人，手里拿着，猫，狗，树，水，山，室内，"
        "是，的，在，有，和，了，上，下，中，不，人，面，她，他，这，我，们，到，年",
        (*_rows(0xB0, 0xD7), (0xA1A1, 0xA1C0), (0xA3A1, 0xA3BF)),
        _rows(0xD8, 0xF7),
    ),
    Encoding(
        "cp950",
        "traditional Chinese (Big5)",
        0.07,
        _APART,
        "一個女孩，少女，單人，站在，坐著，長髮，短髮，黑色頭髮，白色頭髮，金髮，藍色眼睛，紅色的眼睛，"
        "綠色，微笑，看著鏡頭，連衣裙，裙子，衣服，校服，白色背景，簡單的背景，花，天空，大海，城市，"
        "夜晚，陽光，高品質，最好的，照片，風格，動漫，插畫，男人，手裡拿著，貓，狗，樹，水，山，室內，"
        "是，的，在，有，和，了，上，下，中，不，人，面，她，他，這，我，們，到，年",
        (*_rows(0xA4, 0xC5, 0x40, 0x7E), *_rows(0xA4, 0xC5), (0xA140, 0xA17E)),
        (*_rows(0xC9, 0xF9, 0x40, 0x7E), *_rows(0xC9, 0xF9)),
    ),
    Encoding(
        "cp949",
        "Korean (cp949)",
        0.07,
        _APART,
        "한 소녀가 서 있다, 여자, 남자, 긴 머리, 짧은 머리, 검은 머리, 금발, 은발, 파란 눈, "
        "빨간 눈, 초록 눈, 미소, 교복, 드레스, 치마, 흰색 배경, 단순한 배경, 하늘, 도시, 밤, 꽃, "
        "고양이, 나무, 물, 산, 사진, 그림, 애니메이션, 캐릭터, 고품질, 이, 는, 의, 에, 을, 를, "
        "하고, 지, 도, 로, 은, 와, 과, 앉아, 들고, 보고, 입고, 있는, 사람, 정면, 얼굴, 손",
        _rows(0xB0, 0xC8),
        _rows(0xCA, 0xFD),
    ),
    Encoding(
        "cp1252",
        "Western European (Latin-1)",
        0.32,
        _INSIDE,
        "’’’’’’’’’’’’’’’’’’’’éééééééééé““””èèèààçêëïîôûäääööüüüßññááíóúãõåæøœ–—…°´·«»ÉÀÄÖÜ½×®™",
        ((0xA1, 0xFF),),
        ((0x80, 0x9F),),
    ),
    Encoding(
        "cp1251",
        "Cyrillic (cp1251)",
        0.04,
        _ALONE,
        "девушка, одна, стоит, сидит, длинные волосы, короткие волосы, чёрные, белые, голубые "
        "глаза, красные, зелёные, улыбка, смотрит на зрителя, платье, юбка, белый фон, "
        "простой фон, небо, море, город, ночь, цветы, кошка, дерево, фотография, рисунок, "
        "высокое качество, мужчина, в, на, и, с, к, у, из, от, что, это, он, она, лицо, рука",
        ((0xC0, 0xFF), (0xA8, 0xA8), (0xB8, 0xB8)),
        ((0x80, 0xBF),),
    ),
)


def guess_encodings(files: Sequence[bytes]) -> list[Guess]:
    """Guess the encodings of files of one folder that are not UTF-8.

    Args:
        files: the bytes of each.

    Returns:
        One guess for each file, in the order given.
    """
    certain = [_unicode(raw) for raw in files]
    scores = {
        number: found
        for number, raw in enumerate(files)
        if certain[number] is None and (found := _scores(raw))
    }
    pooled = _pool(list(scores.values()))
    return [
        known or _choose(scores.get(number, {}), pooled) for number, known in enumerate(certain)
    ]


def guess_as(raw: bytes, encoding: str) -> Guess:
    """Decode bytes by an encoding that the user names.

    Returns:
        A guess without text and encoding if the bytes are no text in it.

    Raises:
        ConfigError: Python knows no such encoding.
    """
    try:
        text = raw.decode(encoding)
    except LookupError as error:
        raise ConfigError(
            f"{encoding!r} is no encoding",
            where="--encoding",
            fix="use one of " + ", ".join(known.name for known in ENCODINGS),
        ) from error
    except UnicodeDecodeError as error:
        return Guess("", f"is not {encoding} (byte {error.start} is 0x{raw[error.start]:02x})")
    return Guess(encoding, f"is {encoding}", text) if _is_text(text) else _NO_TEXT


_Scores = Mapping[str, tuple[str, float]]
_NO_TEXT = Guess("", "is no text", certain=True)


def _unicode(raw: bytes) -> Guess | None:
    """Recognise UTF-16 and UTF-32, and damaged UTF-8; None if it is neither."""
    for mark, encoding in ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32")):
        if raw.startswith(mark):
            return _decoded(raw, encoding)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _decoded(raw, "utf-16")
    if b"\0" in raw:
        zeros = (raw[::2].count(0), raw[1::2].count(0))
        return _decoded(raw, "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le")
    text = raw.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    if broken and sum(not letter.isascii() for letter in text) >= 5 * broken:
        says = "is damaged UTF-8, perhaps cut in the middle of a character"
        return Guess("", says, certain=True)
    return None


def _decoded(raw: bytes, encoding: str) -> Guess:
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        return _NO_TEXT
    if not _is_text(text):
        return _NO_TEXT
    return Guess(encoding, f"is {encoding[:6].upper()}", text, certain=True)


def _scores(raw: bytes) -> dict[str, tuple[str, float]]:
    """Return encoding -> (text, log-probability) for all encodings in which the bytes are text."""
    found = {known.name: known.log_probability(raw) for known in ENCODINGS}
    return {name: score for name, score in found.items() if score is not None}


def _pool(files: Sequence[_Scores]) -> dict[str, float]:
    """Add the log-probabilities of files; one that an encoding does not fit is an exception."""
    best = [max(score for _, score in scores.values()) for scores in files]
    return {
        known.name: sum(
            max(scores[known.name][1] if known.name in scores else -math.inf, most - _EXCEPTION)
            for scores, most in zip(files, best, strict=True)
        )
        for known in ENCODINGS
    }


def _choose(scores: _Scores, pooled: Mapping[str, float]) -> Guess:
    """Choose an encoding for one file: the folder's if it is clear and fits, or else its own."""
    if not scores:
        return Guess("", "is in no encoding that is known here")
    own = {name: score for name, (_, score) in scores.items()}
    together = max(pooled, key=lambda name: pooled[name])
    fits = own.get(together, -math.inf) >= max(own.values()) - _EXCEPTION
    for weights in (pooled, own) if fits else (own,):
        first = max(own, key=lambda name: weights[name])
        others = [name for name in own if scores[name][0] != scores[first][0]]
        second = max(others, key=lambda name: weights[name], default=first)
        if second == first or weights[first] - weights[second] >= CLEAR:
            return Guess(first, f"looks like {_label(first)}", scores[first][0])
    return Guess("", f"may be {_label(first)} or {_label(second)}")


def _label(name: str) -> str:
    return next(known.label for known in ENCODINGS if known.name == name)
