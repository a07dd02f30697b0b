"""Adapter files: safetensors with named layers and string metadata."""

from __future__ import annotations

import hashlib
import mmap
import os
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from lycoris_ext.errors import DataError, FormatError
from lycoris_ext.formats import container
from lycoris_ext.formats.atomic import atomic_write
from lycoris_ext.formats.container import MEND, Buffer, Container
from lycoris_ext.formats.hashes import file_hashes
from lycoris_ext.formats.keys import place_in_model, split_key, target_of
from lycoris_ext.formats.peft import (
    CONFIG_FILE,
    CONFIG_KEY,
    apply_config,
    canonical,
    is_peft,
    refuse_unread,
)
from lycoris_ext.words import and_more, count

# Map all pages at once instead of one fault after the other; Python has no name for it.
_POPULATE_READ = 22


@dataclass(frozen=True)
class AdapterState:
    """Everything an adapter file holds, under the file's own names.

    Attributes:
        tensors: by full key, ``alpha`` included.
        metadata: strings, ``ss_*`` and others.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)

    def layers(self) -> dict[str, dict[str, Tensor]]:
        """The tensors of each layer: the layer's name in the file -> our name -> tensor.

        A file of diffusers or PEFT has no alphas; where its config sets another one than the rank,
        it is put in.

        Raises:
            FormatError: keys that cannot be taken apart; all of them are listed. Or keys of what
                PEFT alone has.
        """
        layers: dict[str, dict[str, Tensor]] = {}
        strange = []
        refuse_unread(self.tensors)
        for key, tensor in self.tensors.items():
            layer, name = split_key(key)
            if not name:
                strange.append(key)
            elif name in layers.setdefault(layer, {}):
                raise FormatError(f"holds {name} twice", where=f"layer {layer!r}")
            else:
                layers[layer][name] = canonical(key, tensor)
        if strange:
            raise FormatError(
                f"holds {count(len(strange), 'key')} without a known layer and tensor: "
                f"{and_more(map(repr, strange), 10)}",
                fix="the file is no adapter, or of an algorithm that this version does not know",
            )
        apply_config(layers, self.metadata)
        return layers

    def only(self, targets: Collection[str]) -> AdapterState:
        """Without the layers that tell another model than these.

        Args:
            targets: as for ``keys.place_in_model``.
        """
        wanted = {place_in_model(target, "").target for target in targets} | {"model"}
        kept = {
            key: tensor
            for key, tensor in self.tensors.items()
            if target_of(split_key(key)[0]) in wanted
        }
        return AdapterState(kept, self.metadata)


def save_adapter(path: Path | str, state: AdapterState) -> None:
    """Write a safetensors file atomically; equal states give equal bytes.

    ``sshs_model_hash`` and ``sshs_legacy_hash`` are added to the metadata, computed as sd-scripts
    computes them.

    Raises:
        FormatError: a tensor holds NaN or infinity; nothing is written.
        EnvironmentFault: the disk is full or not writable; the old file stays.
    """
    bad = [key for key, tensor in state.tensors.items() if not container.is_finite(tensor)]
    _refuse_non_finite(bad, str(path))
    tensor_header, data = container.serialize(state.tensors)
    metadata = {**state.metadata, **file_hashes(tensor_header, data, state.metadata)}
    atomic_write(path, container.build_header(tensor_header, metadata) + data)


@dataclass(frozen=True)
class AdapterFile:
    """The bytes of an adapter file, read once for all that is to be known of it.

    Args:
        path: where it was read.
        content: all of it.
        header: what it says of itself, checked; its tensors are not looked at yet.
    """

    path: Path
    content: bytearray
    header: Container

    def state(self) -> AdapterState:
        """Its tensors, which are views of ``content``, and its metadata.

        Raises:
            FormatError: a tensor holds NaN or infinity.
        """
        return _state(self.content, self.header, str(self.path))

    def hash(self) -> str:
        """SHA-256 of the whole file, header included: other metadata make another hash."""
        return hashlib.sha256(self.content).hexdigest()

    def data_hash(self) -> str:
        """SHA-256 of the data section: what ``sshs_model_hash`` should say."""
        return hashlib.sha256(memoryview(self.content)[self.header.data_start :]).hexdigest()


def read_adapter_file(
    path: Path | str, check: Callable[[Container, str], object] = lambda *_: None
) -> AdapterFile:
    """Read a file whole, opening it once; no handle or memory map on it is kept.

    Args:
        path: the file.
        check: called with the header and the file's name before the data are read; what it raises
            spares them.

    Raises:
        DataError: there is no such file.
        FormatError: truncated, not safetensors, or a hostile header.
    """
    path, where = Path(path), str(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            start += file.read(container.header_end(start, size, where) - 8)
            header = container.read_header(start, where, size)
            check(header, where)
            content = bytearray(size)
            content[: len(start)] = start
            found = len(start) + file.readinto(memoryview(content)[len(start) :])
    except OSError as error:
        raise _unreadable(path, error) from error
    if found < size:
        raise FormatError(
            f"was cut to {found} of its {size} bytes while it was read", where=where, fix=MEND
        )
    return AdapterFile(path, content, header)


def load_adapter(path: Path | str) -> AdapterState:
    """Read and check an adapter file whole; no handle or memory map on it is kept.

    Raises:
        DataError: there is no such file.
        FormatError: truncated, not safetensors, a hostile header, NaN or infinity.
    """
    return read_adapter_file(path).state()


def open_adapter(path: Path | str) -> AdapterState:
    """Map and check an adapter file: as ``load_adapter``, without the copy.

    The tensors lie in the file until the last of them is gone. They are for a reader who copies
    them at once (``load_network`` does): on Windows the file cannot be replaced until then, and
    anywhere else nobody may cut it short.

    Raises:
        As ``load_adapter``.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            # Writing to the tensors changes this process's pages alone. An empty file has no map.
            size = path.stat().st_size
            content: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) if size else b""
        if size and sys.platform == "linux":
            with suppress(OSError):  # a hint, and news to kernels before 5.14
                content.madvise(_POPULATE_READ)
    except OSError as error:
        raise _unreadable(path, error) from error
    return parse_adapter(content, str(path))


def parse_adapter(content: Buffer, where: str) -> AdapterState:
    """An adapter from a file's bytes, of which its tensors are views.

    Args:
        content: writable, because torch has no read-only tensors.
        where: the file's name; PEFT's config is looked for beside it.

    Raises:
        FormatError: as ``load_adapter``.
    """
    return _state(content, container.read_header(content, where), where)


def _state(content: Buffer, header: Container, where: str) -> AdapterState:
    _refuse_non_finite(container.non_finite(content, header), where)
    metadata = dict(header.metadata)
    tensors = container.read_tensors(content, header)
    if any(map(is_peft, tensors)):
        metadata.update(_peft_config(Path(where).with_name(CONFIG_FILE)))
    return AdapterState(tensors, metadata)


def _peft_config(path: Path) -> dict[str, str]:
    try:
        return {CONFIG_KEY: path.read_text(encoding="utf-8")}
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read ({error})", where=str(path)) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError("there is no such file", where=str(path), fix="check the path")
    return DataError(f"cannot be read ({error.strerror})", where=str(path))


def _refuse_non_finite(bad: list[str], where: str) -> None:
    if bad:
        raise FormatError(
            f"holds NaN or infinity in {count(len(bad), 'tensor')}, the first is {bad[0]!r}",
            where=where,
            fix="the training run diverged: use an earlier checkpoint, or a lower learning rate",
        )
