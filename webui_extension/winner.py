"""Install an adapter in the host's LoRA folder with a new name, a preview and a description."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from PIL import Image

from lycoris_ext.errors import ConfigError, DataError, EnvironmentFault
from lycoris_ext.formats import atomic_write
from lycoris_ext.formats.families import OTHER, family_of_version
from lycoris_ext.grids.checkpoints import Checkpoint
from lycoris_ext.os_errors import reason, remedy_for_writing
from lycoris_ext.plots.png import BROKEN, FORMATS, read_parameters, save_picture
from lycoris_ext.words import count, short
from webui_extension.allowed_folders import clean_name
from webui_extension.staging import read_listed


def install_winner(
    networks: Path,
    checkpoint: Checkpoint,
    name: str,
    *,
    preview: Path | None = None,
    description: str = "",
    strength: float = 1.0,
) -> list[Path]:
    """Copy an adapter into the host's LoRA folder, with a preview picture and a card.

    The card is the JSON file from which the host reads description, trigger words and strength.

    Args:
        networks: the host's LoRA folder.
        checkpoint: the adapter.
        name: name of the new files, without extension.
        preview: a picture for the card, or None.
        description: text for the card; "" writes a summary of the adapter.
        strength: the strength that the host inserts into prompts; 0 leaves it to the host.

    Returns:
        The files that were written. The adapter is written last, so that it never lacks the others.

    Raises:
        ConfigError: the name is invalid or taken; nothing is overwritten.
        DataError: the preview is no picture, or the adapter is gone or has changed.
        EnvironmentFault: a file cannot be written.
    """
    name = clean_name(name)
    adapter = networks / f"{name}.safetensors"
    picture, card = networks / f"{name}.png", networks / f"{name}.json"
    for path in (adapter, picture, card):
        if path.exists():
            raise ConfigError(
                "a file of this name exists already", where=path.name, fix="choose another name"
            )
    trained = read_listed(checkpoint.path, checkpoint.hash)
    shown, parameters = (None, "") if preview is None else _read_preview(preview)
    text = _card_text(checkpoint, description, strength)
    try:
        if shown is not None:
            save_picture(picture, shown, parameters)
        atomic_write(card, text.encode("utf-8"))
        atomic_write(adapter, trained)
    except EnvironmentFault:
        for path in (picture, card):
            path.unlink(missing_ok=True)  # so that the name can be used again
        raise
    return [card, adapter] if shown is None else [picture, card, adapter]


def set_preview(adapter: Path, preview: Path) -> Path:
    """Give an adapter in the host's LoRA folder a preview; an earlier one is renamed, not lost.

    If the new one cannot be written, the earlier one stays the preview.

    Args:
        adapter: the adapter's file.
        preview: the picture.

    Returns:
        The path of the preview.

    Raises:
        DataError: the preview is no picture.
        EnvironmentFault: the file cannot be written.
    """
    shown, parameters = _read_preview(preview)
    picture = adapter.with_suffix(".png")
    if not picture.exists():
        return save_picture(picture, shown, parameters)
    number = 1
    while (kept := picture.with_name(f"{adapter.stem}.earlier-{number}.png")).exists():
        number += 1
    try:
        picture.rename(kept)
    except OSError as error:
        raise EnvironmentFault(
            f"the earlier preview cannot be renamed ({reason(error)})",
            where=str(picture),
            fix=remedy_for_writing(error, "close programs that have it open"),
        ) from error
    try:
        return save_picture(picture, shown, parameters)
    except EnvironmentFault:
        with suppress(OSError):
            kept.rename(picture)
        raise


def _read_preview(path: Path) -> tuple[Image.Image, str]:
    """Read a picture and the generation parameters in it.

    Raises:
        DataError: it is no picture.
    """
    try:
        with Image.open(path, formats=FORMATS) as file:
            return file.convert("RGB"), read_parameters(path)
    except BROKEN as error:
        raise DataError(
            f"this is no picture ({error})", where=str(path), fix="choose another preview"
        ) from error


def _card_text(checkpoint: Checkpoint, description: str, strength: float) -> str:
    """Write the card as the host reads it; "" as description writes a summary of the adapter."""
    family = family_of_version(checkpoint.metadata.get("ss_base_model_version", "")) or OTHER
    content = {
        "description": description or short(_described(checkpoint), 400),
        "sd version": family.webui,
        "activation text": short(", ".join(checkpoint.summary.triggers), 400),
        "preferred weight": strength,
        "notes": "",
    }
    return json.dumps(content, indent=4, ensure_ascii=False) + "\n"


def _described(checkpoint: Checkpoint) -> str:
    parts = [checkpoint.algorithm, checkpoint.dims]
    if checkpoint.step is not None:
        parts.append(f"{count(checkpoint.step, 'step')}")
    if checkpoint.base:
        parts.append(f"trained on {checkpoint.base}")
    return ", ".join(part for part in parts if part)
