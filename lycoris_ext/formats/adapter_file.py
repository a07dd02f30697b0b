"""Reading and writing adapter files: safetensors with named layers and string metadata."""

from __future__ import annotations

import hashlib
import mmap
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lycoris_ext.errors import ConfigError, DataError, FormatError, LycorisExtError
from lycoris_ext.files import cannot_read, open_file
from lycoris_ext.formats import cloneofsimo, comfyui_trainer, container
from lycoris_ext.formats.adapter_source import adapter_in, config_beside, converted
from lycoris_ext.formats.atomic import atomic_write
from lycoris_ext.formats.container import MEND, Buffer, Container, Entry
from lycoris_ext.formats.embeddings import is_embedding
from lycoris_ext.formats.hashes import (
    HASH_KEY,
    HashCheck,
    can_be_compared,
    compare,
    file_hashes,
)
from lycoris_ext.formats.keys import place_in_model, split_key, target_of
from lycoris_ext.formats.peft import apply_config, canonical
from lycoris_ext.formats.peft_unread import refuse_unread
from lycoris_ext.formats.strangers import refuse_other_than_adapter
from lycoris_ext.formats.torch_file import is_torch_file
from lycoris_ext.words import and_more, count

# Map all pages at once instead of one fault after the other; Python has no name for it.
_POPULATE_READ = 22


@dataclass(frozen=True)
class AdapterState:
    """The content of an adapter file, under the file's own names.

    Layers that a file only numbers (cloneofsimo's) have diffusers' names.

    Attributes:
        tensors: full key -> tensor, ``alpha`` included.
        metadata: the strings of the header: sd-scripts' ``ss_*`` and others.
        source: path of the file, for messages; empty if there is none.
        as_stored: whether the tensors are all data of the file, in its order.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)
    source: str = field(default="", compare=False)
    as_stored: bool = field(default=False, compare=False)

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Add the file's name to errors that are raised inside the ``with``."""
        try:
            yield
        except LycorisExtError as error:
            if not self.source or self.source in (error.where or ""):
                raise
            raise error.within(self.source) from error

    def layers(self) -> dict[str, dict[str, Tensor]]:
        """Group the tensors by layer.

        Files of diffusers and PEFT store alphas in a config instead of tensors; they are added here
        as tensors if that config has them.

        Returns:
            Name of the layer in the file -> name of the tensor as our algorithms have it (such as
            ``lora_up.weight``, ``alpha``) -> tensor.

        Raises:
            FormatError: some keys name no layer and tensor (all of them are listed), or are of a
                form that only PEFT has.
        """
        layers: dict[str, dict[str, Tensor]] = {}
        strange = []
        refuse_unread(self.tensors)
        for key, tensor in self.tensors.items():
            if is_embedding(key):
                continue
            layer, name = split_key(key)
            if not name:
                strange.append(key)
            elif name in layers.setdefault(layer, {}):
                raise FormatError(f"holds {name} twice", where=f"layer {layer!r}")
            elif name == "alpha" and tensor.numel() != 1:
                raise FormatError(f"alpha is {tensor.numel()} numbers", where=f"layer {layer!r}")
            else:
                layers[layer][name] = canonical(key, tensor)
        if strange:
            raise FormatError(
                f"holds {count(len(strange), 'key')} without a known layer and tensor: "
                f"{and_more(map(repr, strange), 10)}",
                fix="the file is no adapter, or of an algorithm that this version does not know",
            )
        apply_config(layers, self.metadata)
        return comfyui_trainer.canonical(layers, self.metadata)

    def hash_check(self) -> HashCheck | None:
        """Compare the tensors with the hash in the metadata; None if that cannot be done.

        It cannot if no hash is stored, or if the tensors are not ``as_stored``. It reads all of
        them, so it is done by those who show the result (``doubts``), not by those who read.
        """
        stored = self.metadata.get(HASH_KEY, "")
        if not self.as_stored or not can_be_compared(stored):
            return None
        digest = hashlib.sha256()
        for tensor in self.tensors.values():
            digest.update(tensor.detach().reshape(-1).view(torch.uint8).numpy().data)
        return compare(stored, digest.hexdigest())

    def embeddings(self) -> dict[str, Tensor]:
        """Return the bundled textual inversions, by the file's keys; they belong to no layer."""
        return {key: tensor for key, tensor in self.tensors.items() if is_embedding(key)}

    def only(self, targets: Collection[str]) -> AdapterState:
        """Return this state without the layers of other models than these.

        Layers whose model cannot be told from their names are kept.

        Args:
            targets: names of models, such as "unet"; see ``keys.place_in_model``.
        """
        wanted = {place_in_model(target, "").target for target in targets} | {"model"}
        kept = {
            key: tensor
            for key, tensor in self.tensors.items()
            if target_of(split_key(key)[0]) in wanted
        }
        return AdapterState(kept, self.metadata, self.source)


