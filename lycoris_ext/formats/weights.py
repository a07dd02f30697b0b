"""Reading the weights of a whole model from one file, safetensors or torch.save's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lycoris_ext.errors import DataError, FormatError
from lycoris_ext.files import cannot_read, open_file
from lycoris_ext.formats.container import header_end, read_start
from lycoris_ext.formats.strangers import LOOK, refuse_start
from lycoris_ext.formats.torch_file import load_torch_file
from lycoris_ext.os_errors import reason, remedy_for_reading


@dataclass(frozen=True)
class Weights:
    """The weights of a model as its file has them.

    Tensors of a safetensors file are read from the disk when they are used; the file must not
    change meanwhile.

    Args:
        tensors: key -> tensor on the CPU.
        metadata: the file's strings; empty for a file of torch.save.
    """

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)


def load_weights(path: Path) -> Weights:
    """Read a safetensors file or one of torch.save (.ckpt, .pt, .pth, .bin).

    The content decides which of the two it is, not the name's ending.

    Raises:
        DataError: there is no such file.
        FormatError: the file is damaged, or has another format.
    """
    try:
        with open_file(path) as file:
            start, size = file.read(LOOK), os.fstat(file.fileno()).st_size
            refuse_start(start, size, str(path))
            # A safetensors file begins with the length of its header, and the header with a brace.
            is_safe = start[8:9] == b"{"
            if is_safe:  # the library would read a header that is over our bounds
                file.seek(0)
                read_start(file, size, str(path))
    except FileNotFoundError as error:
        raise DataError("there is no such file", where=str(path), fix="check the path") from error
    except OSError as error:
        raise cannot_read(path, error) from error
    if not is_safe:
        if path.suffix.lower() == ".safetensors" and not start.startswith(b"PK\3\4"):
            header_end(start, size, str(path))  # it says what the bytes are
        return Weights(load_torch_file(path))
    try:
        with safe_open(str(path), framework="pt") as stored:
            return Weights(
                {key: stored.get_tensor(key) for key in stored.keys()},  # noqa: SIM118
                stored.metadata() or {},
            )
    except (SafetensorError, OSError, ValueError) as error:
        text = " ".join(str(error).split())[:240] or type(error).__name__
        raise fault_of(path) or FormatError(
            f"not a sound safetensors file ({text})",
            where=str(path),
            fix="the file is damaged or incomplete: get it again",
        ) from error


def fault_of(path: Path) -> FormatError | None:
    """Find out from a file's beginning and size what is wrong with it; None if nothing is found.

    Args:
        path: a file that should hold weights.
    """
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(LOOK)
            refuse_start(start, size, str(path))
            if not start.startswith(b"PK\3\4"):
                file.seek(0)
                read_start(file, size, str(path))
    except FormatError as fault:
        return fault
    except OSError as error:
        return FormatError(
            f"cannot be read ({reason(error)})", where=str(path), fix=remedy_for_reading(error)
        )
    return None
