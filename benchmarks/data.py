"""What looking at a data set costs: `python benchmarks/data.py`, some 5 minutes on an idle machine.

    headers       dataset report of 100,000 pictures: pictures a second, and the peak of memory
    lint          checking pictures of a megapixel beside Pillow's own decode of them
    again         the second check of the same pictures, beside the first
    first_batch   seconds from the start of a training process to its first batch, caches warm
    batches       batches a second of the loader
    near          comparing the perceptual hashes of all pairs

`--only lint again` measures some of them and keeps the others' earlier results, `--headers 10000`
takes fewer pictures. Lint is compared by the CPU seconds of one thread, in rounds in which both
take their turn, so that a busy machine changes little, and by the time of all cores.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import torch
from measuring import RESULTS, environment, ratios, write_json
from PIL import Image, ImageFilter

from lycoris_ext.data import DataConfig, examine
from lycoris_ext.data.kept_checks import KeptChecks
from lycoris_ext.data.measures import Measures
from lycoris_ext.data.near_copies import near_copies
from lycoris_ext.data.pictures import check_pictures, quiet_pillow

RESULT = RESULTS / "data_cpu.json"
SIDE, LINTED, FOLDERS, TOGETHER = 1024, 24, 20, 8
SAVED: dict[str, dict[str, Any]] = {
    "jpg": {"quality": 92},
    "png": {},
    "webp": {"quality": 85, "method": 2},
}


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    result = json.loads(options.json.read_text("utf-8")) if options.json.exists() else {}
    for name in options.only:
        print(f"{name} ...", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            result[name] = PARTS[name](Path(folder), options)
        print(json.dumps(result[name]), flush=True)
        write_json(options.json, {**result, **environment("torch", "pillow")})


def headers(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Report a data set of hard links, in a process of its own."""
    number = options.headers
    for at in range(FOLDERS):
        place = folder / "pictures" / f"{at + 1}_style{at}~character{at}"
        place.mkdir(parents=True)
        (picture,) = _write(place, "jpg", range(at, at + 1))
        caption = picture.with_suffix(".txt")
        caption.write_text(f"character{at}, 1girl, standing, smile", encoding="utf-8")
        for other in range(number // FOLDERS - 1):
            os.link(picture, place / f"{other}_copy.jpg")
            os.link(caption, place / f"{other}_copy.txt")
    empty = folder / "empty" / "1_one"
    empty.mkdir(parents=True)
    _write(empty, "jpg", range(1))
    start = _inside("report", empty.parent)
    whole = _inside("report", folder / "pictures")
    return {
        "pictures": number,
        "seconds": round(whole["seconds"], 2),
        "pictures_a_second": round(number / whole["seconds"]),
        "pictures_a_cpu_second": round(number / whole["cpu_seconds"]),
        "peak_mb": round(whole["peak_mb"]),
        "peak_mb_of_one_picture": round(start["peak_mb"]),
    }


def lint(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Compare the check of pictures with Pillow's decode of them."""
    found = {}
    for kind in SAVED:
        files = _write(folder, kind, range(LINTED))

        def check(files: Sequence[Path] = files) -> None:
            for start in range(0, len(files), TOGETHER):
                check_pictures([(file, False) for file in files[start : start + TOGETHER]])

        def on_all_cores(
            work: Callable[[Sequence[Path]], None], files: Sequence[Path] = files
        ) -> None:
            blocks = [files[start : start + TOGETHER] for start in range(0, len(files), TOGETHER)]
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(work, blocks))

        def decode(files: Sequence[Path] = files) -> None:
            for file in files:
                Image.open(io.BytesIO(file.read_bytes())).load()

        with quiet_pillow():
            cpu = _in_turn(decode, check, time.process_time, options.rounds)
            wall = _in_turn(
                lambda decode=decode: on_all_cores(decode),
                lambda check=check: on_all_cores(check),
                time.perf_counter,
                options.rounds,
            )
        found[kind] = {
            "decode_ms": round(1000 * median(cpu[0]) / LINTED, 2),
            **ratios(cpu[1], cpu[0]),
            "ratio_on_all_cores": ratios(wall[1], wall[0])["ratio"],
            "file_kb": round(sum(file.stat().st_size for file in files) / LINTED / 1000),
        }
    return found


def again(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Examine some pictures, and then again with what was kept."""
    found = {}
    for kind in SAVED:
        place = folder / kind
        place.mkdir()
        for file in _write(place, kind, range(2 * LINTED)):
            file.with_suffix(".txt").write_text("a picture", encoding="utf-8")
        time.sleep(2.5)  # a file that changed just now is read again
        kept = folder / f"cache_{kind}"
        seconds = [_examined(place, kept), *(_examined(place, kept) for _ in range(3))]
        # A copy has another state, so that its files are read, as all are on Windows.
        copy = place.rename(folder / f"moved_{kind}")
        for file in copy.iterdir():
            file.chmod(0o600)
        read = _examined(copy, kept)
        found[kind] = {
            "pictures": 2 * LINTED,
            "first_ms_a_picture": round(1000 * seconds[0] / LINTED / 2, 2),
            "times_faster": round(seconds[0] / median(seconds[1:]), 1),
            "times_faster_where_files_are_read": round(seconds[0] / read, 1),
        }
    return found


def first_batch(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Begin training the demo's LoHa four times; the first time fills the caches."""
    runs = [_inside("first_batch", folder) for _ in range(4)][1:]
    return {mark: round(median(run[mark] for run in runs), 2) for mark in runs[0]}


def batches(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Take batches of a data set, and their latents from memory and from the disk."""
    for file in _write(folder, "jpg", range(LINTED)):
        caption = ", ".join(f"tag {number}" for number in range(30))
        file.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return {name: round(value) for name, value in _inside("batches", folder).items()}


def near(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Compare hashes of pictures that are all different."""
    rng, seconds = random.Random(0), {}
    for number in (10_000, 100_000):
        seen = [
            Measures(0, 255, 0.1, 90, 0, rng.getrandbits(64), "00" * 192) for _ in range(number)
        ]
        start = time.process_time()
        near_copies(seen)
        seconds[f"seconds_for_{number}"] = round(time.process_time() - start, 1)
    return seconds


PARTS = {part.__name__: part for part in (headers, lint, again, first_batch, batches, near)}


def _inside(part: str, folder: Path) -> dict[str, float]:
    """Return the figures of a part of data_inside.py, measured in a process of its own."""
    script = Path(__file__).with_name("data_inside.py")
    command = [sys.executable, str(script), part, str(folder)]
    environ = {**os.environ, "PYTHONPATH": str(script.parent.parent)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def _examined(place: Path, kept: Path) -> float:
    """Return the seconds of an examination of a folder."""
    start = time.perf_counter()
    found = examine(DataConfig(image_dir=str(place), resolution=SIDE), kept=KeptChecks(kept))
    assert len(found.checked) == 2 * LINTED
    return time.perf_counter() - start


def _in_turn(
    one: Callable[[], None], other: Callable[[], None], clock: Callable[[], float], rounds: int
) -> tuple[list[float], list[float]]:
    """Return the seconds of two works in each round."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for work, seconds in zip((one, other), taken, strict=True):
            start = clock()
            work()
            seconds.append(clock() - start)
    return taken


def _write(folder: Path, kind: str, seeds: Sequence[int]) -> list[Path]:
    files = [folder / f"{seed}.{kind}" for seed in seeds]
    for seed, file in zip(seeds, files, strict=True):
        _drawn(seed).save(file, **SAVED[kind])
    return files


def _drawn(seed: int) -> Image.Image:
    """Draw smooth noise at several scales, whose JPEG is as large as a photograph's."""
    rng = random.Random(seed)
    whole = Image.new("RGB", (SIDE, SIDE), "gray")
    for side in (8, 64, 256):
        noise = Image.frombytes("RGB", (side, side), rng.randbytes(3 * side * side))
        whole = Image.blend(whole, noise.resize(whole.size, Image.Resampling.BICUBIC), 0.3)
    return whole.filter(ImageFilter.SHARPEN)


def _options() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--headers", type=int, default=100_000, help="pictures of this part")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, default=RESULT, help="the file of results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