def in_precision(dtype: torch.dtype | None, key: str, tensor: Tensor) -> Tensor:
    """Return a tensor of an adapter in the precision of the file that it is written to.

    An alpha that the precision cannot hold, such as 100000 in float16, keeps its own, because the
    strength depends on it. Whole numbers are kept, too.

    Args:
        dtype: the precision; None: that of the tensor.
        key: the tensor's key or name.
        tensor: the tensor.
    """
    if dtype is None or not tensor.is_floating_point():
        return tensor
    cast = tensor.to(dtype)
    is_alpha = key.rpartition(".")[2] == "alpha"
    return tensor if is_alpha and not torch.equal(cast.to(tensor.dtype), tensor) else cast


def save_adapter(path: Path | str, state: AdapterState) -> None:
    """Write an adapter as a safetensors file, in one step; equal states give equal bytes.

    ``sshs_model_hash`` and ``sshs_legacy_hash`` are added to the metadata, computed as sd-scripts
    computes them.

    Raises:
        ConfigError: the arguments are of other classes, or swapped.
        FormatError: a tensor holds NaN or infinity; nothing is written.
        EnvironmentFault: the disk is full or not writable; an older file of this name is unharmed.
    """
    _check_arguments(path, state)
    bad = [key for key, tensor in state.tensors.items() if not container.is_finite(tensor)]
    _refuse_non_finite(bad, str(path))
    tensor_header, data = container.serialize(state.tensors)
    metadata = {**state.metadata, **file_hashes(tensor_header, data, state.metadata)}
    atomic_write(path, container.build_header(tensor_header, metadata) + data)


@dataclass(frozen=True)
class AdapterFile:
    """An adapter file in memory, so that tensors, metadata and hashes need one read of the disk.

    Args:
        path: the file that was read.
        content: all of its bytes; of a file of torch.save its tensors as safetensors.
        header: its checked header; the numbers in the tensors are not checked yet.
        size: bytes of the file.
    """

    path: Path
    content: bytearray
    header: Container
    size: int

    def state(self) -> AdapterState:
        """Return the file's tensors, which are views of ``content``, and its metadata.

        Raises:
            FormatError: a tensor holds NaN or infinity.
        """
        return _state(self.content, self.header, str(self.path))

    def hash(self) -> str:
        """Return the SHA-256 of ``content``; it changes with the metadata, too."""
        return hashlib.sha256(self.content).hexdigest()

    def data_hash(self) -> str:
        """Return the SHA-256 of the tensors' bytes, which ``sshs_model_hash`` should equal."""
        return hashlib.sha256(memoryview(self.content)[self.header.data_start :]).hexdigest()


def read_adapter_file(
    path: Path | str, check: Callable[[Container, str], object] = lambda *_: None
) -> AdapterFile:
    """Read a whole adapter file into memory, opening it once and closing it again.

    Args:
        path: the file, safetensors or one of torch.save; or a folder that PEFT or diffusers wrote.
        check: called with the header and the file's name before the tensors are read; it may raise
            an error, so that a large file of another kind is not read.

    Raises:
        DataError: there is no such file, or no adapter in the folder.
        FormatError: the file is truncated, of another format, or its header contradicts the file.
    """

    def check_header(header: Container, where: str) -> None:
        _refuse_others(header, where)
        check(header, where)

    path = adapter_in(Path(path))
    where = str(path)
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if is_torch_file(file.read(9)):
                content = converted(path, lambda shapes: check_header(_header_of(shapes), where))
                return AdapterFile(path, content, container.read_header(content, where), size)
            file.seek(0)
            start, header = container.read_start(file, size, where)
            check_header(header, where)
            content = bytearray(size)
            content[: len(start)] = start
            found = len(start) + file.readinto(memoryview(content)[len(start) :])
    except OSError as error:
        raise _unreadable(path, error) from error
    if found < size:
        raise FormatError(
            f"was cut to {found} of its {size} bytes while it was read", where=where, fix=MEND
        )
    return AdapterFile(path, content, header, size)


