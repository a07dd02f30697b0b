"""What the page of runs shows of each: curves, pictures, data, options and remaining time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lycoris_ext.data.manifest_file import read_manifest
from lycoris_ext.errors import DataError, LycorisExtError
from lycoris_ext.files import read_text_within
from lycoris_ext.formats.toml_text import read_tables
from lycoris_ext.os_errors import reason
from lycoris_ext.pages.watch.curves import BAND_POINTS, MOST_POINTS, EventCurves
from lycoris_ext.runs.paths import RunPaths, step_in_name
from lycoris_ext.words import count

MOST_PICTURES = 2000


def find_runs(places: Iterable[Path]) -> list[RunPaths]:
    """Return the runs that paths name: a folder is all runs in it, a file of a run is this one.

    Raises:
        DataError: there is no event log of a run there.
    """
    found: dict[Path, RunPaths] = {}
    for place in places:
        logs = sorted(place.glob("*.events.jsonl")) if place.is_dir() else [_log_of(place)]
        runs = [RunPaths.of_events(log) for log in logs if log.is_file()]
        if not runs:
            raise DataError(
                "here is no run: no NAME.events.jsonl",
                where=str(place),
                fix="name a run's output_dir, or one of its files",
            )
        found |= {run.events.resolve(): run for run in runs if run is not None}
    return list(found.values())


def _log_of(file: Path) -> Path:
    if RunPaths.of_events(file) is not None:
        return file
    return RunPaths(file.parent, file.with_suffix("").name).events


class Watched:
    """A run that the page shows.

    Args:
        paths: of its files.
    """

    def __init__(self, paths: RunPaths) -> None:
        self.paths = paths
        self.events = EventCurves(paths.events)
        self._data: tuple[int, str] = (-1, "")

    def as_content(self, address: Callable[[Path], str]) -> dict[str, Any]:
        """Return the run as the page's script reads it.

        Args:
            address: returns the address of a picture for the page.

        Raises:
            DataError: the event log cannot be read.
        """
        self.events.refresh()
        options = self.options()
        total = options.get("max_train_steps")
        total = total if isinstance(total, int) and "max_train_epochs" not in options else None
        wait = self.events.seconds_a_step()
        left = None
        if total and wait is not None and not self.events.ended:
            left = max(0, total - self.events.step) * wait
        return {
            "name": self.paths.name,
            "folder": str(self.paths.folder),
            "step": self.events.step,
            "total": total,
            "seconds_a_step": wait,
            "seconds_left": left,
            "ended": self.events.ended,
            "curves": {
                name: curve.points(BAND_POINTS if name == "loss" else MOST_POINTS)
                for name, curve in self.events.curves.items()
            },
            "pictures": [
                {"step": self.step_of(path), "address": address(path), "name": path.name}
                for path in self.pictures()
            ],
            "options": {name: str(value) for name, value in options.items()},
            "data": self._data_once(),
        }

    def pictures(self) -> list[Path]:
        """Return the pictures that were drawn during the run; of very many the last ones."""
        return self.paths.drawn()[-MOST_PICTURES:]

    @staticmethod
    def step_of(picture: Path) -> int:
        """Return the step after which a picture was drawn."""
        return step_in_name(picture.with_name(picture.stem.rpartition("-")[0] + ".png")) or 0

    def options(self) -> dict[str, Any]:
        """Return the run's options by their names; none if they cannot be read."""
        try:
            tables = read_tables(read_text_within(self.paths.config))
        except (OSError, ValueError, RecursionError):
            return {}
        flat: dict[str, Any] = {}
        for name, value in tables.items():
            flat |= value if isinstance(value, dict) else {name: value}
        return flat

    def _data_once(self) -> str:
        """Return ``data``, read anew when the list of pictures was written anew."""
        listed = self.paths.dataset
        changed = listed.stat().st_mtime_ns if listed.is_file() else 0
        if changed != self._data[0]:
            self._data = changed, self.data()
        return self._data[1]

    def data(self) -> str:
        """Return a sentence on the pictures that the run trains."""
        try:
            manifest = read_manifest(self.paths.dataset)
        except OSError as error:
            return f"The list of pictures cannot be read ({reason(error)})."
        except LycorisExtError as error:
            return str(error)
        if manifest is None:
            return "There is no list of pictures."
        return f"The run trains {count(len(manifest.entries), 'picture')}."
