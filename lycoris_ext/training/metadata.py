"""The metadata that a run writes into its adapter files, in the format of formats/metadata.py.

It contains no times, so that an interrupted run ends in the same bytes as one that was not, and no
paths, so that nobody's folder names are shared with the file.
"""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path

from lycoris_ext import __version__
from lycoris_ext.data import TrainingSet
from lycoris_ext.data.faces import face_range
from lycoris_ext.data.order import Epochs
from lycoris_ext.formats.hashes import legacy_hash, sha256_of_files
from lycoris_ext.formats.metadata import DATASET, ModelReference, RunFacts, build_metadata
from lycoris_ext.network.sd_scripts_names import as_network_args
from lycoris_ext.training.config import TrainConfig, all_options, dump_toml

_FIXED = ("never", "if dim_from_weights")


def training_metadata(
    config: TrainConfig, training_set: TrainingSet, base_hash: str, base_kind: str, step: int
) -> dict[str, str]:
    """Return the metadata for an adapter that is saved after some steps.

    Args:
        config: of the run.
        training_set: the pictures; counts of folders, tags and buckets are written.
        base_hash: SHA-256 of the base model.
        base_kind: family of the base model, the id of a ``formats.families.Variant``.
        step: number of finished optimizer steps.

    Returns:
        Field -> text, as safetensors stores them. As in sd-scripts, unset values are "None".
    """
    network, faces = config.effective_network, config.data.face_crop_aug_range
    options = {
        **{name: known.default for name, known in all_options().items()},
        **config.flat(),
        "network_dim": network.network_dim,
        "network_alpha": network.network_alpha,
        "face_crop_aug_range": faces and face_range(faces),  # as numbers, as sd-scripts writes it
        "cache_latents": not any(training_set.drawn_anew),
    }
    metadata = build_metadata(options, run_facts(config, training_set, base_hash, base_kind, step))
    return {
        **metadata,
        DATASET: training_set.fingerprint,
        "lycoris_ext_config": dump_toml(config, for_sharing=True),
    }


def run_facts(
    config: TrainConfig, training_set: TrainingSet, base_hash: str, base_kind: str, step: int
) -> RunFacts:
    """Return the facts for the metadata that do not follow from the options alone.

    The arguments are those of ``training_metadata``.
    """
    run, epochs = config.run, training_set.epochs
    accumulation = run.gradient_accumulation_steps
    planned = run.total_steps(epochs)
    known = all_options()
    # The other options may have changed when a run is continued.
    fixed = {n: v for n, v in config.flat().items() if known[n].may_change in _FIXED}
    identity = json.dumps([fixed, training_set.fingerprint, base_hash])
    return RunFacts(
        family=base_kind,
        base=_model(config.model.pretrained_model_name_or_path, base_hash),
        vae=_model(config.model.vae) if config.model.vae else None,
        network_args=as_network_args(config.network),
        optimizer=config.optimizer.kind.metadata_text(config.optimizer.values()),
        resolution=config.data.size,
        steps=step,
        epoch=epochs.complete_in(step * accumulation),
        max_train_steps=planned,
        num_epochs=_begun(planned * accumulation, epochs),
        num_batches_per_epoch=training_set.batches_per_epoch,
        num_train_images=training_set.samples_per_epoch - training_set.reg_samples_per_epoch,
        num_reg_images=training_set.reg_samples_per_epoch,
        num_validation_images=len(training_set.held_out),
        dataset_dirs=training_set.folder_counts(),
        reg_dataset_dirs=training_set.folder_counts(is_reg=True),
        tag_frequency=training_set.tag_counts(),
        bucket_info=_bucket_info(training_set),
        session_id=zlib.crc32(identity.encode()),  # the same number however often it is resumed
        software=f"lycoris-ext/{__version__}",
    )


def _begun(batches: int, epochs: Epochs) -> int:
    """Return how many epochs are begun or complete after some batches."""
    complete = epochs.complete_in(batches)
    return complete + (batches > epochs.batches_in(complete))


def _model(place: str, sha256: str = "") -> ModelReference:
    """Describe a model by the last part of its path and its hashes; folders have no short hash."""
    path = Path(place.replace("\\", "/"))
    if not path.is_file():
        return ModelReference(path.name, sha256)
    state = path.stat()
    sha256 = sha256 or _sha256(path, state.st_size, state.st_mtime_ns)
    return ModelReference(path.name, sha256, legacy_hash(path))


@cache
def _sha256(path: Path, size: int, modified: int) -> str:
    """Return the SHA-256 of a file; computed again only if size or time have changed."""
    return sha256_of_files(path)


def _bucket_info(training_set: TrainingSet) -> dict[str, object]:
    counts = training_set.bucket_counts()
    return {
        "buckets": {
            str(number): {"resolution": list(bucket), "count": count}
            for number, (bucket, count) in enumerate(counts.items())
        }
    }
