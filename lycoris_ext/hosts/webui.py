"""Install the tab into AUTOMATIC1111's or Forge's `extensions` folder, as a copy.

It is copied because links need special rights on Windows, and because the host's own Python cannot
import this package from its environment. Installing again updates the copy.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import lycoris_ext
from lycoris_ext.errors import ConfigError, EnvironmentFault
from lycoris_ext.os_errors import reason, remedy_for_writing

NAME = "lycoris-ext"
NOTE = "installed.json"
ENTRY = "scripts/lycoris_ext_webui.py"

_SOURCE = Path(lycoris_ext.__file__).resolve().parents[1]
#: The small base model and its pictures, which the tab does not use, and compiled files.
_LEFT_OUT = ("mini", "__pycache__")


def install_webui(path: Path) -> list[str]:
    """Copy the tab and the packages that it needs to PATH/extensions/lycoris-ext.

    Args:
        path: the host's folder, or the one that its --data-dir names.

    Returns:
        Lines to print that say what was done.

    Raises:
        ConfigError: the folder is no AUTOMATIC1111 or Forge, or extensions/lycoris-ext exists and
            was not made by this function.
        EnvironmentFault: a file cannot be written, for example because the running host has it
            open.
    """
    extensions = path / "extensions"
    if not extensions.is_dir() or not (path / "models").is_dir():
        raise ConfigError(
            "this is no folder of AUTOMATIC1111's or Forge's: it has no extensions and models",
            where=str(path),
            fix="name the folder that holds webui.py, or the one that --data-dir names",
        )
    place = extensions / NAME
    renewed = place.exists()
    if renewed and not (place / NOTE).is_file():
        raise ConfigError(
            "something else of this name is there, perhaps a git clone",
            where=str(place),
            fix="use the clone, or move the folder away first",
        )
    fresh, old = extensions / f".{NAME}.new", extensions / f".{NAME}.old"
    try:
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        _write(fresh)
        if renewed:
            os.replace(place, old)
        os.replace(fresh, place)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        if old.is_dir() and not place.exists():
            os.replace(old, place)
        raise EnvironmentFault(
            f"this cannot be written ({reason(error)})",
            where=str(error.filename or place),
            fix=f"{remedy_for_writing(error, 'close the host and try again')}; nothing was changed",
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    version = lycoris_ext.__version__
    return [
        f"{'updated' if renewed else 'installed'}: {place} (lycoris-ext {version})",
        "restart the host; the tab is called LyCORIS Ext",
    ]


def _write(folder: Path) -> None:
    left_out = shutil.ignore_patterns(*_LEFT_OUT)
    for package in ("lycoris_ext", "webui_extension"):
        shutil.copytree(_SOURCE / package, folder / package, ignore=left_out)
    entry = folder / ENTRY
    entry.parent.mkdir()
    shutil.copyfile(_SOURCE / "webui_extension" / "entry.py", entry)
    note = {"version": lycoris_ext.__version__, "from": str(_SOURCE)}
    (folder / NOTE).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
