"""Find folders of sd-scripts, ComfyUI, AUTOMATIC1111 and Forge on the disk."""

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
"""Host -> files and folders by which its folder is recognised; the first match counts."""


def host_of(folder: Path) -> str | None:
    """Return the name of the host whose files a folder holds, or None."""
    for name, signs in SIGNS.items():
        if all((folder / sign).exists() for sign in signs):
            return name
    return None


def find_hosts(near: Path, given: Sequence[Path] = ()) -> list[tuple[str, Path]]:
    """Search for hosts in some folders and near one.

    Args:
        near: searched together with its three nearest parents and the direct subfolders of all
            four.
        given: further folders to check, without their subfolders.

    Returns:
        (host, folder) pairs, each folder once.
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
            continue  # we have no permission to list this folder
