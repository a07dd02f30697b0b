"""Pictures with changed headers: each is decoded and trained, or named by check and train."""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from PIL import Image, features

from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.examine import examine
from lycoris_ext.data.pictures import (
    check_picture,
    open_picture,
    quiet_pillow,
    small_picture,
    upright_size,
)
from lycoris_ext.errors import DataError
from tests.faults.bounded import NEEDS, read_or_refused
from tests.faults.forked import SmallRun
from tests.faults.trials import Kind, Trial
from tests.originals import digests

_TOGETHER = 100
"""Pictures of one folder."""
_HEAD = 200
"""Bytes at the start of a file that are changed."""


@cache
def _whole() -> dict[str, bytes]:
    """Return ending -> a small picture: all formats, EXIF, a palette and a profile included."""
    picture = Image.linear_gradient("L").resize((48, 40)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    made = {}
    for name, kind, source, options in (
        ("png", "PNG", picture, {}),
        ("alpha.png", "PNG", picture.convert("RGBA"), {}),
        ("palette.png", "PNG", picture.convert("P"), {"transparency": 0}),
        ("jpg", "JPEG", picture, {"exif": exif}),
        ("progressive.jpg", "JPEG", picture, {"progressive": True}),
        ("cmyk.jpg", "JPEG", picture.convert("CMYK"), {}),
        ("webp", "WEBP", picture, {"exif": exif}),
        ("lossless.webp", "WEBP", picture, {"lossless": True}),
        ("bmp", "BMP", picture, {}),
        ("avif", "AVIF", picture, {}),
    ):
        if kind != "AVIF" or features.check("avif"):
            file = io.BytesIO()
            source.save(file, kind, **options)
            made[name] = file.getvalue()
    return made


def _fuzzed(chance: random.Random) -> tuple[str, str, bytes]:
    """Return a name, and a picture whose first bytes were changed, and how."""
    name = chance.choice(list(_whole()))
    raw = bytearray(_whole()[name])
    told = []
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        place, how = chance.randrange(min(_HEAD, len(raw))), chance.randrange(5)
        if how < 2:
            raw[place] ^= 1 << chance.randrange(8)
        elif how == 2:
            raw[place] = chance.choice((0, 1, 127, 128, 255))
        elif how == 3:
            raw[place:place] = chance.randbytes(chance.randrange(1, 9))
        else:
            del raw[place : place + chance.randrange(1, 9)]
        told.append(f"{('bit', 'bit', 'byte', 'more', 'fewer')[how]} at {place}")
    return name, ", ".join(told), bytes(raw)


def _read(path: Path) -> None:
    """Read a picture in all ways; what is checked must open, and be as large as it was told."""
    checked = check_picture(path)
    with open_picture(path, digest=checked.digest) as picture:
        assert picture.size == checked.size, "another size than was told"
    assert upright_size(path) == checked.size, "another size by its header alone"
    small_picture(path, 32).close()


def _headers(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance = random.Random(seed)
    run = SmallRun(folder / "run")
    for start in range(0, number, _TOGETHER):
        made = [_fuzzed(chance) for _ in range(min(_TOGETHER, number - start))]
        pictures = folder / f"from {start}" / "1_x"
        pictures.mkdir(parents=True)
        paths = []
        for place, (name, _, raw) in enumerate(made):
            paths.append(pictures / f"{place:03d}.{name}")
            paths[-1].write_bytes(raw)
            paths[-1].with_suffix(".txt").write_text(f"picture {place}", encoding="utf-8")
        reads = [
            (f"{path.name}: {told}", partial(_read, path))
            for path, (_, told, _) in zip(paths, made, strict=True)
        ]
        trials = list(read_or_refused(reads))
        trials[-1:] = [Trial(trials[-1].name, trials[-1].bad or _trained(run, paths))]
        yield from trials


def _trained(run: SmallRun, paths: Sequence[Path]) -> str:
    """Check and train on pictures: the damaged are named, and without them it ends."""
    folder = run.pictures
    shutil.rmtree(folder)
    shutil.copytree(paths[0].parent.parent, folder)
    shutil.rmtree(run.out, ignore_errors=True)
    before = digests(folder)
    scan = examine(DataConfig(train_data_dir=str(folder), resolution=32))
    told = {path for one in scan.findings if one.severity == "error" for path, _ in one.where}
    refused = {folder / "1_x" / path.name for path in paths if not _opens(path)}
    if not refused <= told:
        return f"not told: {sorted(path.name for path in refused - told)}"
    ended = run.train()
    if ended.bad or digests(folder) != before:
        return ended.bad or "an original was written to"
    if ended.code != (3 if told else 0):
        return f"exit code {ended.code}, and {len(told)} pictures are damaged: {ended.said[-400:]}"
    for path in told:
        path.unlink()
        path.with_suffix(".txt").unlink()
    if not told or len(told) == len(paths):
        return ""
    ended = run.train()
    return ended.bad or ("" if ended.code == 0 else ended.said[-400:])


def _opens(path: Path) -> bool:
    try:
        with quiet_pillow():
            check_picture(path)
    except DataError:
        return False
    return True


KINDS = [
    Kind("a picture whose header is changed by chance: trained, or named", _headers,
         30, 1000, needs=NEEDS),
]  # fmt: skip
