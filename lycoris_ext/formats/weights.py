"""Reading the weights of a whole model from one file, safetensors or torch.save's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lycoris_ext.errors import DataError, FormatError
from lycoris_ext.formats.torch_file import load_torch_file


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
        with open(path, "rb") as file:
            start = file.read(9)
    except FileNotFoundError as error:
        raise DataError("there is no such file", where=str(path), fix="check the path") from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=str(path)) from error
    # A safetensors file begins with the length of its header, and the header with a brace.
    if start[8:] != b"{":
        if path.suffix.lower() == ".safetensors":
            raise FormatError(
                "is no safetensors file", where=str(path), fix="it is damaged: get it again"
            )
        return Weights(load_torch_file(path))
    try:
        with safe_open(str(path), framework="pt") as stored:
            return Weights(
                {key: stored.get_tensor(key) for key in stored.keys()},  # noqa: SIM118
                stored.metadata() or {},
            )
    except (SafetensorError, OSError, ValueError) as error:
        raise FormatError(
            f"not a sound safetensors file ({error})",
            where=str(path),
            fix="the file is damaged or incomplete: get it again",
        ) from error
