"""Folders and files as ComfyUI's users name them."""

from __future__ import annotations

from pathlib import Path

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.runs.paths import is_file_name

LORAS = "loras"


def adapter_files() -> list[str]:
    """Every file that ComfyUI lists under its LoRA folders, by its name there."""
    import folder_paths

    return list(folder_paths.get_filename_list(LORAS))


def adapter_file(name: str) -> Path:
    """The file of such a name.

    Raises:
        DataError: ComfyUI knows none.
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
    """What ComfyUI calls a file of its LoRA folders; its whole path where it lies elsewhere."""
    import folder_paths

    for folder in folder_paths.get_folder_paths(LORAS):
        if path.resolve().is_relative_to(Path(folder).resolve()):
            return str(path.resolve().relative_to(Path(folder).resolve()))
    return str(path)


def output_place(name: str) -> tuple[Path, str]:
    """Where an adapter of this name is written: (folder, name without ending).

    Args:
        name: "mine" or "people/mine": folders below ComfyUI's first LoRA folder.

    Raises:
        ConfigError: a part is no name on some system, or it leads out of that folder.
    """
    import folder_paths

    root = Path(folder_paths.get_folder_paths(LORAS)[0])
    parts = name.replace("\\", "/").removesuffix(".safetensors").split("/")
    folder = root.joinpath(*parts[:-1])
    named = all(is_file_name(part) for part in parts)
    if not named or not folder.resolve().is_relative_to(root.resolve()):
        raise ConfigError(
            f"{name!r} is no name for a file in {root}",
            where="name",
            fix="write a name such as my_style, or people/my_style for a folder of its own",
        )
    return folder, parts[-1]


def picture_folder(text: str) -> Path:
    """A folder of training pictures: absolute, or below ComfyUI's input folder.

    Raises:
        ConfigError: nothing is given, or a relative path leads out of the input folder.
        DataError: it is not there.
    """
    import folder_paths

    if not text.strip():
        raise ConfigError(
            "no folder is given",
            where="folder",
            fix="write the folder's whole path, or its name below ComfyUI's input folder",
        )
    path = Path(text.strip().strip('"')).expanduser()
    if not path.is_absolute():
        root = Path(folder_paths.get_input_directory())
        path = root / path
        if not path.resolve().is_relative_to(root.resolve()):
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


def temporary_folder() -> Path:
    """What ComfyUI empties when it starts."""
    import folder_paths

    return Path(folder_paths.get_temp_directory())
