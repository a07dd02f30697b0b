"""Write docs/reliability.md from the results of benchmarks/faults.py.

    python benchmarks/reliability.py

Do not edit that page by hand; a test compares it with the results.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

from measuring import RESULTS
from pages import cell, table
from pages import write as write_files

PAGE = RESULTS.parent.parent / "docs" / "reliability.md"
Row = dict[str, Any]
HEAD = """\
# What goes wrong, and what is lost

This page is written by `python benchmarks/faults.py`. Files, disks, processes and clocks are broken
on purpose, and it is counted what is lost. The trials lie in `tests/faults`. The tests run a few of
each kind; `make slow` runs many, with another seed each time.

## What is promised

- **A training ends when it is done, when you stop it, or by a fault that it names.** A lost log, a
  closed terminal or a full disk below TensorBoard's curves costs nothing that was trained. Exit
  code 0 means that the adapter is there.
- **After any other end the same command goes on.** The adapter gets the bytes that it would have
  had without the fault; the steps since the last state are trained again. That holds on a CPU; on a
  GPU the rounding may differ ([what a resumed run restores](decisions/005-resume.md)).
- **No file is half written.** An adapter, a state or a cached file is replaced whole or not at all.
- **No damaged file is used without a word.** A state, a cached file or an adapter whose bits have
  changed is refused, replaced by an older one, computed anew, or told.
- **No file costs more than it weighs.** What would take far more memory or time than its size is
  refused, and the error names the bound.
- **No code in a file is run.** `SECURITY.md` tells what is promised about files of strangers.

## What was tried

A trial is bad if something was lost, was changed without a word, ran out of bounds, or ended in a
traceback. "Before" are the numbers of version 0.1.0, where they were counted. After a disturbed
training the same command is run again, and all adapters must have the bytes that an undisturbed
training writes.
"""
NOT_VERIFIED = """\
## What is not verified

- **Windows and macOS.** The trials of whole trainings need Linux. Elsewhere the program relies on
  what Python promises for every system: `os.replace`, locks of files, spawned processes.
- **GPUs.** Everything here ran on a CPU.
- **A power cut.** Files are flushed with fsync before they take their names. Whether the disk then
  keeps them is not tried.
- **A system that is itself in trouble.** Full disks, clocks and permissions are played to the
  program inside its own process: the same calls get the same errors.
- **The other programs.** What ComfyUI, AUTOMATIC1111 and sd-scripts do with files that they read
  themselves is not tried here.
"""


def pages() -> dict[Path, str]:
    """Return the page: path -> text."""
    result = json.loads((RESULTS / "faults_cpu.json").read_text(encoding="utf-8"))
    return {PAGE: page(result)}


def page(result: dict[str, Any]) -> str:
    """Return the text of the page."""
    lines = [HEAD, _total(result["rows"]), ""]
    for subject, rows in groupby(result["rows"], lambda row: row["subject"]):
        lines += [f"### {subject}", "", *_table(rows), ""]
    lines += [*_bad(result["rows"]), NOT_VERIFIED, _provenance(result)]
    return "\n".join(lines).rstrip() + "\n"


def subject_of(module: ModuleType) -> str:
    """Return the heading for the kinds of a module: the first sentence that it says of itself."""
    return (module.__doc__ or module.__name__).strip().splitlines()[0].rstrip(".")


def _total(rows: list[Row]) -> str:
    run = [row for row in rows if not row["needs"]]
    tried, bad = sum(row["tried"] for row in run), sum(len(row["bad"]) for row in run)
    return f"In all: {tried:,} trials of {len(run)} kinds, {bad:,} bad."


def _table(rows: Iterable[Row]) -> list[str]:
    head = ["what", "tried before", "bad before", "tried now", "bad now"]
    return table(head, ([cell(row["name"]), *_before(row), *_now(row)] for row in rows))


def _before(row: Row) -> list[str]:
    return ["", ""] if row["before"] is None else [f"{number:,}" for number in row["before"]]


def _now(row: Row) -> list[str]:
    if row["needs"]:
        return [f"not run: {cell(row['needs'])}", ""]
    return [f"{row['tried']:,}", f"{len(row['bad']):,}"]


def _bad(rows: list[Row]) -> list[str]:
    """List the bad trials, if there are any."""
    lines = [
        f"- {cell(row['name'])}, seed {row['seed']}: {cell(trial)}: {cell(' '.join(bad.split()))}"
        for row in rows
        for trial, bad in row["bad"].items()
    ]
    return ["### What went wrong", "", *lines, ""] if lines else []


def _provenance(result: dict[str, Any]) -> str:
    seeds = ", ".join(dict.fromkeys(str(row["seed"]) for row in result["rows"]))
    minutes = sum(row["seconds"] for row in result["rows"]) / 60
    versions = ", ".join(f"{name} {text}" for name, text in result["versions"].items() if text)
    return (
        f"Tried on: {result['machine']['cpus']}; {versions}; seed {seeds}; {minutes:.0f} minutes."
    )


if __name__ == "__main__":
    write_files(pages())
