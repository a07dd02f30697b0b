"""Giving a model that was built without weights the weights of a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lycoris_ext.models.faults import does_not_fill


def fill(model: nn.Module, stored: Mapping[str, Tensor], where: Path, dtype: torch.dtype) -> None:
    """Set every parameter of a model from stored weights, casting them to ``dtype``.

    Args:
        model: built on the meta device.
        stored: name -> weight, under the model's own names; names that the model lacks are ignored.
        where: the weights' file, for messages.
        dtype: of the filled model.

    Raises:
        DataError: weights are missing or of another shape; the model is unchanged.
    """
    # position_ids are just numbers from 0 on, and only some versions store them.
    wanted = {
        key: value.shape
        for key, value in model.state_dict().items()
        if not key.endswith("position_ids")
    }
    missing = sorted(set(wanted) - set(stored))
    mismatched = sorted(
        key for key, shape in wanted.items() if key in stored and stored[key].shape != shape
    )
    if missing or mismatched:
        raise does_not_fill(where, missing, mismatched)
    # Always copied: so a mapped file does not stay open, and the memory begins at a multiple of 64
    # bytes. How sums are rounded depends on that: without the copy the same weights in another file
    # would give slightly different results.
    weights = {key: stored[key].to(dtype, copy=True) for key in wanted}
    model.load_state_dict(weights, strict=False, assign=True)
