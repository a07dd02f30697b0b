"""Captions of chance: each is trained with, or named by the check; nothing is passed over."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lycoris_ext.data.captions import caption_for
from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.examine import examine
from lycoris_ext.data.finding_formats import as_json, as_sarif
from lycoris_ext.data.report import make_report
from lycoris_ext.data.rules import all_rules
from lycoris_ext.models import ModelConfig
from lycoris_ext.printable import printable
from lycoris_ext.training.token_limit import clip_token_limit
from tests.faults.bounded import NEEDS, read_or_refused
from tests.faults.forked import SmallRun
from tests.faults.trials import Kind, Trial
from tests.originals import digests
from tests.tiny_pictures import write_picture

_TOGETHER = 250
"""Captions of one folder."""
_PIECES = (
    "1girl", "long hair", "saber_(fate)", "été", "森", "e\u0301", "😀", "👩\u200d👩", "\u202eback",
    "\ufeff", "\0", "\x1b[31m", "\r", "\n", "\r\n", "\u2028", "\x85", "\t", " ", "  ", ",", ", ",
    ",,", "|||", "||", "{a|b}", "{", "}", "__x__", "(a:1.2)", "((", "))", "[", "]", "\\", "\\(",
    "<|endoftext|>", "<|startoftext|>", "</w>", "<lora:x:1>", "&amp;", "<script>", "%s", "{0}",
    "$x", "../x", "'", '"', "NaN", "-1", "a" * 400, "word " * 90, "\ud7ff", "\U0010ffff", "\ufffe",
    "\u3000", "、", "，",
)  # fmt: skip
_ENCODINGS = (
    "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "cp1252", "cp932",
    "gbk", "big5", "euc_kr", "koi8_r", "cp1251", "latin-1", "utf-7",
)  # fmt: skip
_OPTIONS: dict[str, Any] = {
    "shuffle_caption": True,
    "keep_tokens": 1,
    "caption_dropout_rate": 0.1,
    "caption_tag_dropout_rate": 0.2,
    "enable_wildcard": True,
    "keep_tokens_separator": "|||",
}


def fuzzed(chance: random.Random) -> bytes:
    """Return the bytes of a caption file: pieces, in any encoding, and then some damage."""
    text = "".join(chance.choice(_PIECES) for _ in range(chance.randrange(12)))
    raw = bytearray(text.encode(chance.choice(_ENCODINGS), "ignore"))
    how = chance.randrange(8)
    if how == 0 and raw:
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    elif how == 1:
        del raw[chance.randrange(len(raw) + 1) :]
    elif how == 2:
        raw = bytearray(chance.randbytes(chance.randrange(60)))
    elif how == 3:
        place = chance.randrange(len(raw) + 1)
        raw[place:place] = chance.randbytes(chance.randrange(1, 4))
    return bytes(raw)


def _write(folder: Path, raws: Sequence[bytes]) -> None:
    folder.mkdir(parents=True)
    write_picture(folder / "0.png")
    picture = (folder / "0.png").read_bytes()
    for number, raw in enumerate(raws):
        (folder / f"{number}.png").write_bytes(picture)
        (folder / f"{number}.txt").write_bytes(raw)


def _examined(folder: Path, raws: Sequence[bytes]) -> None:
    """Check and report a folder of captions; each is trained with, or told by its path."""
    _write(folder, raws)
    before = digests(folder)
    config = DataConfig(image_dir=str(folder), **_OPTIONS)
    scan = examine(config, open_pictures=False, token_limit=clip_token_limit(ModelConfig()))
    report = make_report(scan, folder)
    json.dumps([report.as_json(), as_json(scan.findings)], ensure_ascii=False).encode("utf-8")
    json.dumps(as_sarif(scan.findings, [one.code for one in all_rules()])).encode("utf-8")
    for line in (one.line() for one in scan.findings):
        assert printable(line) == line and "\n" not in line, f"it would harm a terminal: {line!r}"
    told = {path.stem for one in scan.findings if one.severity == "error" for path, _ in one.where}
    trained = {one.path.stem for one in scan.pictures if one.has_caption_file}
    assert told | trained == {str(number) for number in range(len(raws))}, "one is passed over"
    assert not told & trained, "one is told, and would be trained"
    for number, picture in enumerate(scan.pictures):
        for epoch in range(3):
            shown = caption_for(
                picture.caption, picture.subset, seed=1, epoch=epoch, sample_id=number
            )
            assert "\n" not in shown, f"a line break is trained: {shown!r}"
            shown.encode("utf-8")
    assert digests(folder) == before, "an original was written to"


def _trained(run: SmallRun, raws: Sequence[bytes]) -> str:
    """Train on captions: those that cannot be read are refused; without them it ends."""
    folder = run.pictures / "1_x"
    shutil.rmtree(run.pictures)
    _write(folder, raws)
    shutil.rmtree(run.out, ignore_errors=True)
    before = digests(run.pictures)
    refused = run.train()
    if refused.bad or digests(run.pictures) != before:
        return refused.bad or "an original was written to"
    scan = examine(DataConfig(train_data_dir=str(run.pictures)), open_pictures=False)
    bad = [one.path for one in scan.pictures if not one.has_caption_file]
    if refused.code != (3 if bad else 0):
        return f"exit code {refused.code} with {len(bad)} bad captions: {refused.said[-400:]}"
    for path in bad:
        path.unlink()
        path.with_suffix(".txt").unlink()
    if not bad or len(bad) == len(raws):
        return ""
    ended = run.train()
    return ended.bad or ("" if ended.code == 0 else ended.said[-400:])


def _captions(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance = random.Random(seed)
    run = SmallRun(folder / "run", "shuffle_caption = true\nkeep_tokens = 1\n")
    for start in range(0, number, _TOGETHER):
        raws = [fuzzed(chance) for _ in range(min(_TOGETHER, number - start))]
        act = partial(_examined, folder / f"from {start}", raws)
        ((_, bad),) = [(one.name, one.bad) for one in read_or_refused([("all", act)])]
        bad = bad or _trained(run, raws)
        for place in range(len(raws)):
            # What is bad concerns all of them: it is told with the first.
            yield Trial(f"captions from {start} on, caption {place}", "" if place else bad)


KINDS = [
    Kind("a caption of chance, in any encoding: trained with, or named", _captions,
         100, 10_000, needs=NEEDS),
]  # fmt: skip
