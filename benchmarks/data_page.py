"""The section of docs/performance.md about data sets, from the results of benchmarks/data.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pages import table

KINDS = {"jpg": "JPEG", "png": "PNG", "webp": "WebP"}


def section(result: dict[str, Any]) -> Iterable[str]:
    """Yield the lines of the section; a part that was not measured has none."""
    yield "## Data sets\n"
    if headers := result.get("headers"):
        yield (
            f"`lycoris-ext dataset report` of {headers['pictures']:,} pictures with captions in 20 "
            f"folders takes {headers['seconds']:.0f} s, {headers['pictures_a_second']:,} pictures "
            f"a second; the process has {headers['peak_mb']} MB at most, "
            f"{headers['peak_mb_of_one_picture']} MB for a single picture.\n"
        )
    if lint := result.get("lint"):
        yield (
            "Checking pictures of a megapixel, beside what Pillow takes to decode them, in CPU "
            "seconds of one thread and in the time of all cores; and how many times faster the "
            "second check is, which decodes nothing, where files are known to be unchanged and "
            "where each is read:\n"
        )
        yield from table(
            ["", "decode, ms", "check", "on all cores", "second check", "files read"],
            [
                [
                    KINDS[kind],
                    f"{row['decode_ms']:.1f}",
                    f"{row['ratio']:.2f} ({row['ratio_q1']:.2f} to {row['ratio_q3']:.2f})",
                    f"{row['ratio_on_all_cores']:.2f}",
                    *_again(result, kind),
                ]
                for kind, row in lint.items()
            ],
        )
        yield ""
    if marks := result.get("first_batch"):
        yield (
            "The first batch of a run with warm caches, on the demo's base and pictures, in "
            "seconds since the process began:\n"
        )
        yield from table(["until", "s"], [[mark, f"{at:.1f}"] for mark, at in marks.items()])
        yield ""
    if batches := result.get("batches"):
        yield (
            f"The loader prepares {batches['captions_and_order']:,} batches of one picture a "
            "second with shuffled captions; with latents of a megapixel "
            f"{batches['latents_in_memory']:,} from memory and {batches['latents_on_disk']:,} from "
            "the disk. A training step takes one.\n"
        )
    if near := result.get("near"):
        yield (
            f"Comparing all pairs of 10,000 pictures takes {near['seconds_for_10000']} s of one "
            f"core, of 100,000 pictures {near['seconds_for_100000']} s.\n"
        )


def _again(result: dict[str, Any], kind: str) -> list[str]:
    found = result.get("again", {}).get(kind)
    if found is None:
        return ["", ""]
    names = ("times_faster", "times_faster_where_files_are_read")
    return [f"{found[name]:.0f} x" for name in names]
