"""The state of a run: everything that resuming bit for bit needs, in one file.

The file is a safetensors file that is replaced in one step, so a kill at any moment leaves the old
state or the new one. All random numbers are functions of (seed, step), so no generator is stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from lycoris_ext.errors import FormatError
from lycoris_ext.formats import atomic_write

FORMAT = "lycoris_ext run state 1"


@dataclass(frozen=True)
class Progress:
    """What a state says about itself.

    Args:
        step: finished optimizer steps.
        batch_number: batches seen; always step times the accumulation, since a state is only
            taken between two optimizer steps.
        finished: the run reached its end and wrote its result.
        config: the resolved options, name -> value.
        dataset: fingerprint of pictures and captions.
        base: hash of the base model.
        torch_version, device, threads: where the numbers were computed.
        scaler: the loss scaler's own state.
        start: fingerprint of network_weights and base_weights; empty where there are none.
    """

    step: int
    batch_number: int
    finished: bool
    config: dict[str, Any]
    dataset: str
    base: str
    torch_version: str
    device: str
    threads: int
    scaler: dict[str, Any] = field(default_factory=dict)
    start: str = ""


@dataclass(frozen=True)
class SavedState:
    """A state as read from its file."""

    progress: Progress
    network: dict[str, Tensor]
    optimizer_tensors: dict[str, dict[str, Tensor]]
    optimizer_values: dict[str, dict[str, Any]]
    average: dict[str, Tensor] = field(default_factory=dict)


def save_state(
    path: Path,
    progress: Progress,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the state in one step.

    Args:
        path: the file; an older state in it stays until the new one is complete.
        progress: where the run stands.
        network: its state_dict is stored in the precision of training.
        optimizer: moments are stored as they are, 8-bit ones as 8-bit.
        average: of the parameters, where the run keeps one.
    """
    tensors = {f"network/{name}": _stored(value) for name, value in network.state_dict().items()}
    for name, value in (average or {}).items():
        tensors[f"average/{name}"] = _stored(value)
    values: dict[str, dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{name}/{key}"] = _stored(value)
            else:
                values.setdefault(name, {})[key] = value
    header = {"format": FORMAT, "progress": asdict(progress), "optimizer": values}
    text = json.dumps(header, ensure_ascii=False).encode("utf-8")
    tensors["header"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    atomic_write(path, save(tensors))


def load_state(path: Path) -> SavedState | None:
    """Read a state; None where there is none.

    Raises:
        FormatError: the file is no state, or damaged.
    """
    if not path.is_file():
        return None
    try:
        tensors = load(path.read_bytes())
        header = json.loads(bytes(tensors.pop("header").tolist()))
        if header["format"] != FORMAT:
            raise ValueError(f"it says {header['format']!r}, expected {FORMAT!r}")
        progress = Progress(**header["progress"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"the state of the run is damaged or of another version ({error})",
            where=str(path),
            fix="delete this file to start the run over",
        ) from error
    network, average = {}, {}
    moments: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        if part == "network":
            network[name] = tensor
        elif part == "average":
            average[name] = tensor
        else:
            parameter, _, entry = name.rpartition("/")
            moments.setdefault(parameter, {})[entry] = tensor
    return SavedState(progress, network, moments, header["optimizer"], average)


def restore(saved: SavedState, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put network and optimizer back to what they were.

    The optimizer's own load_state_dict is not used: it casts, and an 8-bit state must come back
    byte for byte.

    Raises:
        FormatError: the state belongs to another network.
    """
    named = dict(network.named_parameters())
    own = network.state_dict()
    _same_names(set(saved.network), set(own), "tensors of the network")
    for name, value in own.items():
        if value.shape != saved.network[name].shape:
            raise FormatError(
                f"{name} has shape {tuple(saved.network[name].shape)} in the state and "
                f"{tuple(value.shape)} in the network",
                fix="delete the state to start over",
            )
    network.load_state_dict(saved.network, strict=True)
    stored = set(saved.optimizer_tensors) | set(saved.optimizer_values)
    _same_names(stored & set(named), stored, "parameters of the optimizer")
    for name in stored:
        parameter = named[name]
        entries: Mapping[str, Tensor] = saved.optimizer_tensors.get(name, {})
        # clone(): memory that torch allocated itself, aligned as in the first run; how a kernel
        # splits its work, and so its rounding, may depend on alignment.
        optimizer.state[parameter] = {
            **{key: _on_device(key, value, parameter).clone() for key, value in entries.items()},
            **saved.optimizer_values.get(name, {}),
        }


def _stored(value: Tensor) -> Tensor:
    return value.detach().to("cpu").contiguous().clone()


def _on_device(key: str, value: Tensor, parameter: Tensor) -> Tensor:
    # torch's AdamW keeps its step counter on the CPU.
    return value if key == "step" else value.to(parameter.device)


def _same_names(saved: set[str], own: set[str], what: str) -> None:
    if saved == own:
        return
    example = sorted(saved ^ own)[0]
    raise FormatError(
        f"the state has {len(saved)} {what}, this run has {len(own)} (for example {example})",
        fix="put the options back to what they were, or delete the state to start over",
    )
