"""The winner of a grid in the host's own folder: a clean name, a picture, a description."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from lycoris_ext.errors import ConfigError, DataError, EnvironmentFault
from lycoris_ext.formats import atomic_write
from lycoris_ext.formats.families import OTHER, family_of_version
from lycoris_ext.grids.checkpoints import Checkpoint
from lycoris_ext.plots.png import read_parameters, save_picture
from lycoris_ext.words import short
from webui_extension.places import clean_name
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
    """Copy an adapter into the host's folder of networks.

    Args:
        networks: that folder.
        checkpoint: the adapter.
        name: of the new files.
        preview: a picture for its card.
        description: for its card; trigger words and strength go into fields of their own.
        strength: what the host shall prefer; the card's own default for 0.

    Returns:
        The files that were written; the adapter is the last, so that it is never without the rest.

    Raises:
        ConfigError: the name cannot be one, or is taken: nothing is overwritten.
        DataError: the preview is no picture, or the adapter is gone or another file by now.
        EnvironmentFault: a file cannot be written.
    """
    name = clean_name(name)
    adapter = networks / f"{name}.safetensors"
    picture, card = networks / f"{name}.png", networks / f"{name}.json"
    for path in (adapter, picture, card):
        if path.exists():
            raise ConfigError(
                "there is a file of this name", where=path.name, fix="choose another name"
            )
    trained = read_listed(checkpoint.path, checkpoint.hash)
    shown, parameters = None, ""
    if preview is not None:
        try:
            with Image.open(preview) as file:
                shown, parameters = file.convert("RGB"), read_parameters(preview)
        # Pillow's own names for a broken picture, and for one that is too large.
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(
                f"this is no picture ({error})", where=str(preview), fix="choose another preview"
            ) from error
    family = family_of_version(checkpoint.metadata.get("ss_base_model_version", "")) or OTHER
    content = {
        "description": description or short(_described(checkpoint), 400),
        "sd version": family.webui,
        "activation text": short(", ".join(checkpoint.summary.triggers), 400),
        "preferred weight": strength,
        "notes": "",
    }
    text = json.dumps(content, indent=4, ensure_ascii=False) + "\n"
    try:
        if shown is not None:
            save_picture(picture, shown, parameters)
        atomic_write(card, text.encode("utf-8"))
        atomic_write(adapter, trained)
    except EnvironmentFault:
        for path in (picture, card):
            path.unlink(missing_ok=True)  # the name is free for another try
        raise
    return [card, adapter] if shown is None else [picture, card, adapter]


def _described(checkpoint: Checkpoint) -> str:
    parts = [checkpoint.algorithm, checkpoint.dims]
    if checkpoint.step is not None:
        parts.append(f"{checkpoint.step} steps")
    if checkpoint.base:
        parts.append(f"trained on {checkpoint.base}")
    return ", ".join(part for part in parts if part)
