"""Reading PyTorch's own files (.ckpt, .pt, .pth, .bin) without running code that is in them.

Such a file is a zip archive of raw tensor data and one pickle. A pickle is a small program: it may
name any function that is installed and have it called. ``pickled`` reads it as a description of
tensors, lists and dictionaries; whatever else it names is dropped.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from reprlib import repr as brief
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from lycoris_ext.errors import DataError, FormatError
from lycoris_ext.files import open_file
from lycoris_ext.formats.container import MAX_SIDE, MAX_SIDES, key_fault
from lycoris_ext.formats.pickled import INERT, MAX_BYTES, read_pickle
from lycoris_ext.formats.strangers import LOOK, also, kind_of, refuse_start
from lycoris_ext.os_errors import reason, remedy_for_reading
from lycoris_ext.words import short

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_MAX_LIST = 8_000_000  # bytes of the archive's list of contents: 100 for each of 80,000 tensors
_MAX_ORDER = 16  # bytes of the text "little" or "big"
_MAX_SHARED = 8
"""How many times as large as the file its tensors may be together: they may share their numbers."""
_MAX_NESTING = 4  # of "state_dict" in "state_dict"
_MEND = "the file is damaged or incomplete: get it again"
_DISTRUST = "do not use the file; get the model as .safetensors, which cannot hold code"
_CONVERT = (
    "save it anew with torch 2.10 or newer (older ones run code that is hidden in such a file): "
    "python -c \"import torch; torch.save(torch.load('OLD.ckpt', map_location='cpu', "
    "weights_only=True), 'NEW.ckpt')\""
)
_BROKEN_PICKLE = (EOFError, LookupError, RuntimeError, TypeError, ValueError)
"""What a damaged or malicious pickle, or tensors that do not fit their numbers, lead to."""


def is_torch_file(start: bytes) -> bool:
    """Return True if the first nine bytes of a file are those of one that torch.save wrote.

    Of a torch before 1.6, too, whose files ``load_torch_file`` refuses.
    """
    # A safetensors file may begin with the same bytes, but then its header begins with a brace.
    return start.startswith((b"PK", b"\x80")) and start[8:9] != b"{"


def load_torch_file(
    path: Path, check: Callable[[Mapping[str, tuple[int, ...]]], object] = lambda _: None
) -> dict[str, Tensor]:
    """Read the tensors of a file that torch.save wrote.

    Args:
        path: a file of torch 1.6 or newer. The weights may be in an inner dictionary "state_dict",
            as in files of PyTorch Lightning and most Stable Diffusion checkpoints. Tensors of a
            list are named by their number: "0", "1", ...
        check: called with the tensors' keys and sizes before their numbers are read; it may raise
            an error, so that a large file of another kind is not read.

    Returns:
        Key -> tensor on the CPU; values that are no tensors are left out.

    Raises:
        DataError: there is no such file.
        FormatError: the file has the format of torch before 1.6, is damaged, holds no tensors, or
            its pickle does what no file of weights does.
    """
    try:
        with open_file(path) as file:
            return _load(file, str(path), check)
    except FileNotFoundError as error:
        raise DataError("there is no such file", where=str(path), fix="check the path") from error
    except OSError as error:
        raise FormatError(
            f"cannot be read ({reason(error)})", where=str(path), fix=remedy_for_reading(error)
        ) from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise FormatError(f"cannot be read ({error})", where=str(path), fix=_MEND) from error


def _load(
    file: BinaryIO, where: str, check: Callable[[Mapping[str, tuple[int, ...]]], object]
) -> dict[str, Tensor]:
    start, size = file.read(LOOK), os.fstat(file.fileno()).st_size
    refuse_start(start, size, where)
    if not start.startswith(b"PK"):
        raise FormatError(
            "is no zip archive, so it is of a torch before 1.6 or damaged",
            where=where,
            fix=_CONVERT,
        )
    if not zipfile.is_zipfile(file):  # the list of an archive's contents is at its end
        raise FormatError(
            f"is cut off: {size:,} bytes are there, and the end of the archive is missing",
            where=where,
            fix="the download or copy was interrupted: get the file again",
        )
    with _archive(file) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1 or len(names) > len(set(names)):
            raise FormatError("is no file of torch.save", where=where, fix=_MEND)
        try:
            entries = _Entries(archive, pickles[0].removesuffix("data.pkl"), size)
            content = read_pickle(entries.read("data.pkl", MAX_BYTES), _KNOWN, _stored)
            stored = _state_dict(content)
            if stored:  # of a file without tensors, the other things in it tell what it is
                check({key: one.size for key, one in stored.items()})
            _check_bounds(stored, size)
            storages = _Storages(entries)
            tensors = {key: one.read(storages) for key, one in stored.items()}
        except _BROKEN_PICKLE as error:
            raise FormatError(
                f"is damaged or was made to do harm ({short(str(error), 200)}); nothing of it was "
                "run",
                where=where,
                fix=_DISTRUST,
            ) from error
    if not tensors:
        kind = kind_of(dict.fromkeys(_plain_keys(content), ()))
        raise FormatError(
            f"this is {kind.name}" if kind else "holds no tensors",
            where=where,
            fix=also(kind.mend if kind else "", "name a file of a model's or an adapter's weights"),
        )
    return tensors


def _check_bounds(stored: Mapping[str, _StoredTensor], size: int) -> None:
    """Check keys, and that tensors which share their numbers do not take much more than the file.

    Args:
        stored: key -> tensor.
        size: bytes of the file.

    Raises:
        ValueError: a key or the tensors are over a bound.
    """
    for fault in filter(None, map(key_fault, stored)):
        raise ValueError(fault)
    needed = sum(one.bytes for one in stored.values())
    if needed > _MAX_SHARED * size:
        raise ValueError(
            f"its tensors have {needed:,} bytes together, the file {size:,}; at most "
            f"{_MAX_SHARED} times as many are read"
        )


def _plain_keys(content: object) -> list[str]:
    """Return the texts and small numbers among the keys of a dict; hypernetworks have numbers."""
    keys = content if isinstance(content, dict) else {}
    return [str(key) for key in keys if isinstance(key, str) or 0 <= key < 1 << 16]


def _state_dict(content: object) -> dict[str, _StoredTensor]:
    """Return the tensors of a state dict, looking inside nested "state_dict" entries."""
    if type(content) is list:
        numbered = enumerate(content)
        return {str(n): one for n, one in numbered if isinstance(one, _StoredTensor)}
    if not isinstance(content, dict):
        return {}
    for _ in range(_MAX_NESTING):
        inner = content.get("state_dict")
        if isinstance(inner, dict):
            content = inner
    pairs = content.items()
    return {k: one for k, one in pairs if isinstance(k, str) and isinstance(one, _StoredTensor)}


class _StorageType(NamedTuple):
    """Replaces a class like torch.FloatStorage."""

    dtype: torch.dtype


class _Storage(NamedTuple):
    """The name of a file of raw numbers in the archive, their dtype and their count."""

    key: str
    dtype: torch.dtype
    length: int


class _StoredTensor(NamedTuple):
    """A tensor as the pickle describes it, before it is compared with the stored numbers."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """The length of the tensor, as if it shared no numbers."""
        return prod(self.size) * self.storage.dtype.itemsize

    def read(self, storages: _Storages) -> Tensor:
        """Check offset, size and stride against the stored numbers, and return the tensor."""
        numbers = storages.get(self.storage)
        steps = zip(self.size, self.stride, strict=True)
        last = self.offset + sum((n - 1) * step for n, step in steps)
        if 0 not in self.size and last >= numbers.numel():
            raise ValueError(f"a tensor of size {self.size} in {numbers.numel()} numbers")
        return numbers.as_strided(self.size, self.stride, self.offset)


def _stored(pid: object) -> object:
    """Return what a pickle means by a persistent id: raw numbers in the archive."""
    match pid:
        case ("storage", _StorageType(dtype), str() as key, _, int() as length):
            return _Storage(key, dtype, length)
    return INERT


def _rebuild_tensor(
    storage: object, offset: Any, size: Any, stride: Any, *_hooks: object
) -> object:
    """Take the place of torch._utils._rebuild_tensor_v2 and _rebuild_tensor."""
    if not isinstance(storage, _Storage):
        return INERT
    if not type(size) is type(stride) is tuple:
        raise ValueError(f"a tensor of size {brief(size)} and strides {brief(stride)}")
    if not len(size) == len(stride) <= MAX_SIDES:
        raise ValueError(
            f"a tensor of {len(size)} sides and {len(stride)} strides; at most {MAX_SIDES} are read"
        )
    numbers = (offset, *size, *stride)
    if not all(type(number) is int and 0 <= number < MAX_SIDE for number in numbers):
        raise ValueError(f"a tensor of size {brief(size)} at {brief(offset)}")
    return _StoredTensor(storage, offset, size, stride)


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): lambda *items: INERT if items else {},
    ("torch", "Size"): lambda size: size if type(size) is tuple else INERT,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_hooks: tensor,
    **{("torch", name): _StorageType(dtype) for name, dtype in _DTYPES.items()},
}
"""All that a pickle can name, and what it gets for it. None of it is a function of torch."""


class _Bounded:
    """A file that does not read more than so many bytes at once.

    Args:
        file: it is read.
        most: bytes; None for no bound.
    """

    def __init__(self, file: BinaryIO, most: int | None) -> None:
        self._file, self.most = file, most
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if self.most is not None and size > self.most:
            raise zipfile.BadZipFile(
                f"its list of contents has {size:,} bytes, at most {self.most:,} are read"
            )
        return self._file.read(size if self.most is None or size >= 0 else self.most)


def _archive(file: BinaryIO) -> zipfile.ZipFile:
    """Open a zip archive whose list of contents is no longer than a real one."""
    bounded = _Bounded(file, _MAX_LIST)
    try:
        archive = zipfile.ZipFile(bounded)
    except (ValueError, NotImplementedError, struct.error) as error:
        raise zipfile.BadZipFile(str(error)) from error
    bounded.most = None
    return archive


class _Entries:
    """Reads entries of an archive: those in one folder, uncompressed, and each at most once.

    Args:
        archive: whose entries' names differ.
        folder: their path in the archive, with a slash at its end.
        size: bytes of the whole file. Entries may lie on top of each other, but not all be read.
    """

    def __init__(self, archive: zipfile.ZipFile, folder: str, size: int) -> None:
        self._archive, self._folder, self._left = archive, folder, size

    def __contains__(self, name: str) -> bool:
        return f"{self._folder}{name}" in self._archive.NameToInfo

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return the bytes of an entry.

        Raises:
            KeyError: there is no such entry.
            ValueError: it is compressed, longer than ``most``, or longer than what is left.
        """
        info = self._archive.getinfo(f"{self._folder}{name}")
        size = info.file_size
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != size:
            raise ValueError("compressed data, which torch.save never writes")
        if most is not None and size > most:
            raise ValueError(f"{name} has {size:,} bytes, at most {most:,} are read")
        self._left -= size
        if self._left < 0:
            raise ValueError("it holds more numbers than the file has bytes")
        return self._archive.read(info)


class _Storages:
    """Reads raw numbers from the archive; each storage once, because tensors may share it."""

    def __init__(self, entries: _Entries) -> None:
        self._entries = entries
        self._read: dict[str, Tensor] = {}
        order = "byteorder"
        if order in entries and entries.read(order, _MAX_ORDER).strip() != b"little":
            raise ValueError("its numbers are not in little-endian order")

    def get(self, storage: _Storage) -> Tensor:
        """Return all numbers of a storage as a one-dimensional tensor."""
        key = storage.key
        if key not in self._read:
            raw = bytearray(self._entries.read(f"data/{key}"))
            empty = torch.empty(0, dtype=torch.uint8)
            self._read[key] = torch.frombuffer(raw, dtype=torch.uint8) if raw else empty
        numbers = self._read[key].view(storage.dtype)
        if numbers.numel() != storage.length:
            raise ValueError(f"storage {key} has {numbers.numel()} of {storage.length} numbers")
        return numbers
