"""The safetensors container: bytes to tensors and back, everything checked before it is used.

Eight bytes of length, a JSON header, the data. The header is believed in nothing: each tensor's
dtype, shape and offsets must agree with each other and with the length of the data before the
first tensor is made, and tensors are views of the bytes that were read, so that no file can make
us reserve memory that it does not have itself.

Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from math import isfinite, prod
from mmap import mmap
from operator import itemgetter
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from lycoris_ext.errors import FormatError

# Bytes. Parsed JSON takes several times its length; the longest headers of real adapters, with the
# tags of ten thousand pictures in them, have two millions.
MAX_HEADER = 32_000_000
MEND = "the file is damaged or incomplete: get or save it again"

Buffer = bytes | bytearray | memoryview | mmap

_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
DTYPES: dict[str, torch.dtype] = {key: getattr(torch, name) for key, name in _NAMES.items()}


class Entry(NamedTuple):
    """One tensor as the header describes it; ``start`` and ``end`` in bytes of the data."""

    key: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Container:
    """A checked file.

    Attributes:
        entries: in the order of the data, which they cover without gap or overlap.
        metadata: strings.
        data_start: offset of the data in the file.
    """

    entries: tuple[Entry, ...]
    metadata: dict[str, str]
    data_start: int


def header_end(start: Buffer, size: int, where: str) -> int:
    """Where the header ends and the data begins.

    Args:
        start: the file's first eight bytes, or more of it.
        size: bytes of the whole file.
        where: its name.

    Raises:
        FormatError: the file is shorter, or no header is as long.
    """
    if min(len(start), size) < 8:
        raise FormatError(f"{size} bytes long, a header needs 8", where=where, fix=MEND)
    (length,) = struct.unpack("<Q", start[:8])
    if length > size - 8:
        raise FormatError(
            f"the header claims {length} bytes, the file has {size - 8}", where=where, fix=MEND
        )
    if length > MAX_HEADER:
        raise FormatError(
            f"the header has {length} bytes, at most {MAX_HEADER} are read", where=where, fix=MEND
        )
    return int(8 + length)


def read_header(content: Buffer, where: str, size: int | None = None) -> Container:
    """Parse and check the header; no tensor is made.

    Args:
        content: the file, or as much of its beginning as has the header in it.
        where: its name.
        size: bytes of the whole file, where ``content`` is its beginning alone.

    Raises:
        FormatError: truncated, not safetensors, or a header that contradicts itself or the file.
    """
    size = len(content) if size is None else size
    data_start = header_end(content, size, where)
    header = _parse(bytes(content[8:data_start]), where)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FormatError("the metadata are not all strings", where=where, fix=MEND)
    entries = [_entry(key, described, where) for key, described in header.items()]
    entries.sort(key=itemgetter(3, 4))  # start, end
    position = 0
    for entry in entries:
        if entry.start != position:
            raise FormatError(
                f"{entry.key!r} starts at byte {entry.start} of the data, the tensor before it "
                f"ends at {position}",
                where=where,
                fix=MEND,
            )
        position = entry.end
    if position != size - data_start:
        raise FormatError(
            f"the tensors take {position} bytes, the file has {size - data_start} of data",
            where=where,
            fix=MEND,
        )
    return Container(tuple(entries), metadata, data_start)


def read_tensors(content: Buffer, container: Container) -> dict[str, Tensor]:
    """The tensors, as views of ``content``, which they keep alive."""
    tensors = {}
    for run in _runs(container):
        counts = [(entry.end - entry.start) // entry.dtype.itemsize for entry in run]
        parts = _view(content, container, run).split(counts)
        for entry, part in zip(run, parts, strict=True):
            tensors[entry.key] = part.view(entry.shape)
    return tensors


def non_finite(content: Buffer, container: Container) -> list[str]:
    """Keys of the tensors that hold NaN or infinity."""
    return [
        entry.key
        for run in _runs(container)
        if not is_finite(_view(content, container, run))
        for entry in run
        if not is_finite(_view(content, container, [entry]))
    ]


def is_finite(tensor: Tensor) -> bool:
    """True where no number is NaN or infinite.

    One thread of a CPU: 24 to 54 times as fast as torch.isfinite(...).all() over a million numbers
    and more, 4 times over some thousand.
    """
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    tensor = tensor.detach()
    if tensor.dtype.itemsize == 1:  # float8 has no reductions
        return all(is_finite(part.float()) for part in tensor.flatten().split(1 << 20))
    # Nothing added to NaN or infinity is finite again. Finite numbers can add up to infinity: then
    # the smallest and the largest decide, among which NaN wins, at 1.5 times the cost.
    return isfinite(tensor.sum()) or all(map(isfinite, torch.aminmax(tensor)))


def build_header(tensor_header: Mapping[str, object], metadata: Mapping[str, str]) -> bytes:
    """Length and header, padded to a multiple of 8 so that readers can map the data as numbers.

    The library writes metadata in random order; sorted here, equal files are equal bytes.
    """
    header = {"__metadata__": dict(sorted(metadata.items())), **tensor_header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def serialize(tensors: Mapping[str, Tensor]) -> tuple[dict[str, object], memoryview]:
    """The tensors' part of the header, and the data."""
    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    content = safetensors.torch.save(plain)
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), memoryview(content)[8 + length :]


def _runs(container: Container) -> list[list[Entry]]:
    """Neighbours of one dtype (the second field), which are looked at in one go."""
    return [list(run) for _, run in groupby(container.entries, key=itemgetter(1))]


def _view(content: Buffer, container: Container, run: list[Entry]) -> Tensor:
    """All numbers of some neighbours, (numbers,)."""
    dtype, start, end = run[0].dtype, run[0].start, run[-1].end
    if start == end:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(
        content,
        dtype=dtype,
        count=(end - start) // dtype.itemsize,
        offset=container.data_start + start,
    )


def _parse(text: bytes, where: str) -> dict[str, object]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the header is not JSON ({error})", where=where, fix=MEND) from error
    if not isinstance(header, dict):
        raise FormatError("the header is not a JSON object", where=where, fix=MEND)
    return header


def _entry(key: str, described: object, where: str) -> Entry:
    """One tensor's description, if it is one and agrees with itself."""
    # Files have a thousand of these: what is right is let through before words are found.
    try:
        dtype = DTYPES[described["dtype"]]  # type: ignore[index]
        shape = described["shape"]  # type: ignore[index]
        start, end = described["data_offsets"]  # type: ignore[index]
        size = dtype.itemsize
        for side in shape:
            if type(side) is not int or side < 0:
                raise ValueError
            size *= side
        if not size and prod(max(side, 1) for side in shape) >= 1 << 62:
            raise ValueError  # empty, and yet too large for torch's strides
        if type(start) is type(end) is int and start >= 0 and end - start == size:
            return Entry(key, dtype, tuple(shape), start, end)
    except (KeyError, TypeError, ValueError):
        pass
    raise _wrong_entry(key, described, where)


def _wrong_entry(key: str, described: object, where: str) -> FormatError:
    if not isinstance(described, dict):
        return FormatError(f"{key!r} is not described in the header", where=where, fix=MEND)
    name, shape = described.get("dtype"), described.get("shape")
    offsets = described.get("data_offsets")
    if not isinstance(name, str) or name not in DTYPES:
        known = ", ".join(DTYPES)
        return FormatError(f"{key!r} has dtype {name!r}, known are {known}", where=where, fix=MEND)
    return FormatError(
        f"{key!r} of shape {shape!r:.80} in {name} does not fill its offsets {offsets!r:.80}",
        where=where,
        fix=MEND,
    )
