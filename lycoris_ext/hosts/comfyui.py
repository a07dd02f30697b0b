"""Install our nodes into an existing ComfyUI, as a copy or by reference to this package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from lycoris_ext.errors import DataError, EnvironmentFault
from lycoris_ext.formats.atomic import make_folder
from lycoris_ext.os_errors import reason, remedy_for_writing

FOLDER = "lycoris-ext"
"""Name of the nodes' folder in custom_nodes."""

PACKAGES = ("lycoris_ext", "comfy_nodes")
#: Folders that ComfyUI reads only from the nodes' folder itself, so they are always copied.
DATA = ("example_workflows", "locales")
MARK = "made by `lycoris-ext install comfyui`"

_ENTRY = f'''"""LyCORIS nodes, {MARK}; run that again to update them."""

import sys
from pathlib import Path

if "folder_paths" in sys.modules:
    _place = {{place}}
    if not (_place / "comfy_nodes").is_dir():
        raise ImportError(f"the nodes are no longer in {{{{_place}}}}: run the command again")
    __path__.append(str(_place))
    from .comfy_nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    WEB_DIRECTORY = str(_place / "comfy_nodes" / "web")

    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
'''
_HERE = "Path(__file__).resolve().parent"

# Loads the nodes as ComfyUI does, with an empty module in place of ComfyUI's folder_paths. This
# works because the nodes import ComfyUI's modules only when they run.
_LOAD = """
import importlib.util, sys, types
sys.modules["folder_paths"] = types.ModuleType("folder_paths")
spec = importlib.util.spec_from_file_location(sys.argv[1].replace(".", "_x_"), sys.argv[2])
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
print("nodes:", len(module.NODE_CLASS_MAPPINGS))
"""


def install_comfyui(path: Path, link: bool) -> list[str]:
    """Install the nodes into ComfyUI's `custom_nodes`, replacing an earlier installation.

    Args:
        path: ComfyUI's folder, or its --base-directory.
        link: install a small module that loads the nodes from this package, so that updating the
            package updates the nodes; False copies the nodes.

    Returns:
        Lines to print that say what was done.

    Raises:
        DataError: the folder is no ComfyUI, or custom_nodes/lycoris-ext was not made by this
            function.
        EnvironmentFault: a file cannot be written, or the nodes cannot be imported by ComfyUI's
            Python.
    """
    nodes = path / "custom_nodes"
    if not nodes.is_dir():
        raise DataError(
            "there is no folder custom_nodes",
            where=str(path),
            fix="name the folder of ComfyUI, or the one that its --base-directory names",
        )
    target = nodes / FOLDER
    _check_ours(target)
    new = nodes / f".{FOLDER}.new.disabled"  # ComfyUI ignores folders that end in .disabled
    shutil.rmtree(new, ignore_errors=True)
    try:
        _write(new, link)
        _check_loads(new, python_of(path))
        _replace(target, new)
    except OSError as error:
        raise EnvironmentFault(
            f"this folder cannot be written ({reason(error)})",
            where=str(target),
            fix=f"{remedy_for_writing(error, 'stop ComfyUI and try again')}; nothing was changed",
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    how = f"linked to {_source()}" if link else "copied"
    return [
        f"{target}: {how}",
        "the nodes can be imported; restart ComfyUI and look in the category LyCORIS",
    ]


def python_of(path: Path) -> Path:
    """Return ComfyUI's own Python, if its folder or portable package has one, else this Python."""
    inside = Path("Scripts/python.exe") if os.name == "nt" else Path("bin/python")
    places = (
        path / "venv" / inside,
        path / ".venv" / inside,
        path.parent / "python_embeded" / "python.exe",  # spelled so by ComfyUI
    )
    return next((place for place in places if place.is_file()), Path(sys.executable))


def _source() -> Path:
    return Path(__file__).resolve().parents[2]


def _data_folders() -> Iterator[Path]:
    """Yield the folders of example workflows and locales, from a git clone or the installed wheel.

    Raises:
        EnvironmentFault: a folder is missing.
    """
    shared = Path(sysconfig.get_path("data")) / "share" / "lycoris_ext"
    for name in DATA:
        places = [root / name for root in (_source(), shared) if (root / name).is_dir()]
        if not places:
            raise EnvironmentFault(
                f"the folder {name} is missing",
                where=str(_source()),
                fix="install lycoris-ext again, or clone it",
            )
        yield places[0]


def _check_ours(target: Path) -> None:
    entry = target / "__init__.py"
    if not target.exists() and not target.is_symlink():
        return
    if target.is_dir() and entry.is_file() and MARK in entry.read_text(encoding="utf-8"):
        return
    raise DataError(
        "this folder exists already, and this command did not make it",
        where=str(target),
        fix="if it is a git clone of lycoris-ext, it works as it is; otherwise move it away",
    )


def _write(folder: Path, link: bool) -> None:
    make_folder(folder)
    for data in _data_folders():
        shutil.copytree(data, folder / data.name)
    place = _HERE
    if link:
        place = f"Path({str(_source())!r})"
    else:
        for name in PACKAGES:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(_source() / name, folder / name, ignore=ignored)
    (folder / "__init__.py").write_text(_ENTRY.format(place=place), encoding="utf-8", newline="\n")


def _check_loads(folder: Path, python: Path) -> None:
    """Import the nodes with ComfyUI's Python, as ComfyUI would.

    Args:
        folder: the nodes' folder.
        python: ComfyUI's Python.

    Raises:
        EnvironmentFault: the import fails; the message ends with Python's own error.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(python), "-c", _LOAD, str(folder), str(folder / "__init__.py")],
        env={**kept, "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode or "nodes:" not in done.stdout:
        raise EnvironmentFault(
            "the nodes cannot be imported: " + "\n".join(done.stderr.strip().splitlines()[-3:]),
            where=str(python),
            fix="install the missing packages with this Python, or name another ComfyUI",
        )


def _replace(target: Path, new: Path) -> None:
    old = target.with_name(f".{FOLDER}.old.disabled")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(target, old)
    try:
        os.replace(new, target)
    except OSError:
        if old.exists():
            os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)
