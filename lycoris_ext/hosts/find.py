"""Finding the hosts that lycoris_ext plugs into: sd-scripts, ComfyUI, AUTOMATIC1111 and Forge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

PARENTS_SEARCHED = 3

SIGNS: dict[str, tuple[str, ...]] = {
    "sd-scripts": ("train_network.py", "library/train_util.py", "networks"),
    "ComfyUI": ("nodes.py", "folder_paths.py", "comfy"),
    "Forge": ("webui.py", "modules/shared.py", "modules_forge"),
    "AUTOMATIC1111": ("webui.py", "modules/shared.py"),
}
"""Host -> what lies in its folder; the first that fits is it."""


def host_of(folder: Path) -> str | None:
    """Which host a folder is a checkout of."""
    for name, signs in SIGNS.items():
        if all((folder / sign).exists() for sign in signs):
            return name
    return None


def find_hosts(near: Path, given: Sequence[Path] = ()) -> list[tuple[str, Path]]:
    """Hosts in the given folders, in a folder, in those around it, and one level below these.

    Returns:
        (host, folder) each, every folder once.
    """
    found: dict[Path, str] = {}
    for folder in (*given, *_around(near.resolve())):
        host = host_of(folder)
        if host is not None:
            found.setdefault(folder.resolve(), host)
    return [(host, folder) for folder, host in found.items()]


def _around(near: Path) -> Iterator[Path]:
    for folder in (near, *list(near.parents)[:PARENTS_SEARCHED]):
        yield folder
        try:
            yield from sorted(path for path in folder.iterdir() if path.is_dir())
        except OSError:
            continue  # a folder above us that we may not look into
