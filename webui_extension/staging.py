"""Copy the adapters of a grid, so that the originals may change or go while it is drawn.

The host knows an adapter by its name alone: after a file is overwritten it may go on drawing the
old content, and of two files with one name it uses the last. So grids are drawn with copies, under
names that carry the hash of their content. They are copies, since links would follow the original.
They lie outside the host's LoRA folder, and the host is told of each only while it draws with it
(`drawing`): in its list they would be cards, and their `ss_output_name` would take the name of the
user's own adapter away.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.errors import DataError
from lycoris_ext.formats import atomic_write
from lycoris_ext.formats.hashes import sha256_of_files
from lycoris_ext.grids.entrants import FULL, Strength
from lycoris_ext.os_errors import reason, remedy_for_reading

#: Where version 0.1.0 kept its copies, in the host's LoRA folder.
OLD_FOLDER = "lycoris_ext_staged"
_DIGITS = 12
_STEM = 48
_COPY = re.compile(r"__[0-9a-f]{12}\.safetensors$")


@dataclass(frozen=True)
class Staged:
    """An adapter as the host is told of it while it draws one picture.

    Args:
        name: a name that belongs to no other content; it is safe in a <lora:...> tag.
        path: the file.
        shown: the name in the picture's parameters, by which the user's own copy is found.
        model_hash: hash of its tensors, as the host writes it into the parameters.
        strength: of text encoder and U-Net.
    """

    name: str
    path: Path
    shown: str
    model_hash: str = ""
    strength: Strength = FULL

    @property
    def tag(self) -> str:
        """The <lora:...> tag with which the host draws."""
        return f"<lora:{self.name}:{self.strength.text_encoder:g}:{self.strength.unet:g}>"

    @property
    def shown_tag(self) -> str:
        """The tag for a prompt of the user's, once the adapter is in the host's LoRA folder."""
        return f"<lora:{self.shown}:{self.strength}>"


def staged_name(stem: str, digest: str) -> str:
    """Return a name that no other content has.

    Args:
        stem: the original file's name without extension.
        digest: SHA-256 of its content, in hex.
    """
    plain = re.sub(r"[^0-9A-Za-z_-]+", "_", stem)[:_STEM].strip("_") or "adapter"
    return f"{plain}__{digest[:_DIGITS]}"


class Staging:
    """A folder of copied adapters, which is empty unless a grid is being drawn.

    Args:
        folder: the folder; it is made when the first adapter is copied.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checked: dict[Path, tuple[int, int, int]] = {}

    def stage(self, path: Path, digest: str) -> Path:
        """Copy an adapter into this folder, unless its copy is there, and return the copy's path.

        A copy that another program has changed is replaced.

        Args:
            path: the original file.
            digest: SHA-256 of the file when it was listed, in hex.

        Raises:
            DataError: the original is gone or its content has changed.
            EnvironmentFault: the copy cannot be written.
        """
        staged = self.folder / f"{staged_name(path.stem, digest)}.safetensors"
        if not self._is_right(staged, digest):
            atomic_write(staged, read_listed(path, digest))
            self._checked[staged] = _state(staged)
        return staged

    def clear(self) -> None:
        """Delete all copies.

        On Windows a copy that the host holds open cannot be deleted; a later call deletes it.
        """
        self._checked.clear()
        empty(self.folder)

    def _is_right(self, staged: Path, digest: str) -> bool:
        try:
            state = _state(staged)
            if self._checked.get(staged) != state:
                if sha256_of_files(staged) != digest:
                    return False
                self._checked[staged] = state
        except OSError:
            return False
        return True


def empty(folder: Path) -> None:
    """Delete the copies in a folder and the folder if nothing else is in it.

    What is held open stays, and so does what is no copy.
    """
    with suppress(OSError):
        for path in folder.iterdir():
            if _COPY.search(path.name):
                with suppress(OSError):
                    path.unlink()
        folder.rmdir()


def _state(path: Path) -> tuple[int, int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns


def read_listed(path: Path, digest: str) -> bytes:
    """Read an adapter file and make sure that its content is the one that was listed.

    Args:
        path: the file.
        digest: SHA-256 of the file when it was listed, in hex.

    Raises:
        DataError: the file is gone or its content has changed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"this file cannot be read any more ({reason(error)})",
            where=str(path),
            fix=f"{remedy_for_reading(error)}; then list the run again",
        ) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise DataError(
            "this file was overwritten after it was listed",
            where=str(path),
            fix="list the run again to use the new file",
        )
    return content
