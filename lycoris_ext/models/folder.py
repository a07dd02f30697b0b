"""Stable Diffusion 1.x in the diffusers layout: which files there are, and how they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from lycoris_ext.errors import DataError

_WEIGHT_STEMS = {
    "unet": "diffusion_pytorch_model",
    "text_encoder": "model",
    "vae": "diffusion_pytorch_model",
}
_NEEDED = (
    "unet/config.json",
    "text_encoder/config.json",
    "vae/config.json",
    "scheduler/scheduler_config.json",
)
_TOKENIZER_FILES = (("vocab.json", "merges.txt"), ("tokenizer.json",))
_OTHER_FAMILIES = {
    "text_encoder_2": "two text encoders (Stable Diffusion XL or later)",
    "transformer": "a transformer in place of the U-Net",
    "prior": "a prior (Stable Cascade or Kandinsky)",
}


@dataclass(frozen=True)
class Parts:
    """What a model folder holds; `weight_files`: of U-Net, text encoder, autoencoder."""

    unet: Any
    text_encoder: Any
    vae: Any
    tokenizer: Any
    schedule_config: Mapping[str, Any]
    weight_files: tuple[Path, ...]


def read_folder(folder: Path) -> Parts:
    """Read all parts onto the CPU.

    Raises:
        DataError: the folder holds another family, lacks files (all of them are named), or its
            weights do not fill the model that its configs describe.
    """
    _check_family(folder)
    _check_files(folder)
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTokenizer, CLIPTokenizerFast

    unet, unet_file = _read_part(UNet2DConditionModel, folder / "unet", "unet")
    encoder, encoder_file = _read_text_encoder(folder / "text_encoder")
    vae, vae_file = _read_part(AutoencoderKL, folder / "vae", "vae")
    width, wanted = encoder.config.hidden_size, unet.config.cross_attention_dim
    if width != wanted:
        raise DataError(
            f"the text encoder gives {width} values a token, and the U-Net takes {wanted}",
            where=str(folder),
            fix="text_encoder/ and unet/ are of different models; restore the folder",
        )
    place = folder / "tokenizer"
    try:
        # The plain one reads vocab.json and merges.txt alone before transformers 5.
        kind = CLIPTokenizer if (place / "vocab.json").is_file() else CLIPTokenizerFast
        tokenizer = kind.from_pretrained(str(place), local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(place, error) from error
    return Parts(
        unet=unet,
        text_encoder=encoder,
        vae=vae,
        tokenizer=tokenizer,
        schedule_config=_read_json(folder / "scheduler" / "scheduler_config.json"),
        weight_files=(unet_file, encoder_file, vae_file),
    )


def read_vae(folder: Path) -> tuple[Any, Path]:
    """Read an autoencoder from its own folder, or from the vae/ folder of a model.

    Returns:
        The autoencoder on the CPU, and the file of its weights.

    Raises:
        DataError: there is none at that place.
    """
    from diffusers import AutoencoderKL

    inner = folder / "vae"
    if (inner / "config.json").is_file():
        folder = inner
    if not (folder / "config.json").is_file():
        raise DataError(
            "there is no autoencoder here (no config.json, and no vae/config.json)",
            where=str(folder),
            fix="name a folder that holds config.json and diffusion_pytorch_model.safetensors",
        )
    return _read_part(AutoencoderKL, folder, "vae")


def _check_family(folder: Path) -> None:
    for name, meaning in _OTHER_FAMILIES.items():
        if (folder / name).is_dir():
            raise DataError(
                f"this model has {meaning}, and only Stable Diffusion 1.x is known here",
                where=str(folder / name),
                fix="name a Stable Diffusion 1.x model",
            )


def _check_files(folder: Path) -> None:
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    tokenizer = folder / "tokenizer"
    if not any(all((tokenizer / n).is_file() for n in names) for names in _TOKENIZER_FILES):
        missing.append("tokenizer/vocab.json and tokenizer/merges.txt")
    missing += [
        f"{part}/{stem}.safetensors"
        for part, stem in _WEIGHT_STEMS.items()
        if _find_weights(folder / part, stem) is None
    ]
    if missing:
        raise DataError(
            f"this is not a whole Stable Diffusion 1.x model; missing: {', '.join(missing)}",
            where=str(folder),
            fix="download the missing files; weights in .bin are not read, because reading them "
            "can run code: convert them to .safetensors",
        )


def _find_weights(folder: Path, stem: str) -> tuple[Path, str | None] | None:
    """Return the weight file (or its index where it is in pieces) and its variant, or None."""
    for variant in (None, "fp16"):
        dotted = f".{variant}" if variant else ""
        for name in (
            f"{stem}{dotted}.safetensors",
            f"{stem}.safetensors.index{dotted}.json",
        ):
            if (folder / name).is_file():
                return folder / name, variant
    return None


def _read_part(kind: Any, folder: Path, part: str) -> tuple[Any, Path]:
    """Read one part; every weight must come from the file, because a fresh one would be noise."""
    found = _find_weights(folder, _WEIGHT_STEMS[part])
    if found is None:
        raise DataError(
            f"there are no weights here (no {_WEIGHT_STEMS[part]}.safetensors)",
            where=str(folder),
            fix="download the file; weights in .bin are not read",
        )
    weights, variant = found
    try:
        model, report = kind.from_pretrained(
            str(folder),
            variant=variant,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise _unreadable(folder, error) from error
    missing = sorted(key for key in report["missing_keys"] if not key.endswith("position_ids"))
    if missing or report["mismatched_keys"]:
        mismatched = report["mismatched_keys"]
        raise _does_not_fill(weights, len(missing), len(mismatched), missing or mismatched)
    return model, weights


def _read_text_encoder(folder: Path) -> tuple[Any, Path]:
    """Read the text encoder, whichever transformers wrote it and whichever reads it.

    transformers 5 dropped the `text_model.` level from module and file; older ones read no such
    file. So the level is put in or taken out here, as the installed version has it.
    """
    from transformers import CLIPTextConfig, CLIPTextModel

    found = _find_weights(folder, _WEIGHT_STEMS["text_encoder"])
    if found is None or found[0].suffix != ".safetensors":
        raise DataError(
            "there are no weights in one file here (no model.safetensors)",
            where=str(folder),
            fix="download the file; weights in .bin are not read",
        )
    try:
        encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(str(folder), local_files_only=True))
        stored = {_bare(key): tensor for key, tensor in load_file(found[0]).items()}
        fresh = encoder.state_dict()
        wanted = [key for key in fresh if not key.endswith("position_ids")]
        missing = sorted(key for key in wanted if _bare(key) not in stored)
        if missing:
            raise _does_not_fill(found[0], len(missing), 0, missing)
        fresh |= {key: stored[_bare(key)] for key in wanted}
        encoder.load_state_dict(fresh)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _unreadable(folder, error) from error
    return encoder, found[0]


def _bare(key: str) -> str:
    return key.removeprefix("text_model.")


def _does_not_fill(
    weights: Path, missing: int, mismatched: int, names: Sequence[object]
) -> DataError:
    return DataError(
        f"{missing} weights are missing and {mismatched} have another shape than config.json "
        f"says, {', '.join(map(str, names[:3]))} among them",
        where=str(weights),
        fix="config.json and the weights are of different models; download both again",
    )


def _unreadable(folder: Path, error: Exception) -> DataError:
    # Several lines of advice may follow that fit other programs.
    text = " ".join(str(error).split())[:240] or type(error).__name__
    return DataError(
        f"cannot be read: {text}",
        where=str(folder),
        fix="the files are damaged or of another model; download them again",
    )


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"is not valid JSON: {error}", where=str(path), fix="restore it from the model's source"
        ) from error
    if not isinstance(content, dict):
        raise DataError(
            f"holds a {type(content).__name__}, and an object is expected",
            where=str(path),
            fix="restore it from the model's source",
        )
    return content
