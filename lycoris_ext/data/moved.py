"""The config of a data set that lies at another place now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from lycoris_ext.data.config import DataConfig
from lycoris_ext.data.fingerprint import common_folder, training_folders
from lycoris_ext.data.folder_tree import read_tree
from lycoris_ext.data.subset import SubsetEntry
from lycoris_ext.errors import DataError
from lycoris_ext.files import expanded


def moved(config: DataConfig, folder: Path) -> DataConfig:
    """Return a config that reads a folder as another config reads the folder of its pictures.

    What lies below the folder of all training pictures is looked for below the new one; what lies
    elsewhere, such as regularisation pictures, stays where it is. If the pictures are those of
    subsets alone, further folders of pictures become subsets, too.

    Args:
        config: of the data set at its old place.
        folder: the new place of the folder that holds all training pictures.

    Raises:
        DataError: there is no folder that holds all training pictures, or the new one cannot be
            read.
    """
    whole = common_folder(config)
    if whole is None:
        raise DataError(
            "the run's pictures do not lie in one folder",
            where=str(folder),
            fix="name a config that reads them instead of a folder",
        )

    def place(text: str) -> str:
        path = expanded(text)
        return str(folder / path.relative_to(whole)) if path.is_relative_to(whole) else text

    def at_new_place(section: DataConfig | SubsetEntry) -> dict[str, Any]:
        known = section.options()
        return {
            name: place(value) if known[name].is_path else value
            for name, value in section.changed().items()
        }

    entries = [SubsetEntry(**at_new_place(one)) for one in config.subsets or ()]
    options = {name: value for name, value in at_new_place(config).items() if name != "subsets"}
    if len(training_folders(config)) > 1 and not (config.train_data_dir or config.image_dir):
        entries += _further(folder, {expanded(one.image_dir) for one in entries if one.image_dir})
    return replace(config, **options, subsets=tuple(entries) or None)


def _further(folder: Path, known: set[Path]) -> list[SubsetEntry]:
    """Return a subset for each folder with pictures that is none yet."""
    return [
        SubsetEntry(image_dir=str(leaf.folder), num_repeats=max(1, int(leaf.repeats)))
        for leaf in read_tree(folder).leaves
        if leaf.folder not in known
    ]