def _header_of(shapes: Mapping[str, tuple[int, ...]]) -> Container:
    """Return a header with nothing but keys and sizes, for checks before the tensors are read."""
    entries = (Entry(key, torch.float32, shape, 0, 0) for key, shape in shapes.items())
    return Container(tuple(entries), {}, 0)


def load_adapter(path: Path | str) -> AdapterState:
    """Read and check a whole adapter file; it is closed again and can be replaced at once.

    Raises:
        DataError: there is no such file.
        FormatError: the file is truncated, not safetensors, its header contradicts it, or a tensor
            holds NaN or infinity.
    """
    return read_adapter_file(path).state()


def open_adapter(path: Path | str) -> AdapterState:
    """Read and check an adapter file as ``load_adapter`` does, but by a memory map.

    Faster, because nothing is copied; use it if you copy the tensors at once, as ``load_network``
    does. As long as one of the tensors exists the file stays mapped: on Windows it cannot be
    replaced, and on other systems it must not be truncated.

    Raises:
        DataError, FormatError: as for ``load_adapter``.
    """
    path = adapter_in(Path(path))
    try:
        with open_file(path) as file:
            if is_torch_file(file.read(9)):
                return read_adapter_file(path).state()
            # ACCESS_COPY: writing to the tensors does not change the file. An empty file cannot be
            # mapped.
            size = path.stat().st_size
            content: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) if size else b""
        if size and sys.platform == "linux":
            with suppress(OSError):  # only a hint, which kernels before 5.14 do not know
                content.madvise(_POPULATE_READ)
    except OSError as error:
        raise _unreadable(path, error) from error
    return parse_adapter(content, str(path))


def parse_adapter(content: Buffer, where: str) -> AdapterState:
    """Read an adapter from the bytes of its file; the tensors are views of these bytes.

    Args:
        content: the whole file, in a writable buffer, because torch has no read-only tensors.
        where: path of the file, for messages; for a PEFT file ``adapter_config.json`` is read from
            the same folder.

    Raises:
        FormatError: as for ``load_adapter``.
        DataError: PEFT's config cannot be read.
    """
    header = container.read_header(content, where)
    _refuse_others(header, where)
    return _state(content, header, where)


def _refuse_others(header: Container, where: str) -> None:
    """Refuse a file that is no adapter, by its header alone: models have gigabytes."""
    shapes = {entry.key: entry.shape for entry in header.entries}
    refuse_other_than_adapter(shapes, header.metadata, where)


def _check_arguments(path: object, state: object) -> None:
    """Refuse what a user may take for ``save_adapter``'s arguments."""
    if isinstance(state, AdapterState) and isinstance(path, str | Path):
        return
    fix = "write save_adapter(path, state)"
    if hasattr(state, "adapter_state") or hasattr(path, "adapter_state"):
        fix = "write network.save(path), or save_adapter(path, network.adapter_state())"
    elif isinstance(state, dict):
        fix = "write save_adapter(path, AdapterState(tensors))"
    kinds = f"{type(path).__name__} and {type(state).__name__}"
    raise ConfigError(
        f"{kinds} are handed over, not a path and an AdapterState", where="save_adapter", fix=fix
    )


def _state(content: Buffer, header: Container, where: str) -> AdapterState:
    _refuse_non_finite(container.non_finite(content, header), where)
    metadata = dict(header.metadata)
    tensors = container.read_tensors(content, header)
    is_numbered = cloneofsimo.is_numbered(tensors)
    if is_numbered:
        tensors, metadata = cloneofsimo.named(tensors, metadata, where)
    metadata.update(config_beside(Path(where), tensors))
    return AdapterState(tensors, metadata, where, as_stored=not is_numbered)


def _unreadable(path: Path, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError("there is no such file", where=str(path), fix="check the path")
    return cannot_read(path, error)


def _refuse_non_finite(keys: list[str], where: str) -> None:
    """Refuse tensors with these keys; alphas are judged by ``detect``: not all have an effect."""
    bad = [key for key in keys if not key.endswith(".alpha")]
    if bad:
        raise FormatError(
            f"holds NaN or infinity in {count(len(bad), 'tensor')}, the first is {bad[0]!r}",
            where=where,
            fix="the training run diverged: use an earlier checkpoint, or a lower learning rate",
        )
