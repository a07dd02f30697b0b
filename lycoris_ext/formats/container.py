"""The safetensors format: turning bytes into tensors and back, with all checks before any use.

A file is eight bytes of length, a JSON header and the data. The header is not trusted: each
tensor's dtype, shape and offsets must agree with each other and with the length of the data before
the first tensor is made. Tensors are views of the bytes that were read, so that no file can make us
reserve more memory than it is long.

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
from reprlib import repr as brief
from typing import BinaryIO, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from lycoris_ext.errors import FormatError
from lycoris_ext.formats.json_text import parse_json
from lycoris_ext.formats.strangers import LOOK, also, refuse_start
from lycoris_ext.printable import on_one_line
from lycoris_ext.words import count, short

MAX_HEADER = 32_000_000
"""Bytes of a header. The longest headers of real adapters hold the tags of all their pictures: two
million bytes for ten thousand pictures."""
MAX_TENSORS = 20_000
"""Of a file. LyCORIS makes 5,000 for all layers of SDXL."""
MAX_SIDES = 8
"""Of a tensor's shape. Weights of convolutions in three dimensions have 5."""
MAX_SIDE = 1 << 62
"""Of numbers along a side, and of the steps between them: what torch counts with."""
MAX_KEY = 1000
"""Letters of a tensor's key. Real ones have up to 200."""
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
    """One tensor as the header describes it.

    Attributes:
        start, end: where its bytes are, counted from the beginning of the data.
    """

    key: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Container:
    """The checked header of a safetensors file.

    Attributes:
        entries: the tensors, in the order of the data, which they cover without gap or overlap.
        metadata: the header's strings.
        data_start: offset in bytes of the data in the file.
    """

    entries: tuple[Entry, ...]
    metadata: dict[str, str]
    data_start: int


def header_end(start: Buffer, size: int, where: str) -> int:
    """Return the offset in bytes at which the header ends and the data begin.

    Args:
        start: the first bytes of the file, eight at least; with ``LOOK`` of them a file of another
            kind is named for what it is.
        size: bytes of the whole file.
        where: the file's name, for messages.

    Raises:
        FormatError: the file is of another kind or shorter than its header, or the header is too
            long to be real.
    """
    refuse_start(bytes(start[:LOOK]), size, where)
    if min(len(start), size) < 8:
        raise FormatError(
            f"{size} bytes long, which is too short for a safetensors file", where=where, fix=MEND
        )
    (length,) = struct.unpack("<Q", start[:8])
    if length > size - 8 and start[8:9] != b"{":  # the format wants a brace there
        raise FormatError(
            f"is no safetensors file: it begins with the bytes {bytes(start[:9]).hex(' ')}",
            where=where,
            fix=MEND,
        )
    if length > MAX_HEADER:
        raise FormatError(
            f"the header has {length:,} bytes, at most {MAX_HEADER:,} are read",
            where=where,
            fix=also(
                MEND,
                "a file that describes its pictures at such length is smaller without "
                "its metadata (--no_metadata of sd-scripts)",
            ),
        )
    if length > size - 8:
        raise _cut_off(8 + length, size, where, "for its header alone")
    return int(8 + length)


def read_header(content: Buffer, where: str, size: int | None = None) -> Container:
    """Parse and check the header, without making any tensor.

    Args:
        content: the file, or its beginning if that holds the whole header.
        where: the file's name, for messages.
        size: bytes of the whole file, needed if ``content`` is only its beginning.

    Raises:
        FormatError: the file is truncated, not safetensors, or its header contradicts itself or
            the file.
    """
    size = len(content) if size is None else size
    data_start = header_end(content, size, where)
    header = _parse(bytes(content[8:data_start]), where)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FormatError("the metadata are not all strings", where=where, fix=MEND)
    if len(header) > MAX_TENSORS:
        raise FormatError(
            f"the header names {count(len(header), 'tensor')}, at most {MAX_TENSORS:,} are read",
            where=where,
            fix=MEND,
        )
    metadata = {
        _with_whole_characters(name): _with_whole_characters(text)
        for name, text in metadata.items()
    }
    entries = [_entry(key, described, where) for key, described in header.items()]
    entries.sort(key=itemgetter(3, 4))  # start, end
    position = 0
    for entry in entries:
        if entry.start != position:
            raise FormatError(
                f"{short(entry.key)!r} starts at byte {entry.start} of the data, the tensor before "
                f"it ends at {position}",
                where=where,
                fix=MEND,
            )
        position = entry.end
    if position > size - data_start:
        raise _cut_off(data_start + position, size, where, "by its header")
    if position < size - data_start:
        extra = count(size - data_start - position, "byte")
        raise FormatError(
            f"has {extra} behind its last tensor, which ends at byte {data_start + position:,} of "
            f"{size:,}",
            where=where,
            fix=MEND,
        )
    return Container(tuple(entries), metadata, data_start)


def read_start(file: BinaryIO, size: int, where: str) -> tuple[bytes, Container]:
    """Read the beginning of an open file and check its header.

    Args:
        file: at its beginning, opened in binary mode.
        size: bytes of the whole file.
        where: the file's name, for messages.

    Returns:
        The bytes that were read, which hold the header, and the header.

    Raises:
        FormatError: as for ``read_header``.
    """
    start = file.read(LOOK)
    start += file.read(max(0, header_end(start, size, where) - len(start)))
    return start, read_header(start, where, size)


