"""The content of the host's VAE, which decides a picture: its file may change under its name.

The host's modules are imported inside functions, because they exist only inside the host.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from lycoris_ext.formats.hashes import sha256_of_files
from webui_extension.host_axes import additional_modules, vae_files

#: File -> its size and modification time when we last saw to it that the host has its content.
_read: dict[str, tuple[int, int]] = {}


def content_of_vaes(checkpoint: str, *, in_forge: bool) -> list[str]:
    """Return the SHA-256 of each file from which a base model gets its VAE; [] if it has its own.

    In Forge, text encoders are loaded in the same way and are among them.

    Args:
        checkpoint: path of the base model's file.
        in_forge: whether the host is Forge.
    """
    return [content_of(Path(file)) for file in _files(checkpoint, in_forge)]


def content_of(file: Path) -> str:
    """Return the SHA-256 of a file; it is read once unless it changes."""
    try:
        return _hash(str(file), *_state(file))
    except OSError:
        return f"{file} cannot be read"


def titled(name: str) -> str:
    """Return the name of a VAE with the first digits of its content's hash in brackets."""
    file = vae_files().get(name)
    return name if file is None else f"{name} [{content_of(file)[:10]}]"


def reload_changed(*, in_forge: bool) -> None:
    """Make the host read the VAE of its loaded model again if the file is another by now.

    The host compares names alone. Call it under the host's queue lock.
    """
    if in_forge:
        from modules import sd_models

        if _changed(additional_modules()):
            sd_models.model_data.forge_hash = ""
        return
    from modules import sd_vae, shared

    loaded = sd_vae.loaded_vae_file
    for file in _changed([*sd_vae.checkpoints_loaded, *([loaded] if loaded else [])]):
        sd_vae.checkpoints_loaded.pop(file, None)
        if file == loaded:
            sd_vae.clear_loaded_vae()
    # A VAE may have been put beside the checkpoint, too.
    sd_vae.reload_vae_weights(shared.sd_model)


def _changed(files: list[str]) -> list[str]:
    changed = []
    for file in dict.fromkeys(files):
        try:
            state = _state(Path(file))
        except OSError:
            continue
        if _read.get(file) != state:
            changed.append(file)
            _read[file] = state
    return changed


def _files(checkpoint: str, in_forge: bool) -> list[str]:
    if in_forge:
        return additional_modules()
    from modules import sd_vae

    file = sd_vae.resolve_vae(checkpoint).vae
    return [str(file)] if file else []


def _state(file: Path) -> tuple[int, int]:
    state = file.stat()
    return state.st_size, state.st_mtime_ns


@lru_cache(maxsize=64)
def _hash(file: str, size: int, modified: int) -> str:
    return sha256_of_files(Path(file))
