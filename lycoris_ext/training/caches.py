"""Latents and encoded captions that are kept in files and serve later runs, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lycoris_ext.data import DiskStore
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.words import count, file_size


def cache_folder(config: TrainConfig) -> Path:
    """Where caches lie: cache_dir, or a folder beside the results."""
    if config.data.cache_dir:
        return Path(config.data.cache_dir).expanduser()
    return RunPaths.of(config.run).folder / "cache"


def latent_store(config: TrainConfig) -> DiskStore | None:
    """Where latents are kept; None: in memory."""
    wanted = config.data.cache_latents_to_disk
    return DiskStore(cache_folder(config) / "latents") if wanted else None


def text_store(config: TrainConfig) -> DiskStore | None:
    """Where encoded captions are kept; None: in memory."""
    wanted = config.data.cache_text_encoder_outputs_to_disk
    return DiskStore(cache_folder(config) / "captions") if wanted else None


def describe_store(what: str, store: DiskStore | None, computed: int, total: int) -> Iterator[str]:
    """Say how much was found in files and how much they take; nothing where there are none."""
    if store is None:
        return
    files, size = store.size()
    yield (
        f"{what}: {total - computed} found, {computed} new in {store.folder} "
        f"({count(files, 'file')}, {file_size(size)})"
    )
