"""Weights into a model that was built without any."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lycoris_ext.models.faults import does_not_fill

_ALIGNMENT = 64  # bytes; torch's own allocations have it


def fill(model: nn.Module, stored: Mapping[str, Tensor], where: Path, dtype: torch.dtype) -> None:
    """Give every parameter its weights; a fresh one would be noise.

    Args:
        model: built on the meta device.
        stored: weights under the model's own names; what it has no place for is left out.
        where: their file, for messages.
        dtype: of the filled model.

    Raises:
        DataError: weights are missing or of another shape; nothing was filled.
    """
    # Positions are counted, not learned, and only some versions store them.
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
    # Copied in any case: a file that is mapped must not stay open, and see `align`.
    weights = {key: stored[key].to(dtype, copy=True) for key in wanted}
    model.load_state_dict(weights, strict=False, assign=True)


def align(model: nn.Module) -> None:
    """Move parameters that lie at odd places of a mapped file to memory of their own.

    How sums are rounded depends on where a tensor begins: without this the same weights in another
    file would give other results.
    """
    for parameter in model.parameters():
        if parameter.data_ptr() % _ALIGNMENT:
            parameter.data = parameter.data.clone()
