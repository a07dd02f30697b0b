"""Training as a child process in an environment of its own, never inside the host's process.

The child goes on when the page is reloaded or the host is restarted: it writes what it does into
its run's `events.jsonl`, holds its run's lock, and gives the GPU back by ending.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lycoris_ext.errors import ConfigError, DataError, EnvironmentFault
from lycoris_ext.formats import atomic_write
from lycoris_ext.formats.atomic import make_folder
from lycoris_ext.runs.events import read_events
from lycoris_ext.runs.lock import lock_holder
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.training.run_config import RunConfig
from lycoris_ext.words import short
from webui_extension.child import ISOLATED, launch, read_toml
from webui_extension.places import Places

CURRENT = "current.json"
_SHOWN_OF_LOG = 4000
#: What decides where a run writes -> its default; "" is nowhere.
_DESTINATIONS = {"output_dir": "output", "output_name": "last", "logging_dir": "", "cache_dir": ""}


@dataclass(frozen=True)
class TrainingState:
    """How far a training is.

    Args:
        config: its file.
        running: whether the child is alive.
        step: done; 0 where nothing is known yet.
        loss: of the last step.
        events: where the curve is.
        finished: whether it has its full length.
        last: the last line of the log: progress, or what went wrong.
    """

    config: str
    running: bool
    step: int = 0
    loss: float | None = None
    events: str = ""
    finished: bool = False
    last: str = ""

    def __str__(self) -> str:
        if not self.config:
            return "No training was started."
        word = "running" if self.running else "finished" if self.finished else "not running"
        text = f"{Path(self.config).name}: {word}"
        if self.step:
            text += f", step {self.step}"
        if self.loss is not None:
            text += f", loss {self.loss:.4f}"
        return f"{text}. {self.last}" if self.last else text


class Training:
    """The child that trains.

    Args:
        places: where configs may lie.
        folder: for the log and the note that a restarted host reads.
    """

    def __init__(self, places: Places, folder: Path) -> None:
        self._places = places
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()

    def start(self, config: str, python: str, *, allowed: bool = True) -> TrainingState:
        """Start `lycoris-ext train CONFIG` with the interpreter of another environment.

        Args:
            config: a TOML file inside the allowed folders.
            python: that interpreter, from the host's settings.
            allowed: whether this host lets its page start programs.

        Raises:
            ConfigError: it is not allowed, one is running, or the config is no TOML.
            DataError: there is no such config, or it is outside the allowed folders.
            EnvironmentFault: there is no such interpreter, or it cannot be started.
        """
        if not allowed:
            raise ConfigError(
                "this host is shared, and whoever sees its page may not start programs",
                where="training",
                fix="start the host without --share and --listen, or with "
                "--enable-insecure-extension-access",
            )
        with self._starting:  # two clicks at once start one
            return self._start(config, python)

    def _start(self, config: str, python: str) -> TrainingState:
        if self.state().running:
            raise ConfigError("a training is running", where="training", fix="stop it, or wait")
        path = self._places.resolve(config)
        if not path.is_file() or path.suffix.lower() != ".toml":
            raise DataError("this is no config", where=str(path), fix="name a run's .toml file")
        if not python or not Path(python).is_file():
            raise EnvironmentFault(
                "there is no such interpreter" if python else "no interpreter is named",
                where="Settings > LyCORIS Ext > Python of the environment that trains",
                fix='name the python of an environment with "lycoris-ext[train]"; '
                "the host's own is never used",
            )
        written = self._destinations(path, python)
        make_folder(self._folder, "see that the host may write there")
        log = self._folder / f"{written['output_name']}.log"
        command = [
            python,
            *(*ISOLATED, "-u", "-m", "lycoris_ext", "train", str(path)),
            # What was checked is what is used, whatever else the file says.
            *(f"--{option}={value}" for option, value in written.items()),
        ]
        self._child = launch(command, path.parent, log)
        note = {"config": str(path), "log": str(log)}
        note |= {option: written[option] for option in ("output_dir", "output_name")}
        text = json.dumps(note, indent=2, ensure_ascii=False)
        atomic_write(self._folder / CURRENT, text.encode("utf-8"))
        return self.state()

    def _destinations(self, config: Path, python: str) -> dict[str, str]:
        """Option -> value of all that decides where a run of this config writes.

        Returns:
            output_dir and output_name; logging_dir and cache_dir where they are set.

        Raises:
            ConfigError: the config cannot be read, or holds no folder and no file's name there.
            NotAllowed: a folder is outside the allowed ones.
            EnvironmentFault: the interpreter, which reads it, cannot be started.
        """
        tables = read_toml(config, python)
        values: dict[str, Any] = dict(_DESTINATIONS)
        for table in (tables, *(table for table in tables.values() if isinstance(table, dict))):
            values.update((option, table[option]) for option in values if option in table)
        for option, value in values.items():
            if not isinstance(value, str) or not value.isprintable():
                raise ConfigError(
                    f"{option} is {value!r}", where=str(config), fix="write a text in quotes"
                )
        RunConfig(output_name=values["output_name"])  # refuses what is no file's name
        return {
            option: str(self._places.resolve(config.parent / os.path.expanduser(value)))
            if option.endswith("_dir")
            else value
            for option, value in values.items()
            if value or _DESTINATIONS[option]
        }

    def state(self) -> TrainingState:
        """How far it is; after a restart of the host by the files alone."""
        note = self._note()
        if not note:
            return TrainingState("", False)
        running = self._alive(note)  # first: what it wrote at its very end is read below
        step, loss, finished = 0, None, False
        events = _run(note).events
        for event in read_events(events):
            finished = event.get("event") == "finished"
            if event.get("event") == "step":
                step, loss = int(event["step"]), float(event["loss"])
        return TrainingState(
            note["config"],
            running,
            step,
            loss,
            str(events),
            finished,
            self._last_line(Path(note["log"])),
        )

    def stop(self) -> TrainingState:
        """Ask it to stop after the step that it is in; it saves its state and can be continued.

        Raises:
            EnvironmentFault: the system does not let this host reach it.
        """
        note = self._note()
        if note and self._alive(note):
            pid = self._child.pid if self._child is not None else lock_holder(_run(note).lock)
            if pid is not None:
                # On Windows the process group of its own makes this reach the child alone.
                windows = sys.platform == "win32"
                try:
                    os.kill(pid, getattr(signal, "CTRL_BREAK_EVENT" if windows else "SIGINT"))
                except OSError as error:
                    raise EnvironmentFault(
                        f"process {pid} cannot be asked to stop ({error.strerror})",
                        where=note["config"],
                        fix="end it in the system's own list of processes; it goes on from its "
                        "last saved state when it is started again",
                    ) from error
        return self.state()

    def _note(self) -> dict[str, str]:
        try:
            content = json.loads((self._folder / CURRENT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        names = {"config", "log", "output_dir", "output_name"}
        return content if isinstance(content, dict) and content.keys() >= names else {}

    def _alive(self, note: dict[str, str]) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        # The host was restarted: the child is nobody's now, and its lock says whether it lives.
        return lock_holder(_run(note).lock) is not None

    @staticmethod
    def _last_line(log: Path) -> str:
        try:
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - _SHOWN_OF_LOG))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
        return short(lines[-1], 300) if lines else ""


def _run(note: dict[str, str]) -> RunPaths:
    return RunPaths(Path(note["output_dir"]), note["output_name"])
