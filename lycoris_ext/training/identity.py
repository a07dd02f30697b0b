"""What makes two runs the same: everything that decides the adapter, as one hash in its file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from lycoris_ext.data import TrainingSet
from lycoris_ext.errors import FormatError
from lycoris_ext.files import open_file
from lycoris_ext.formats.container import read_start
from lycoris_ext.training.config import TrainConfig, all_options

IDENTITY = "lycoris_ext_identity"
"""The metadata field of a finished adapter that holds ``run_identity``."""

_ALSO = ("save_precision",)
"""Options that may change when a run is continued, and yet decide what is in its file."""


def run_identity(config: TrainConfig, pictures: TrainingSet, base: str, start: str) -> str:
    """Hash everything that decides the adapter of a finished run.

    These are the pictures and captions that are read, the weights that training starts from, the
    length, and the options that differ from their defaults. Names of files and folders, previews,
    intervals of saving and logging decide nothing.

    Args:
        config: of the run.
        pictures: the training set.
        base: ``BaseModel.fingerprint`` of the base model.
        start: ``StartWeights.fingerprint`` of the adapters that training starts from.

    Returns:
        40 hexadecimal digits.
    """
    known = all_options()
    allowed = {"never"} if config.start.dim_from_weights else {"never", "if dim_from_weights"}
    options = {
        name: value
        for name, value in config.flat().items()
        if (known[name].may_change in allowed or name in _ALSO) and value != known[name].default
    }
    steps = config.run.total_steps(pictures.epochs)
    text = json.dumps([options, steps, pictures.fingerprint, base, start], sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


def identity_in(adapter: Path) -> str:
    """Return the identity of the run that made a file; "" if the file has none, or is damaged."""
    try:
        with open_file(adapter) as file:
            _, header = read_start(file, adapter.stat().st_size, str(adapter))
    except (OSError, FormatError):
        return ""
    return header.metadata.get(IDENTITY, "")
