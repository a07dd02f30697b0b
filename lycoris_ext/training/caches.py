"""What is computed once and kept: latents and encoded captions, in memory or in files.

Keys are made of the weights as they lie in memory, so that another model, another precision or an
adapter merged into the base never meets what was kept for this one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from lycoris_ext.data import DiskStore, MemoryStore, TensorStore, cache_key, weights_digest
from lycoris_ext.models import Pipeline
from lycoris_ext.runs.paths import RunPaths
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.text import MAX_KEPT


def cache_folder(config: TrainConfig) -> Path:
    """Where caches lie: cache_dir, or a folder beside the results."""
    if config.data.cache_dir:
        return Path(config.data.cache_dir).expanduser()
    return RunPaths.of(config.run).folder / "cache"


def latent_store(config: TrainConfig) -> TensorStore:
    """Where latents are kept."""
    if config.data.cache_latents_to_disk:
        return DiskStore(cache_folder(config) / "latents")
    return MemoryStore()


def text_store(config: TrainConfig) -> TensorStore:
    """Where encoded captions are kept; shuffled ones hardly ever come back, so not all of them."""
    if config.data.cache_text_encoder_outputs_to_disk:
        return DiskStore(cache_folder(config) / "captions")
    return MemoryStore(None if config.data.cache_text_encoder_outputs else MAX_KEPT)


def vae_identity(pipeline: Pipeline, store: TensorStore) -> str:
    """What the latents depend on besides the picture; "" for a store that ends with the run."""
    if not isinstance(store, DiskStore):
        return ""
    scale = float(pipeline.vae.config.scaling_factor)
    return cache_key(weights=weights_digest({"vae": pipeline.vae}), scale=scale)


def text_identity(pipeline: Pipeline, config: TrainConfig, store: TensorStore) -> str:
    """What encoded captions depend on besides the caption; "" as for vae_identity."""
    if not isinstance(store, DiskStore):
        return ""
    words = json.dumps(
        [
            [sorted(part.get_vocab().items()), sorted(part.special_tokens_map.items())]
            for part in (pipeline.tokenizer, pipeline.tokenizer_2)
            if part is not None
        ]
    )
    return cache_key(
        weights=weights_digest(pipeline.text_encoders()),
        tokenizer=hashlib.blake2b(words.encode("utf-8"), digest_size=20).hexdigest(),
        max_tokens=pipeline.max_tokens,
        clip_skip=config.model.clip_skip,
        precision=config.run.mixed_precision,
    )


def describe_store(what: str, store: TensorStore, computed: int, total: int) -> str | None:
    """How much was found in files and how much they take; None for a store in memory."""
    if not isinstance(store, DiskStore):
        return None
    files, size = store.size()
    return (
        f"{what}: {total - computed} found, {computed} new in {store.folder} "
        f"({files} files, {size / 1e6:.1f} MB)"
    )
