"""Disk caches of latents and encoded captions, which later runs can use again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lycoris_ext.data import DiskStore
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.words import count, file_size


def cache_folder(config: TrainConfig) -> Path:
    """Return the folder of disk caches: the option cache_dir, or "cache" in output_dir."""
    if config.data.cache_dir:
        return Path(config.data.cache_dir).expanduser()
    return RunPaths.of(config.run).folder / "cache"


def latent_store(config: TrainConfig) -> DiskStore | None:
    """Return the disk cache of latents; None if the config keeps them in memory."""
    wanted = config.data.cache_latents_to_disk
    return DiskStore(cache_folder(config) / "latents") if wanted else None


def text_store(config: TrainConfig) -> DiskStore | None:
    """Return the disk cache of encoded captions; None if the config keeps them in memory."""
    wanted = config.data.cache_text_encoder_outputs_to_disk
    return DiskStore(cache_folder(config) / "captions") if wanted else None


def describe_store(what: str, store: DiskStore | None, computed: int, total: int) -> Iterator[str]:
    """Yield a line for the user: how many entries were found, how many are new, their size.

    Args:
        what: "latents" or "captions".
        store: the disk cache; None yields no line.
        computed: number of entries that had to be computed.
        total: number of entries that were needed.
    """
    if store is None:
        return
    files, size = store.size()
    yield (
        f"{what}: {total - computed} found, {computed} new in {store.folder} "
        f"({count(files, 'file')}, {file_size(size)})"
    )
