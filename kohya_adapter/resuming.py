"""A state that --resume loads must be one of a network with the same options."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lycoris_ext.errors import ConfigError
from lycoris_ext.words import and_more


def check_same_network(expected: Mapping[str, torch.Size], given: Mapping[str, Tensor]) -> None:
    """Refuse the state of a network with other layers, algorithms or ranks.

    Args:
        expected: the network's ``state_dict``, as shapes.
        given: the state that is to be loaded into it.

    Raises:
        ConfigError: tensors are missing, left over or of another shape.
    """
    found = {key: tensor.shape for key, tensor in given.items()}
    other = [
        f"{key} is {_size(found.get(key))} there and {_size(expected.get(key))} here"
        for key in sorted(expected.keys() | found.keys())
        if expected.get(key) != found.get(key)
    ]
    if other:
        raise ConfigError(
            f"this is the state of another network: {and_more(other)}",
            where="--resume",
            fix="give network_dim, network_alpha and network_args as in the run that saved it",
        )


def _size(shape: torch.Size | None) -> str:
    return "missing" if shape is None else " x ".join(map(str, shape)) or "one number"
