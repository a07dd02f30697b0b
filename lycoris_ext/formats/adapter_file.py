"""Adapter files: safetensors with kohya keys and string metadata."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from lycoris_ext.errors import DataError, FormatError
from lycoris_ext.formats.atomic import atomic_write
from lycoris_ext.formats.keys import split_key

_MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors format itself
_MEND = "the file is damaged or incomplete: get or save it again"


@dataclass(frozen=True)
class AdapterState:
    """Everything an adapter file holds.

    Attributes:
        tensors: by full key, ``alpha`` included.
        metadata: strings, ``ss_*`` and others.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)

    def layers(self) -> dict[str, dict[str, Tensor]]:
        """The tensors of each layer: key prefix -> name -> tensor.

        Raises:
            FormatError: a key has no layer in front of its name.
        """
        layers: dict[str, dict[str, Tensor]] = {}
        for key, tensor in self.tensors.items():
            prefix, name = split_key(key)
            if not name:
                raise FormatError("names no layer (there is no dot in it)", where=f"key {key!r}")
            layers.setdefault(prefix, {})[name] = tensor
        return layers


def save_adapter(path: Path | str, state: AdapterState) -> None:
    """Write a safetensors file atomically; equal states give equal bytes.

    ``sshs_model_hash`` (sha256 over the data section, as sd-scripts computes it) is added to the
    metadata.

    Raises:
        FormatError: a tensor holds NaN or infinity; nothing is written.
        EnvironmentFault: the disk is full or not writable; the old file stays.
    """
    _refuse_non_finite(state.tensors, str(path))
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.tensors.items()}
    header, data = _split(safetensors.torch.save(tensors), str(path))
    model_hash = hashlib.sha256(data).hexdigest()
    metadata = {**state.metadata, "sshs_model_hash": model_hash}
    # The library writes metadata in random order; sorted here, equal states are equal bytes.
    header = {"__metadata__": dict(sorted(metadata.items())), **header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    atomic_write(path, struct.pack("<Q", len(text)) + text + data)


def load_adapter(path: Path | str) -> AdapterState:
    """Read and check an adapter file whole; no handle or memory map on it is kept.

    Raises:
        DataError: there is no such file.
        FormatError: truncated, not safetensors, a hostile header, NaN or infinity.
    """
    content = _read(Path(path))
    header, _ = _split(content, str(path))
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise FormatError(
            f"not a sound safetensors file ({error})", where=str(path), fix=_MEND
        ) from error
    _refuse_non_finite(tensors, str(path))
    return AdapterState(tensors, _metadata(header, str(path)))


def data_hash(path: Path | str) -> str:
    """sha256 over the data section: what ``sshs_model_hash`` should say."""
    _, data = _split(_read(Path(path)), str(path))
    return hashlib.sha256(data).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError("there is no such file", where=str(path), fix="check the path") from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=str(path)) from error


def _split(content: bytes, where: str) -> tuple[dict[str, object], memoryview]:
    """The parsed header and the data section of a safetensors file."""
    if len(content) < 8:
        raise FormatError(f"{len(content)} bytes long, a header needs 8", where=where, fix=_MEND)
    (length,) = struct.unpack("<Q", content[:8])
    if length > min(_MAX_HEADER, len(content) - 8):
        raise FormatError(
            f"the header claims {length} bytes, the file has {len(content) - 8}",
            where=where,
            fix=_MEND,
        )
    try:
        header = json.loads(content[8 : 8 + length])
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise FormatError(f"the header is not JSON ({error})", where=where, fix=_MEND) from error
    if not isinstance(header, dict):
        raise FormatError("the header is not a JSON object", where=where, fix=_MEND)
    return header, memoryview(content)[8 + length :]


def _metadata(header: Mapping[str, object], where: str) -> dict[str, str]:
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FormatError("the metadata are not all strings", where=where, fix=_MEND)
    return metadata


def _refuse_non_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    bad = [
        key
        for key, tensor in tensors.items()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]
    if bad:
        raise FormatError(
            f"{len(bad)} tensors hold NaN or infinity, the first is {bad[0]!r}",
            where=where,
            fix="the training run diverged: use an earlier checkpoint, or a lower learning rate",
        )
