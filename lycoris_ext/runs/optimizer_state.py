"""Turning an optimizer's whole state into JSON and tensors, and back without changing a bit.

Optimizers keep tensors for each parameter, but some also count steps or estimate a learning rate in
their parameter groups. All of it is stored. An optimizer's own ``load_state_dict`` is not used,
because it converts tensors to the parameters' dtype.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lycoris_ext.errors import FormatError

START_OVER = "choose another output_name, or start over with --overwrite"
"""What to do if a run cannot be continued from its state."""
_PLAIN = (type(None), bool, int, float, str)


def pack(
    optimizer: torch.optim.Optimizer, network: nn.Module
) -> tuple[dict[str, Any], list[Tensor]]:
    """Turn the state and the parameter groups of an optimizer into JSON and tensors.

    Args:
        optimizer: whose parameters are all in the network.
        network: its parameters' names identify them in the JSON.

    Returns:
        A value for JSON, in which each tensor is replaced by its index in a list; and that list,
        with each tensor once and unchanged.

    Raises:
        TypeError: the optimizer keeps something that is no number, text, None, tensor, list, tuple
            or dict, so that a run with it cannot be resumed.
    """
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    tensors = _Tensors()
    groups = []
    for group in optimizer.param_groups:
        entries = {key: value for key, value in group.items() if key != "params"}
        members = [names[id(parameter)] for parameter in group["params"]]
        groups.append({"params": members, "entries": tensors.pack(entries, group["params"][0])})
    kept: Mapping[Any, Any] = optimizer.state
    states = {
        names[id(key)]: tensors.pack(value, key)
        for key, value in kept.items()
        if isinstance(key, Tensor)
    }
    # torch also allows entries that belong to no parameter.
    others = {key: value for key, value in kept.items() if not isinstance(key, Tensor)}
    first = optimizer.param_groups[0]["params"][0]
    packed = {"groups": groups, "states": states, "others": tensors.pack(others, first)}
    return packed, tensors.found


def unpack(
    packed: Mapping[str, Any],
    tensors: Sequence[Tensor],
    optimizer: torch.optim.Optimizer,
    network: nn.Module,
) -> None:
    """Restore the state and the parameter groups of an optimizer from what ``pack`` returned.

    Args:
        packed, tensors: as ``pack`` returned them; the tensors on the CPU.
        optimizer: a new one, built with the same options for the same network; it is changed.
        network: its parameters' names identify them.

    Raises:
        FormatError: the optimizer has other parameters, or they are grouped in another way.
    """
    named = dict(network.named_parameters())
    names = {id(parameter): name for name, parameter in named.items()}
    own = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
    saved = [group["params"] for group in packed["groups"]]
    if own != saved:
        raise FormatError(
            f"the state has {_counts(saved)} parameters of the optimizer, this run has "
            f"{_counts(own)}, or they are grouped in another way",
            fix=f"put the options back to what they were, {START_OVER}",
        )
    restored = _Restored(tensors)
    for group, entries in zip(optimizer.param_groups, packed["groups"], strict=True):
        group.update(restored.unpack(entries["entries"], group["params"][0].device))
    optimizer.state.clear()
    for name, value in packed["states"].items():
        optimizer.state[named[name]] = restored.unpack(value, named[name].device)
    first = optimizer.param_groups[0]["params"][0]
    optimizer.state.update(restored.unpack(packed["others"], first.device))


class _Tensors:
    """Turns values into JSON and collects the tensors in them in ``found``."""

    def __init__(self) -> None:
        self.found: list[Tensor] = []
        self._numbers: dict[int, int] = {}

    def pack(self, value: Any, parameter: Tensor, key: str = "") -> Any:
        if type(value) in _PLAIN:
            return value
        if type(value) is Tensor:
            if id(value) not in self._numbers:
                self._numbers[id(value)] = len(self.found)
                self.found.append(value)
            return {
                "tensor": self._numbers[id(value)],
                "on_cpu": _stays_on_cpu(value, parameter, key),
            }
        if type(value) in (list, tuple):
            return {type(value).__name__: [self.pack(item, parameter) for item in value]}
        if isinstance(value, dict):
            items = [
                [self.pack(k, parameter), self.pack(v, parameter, k)] for k, v in value.items()
            ]
            return {"dict": items}
        raise TypeError(f"an optimizer keeps {value!r}, a {type(value)}, which cannot be saved")


class _Restored:
    """Turns JSON back into values; a tensor that occurs several times becomes one shared tensor."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = tensors
        self._copies: dict[tuple[int, torch.device], Tensor] = {}

    def unpack(self, value: Any, device: torch.device) -> Any:
        if not isinstance(value, dict):
            return value
        if "tensor" in value:
            return self._copy(value["tensor"], torch.device("cpu") if value["on_cpu"] else device)
        if "dict" in value:
            return {self.unpack(k, device): self.unpack(v, device) for k, v in value["dict"]}
        kind = tuple if "tuple" in value else list
        return kind(self.unpack(item, device) for item in value[kind.__name__])

    def _copy(self, number: int, device: torch.device) -> Tensor:
        if (number, device) not in self._copies:
            # clone() gives memory that torch allocated itself, aligned as in the first run. How a
            # kernel splits its work, and with it the rounding, may depend on the alignment.
            self._copies[number, device] = self._tensors[number].to(device).clone()
        return self._copies[number, device]


def _stays_on_cpu(value: Tensor, parameter: Tensor, key: str) -> bool:
    """Return True if a tensor of the state belongs on the CPU even if its parameter is on a GPU.

    If both are on the CPU now only the key tells: torch's optimizers keep "step" on the CPU.
    """
    if value.device.type != "cpu":
        return False
    return parameter.device.type != "cpu" or key == "step"


def _counts(groups: Sequence[Sequence[str]]) -> str:
    return " + ".join(str(len(members)) for members in groups)
