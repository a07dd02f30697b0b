"""Find the files and folders that users name in ComfyUI, such as those of its LoRA list."""

from __future__ import annotations

import os
from pathlib import Path

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.files import expanded
from lycoris_ext.runs.paths import is_file_name

LORAS = "loras"


def adapter_files() -> list[str]:
    """Return the names of all files in ComfyUI's LoRA folders, as its own nodes list them."""
    import folder_paths

    return list(folder_paths.get_filename_list(LORAS))


def adapter_file(name: str) -> Path:
    """Return the path of a file that ComfyUI lists in its LoRA folders.

    Args:
        name: as `adapter_files` returns it, such as "people/mine.safetensors".

    Raises:
        DataError: ComfyUI lists no such file.
    """
    import folder_paths

    found = folder_paths.get_full_path(LORAS, name)
    if found is None:
        raise DataError(
            "there is no such adapter",
            where=name,
            fix="choose a file of the list; press R to read the folders again",
        )
    return Path(found)


def listed_name(path: Path) -> str:
    """Return the path of a file relative to the LoRA folder that holds it, as ComfyUI lists it.

    A file outside of all LoRA folders keeps the path as given.
    """
    import folder_paths

    for folder in folder_paths.get_folder_paths(LORAS):
        if path.resolve().is_relative_to(Path(folder).resolve()):
            return str(path.resolve().relative_to(Path(folder).resolve()))
    return str(path)


def output_place(name: str) -> tuple[Path, str]:
    """Return folder and file name (without ending) for an adapter that is to be written.

    Args:
        name: "mine" or "people/mine", relative to ComfyUI's first LoRA folder.

    Raises:
        ConfigError: some system does not allow such a file name; ".." is none either.
    """
    import folder_paths

    root = Path(folder_paths.get_folder_paths(LORAS)[0])
    parts = name.replace("\\", "/").removesuffix(".safetensors").split("/")
    if not all(is_file_name(part) for part in parts):
        raise ConfigError(
            f"{name!r} is no name for a file in {root}",
            where="name",
            fix="write a name such as my_style, or people/my_style for a folder of its own",
        )
    return root.joinpath(*parts[:-1]), parts[-1]


def picture_folder(text: str) -> Path:
    """Return the folder of training pictures that a user wrote into a node.

    Args:
        text: an absolute path, or one relative to ComfyUI's input folder.

    Raises:
        ConfigError: the text is empty, or a relative path leads out of the input folder.
        DataError: there is no such folder.
    """
    import folder_paths

    if not text.strip():
        raise ConfigError(
            "no folder is given",
            where="folder",
            fix="choose a folder of the list, or write the whole path of any other",
        )
    path = expanded(text.strip().strip('"'))
    if not path.is_absolute():
        root = Path(os.path.abspath(folder_paths.get_input_directory()))
        # Links are not followed: those below the input folder are in the list, and may lead out.
        path = Path(os.path.abspath(root / path))
        if not path.is_relative_to(root):
            raise ConfigError(
                f"{text!r} leads out of {root}",
                where="folder",
                fix="write the folder's whole path",
            )
    if not path.is_dir():
        raise DataError(
            "there is no such folder",
            where=str(path),
            fix="write its whole path, or its name below ComfyUI's input folder",
        )
    return path


def input_folders() -> list[str]:
    """Return the folders below ComfyUI's input folder, such as "cats/10_cat", in order.

    A folder that cannot be read is left out. Links are not followed, since they may lead in
    circles; the folder that a link stands for is listed itself.
    """
    import folder_paths

    root = Path(folder_paths.get_input_directory())
    found = []
    for place, folders, _ in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name).relative_to(root).as_posix() for name in folders]
    return sorted(found)


def temporary_folder() -> Path:
    """Return ComfyUI's folder for temporary files, which it empties when it starts."""
    import folder_paths

    return Path(folder_paths.get_temp_directory())
