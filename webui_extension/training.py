"""Start, watch and stop training in a child process with its own Python environment.

The child goes on when the page is reloaded or the host is restarted. The host reads its progress
from the run's events file and sees from the run's lock whether it is alive. Its GPU memory is
free again when it ends.
"""

from __future__ import annotations

import json
import os
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
from lycoris_ext.formats.json_text import read_json
from lycoris_ext.os_errors import reason
from lycoris_ext.runs.events import read_events
from lycoris_ext.runs.lock import lock_holder
from lycoris_ext.runs.losses import finite
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.training.run_config import RunConfig
from webui_extension.allowed_folders import AllowedFolders
from webui_extension.child import ISOLATED, launch, read_toml
from webui_extension.training_log import read_log

CURRENT = "current.json"
#: The options that decide where a run writes, with their defaults; "" means that it does not.
_DESTINATIONS = {"output_dir": "output", "output_name": "last", "logging_dir": "", "cache_dir": ""}


@dataclass(frozen=True)
class TrainingState:
    """How far the training has come.

    Args:
        config: path of its config file; "" if no training was started.
        running: whether the child process is alive.
        step: optimizer steps done; 0 if none is recorded yet.
        loss: loss of the last step, or None.
        events: path of the events file, from which the loss curve is drawn.
        finished: whether the run has done all its steps.
        failed: whether it ended by an error.
        last: what the child said last: its progress, or its error with all lines.
    """

    config: str
    running: bool
    step: int = 0
    loss: float | None = None
    events: str = ""
    finished: bool = False
    failed: bool = False
    last: str = ""

    def __str__(self) -> str:
        if not self.config:
            return "No training was started."
        words = {"running": self.running, "finished": self.finished, "failed": self.failed}
        word = next((word for word, true in words.items() if true), "not running")
        text = f"{Path(self.config).name}: {word}"
        if self.step:
            text += f", step {self.step}"
        if self.loss is not None:
            text += f", loss {self.loss:.4f}"
        if self.failed:
            return f"{text}.\n{self.last}"
        return f"{text}. {self.last}" if self.last else text


class Training:
    """Starts and stops the child process that trains; there is at most one.

    Args:
        allowed_folders: the folders in which configs and outputs must lie.
        folder: for the child's log and for the note by which a restarted host finds the child.
    """

    def __init__(self, allowed_folders: AllowedFolders, folder: Path) -> None:
        self._allowed_folders = allowed_folders
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()

    def start(self, config: str, python: str, *, allowed: bool = True) -> TrainingState:
        """Start `lycoris-ext train CONFIG` with the interpreter of another environment.

        Args:
            config: a TOML file inside the allowed folders.
            python: path of that interpreter, from the host's settings.
            allowed: whether users of the page may start programs.

        Raises:
            ConfigError: starting is not allowed, a training is running, or the config is no TOML.
            DataError: there is no such config, or it is outside the allowed folders.
            EnvironmentFault: the interpreter is missing or cannot be started.
        """
        if not allowed:
            raise ConfigError(
                "this host is shared, so users of its page may not start programs",
                where="training",
                fix="start the host without --share and --listen, or with "
                "--enable-insecure-extension-access",
            )
        with self._starting:  # two clicks at once start one
            return self._start(config, python)

    def _start(self, config: str, python: str) -> TrainingState:
        if self.state().running:
            raise ConfigError(
                "a training is running already", where="training", fix="stop it, or wait"
            )
        path = self._allowed_folders.resolve(config)
        if not path.is_file() or path.suffix.lower() != ".toml":
            raise DataError(
                "this is no config file", where=str(path), fix="name a run's .toml file"
            )
        if not python or not Path(python).is_file():
            raise EnvironmentFault(
                f"there is no Python at {python}" if python else "no Python for training is set",
                where="Settings > LyCORIS Ext > Python of the environment that trains",
                fix='write the path of python in an environment with "lycoris-ext[train]"; '
                "the host's own Python is never used",
            )
        written = self._destinations(path, python)
        make_folder(self._folder)
        log = self._folder / f"{written['output_name']}.log"
        command = [
            python,
            *(*ISOLATED, "-u", "-m", "lycoris_ext", "train", str(path)),
            # Pass the folders that were checked, in case the file changes before it is read.
            *(f"--{option}={value}" for option, value in written.items()),
        ]
        self._child = launch(command, path.parent, log)
        note = {"config": str(path), "log": str(log)}
        note |= {option: written[option] for option in ("output_dir", "output_name")}
        text = json.dumps(note, indent=2, ensure_ascii=False)
        atomic_write(self._folder / CURRENT, text.encode("utf-8"))
        return self.state()

    def _destinations(self, config: Path, python: str) -> dict[str, str]:
        """Read from a config where its run writes, and check that this is allowed.

        Returns:
            Option -> value: output_dir and output_name; logging_dir and cache_dir if they are set.
            Folders are absolute.

        Raises:
            ConfigError: the config cannot be read, or one of these options is no text or no valid
                file name.
            NotAllowed: a folder is outside the allowed ones.
            EnvironmentFault: the interpreter, which reads the config, cannot be started.
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
        RunConfig(output_name=values["output_name"])  # raises if this is no valid file name
        return {
            option: str(self._allowed_folders.resolve(config.parent / os.path.expanduser(value)))
            if option.endswith("_dir")
            else value
            for option, value in values.items()
            if value or _DESTINATIONS[option]
        }

    def state(self) -> TrainingState:
        """Read the training's progress from its files, which also works after a host restart."""
        note = self._note()
        if not note:
            return TrainingState("", False)
        running = self._alive(note)  # asked before its events are read, so that none is missed
        step, loss, finished = 0, None, False
        events = _run(note).events
        for event in read_events(events):
            finished = event.get("event") == "finished"
            if event.get("event") == "step":
                step, loss = event.get("step", 0), finite(event.get("loss"))
        said = read_log(Path(note["log"]))
        failed = said.failed and not running and not finished
        return TrainingState(
            note["config"], running, step, loss, str(events), finished, failed, said.text
        )

    def stop(self) -> TrainingState:
        """Ask the child to stop after its current step; it saves its state and can be continued.

        Raises:
            EnvironmentFault: the operating system does not let this host signal the child.
        """
        note = self._note()
        if note and self._alive(note):
            pid = self._child.pid if self._child is not None else lock_holder(_run(note).lock)
            if pid is not None:
                # On Windows only the child gets this signal: it has its own process group.
                windows = sys.platform == "win32"
                try:
                    os.kill(pid, getattr(signal, "CTRL_BREAK_EVENT" if windows else "SIGINT"))
                except OSError as error:
                    raise EnvironmentFault(
                        f"process {pid} cannot be asked to stop ({reason(error)})",
                        where=note["config"],
                        fix="end it in the system's task manager; when it is started again, it "
                        "continues from its last saved state",
                    ) from error
        return self.state()

    def _note(self) -> dict[str, str]:
        try:
            content = read_json(self._folder / CURRENT)
        except (OSError, ValueError):
            return {}
        names = {"config", "log", "output_dir", "output_name"}
        return content if isinstance(content, dict) and content.keys() >= names else {}

    def _alive(self, note: dict[str, str]) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        # The host was restarted and has no handle on the child: its lock tells if it is alive.
        return lock_holder(_run(note).lock) is not None


def _run(note: dict[str, str]) -> RunPaths:
    return RunPaths(Path(note["output_dir"]), note["output_name"])
