"""What a run tells about itself in the files that it saves: the facts behind formats/metadata.py.

No times and no paths: a run that was interrupted ends in the same bytes as one that was not, and
nobody's folders travel with the file.
"""

from __future__ import annotations

import json
import math
import zlib
from functools import cache
from pathlib import Path

from lycoris_ext import __version__
from lycoris_ext.data import TrainingSet
from lycoris_ext.formats.hashes import legacy_hash, sha256_of_files
from lycoris_ext.formats.metadata import ModelReference, RunFacts, build_metadata
from lycoris_ext.network.sd_scripts_names import as_network_args
from lycoris_ext.training.config import TrainConfig, all_options, dump_toml

_FIXED = ("never", "if dim_from_weights")


def training_metadata(
    config: TrainConfig, training_set: TrainingSet, base_hash: str, base_kind: str, step: int
) -> dict[str, str]:
    """Metadata of an adapter after so many steps.

    Args:
        config: the resolved options.
        training_set: gives counts of folders, tags and buckets.
        base_hash: SHA-256 of the base model.
        base_kind: as `Pipeline.kind`, the id of a ``formats.families.Variant``.
        step: finished optimizer steps.

    Returns:
        Text for text, as safetensors stores it; what sd-scripts leaves unset is "None".
    """
    network = config.effective_network
    options = {
        **{name: known.default for name, known in all_options().items()},
        **config.flat(),
        "network_dim": network.network_dim,
        "network_alpha": network.network_alpha,
    }
    metadata = build_metadata(options, run_facts(config, training_set, base_hash, base_kind, step))
    return {**metadata, "lycoris_ext_config": dump_toml(config, for_sharing=True)}


def run_facts(
    config: TrainConfig, training_set: TrainingSet, base_hash: str, base_kind: str, step: int
) -> RunFacts:
    """What the options do not tell."""
    run, batches = config.run, training_set.batches_per_epoch
    accumulation = run.gradient_accumulation_steps
    planned = run.total_steps(batches)
    known = all_options()
    # A run may be continued with other values of the rest.
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
        epoch=step * accumulation // batches,
        max_train_steps=planned,
        num_epochs=math.ceil(planned * accumulation / batches),
        num_batches_per_epoch=batches,
        num_train_images=training_set.samples_per_epoch - training_set.reg_samples_per_epoch,
        num_reg_images=training_set.reg_samples_per_epoch,
        dataset_dirs=training_set.folder_counts(),
        reg_dataset_dirs=training_set.folder_counts(is_reg=True),
        tag_frequency=training_set.tag_counts(),
        bucket_info=_bucket_info(training_set),
        session_id=zlib.crc32(identity.encode()),  # the same run, the same number
        software=f"lycoris-ext/{__version__}",
    )


def _model(place: str, sha256: str = "") -> ModelReference:
    """A model by the last part of its path; the short hash exists for single files alone."""
    path = Path(place.replace("\\", "/"))
    if not path.is_file():
        return ModelReference(path.name, sha256)
    state = path.stat()
    sha256 = sha256 or _sha256(path, state.st_size, state.st_mtime_ns)
    return ModelReference(path.name, sha256, legacy_hash(path))


@cache
def _sha256(path: Path, size: int, modified: int) -> str:
    """SHA-256 of a file, computed again only when the file has changed."""
    return sha256_of_files(path)


def _bucket_info(training_set: TrainingSet) -> dict[str, object]:
    counts = training_set.bucket_counts()
    return {
        "buckets": {
            str(number): {"resolution": list(bucket), "count": count}
            for number, (bucket, count) in enumerate(counts.items())
        }
    }
