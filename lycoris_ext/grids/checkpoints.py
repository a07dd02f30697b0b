"""List the checkpoints of a run in the order of training, each with its metadata and scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from lycoris_ext.errors import DataError, FormatError, LycorisExtError
from lycoris_ext.files import cannot_read, read_text
from lycoris_ext.formats.adapter_file import read_adapter_file
from lycoris_ext.formats.metadata import json_object
from lycoris_ext.formats.summary import AdapterSummary, describe_file, refuse_other_files
from lycoris_ext.runs.paths import RunPaths, epoch_in_name, step_in_name
from lycoris_ext.words import short

#: Extensions of adapters stored as pickles, which can run code when they are read.
PICKLES = (".pt", ".pth", ".ckpt", ".bin")


@dataclass(frozen=True)
class Checkpoint:
    """An adapter file and what is known about it.

    Args:
        path: the file.
        hash: SHA-256 of the whole file, metadata included.
        summary: its layers, algorithms and metadata.
        scores: name -> score, if an evaluation stored scores beside the file.
    """

    path: Path
    hash: str
    summary: AdapterSummary
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file's name without extension."""
        return self.path.stem

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's metadata, key -> text."""
        return self.summary.metadata

    @property
    def step(self) -> int | None:
        """Optimizer steps of its training, from its metadata or else its file name."""
        steps = self.metadata.get("ss_steps", "")
        if steps.isascii() and steps.isdigit() and len(steps) < 16:
            return int(steps)
        return step_in_name(self.path)

    @property
    def algorithm(self) -> str:
        """The algorithms, such as "locon", or "loha, DoRA"."""
        dora = any("dora_wd" in group.form for group in self.summary.layers)
        return ", ".join([*self.summary.algorithms, *(["DoRA"] if dora else [])])

    @property
    def dims(self) -> str:
        """Rank and alpha of each group of layers, the largest first: "8/1, 4/1 Tucker"."""
        groups = [
            f"{group.rank}/{group.alpha:g}{' Tucker' if group.tucker else ''}"
            for group in self.summary.layers
            if group.rank
        ]
        return ", ".join(dict.fromkeys(groups))

    @property
    def base(self) -> str:
        """Name and family of the base model that it was trained on; "" if the file has neither."""
        family = self.metadata.get("ss_base_model_version", "")
        known = (self.metadata.get("ss_sd_model_name", ""), family)
        return ", ".join(short(text) for text in known if text not in ("", "None"))

    def tags(self, most: int = 40) -> list[tuple[str, int]]:
        """Return (tag, number of training pictures with it), most frequent first.

        Args:
            most: how many tags to return at most.
        """
        counts: Counter[str] = Counter()
        for folder in json_object(self.metadata.get("ss_tag_frequency", "")).values():
            if isinstance(folder, dict):
                for tag, count in folder.items():
                    if isinstance(count, int) and not isinstance(count, bool):
                        counts[str(tag).strip()] += count
        return counts.most_common(most)


@dataclass(frozen=True)
class RunFiles:
    """The adapters and runs in a folder.

    Args:
        folder: the folder.
        checkpoints: the adapters, sorted by step, then by name.
        refused: (file name, reason) of files that look like adapters but cannot be used.
        runs: the runs whose events file is in the folder.
    """

    folder: Path
    checkpoints: tuple[Checkpoint, ...]
    refused: tuple[tuple[str, str], ...] = ()
    runs: tuple[RunPaths, ...] = ()


def list_run(place: Path, check: Callable[[Path], object] = Path) -> RunFiles:
    """Read all adapters of a run's folder, or a single adapter file.

    Files that are damaged, hostile or no adapters are listed in `refused` with the reason; the
    other files are read all the same.

    Args:
        place: the folder or file.
        check: called with each file before it is opened; raise a `LycorisExtError` to refuse it.

    Raises:
        DataError: there is no such folder or file, or the folder cannot be read.
    """
    if place.is_file():
        return _list(place.parent, [place], check)
    if not place.is_dir():
        raise DataError(
            "there is no such folder", where=str(place), fix="name a run's folder or an adapter"
        )
    try:
        files = sorted(entry for entry in place.iterdir() if entry.is_file())
    except OSError as error:
        raise cannot_read(place, error, what="the folder ") from error
    return _list(place, files, check)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and describe an adapter file; the result is cached until the file changes.

    Raises:
        DataError: the file does not exist.
        FormatError: the file is damaged, hostile, a pickle, or no adapter.
    """
    if path.suffix.lower() in PICKLES:
        raise FormatError(
            "this file is a pickle, which can run code when it is opened, so it is not opened",
            where=path.name,
            fix="convert it to safetensors with the tool that wrote it",
        )
    try:
        state = path.stat()
        known = _read(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise DataError(
            "there is no such file", where=str(path), fix="list the folder again"
        ) from error
    scores = _scores(path)  # not cached: they can change without the adapter file changing
    return replace(known, scores=scores) if scores else known


def _list(folder: Path, files: Iterable[Path], check: Callable[[Path], object]) -> RunFiles:
    checkpoints, refused, runs = [], [], []
    for path in files:
        if path.name.startswith("."):
            continue  # an unfinished file or a lock
        try:
            if run := RunPaths.of_events(path):
                check(path)
                runs.append(run)
            elif path.suffix.lower() in (".safetensors", *PICKLES):
                check(path)
                checkpoints.append(read_checkpoint(path))
        except LycorisExtError as error:
            refused.append((path.name, short(error.what)))
    checkpoints.sort(key=_order)
    return RunFiles(folder, tuple(checkpoints), tuple(refused), tuple(runs))


def _order(checkpoint: Checkpoint) -> tuple[float, str]:
    step = epoch_in_name(checkpoint.path) if checkpoint.step is None else checkpoint.step
    return (math.inf if step is None else step), checkpoint.name


@lru_cache(maxsize=512)
def _read(path: Path, size: int, modified: int) -> Checkpoint:
    file = read_adapter_file(path, refuse_other_files)
    return Checkpoint(path, file.hash(), describe_file(file))


def _scores(path: Path) -> dict[str, float]:
    """Read the scores stored beside an adapter; return {} if there are none."""
    try:
        text = read_text(RunPaths.scores(path))
        stored = json_object(text).get("scores", {})
        scores = {short(name, 40): float(value) for name, value in stored.items()}
        return {name: value for name, value in scores.items() if math.isfinite(value)}
    except (OSError, ValueError, TypeError, AttributeError, OverflowError):
        return {}  # there is none, or another tool wrote a file of that name
