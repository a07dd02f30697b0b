"""Saving and loading the state of a run, from which it resumes bit for bit.

It is one file, a hash and then safetensors. The older one stays beside it, so that a process killed
at any moment, or a bit that flips on the disk, costs at most the steps between the two. Random
numbers depend only on the seed and the step, so the state of a generator is not stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from lycoris_ext.errors import FormatError
from lycoris_ext.files import cannot_read, read_bytes
from lycoris_ext.formats import atomic_write
from lycoris_ext.formats.json_text import parse_json
from lycoris_ext.formats.sealed import sealed, unsealed
from lycoris_ext.formats.strangers import LOOK, start_of
from lycoris_ext.runs.optimizer_state import START_OVER, pack, unpack

FORMAT = "lycoris_ext run state 3"
"""Format 1 lacked what optimizers keep in their parameter groups, formats 1 and 2 the hash."""


@dataclass(frozen=True)
class Progress:
    """How far a run has come, and what must be unchanged when it is resumed.

    Args:
        step: finished optimizer steps.
        batch_number: finished batches: step times gradient_accumulation_steps, since a state is
            only saved between two optimizer steps.
        finished: whether the run has reached its end and written its result.
        config: all options, name -> value.
        dataset: hash of pictures and captions.
        base: hash of the base model.
        torch_version, device, threads: with which the numbers were computed.
        scaler: state of the loss scaler; empty without one.
        start: hash of the files network_weights and base_weights; empty without such files.
        unlogged: lines for the event log that could not be written yet.
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
    unlogged: str = ""


@dataclass(frozen=True)
class SavedState:
    """The content of a state file; all tensors are on the CPU.

    Args:
        progress: how far the run has come.
        network: name -> parameter or buffer of the network.
        optimizer, optimizer_tensors: what ``runs.optimizer_state.pack`` returned.
        average: name -> averaged parameter (EMA); empty if the run averages none.
        note: why a newer state was passed over; "" if there was none.
    """

    progress: Progress
    network: dict[str, Tensor]
    optimizer: dict[str, Any]
    optimizer_tensors: list[Tensor]
    average: dict[str, Tensor] = field(default_factory=dict)
    note: str = ""


def save_state(
    paths: Sequence[Path],
    progress: Progress,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the state of a run to a file, in one step; the one that was there becomes the older.

    Args:
        paths: of the newest state and of the one before, as ``RunPaths.states``.
        progress: how far the run has come.
        network: its state_dict is stored without changing any dtype.
        optimizer: its whole state is stored without changing any dtype (8-bit stays 8-bit). A
            schedule-free optimizer must be in its ``train()`` mode.
        average: name -> averaged parameter (EMA); None if the run averages none.
    """
    tensors = {f"network/{name}": _stored(value) for name, value in network.state_dict().items()}
    for name, value in (average or {}).items():
        tensors[f"average/{name}"] = _stored(value)
    packed, kept = pack(optimizer, network)
    tensors |= {f"optimizer/{number}": _stored(value) for number, value in enumerate(kept)}
    header = {"format": FORMAT, "progress": asdict(progress), "optimizer": packed}
    text = json.dumps(header, ensure_ascii=False).encode("utf-8")
    tensors["header"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    newest, before = paths
    atomic_write(newest, sealed(save(tensors)), keep=before)


def load_newest(paths: Sequence[Path]) -> SavedState | None:
    """Read the newest state of a run that is whole; None if there is none at all.

    Args:
        paths: as ``RunPaths.states``.

    Raises:
        DataError: a file cannot be opened.
        FormatError: every state that there is is damaged, or was written by another version.
    """
    faults: list[FormatError] = []
    for path in paths:
        try:
            saved = load_state(path)
        except FormatError as error:
            faults.append(error)
            continue
        if saved is not None:
            return replace(saved, note=f"{faults[0]}; going on from {path.name}" if faults else "")
    if faults:
        raise faults[0]
    return None


def load_state(path: Path) -> SavedState | None:
    """Read the state of a run from a file; None if the file does not exist.

    Raises:
        DataError: the file cannot be opened.
        FormatError: it is no state, is damaged, or was written by another version.
    """
    if not path.is_file():
        return None
    try:
        content = read_bytes(path)
    except OSError as error:
        raise cannot_read(path, error) from error
    stranger = start_of(content[:LOOK], len(content))
    try:
        if stranger is not None:
            raise ValueError(f"this is {stranger.name}")
        tensors = load(_whole(content, path))
        header = parse_json(bytes(tensors.pop("header").tolist()))
        _check_version(header["format"], path)
        header["progress"].pop("pictures", None)  # older versions kept a hash of each
        progress = Progress(**header["progress"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"the state of the run is damaged ({error})",
            where=str(path),
            fix=START_OVER,
        ) from error
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "optimizer": {}}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        parts[part][name] = tensor
    kept = [parts["optimizer"][str(number)] for number in range(len(parts["optimizer"]))]
    return SavedState(progress, parts["network"], header["optimizer"], kept, parts["average"])


def restore(saved: SavedState, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Copy a loaded state into a network and its optimizer.

    Args:
        saved: the state.
        network, optimizer: new ones, built with the same options.

    Raises:
        FormatError: the state belongs to another network or optimizer.
    """
    own = network.state_dict()
    _same_names(set(saved.network), set(own), "tensors of the network")
    for name, value in own.items():
        if value.shape != saved.network[name].shape:
            raise FormatError(
                f"{name} has shape {tuple(saved.network[name].shape)} in the state and "
                f"{tuple(value.shape)} in the network",
                fix=START_OVER,
            )
    network.load_state_dict(saved.network, strict=True)
    unpack(saved.optimizer, saved.optimizer_tensors, optimizer, network)


def _whole(raw: bytes, path: Path) -> bytes:
    """Return the content of a state file.

    Raises:
        FormatError: another version wrote it.
        ValueError: its hash does not fit.
    """
    content = unsealed(raw)
    if content is not None:
        return content
    with suppress(SafetensorError, KeyError, TypeError, ValueError):
        header = parse_json(bytes(load(raw)["header"].tolist()))  # as formats 1 and 2 have it
        _check_version(header["format"], path)
    raise ValueError("its hash does not fit its content")


def _check_version(written_as: str, path: Path) -> None:
    if written_as != FORMAT:
        raise FormatError(
            f"another version of lycoris_ext wrote this state, as {written_as!r}; this version "
            f"reads {FORMAT!r}",
            where=str(path),
            fix=f"finish the run with the version that began it, {START_OVER}",
        )


def _stored(value: Tensor) -> Tensor:
    return value.detach().to("cpu").contiguous().clone()


def _same_names(saved: set[str], own: set[str], what: str) -> None:
    if saved == own:
        return
    example = sorted(saved ^ own)[0]
    raise FormatError(
        f"the state has {len(saved)} {what}, this run has {len(own)} (for example {example})",
        fix=f"put the options back to what they were, {START_OVER}",
    )
