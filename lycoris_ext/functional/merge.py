"""Adding an update to a weight in place, without building the update.

Some rows at a time: the products of the factors stay in the processor's cache and the weight goes
through it once. A LoHa is merged about as fast as its two factors can be multiplied, and nothing of
the weight's size is reserved.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lycoris_ext.functional.delta import Delta, Hadamard, LowRank

# Numbers of the update that are built at a time. Measured best between 2**16 and 2**18.
_NUMBERS = 1 << 17


@torch.no_grad()
def add_delta(weight: Tensor, delta: Delta) -> None:
    """weight += delta, summed in float32 with one cast back.

    Args:
        weight: of the delta's layer, or a view of it with as many numbers in the same order.
        delta: on any device.
    """
    flat = weight.view(weight.shape[0], -1) if weight.is_contiguous() else None
    pairs = _pairs(delta)
    if flat is None or pairs is None:
        update = delta.dense().to(weight.device, torch.float32).reshape(weight.shape)
        weight.copy_((weight.float() + update).to(weight.dtype))
        return
    pairs = [(up.to(weight.device), down.to(weight.device)) for up, down in pairs]
    step = max(1, _NUMBERS // flat.shape[1])
    for start in range(0, flat.shape[0], step):
        part = flat[start : start + step]
        rows = part.float()  # the same tensor where it is float32
        _add_rows(
            rows, [(up[start : start + step], down) for up, down in pairs], float(delta.scale)
        )
        if rows.data_ptr() != part.data_ptr():
            part.copy_(rows)


def _add_rows(rows: Tensor, pairs: list[tuple[Tensor, Tensor]], scale: float) -> None:
    (up, down), *others = pairs
    if not others:
        rows.addmm_(up, down, alpha=scale)
        return
    ((up2, down2),) = others
    rows.addcmul_(up @ down, up2 @ down2, value=scale)


def _pairs(delta: Delta) -> list[tuple[Tensor, Tensor]] | None:
    """The flat float32 factors whose products, multiplied with each other, are the update; None
    where it has another form."""
    if isinstance(delta, Hadamard):
        sides = [delta.first, delta.second]
    elif isinstance(delta, LowRank):
        sides = [delta]
    else:
        return None
    if delta.has_core() or torch.is_tensor(delta.scale):
        return None
    return [(side.up.float(), side.down.flatten(1).float()) for side in sides]
