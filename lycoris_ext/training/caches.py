"""Disk caches of latents and encoded captions, which later runs can use again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lycoris_ext.data import DiskStore
from lycoris_ext.data.cache_folder import beyond, delete, entries
from lycoris_ext.files import expanded
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.words import count, file_size


def cache_folder(config: TrainConfig) -> Path:
    """Return the folder of disk caches: the option cache_dir, or "cache" in output_dir."""
    if config.data.cache_dir:
        return expanded(config.data.cache_dir)
    return RunPaths.of(config.run).folder / "cache"


def latent_store(config: TrainConfig) -> DiskStore | None:
    """Return the disk cache of latents; None if the config keeps them in memory."""
    wanted = config.data.cache_latents_to_disk
    return DiskStore(cache_folder(config) / "latents") if wanted else None


def text_store(config: TrainConfig) -> DiskStore | None:
    """Return the disk cache of encoded captions; None if the config keeps them in memory."""
    wanted = config.data.cache_text_encoder_outputs_to_disk
    return DiskStore(cache_folder(config) / "captions") if wanted else None


def keep_within_limit(config: TrainConfig, stores: Iterable[object]) -> str:
    """Delete the longest unused files of cache_dir that are beyond cache_limit_gb.

    Args:
        config: of the run.
        stores: those that the run uses; the files of disk caches among them stay.

    Returns:
        What was done, for the user; "" if nothing had to be done.
    """
    limit, folder = config.data.cache_limit_gb, cache_folder(config)
    if limit is None or not folder.is_dir():
        return ""
    spared = {path for store in stores if isinstance(store, DiskStore) for path in store.used}
    found = entries(folder)
    deleted = delete(beyond(found, limit * 1e9, spared))
    freed = sum(entry.size for entry in deleted)
    rest = sum(entry.size for entry in found) - freed
    told = []
    if deleted:
        told.append(
            f"{count(len(deleted), 'file')} deleted that no run used for the longest time "
            f"({file_size(freed)})"
        )
    if rest > limit * 1e9:
        told.append(f"{file_size(rest)} stay, because this run uses them")
    return f"{folder}: {'; '.join(told)}" if told else ""


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