def read_tensors(content: Buffer, container: Container) -> dict[str, Tensor]:
    """Return key -> tensor; the tensors are views of ``content`` and keep it alive."""
    tensors = {}
    for run in _runs(container):
        counts = [(entry.end - entry.start) // entry.dtype.itemsize for entry in run]
        parts = _view(content, container, run).split(counts)
        for entry, part in zip(run, parts, strict=True):
            tensors[entry.key] = part.view(entry.shape)
    return tensors


def non_finite(content: Buffer, container: Container) -> list[str]:
    """Return the keys of the tensors that hold NaN or infinity."""
    return [
        entry.key
        for run in _runs(container)
        if not is_finite(_view(content, container, run))
        for entry in run
        if not is_finite(_view(content, container, [entry]))
    ]


def is_finite(tensor: Tensor) -> bool:
    """Return True if no number of the tensor is NaN or infinite.

    On one thread of a CPU this is 24 to 54 times as fast as torch.isfinite(...).all() for a million
    numbers and more, 4 times for some thousand.
    """
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    tensor = tensor.detach()
    if tensor.dtype.itemsize == 1:  # float8 has no reductions
        return all(is_finite(part.float()) for part in tensor.flatten().split(1 << 20))
    # A sum with NaN or infinity in it is never finite. Finite numbers can also add up to infinity:
    # then the smallest and the largest number decide (NaN if there is one), at 1.5 times the cost.
    return isfinite(tensor.sum()) or all(map(isfinite, torch.aminmax(tensor)))


def key_fault(key: str) -> str:
    """Return why a tensor's key is refused; "" if it is not."""
    if len(key) > MAX_KEY:
        return f"the key {short(key)!r} has {len(key):,} letters, at most {MAX_KEY:,} are read"
    if not key.isascii() and _with_whole_characters(key) != key:
        return f"the key {short(key)!r} holds half of a character"
    if not key.isprintable() and on_one_line(key) != key:
        return f"the key {key[:160]!r} holds a line break or a control character"
    return ""


def _with_whole_characters(text: str) -> str:
    """Replace halves of characters, which JSON and pickles can hold and no file of text can."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def build_header(tensor_header: Mapping[str, object], metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a file before its data: the length and the JSON header.

    They are padded to a multiple of 8, so that readers can map the data as numbers. The metadata
    are sorted, so that equal content gives equal bytes; the safetensors library writes them in
    random order.
    """
    header = {"__metadata__": dict(sorted(metadata.items())), **tensor_header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def serialize(tensors: Mapping[str, Tensor]) -> tuple[dict[str, object], memoryview]:
    """Return the header's entries for these tensors, without metadata, and the bytes of the data.

    Both come from the safetensors library; ``build_header`` makes a header of the entries.
    """
    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    content = safetensors.torch.save(plain)
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), memoryview(content)[8 + length :]


def _runs(container: Container) -> list[list[Entry]]:
    """Group neighbouring tensors of one dtype (the second field), to be read as one tensor."""
    return [list(run) for _, run in groupby(container.entries, key=itemgetter(1))]


def _view(content: Buffer, container: Container, run: list[Entry]) -> Tensor:
    """Return all numbers of some neighbouring tensors of one dtype as one tensor (numbers,)."""
    dtype, start, end = run[0].dtype, run[0].start, run[-1].end
    if start == end:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(
        content,
        dtype=dtype,
        count=(end - start) // dtype.itemsize,
        offset=container.data_start + start,
    )


def _cut_off(needed: int, found: int, where: str, told: str) -> FormatError:
    return FormatError(
        f"is cut off: {found:,} bytes are there, and {needed:,} are needed {told}",
        where=where,
        fix="the download or copy was interrupted: get the file again",
    )


def _parse(text: bytes, where: str) -> dict[str, object]:
    try:
        header = parse_json(text)
    except ValueError as error:
        raise FormatError(
            f"the header cannot be read as JSON ({error})", where=where, fix=MEND
        ) from error
    if not isinstance(header, dict):
        raise FormatError("the header is not a JSON object", where=where, fix=MEND)
    return header


def _entry(key: str, described: object, where: str) -> Entry:
    """Read the header's description of one tensor, and check its dtype, shape and offsets."""
    # Files have a thousand of these, so the common, correct case comes first and is fast.
    try:
        dtype = DTYPES[described["dtype"]]  # type: ignore[index]
        shape = described["shape"]  # type: ignore[index]
        start, end = described["data_offsets"]  # type: ignore[index]
        size = dtype.itemsize
        if len(shape) > MAX_SIDES or key_fault(key):
            raise ValueError
        for side in shape:
            if type(side) is not int or not 0 <= side < MAX_SIDE:
                raise ValueError
            size *= side
        if not size and prod(max(side, 1) for side in shape) >= 1 << 62:
            raise ValueError  # an empty tensor whose other sides overflow torch's strides
        if type(start) is type(end) is int and 0 <= start < MAX_SIDE and end - start == size:
            return Entry(key, dtype, tuple(shape), start, end)
    except (KeyError, TypeError, ValueError):
        pass
    raise _wrong_entry(key, described, where)


def _wrong_entry(key: str, described: object, where: str) -> FormatError:
    name = repr(short(key))
    if fault := key_fault(key):
        what = fault
    elif not isinstance(described, dict):
        what = f"{name} is not described in the header"
    elif described.get("dtype") not in list(DTYPES):
        what = f"{name} has dtype {_brief(described.get('dtype'))}, known are {', '.join(DTYPES)}"
    else:
        shape, dtype = described.get("shape"), described["dtype"]
        what = (
            f"{name} of shape {_brief(shape)} in {dtype} does not fill its offsets "
            f"{_brief(described.get('data_offsets'))}"
        )
        if isinstance(shape, list) and len(shape) > MAX_SIDES:
            what = f"{name} has {len(shape):,} sides, at most {MAX_SIDES} are read"
    return FormatError(what, where=where, fix=MEND)


def _brief(value: object) -> str:
    """Write a value of the header; however long or nested it is, this takes no time."""
    return short(brief(value), 80)
