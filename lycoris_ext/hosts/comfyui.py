"""Our nodes into a ComfyUI that is already there: linked to where they lie, or copied."""

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

FOLDER = "lycoris-ext"
"""What the pack is called in custom_nodes."""

PACKAGES = ("lycoris_ext", "comfy_nodes")
#: ComfyUI looks for these in the pack's own folder.
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

# As ComfyUI loads it, without ComfyUI: its modules are asked for only when a node runs.
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
    """Put the nodes into `custom_nodes`, in place of what this function put there before.

    Args:
        path: ComfyUI's folder, or its --base-directory.
        link: let them stay where they lie now, so that an update there is one here; otherwise
            copy them.

    Returns:
        Lines that say what was done.

    Raises:
        DataError: it is no ComfyUI, or the pack's folder there is not of our making.
        EnvironmentFault: it cannot be written, or the nodes do not load with its Python.
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
    new = nodes / f".{FOLDER}.new.disabled"  # an ending that ComfyUI passes over
    shutil.rmtree(new, ignore_errors=True)
    try:
        _write(new, link)
        _check_loads(new, python_of(path))
        _replace(target, new)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot be written ({error.strerror})",
            where=str(target),
            fix="stop ComfyUI and see that you may write there; what was there is unharmed",
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    how = f"linked to {_source()}" if link else "copied"
    return [f"{target}: {how}", "the nodes load; start ComfyUI anew, they are under LyCORIS"]


def python_of(path: Path) -> Path:
    """ComfyUI's own interpreter where one lies in or beside its folder, else the running one."""
    inside = Path("Scripts/python.exe") if os.name == "nt" else Path("bin/python")
    places = (
        path / "venv" / inside,
        path / ".venv" / inside,
        path.parent / "python_embeded" / "python.exe",  # its own spelling
    )
    return next((place for place in places if place.is_file()), Path(sys.executable))


def _source() -> Path:
    return Path(__file__).resolve().parents[2]


def _data_folders() -> Iterator[Path]:
    """Where templates and locales lie: in a clone's root, or where the wheel put them."""
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
        "is there already, and not of this command's making",
        where=str(target),
        fix="a clone is installed as it is; to have this one instead, move it away",
    )


def _write(folder: Path, link: bool) -> None:
    make_folder(folder, "choose a folder that you may write to")
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
    """Import the pack as ComfyUI would, with its Python.

    Raises:
        EnvironmentFault: that fails; the message ends with Python's.
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
            "the nodes do not load: " + "\n".join(done.stderr.strip().splitlines()[-3:]),
            where=str(python),
            fix="install what is missing there, or name a ComfyUI whose Python works",
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
