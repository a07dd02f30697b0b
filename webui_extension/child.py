"""Run the Python interpreter of another environment: to read a config, and to train."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lycoris_ext.errors import ConfigError, EnvironmentFault
from lycoris_ext.os_errors import reason
from lycoris_ext.words import short

#: Seconds that an interpreter may take to read a file.
_PATIENCE = 60
#: Python's options that keep it from importing modules from the config's folder.
ISOLATED = ("-I", "-X", "utf8")
#: Prefixes of environment variables that would carry the host's environment into the child's.
_HOSTS_VARIABLES = ("PYTHON", "COMMANDLINE_ARGS", "VIRTUAL_ENV", "GRADIO_", "SD_WEBUI")
#: A program that prints a TOML file as JSON.
_READ_TOML = """
import json, sys
try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib
with open(sys.argv[1], encoding="utf-8-sig") as file:
    print(json.dumps(tomllib.loads(file.read()), default=str))
"""


def read_toml(config: Path, python: str) -> dict[str, Any]:
    """Read a TOML config with the interpreter that will train from it.

    The host's own Python is often 3.10, which cannot read TOML.

    Args:
        config: the TOML file.
        python: path of the interpreter.

    Raises:
        ConfigError: the file is no TOML or cannot be read.
        EnvironmentFault: the interpreter cannot be started, or is no Python.
    """
    command = [python, *ISOLATED, "-c", _READ_TOML, str(config)]
    try:
        answer = subprocess.run(
            command,
            env=_own_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
        )
        tables: dict[str, Any] = json.loads(answer.stdout or "{}")
    except OSError as error:
        raise _cannot_start(error, python) from error
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise EnvironmentFault(
            "this program does not answer as Python does",
            where=python,
            fix="name the python of an environment in the settings",
        ) from error
    if answer.returncode:
        lines = answer.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ConfigError(
            f"the config cannot be read: {short(lines[-1]) if lines else 'no reason is given'}",
            where=str(config),
            fix="save it as valid TOML in UTF-8; where a module is missing, install "
            '"lycoris-ext[train]" for that interpreter',
        )
    return tables


def launch(command: list[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a program that goes on after this process ends.

    Args:
        command: the program and its arguments.
        folder: its working directory.
        log: the file that gets its output and errors.

    Raises:
        EnvironmentFault: the program cannot be started, or the log cannot be written.
    """
    try:
        with log.open("wb") as file:
            return subprocess.Popen(
                command,
                cwd=folder,
                env=_own_environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                # A session of its own: Ctrl-C in the host's window must not end the child.
                start_new_session=sys.platform != "win32",
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
    except OSError as error:
        raise _cannot_start(error, command[0]) from error


def _cannot_start(error: OSError, program: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"the training cannot be started ({reason(error)})",
        where=str(error.filename or program),
        fix="see that the host may write the log and run the interpreter",
    )


def _own_environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_HOSTS_VARIABLES)}
    return {**kept, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
