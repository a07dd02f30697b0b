"""Where the bytes of an adapter are: its file in a folder, files of torch.save, PEFT's config."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from lycoris_ext.errors import DataError
from lycoris_ext.files import read_within
from lycoris_ext.formats import container
from lycoris_ext.formats.json_text import MAX_BYTES
from lycoris_ext.formats.keys import PEFT
from lycoris_ext.formats.peft_config import CONFIG_FILE, CONFIG_KEY
from lycoris_ext.formats.torch_file import load_torch_file
from lycoris_ext.os_errors import why_no_text

_PEFTS = "adapter_model"
#: The adapters that PEFT and diffusers save into a folder; the first that is there is taken.
_IN_FOLDERS = tuple(
    f"{name}{ending}"
    for name in (_PEFTS, "pytorch_lora_weights")
    for ending in (".safetensors", ".bin")
)


def adapter_in(path: Path) -> Path:
    """Return the path of the adapter file: for a folder of PEFT or diffusers that of its adapter.

    Raises:
        DataError: the folder holds no adapter of PEFT or diffusers.
    """
    if not path.is_dir():
        return path
    found = next((path / name for name in _IN_FOLDERS if (path / name).is_file()), None)
    if found is None:
        raise DataError(
            f"is a folder, and none of {', '.join(_IN_FOLDERS)} is in it",
            where=str(path),
            fix="name the adapter's file",
        )
    return found


def converted(path: Path, check: Callable[[Mapping[str, tuple[int, ...]]], object]) -> bytearray:
    """Read a file of torch.save; return its tensors as the bytes of a safetensors file.

    Args:
        path: the file.
        check: called with the tensors' keys and sizes before their numbers are read; it may raise
            an error.

    Raises:
        FormatError: the file is damaged, or its pickle does what no file of weights does.
    """
    tensors = load_torch_file(path, check)
    # In such files tensors may share their numbers.
    header, data = container.serialize({key: t.clone() for key, t in tensors.items()})
    return bytearray(container.build_header(header, {}) + data)


def config_beside(path: Path, keys: Iterable[str]) -> dict[str, str]:
    """Return the metadata field with PEFT's config that belongs to a file; {} if there is none.

    Args:
        path: of the adapter file.
        keys: of its tensors.

    Raises:
        DataError: the config cannot be read.
    """
    if path.stem != _PEFTS and not any(key.startswith(PEFT) for key in keys):
        return {}
    config = path.with_name(CONFIG_FILE)
    try:
        return {CONFIG_KEY: read_within(config, MAX_BYTES).decode("utf-8")}
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        why, fix = why_no_text(error)
        raise DataError(f"cannot be read ({why})", where=str(config), fix=fix) from error
