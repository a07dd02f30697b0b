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

from lycoris_ext.errors import ConfigError, DataError, EnvironmentFault
from lycoris_ext.formats import atomic_write
from lycoris_ext.formats.atomic import make_folder
from lycoris_ext.runs.events import read_events
from lycoris_ext.runs.lock import RunLock
from lycoris_ext.words import short
from webui_extension.destinations import destinations
from webui_extension.places import Places

CURRENT = "current.json"
_SHOWN_OF_LOG = 4000
#: What would let the host's own environment into the child's.
_HOSTS_VARIABLES = ("PYTHON", "COMMANDLINE_ARGS", "VIRTUAL_ENV", "GRADIO_", "SD_WEBUI")


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
        written = destinations(path, self._places.resolve)
        folder, name = Path(written["output_dir"]), written["output_name"]
        make_folder(self._folder, "see that the host may write there")
        log = self._folder / f"{name}.log"
        command = [
            python,
            # Isolated: what lies beside the config is not imported.
            *("-I", "-X", "utf8", "-u", "-m", "lycoris_ext", "train", str(path)),
            # What was checked is what is used, whatever else the file says.
            *(f"--{option}={value}" for option, value in written.items()),
        ]
        self._child = _launched(command, path.parent, log)
        note = {
            "config": str(path),
            "log": str(log),
            "events": str(folder / f"{name}.events.jsonl"),
            "lock": str(folder / f".{name}.lock"),
        }
        text = json.dumps(note, indent=2, ensure_ascii=False)
        atomic_write(self._folder / CURRENT, text.encode("utf-8"))
        return self.state()

    def state(self) -> TrainingState:
        """How far it is; after a restart of the host by the files alone."""
        note = self._note()
        if not note:
            return TrainingState("", False)
        running = self._alive(note)  # first: what it wrote at its very end is read below
        step, loss, finished = 0, None, False
        for event in read_events(Path(note["events"])):
            finished = event.get("event") == "finished"
            if event.get("event") == "step":
                step, loss = int(event["step"]), float(event["loss"])
        return TrainingState(
            note["config"],
            running,
            step,
            loss,
            note["events"],
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
            pid = self._child.pid if self._child is not None else _owner(Path(note["lock"]))
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
        known = isinstance(content, dict) and content.keys() >= {"config", "log", "events", "lock"}
        return content if known else {}

    def _alive(self, note: dict[str, str]) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        # The host was restarted: the child is nobody's now, and its lock says whether it lives.
        return _owner(Path(note["lock"])) is not None

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


def _launched(command: list[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a program that outlives this one, in a folder; what it says goes into a log."""
    try:
        with log.open("wb") as file:
            return subprocess.Popen(
                command,
                cwd=folder,
                env=_own_environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                # Apart: the host's end, or Ctrl-C in its window, is not the child's.
                start_new_session=sys.platform != "win32",
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
    except OSError as error:
        raise EnvironmentFault(
            f"the training cannot be started ({error.strerror})",
            where=str(error.filename or command[0]),
            fix="see that the host may write the log and run the interpreter",
        ) from error


def _owner(lock: Path) -> int | None:
    """The process that holds a run's lock; None where nobody does."""
    if not lock.is_file():
        return None
    try:
        with RunLock(lock):
            return None
    except EnvironmentFault as fault:
        found = re.search(r"process (\d+)", fault.what)
        return int(found[1]) if found else None


def _own_environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_HOSTS_VARIABLES)}
    return {**kept, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
