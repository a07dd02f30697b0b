"""Find what a run recorded of its data set: beside its adapter, or in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.config.from_adapter import STORED
from lycoris_ext.config.toml_file import parse_toml
from lycoris_ext.data import DataConfig
from lycoris_ext.data.fingerprint import Manifest
from lycoris_ext.data.manifest_file import read_manifest
from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.files import cannot_read, open_file
from lycoris_ext.formats.container import read_start
from lycoris_ext.formats.metadata import DATASET
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.training.run_config import RunConfig
from lycoris_ext.words import and_more

_ADAPTER = ".safetensors"
_STEP = re.compile(r"(-step-\d+)?(-ema)?$")


@dataclass(frozen=True)
class Recorded:
    """What is known of the data set of a run.

    Args:
        name: of the run, or the file of its adapter.
        fingerprint: of the data set.
        seed: of the run.
        options: of the section data that differed from their defaults.
        manifest: the list of all pictures; None if only the fingerprint is known.
        note: why there is no list; "" if there is one.
    """

    name: str
    fingerprint: str
    seed: int
    options: dict[str, Any]
    manifest: Manifest | None = None
    note: str = ""

    @property
    def config(self) -> DataConfig:
        """The options as a config.

        Raises:
            ConfigError: this version does not know them.
        """
        try:
            return DataConfig(**self.options)
        except ConfigError as error:
            raise error.within(self.name) from error


def recorded(run: Path) -> Recorded:
    """Find the record of a run.

    Args:
        run: its folder, its name with or without the folder, its adapter, or one of its files.

    Raises:
        DataError: there is no such run, its files cannot be read, or it recorded nothing.
    """
    if run.is_dir():
        return _in_folder(run)
    if run.suffix == _ADAPTER and run.is_file():
        return _of_adapter(run)
    for paths in _named(run):
        if (found := _of_run(paths)) is not None:
            return found
        if paths.adapter.is_file():
            return _of_adapter(paths.adapter)
    raise DataError(
        "there is no run of this name, and no adapter",
        where=str(run),
        fix="name the folder of a run (its output_dir), or its adapter, such as out/my.safetensors",
    )


def _in_folder(folder: Path) -> Recorded:
    found = [paths for path in sorted(folder.iterdir()) if (paths := RunPaths.of_dataset(path))]
    if not found:
        adapters = sorted(folder.glob(f"*{_ADAPTER}"))
        if len(adapters) == 1:
            return _of_adapter(adapters[0])
        what = f"there are {len(adapters)} adapters" if adapters else "there is no run"
        raise DataError(
            f"{what} in this folder, and no list of pictures that a run wrote",
            where=str(folder),
            fix="name an adapter, such as out/my.safetensors",
        )
    if len(found) > 1:
        raise DataError(
            f"there are {len(found)} runs in this folder: {and_more(one.name for one in found)}",
            where=str(folder),
            fix=f"name one of them, such as {found[0].folder / found[0].name}",
        )
    record = _of_run(found[0])
    assert record is not None
    return record


def _named(run: Path) -> Iterator[RunPaths]:
    """Yield the runs that may be meant by the name of a run, or of one of its files."""
    for path in (run, Path(RunConfig.options()["output_dir"].default) / run):
        for paths in (RunPaths.of_dataset(path), RunPaths.of_events(path)):
            if paths is not None:
                yield paths
        yield RunPaths(path.parent, path.name)
        yield RunPaths(path.parent, path.stem)


def _of_run(paths: RunPaths) -> Recorded | None:
    manifest = read_manifest(paths.dataset)
    if manifest is None:
        return None
    return Recorded(
        str(paths.dataset), manifest.fingerprint, manifest.seed, manifest.options, manifest
    )


def _of_adapter(path: Path) -> Recorded:
    """Return the record of the run that wrote an adapter: its list, or else what the file holds."""
    try:
        with open_file(path) as file:
            metadata = read_start(file, path.stat().st_size, str(path))[1].metadata
    except OSError as error:
        raise cannot_read(path, error) from error
    fingerprint = metadata.get(DATASET, "")
    beside = _of_run(RunPaths(path.parent, _STEP.sub("", path.stem)))
    if beside is not None and beside.fingerprint == fingerprint:
        return beside
    if not fingerprint:
        raise DataError(
            "this file holds no fingerprint of a data set; another program, an older version of "
            "lycoris-ext, or a run of several adapters wrote it",
            where=str(path),
            fix="name a run of this library",
        )
    if beside is not None:
        note = f"{Path(beside.name).name} lists the pictures of another run"
    else:
        note = f"the list of the run's pictures is not beside {path.name}"
    values = parse_toml(metadata.get(STORED, ""), f"{path}, {STORED}").values
    known = {name: value for name, value in values.items() if name in DataConfig.options()}
    options = build_config([OptionSource(str(path), known)]).data.changed()
    seed = metadata.get("ss_seed", "")
    number = int(seed) if seed.isascii() and seed.isdigit() and len(seed) < 20 else 0
    return Recorded(str(path), fingerprint, number, options, None, note)
