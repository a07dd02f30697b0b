"""Reading PyTorch's own files (.ckpt, .pt, .pth, .bin) without running code that is in them.

Such a file is a zip archive of raw tensor data and one pickle. A pickle is a small program: it may
name any function that is installed and have it called. Here it can only name tensors and
dictionaries; whatever else it names becomes an `Inert` object, which does nothing and is dropped.
"""

from __future__ import annotations

import os
import pickle
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from lycoris_ext.errors import DataError, FormatError
from lycoris_ext.formats.strangers import LOOK, also, kind_of, refuse_start
from lycoris_ext.os_errors import reason, remedy_for_reading

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
_MAX_PICKLE = 1 << 28  # bytes; real ones stay below a hundredth of it
_MAX_NESTING = 4  # of "state_dict" in "state_dict"
_MEND = "the file is damaged or incomplete: get it again"
_DISTRUST = "do not use the file; get the model as .safetensors, which cannot hold code"
_CONVERT = (
    "save it anew: python -c \"import torch; torch.save(torch.load('OLD.ckpt', "
    "map_location='cpu', weights_only=True), 'NEW.ckpt')\""
)
_BROKEN_PICKLE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What an unpickler raises on damaged or malicious input."""


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
        with open(path, "rb") as file:
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
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1 or archive.getinfo(pickles[0]).file_size > _MAX_PICKLE:
            raise FormatError("is no file of torch.save", where=where, fix=_MEND)
        try:
            with archive.open(pickles[0]) as stream:
                content = _Unpickler(stream, encoding="utf-8").load()
            stored = _state_dict(content)
            if stored:  # of a file without tensors, the other things in it tell what it is
                check({key: one.shape for key, one in stored.items()})
            storages = _Storages(archive, pickles[0].removesuffix("data.pkl"))
            tensors = {key: one.read(storages) for key, one in stored.items()}
        except _BROKEN_PICKLE as error:
            text = " ".join(str(error).split())[:200] or type(error).__name__
            raise FormatError(
                f"is damaged or was made to do harm ({text}); nothing of it was run",
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


def _plain_keys(content: object) -> list[str]:
    """Return the texts and small numbers among the keys of a dict; hypernetworks have numbers."""
    keys = dict.keys(content) if isinstance(content, dict) else []
    return [str(k) for k in keys if type(k) is str or (type(k) is int and 0 <= k < 1 << 16)]


def _state_dict(content: object) -> dict[str, _StoredTensor]:
    """Return the tensors of a state dict, looking inside nested "state_dict" entries."""
    if type(content) is list:
        numbered = enumerate(content)
        return {str(n): one for n, one in numbered if isinstance(one, _StoredTensor)}
    if not isinstance(content, dict):
        return {}
    # dict.get(content, ...), not content.get(...): a pickle may replace methods of its objects.
    for _ in range(_MAX_NESTING):
        inner = dict.get(content, "state_dict")
        if isinstance(inner, dict):
            content = inner
    pairs = dict.items(content)
    return {k: one for k, one in pairs if type(k) is str and isinstance(one, _StoredTensor)}


class Inert:
    """Replaces any class or function that a pickle names: accepts all calls and does nothing."""

    def __new__(cls, *_args: object, **_kwargs: object) -> Inert:
        return object.__new__(cls)

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        pass

    def __call__(self, *_args: object, **_kwargs: object) -> Inert:
        return self

    # The methods below are those by which a pickle fills objects.
    def __setstate__(self, _state: object) -> None:
        pass

    def __setitem__(self, _key: object, _value: object) -> None:
        pass

    def append(self, _item: object) -> None:
        pass

    extend = add = append


class _StorageType(NamedTuple):
    """Replaces a class like torch.FloatStorage."""

    dtype: torch.dtype


class _Storage(NamedTuple):
    """The name of a file of raw numbers in the archive, their dtype and their count."""

    key: str
    dtype: torch.dtype
    length: int


class _StoredTensor(NamedTuple):
    """A tensor as the pickle describes it, before its numbers are read and its sizes checked."""

    storage: _Storage
    offset: Any
    size: Any
    stride: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """The size, not checked against the stored numbers; () if it is no size at all."""
        size = self.size if type(self.size) is tuple else ()
        return size if all(type(number) is int for number in size) else ()

    def read(self, storages: _Storages) -> Tensor:
        """Check offset, size and stride against the stored numbers, and return the tensor."""
        numbers = storages.get(self.storage)
        offset, size, stride = self.offset, tuple(self.size), tuple(self.stride)
        if not all(type(number) is int and number >= 0 for number in (offset, *size, *stride)):
            raise ValueError(f"a tensor of size {size} at {offset}")
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if 0 not in size and last >= numbers.numel():
            raise ValueError(f"a tensor of size {size} in {numbers.numel()} numbers")
        return numbers.as_strided(size, stride, offset)


class _Fixed:
    """Base of the objects that a pickle may call; it cannot set attributes of them.

    It could change those of a function, such as its defaults.
    """

    __slots__ = ()

    def __setattr__(self, name: str, _value: object) -> None:
        raise TypeError(f"it sets {name} of {type(self).__name__}")


class _RebuildTensor(_Fixed):
    """Replaces torch._utils._rebuild_tensor_v2 and _rebuild_tensor."""

    __slots__ = ()

    def __call__(
        self, storage: object, offset: object, size: object, stride: object, *_hooks: object
    ) -> _StoredTensor | Inert:
        if not isinstance(storage, _Storage):
            return Inert()
        return _StoredTensor(storage, offset, size, stride)


class _RebuildParameter(_Fixed):
    """Replaces torch._utils._rebuild_parameter, and returns the parameter's tensor."""

    __slots__ = ()

    def __call__(self, tensor: object, *_hooks: object) -> object:
        return tensor


_KNOWN: dict[tuple[str, str], Any] = {
    # Types that are written in C: a pickle can change neither them nor their methods.
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _RebuildTensor(),
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    **{("torch", name): _StorageType(dtype) for name, dtype in _DTYPES.items()},
}
"""All that a pickle can name. No function of torch or Python is among it."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get((module, name))
        return type("Inert", (Inert,), {}) if known is None else known

    def persistent_load(self, pid: Any) -> _Storage | Inert:
        match pid:
            case ("storage", _StorageType(dtype), str() as key, _, int() as length):
                return _Storage(key, dtype, length)
        return Inert()


class _Storages:
    """Reads raw numbers from the archive; each storage once, because tensors may share it."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        self._archive = archive
        self._folder = folder
        self._read: dict[str, Tensor] = {}
        order = f"{folder}byteorder"
        if order in archive.namelist() and archive.read(order).strip() != b"little":
            raise ValueError("its numbers are not in little-endian order")

    def get(self, storage: _Storage) -> Tensor:
        """Return all numbers of a storage as a one-dimensional tensor."""
        key = storage.key
        if key not in self._read:
            info = self._archive.getinfo(f"{self._folder}data/{key}")
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError("compressed data, which torch.save never writes")
            raw = bytearray(self._archive.read(info))
            empty = torch.empty(0, dtype=torch.uint8)
            self._read[key] = torch.frombuffer(raw, dtype=torch.uint8) if raw else empty
        numbers = self._read[key].view(storage.dtype)
        if numbers.numel() != storage.length:
            raise ValueError(f"storage {key} has {numbers.numel()} of {storage.length} numbers")
        return numbers
