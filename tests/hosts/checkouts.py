"""Real hosts: where their checkouts are, and how their scripts are started and watched."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.errors import EnvironmentFault
from lycoris_ext.hosts.find import host_of

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Host:
    """A program that our adapters run inside.

    Args:
        name: as `host_of` calls it.
        variable: NAME_DIR in the environment names its checkout, NAME_PYTHON its interpreter.
        adapter: the folder here that plugs into it.
        packages: whose versions a receipt tells.
    """

    name: str
    variable: str
    adapter: str
    packages: tuple[str, ...]


HOSTS = {
    "sd_scripts": Host(
        "sd-scripts",
        "SD_SCRIPTS",
        "kohya_adapter",
        ("torch", "diffusers", "transformers", "accelerate", "safetensors", "numpy"),
    ),
    "comfyui": Host("ComfyUI", "COMFYUI", "comfy_nodes", ("torch", "safetensors", "numpy")),
    "webui": Host(
        "AUTOMATIC1111",
        "A1111",
        "webui_extension",
        ("torch", "safetensors", "numpy", "pillow", "gradio", "pydantic"),
    ),
    "forge": Host(
        "Forge",
        "FORGE",
        "webui_extension",
        ("torch", "safetensors", "numpy", "pillow", "gradio", "pydantic", "transformers"),
    ),
}
"""By what its tests are called: test_KEY_*.py."""


@dataclass(frozen=True)
class Checkout:
    """A host's source and the interpreter of its own environment."""

    host: Host
    folder: Path
    python: Path


@dataclass(frozen=True)
class Run:
    """What a program did.

    Args:
        output: everything it printed, as it was printed.
        pieces: (seconds since its start, text) as they arrived.
        seconds: from its start to its end.
        peak: the most memory it held, in bytes; None where the system does not tell.
    """

    output: str
    pieces: tuple[tuple[float, str], ...]
    seconds: float
    peak: int | None


def find_checkout(host: Host, environment: Mapping[str, str] = os.environ) -> Checkout:
    """The checkout that NAME_DIR names, with NAME_PYTHON or the interpreter of its folder venv.

    Raises:
        EnvironmentFault: it is not named, it is another program, or there is no interpreter.
    """
    variable = f"{host.variable}_DIR"
    named = environment.get(variable, "")
    if not named or host_of(Path(named)) != host.name:
        raise EnvironmentFault(
            f"names no checkout of {host.name}" if named else "is not set",
            where=variable,
            fix=f"set it to a folder with {host.name} and its requirements installed",
        )
    folder = Path(named).resolve()
    variable = f"{host.variable}_PYTHON"
    inside = Path("venv") / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    python = Path(environment.get(variable) or folder / inside).absolute()
    if not python.is_file():
        raise EnvironmentFault(
            "no interpreter is there",
            where=variable if environment.get(variable) else str(python),
            fix=f"set {variable} to the Python that {host.name} is installed for",
        )
    return Checkout(host, folder, python)


def check_installed(checkout: Checkout) -> None:
    """Make sure that the host would import this very tree.

    Raises:
        EnvironmentFault: lycoris_ext is missing in its environment, or is another copy.
    """
    code = "import json, lycoris_ext; print(json.dumps(lycoris_ext.__file__))"
    command = [str(checkout.python), "-c", code]
    done = subprocess.run(
        command,
        cwd=checkout.folder,
        env=host_environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode == 0:
        found = Path(json.loads(done.stdout)).resolve()
        if found.parent == ROOT / "lycoris_ext":
            return
        what = f"has another copy of lycoris_ext: {found.parent}"
    else:
        what = "cannot import lycoris_ext"
    raise EnvironmentFault(
        what,
        where=str(checkout.python),
        fix=f'run "{checkout.python}" -m pip install --no-deps --editable "{ROOT}"',
    )


def host_environment() -> dict[str, str]:
    """Return our environment variables for a host: offline, on the CPU, in UTF-8, not this
    Python."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return kept | {
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "-1",
    }


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def run_script(checkout: Checkout, script: str | Path, *arguments: str, limit: float = 1800) -> Run:
    """Run a script with the host's interpreter, in the host's folder, and watch it.

    Args:
        checkout: of the host.
        script: relative to the host's folder, or absolute.
        arguments: of the script.
        limit: seconds after which it is ended.

    Raises:
        AssertionError: it failed or was ended; the message ends with what it printed last.
    """
    command = [str(checkout.python), str(script), *arguments]
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=checkout.folder,
        env=host_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    timer = threading.Timer(limit, process.kill)
    timer.start()
    peak = _Peak(process.pid)
    peak.start()
    pieces: list[tuple[float, bytes]] = []
    try:
        while chunk := os.read(process.stdout.fileno(), 1 << 16):
            pieces.append((time.monotonic() - started, chunk))
        process.wait()
    finally:
        timer.cancel()
        held = peak.stop()
        process.stdout.close()
        if process.returncode is None:
            process.kill()
            process.wait()
    output = b"".join(chunk for _, chunk in pieces).decode("utf-8", errors="replace")
    shown = " ".join([Path(script).name, *arguments])
    assert process.returncode == 0, f"{shown}: exit {process.returncode}\n{output[-4000:]}"
    texts = tuple((when, chunk.decode("utf-8", errors="replace")) for when, chunk in pieces)
    return Run(output, texts, time.monotonic() - started, held)


class _Peak(threading.Thread):
    """Watches the most memory that a program has held (Linux), until ``stop``.

    ``resource`` will not do: a child begins with its parent's peak.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.status = Path(f"/proc/{pid}/status")
        self.found: int | None = None
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.1):
            try:
                lines = self.status.read_text(encoding="ascii", errors="replace").splitlines()
            except OSError:  # it has ended, or this is no Linux
                return
            told = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
            if told:
                self.found = max(told[0], self.found or 0)

    def stop(self) -> int | None:
        """The peak in bytes; None where the system does not tell."""
        self._over.set()
        self.join()
        return self.found
