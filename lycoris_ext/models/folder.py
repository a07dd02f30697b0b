"""Reading a base model from a folder in the diffusers layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from lycoris_ext.errors import DataError
from lycoris_ext.formats import json_text
from lycoris_ext.formats.families import FAMILIES, Family
from lycoris_ext.models.faults import does_not_fill, fault_in, unreadable
from lycoris_ext.models.fill import align
from lycoris_ext.models.part_configs import LOADED
from lycoris_ext.models.parts import Dtypes, Parts
from lycoris_ext.models.text_encoder import read_text_encoder
from lycoris_ext.models.tokenizer import read_tokenizer

_MODEL_STEM = "diffusion_pytorch_model"
_TEXT_STEM = "model"
_INDEX_ENDINGS = (".index.json", ".index.fp16.json")
_TOKENIZER_FILES = (("vocab.json", "merges.txt"), ("tokenizer.json",))
_OTHER_FAMILIES = {
    "text_encoder_3": "three text encoders (Stable Diffusion 3)",
    "transformer": "a transformer in place of the U-Net (Stable Diffusion 3, Flux or another)",
    "prior": "a prior (Stable Cascade or Kandinsky)",
}
_REFINER_WIDTH = 1280  # the width of the SDXL refiner's only text encoder
_KNOWN = ", ".join(family.title for family in LOADED.values())


def read_folder(folder: Path, dtypes: Dtypes, *, with_vae: bool) -> Parts:
    """Read the U-Net, text encoders, tokenizers and perhaps the VAE of a model onto the CPU.

    Args:
        folder: of the whole model.
        dtypes: dtypes of the parts.
        with_vae: whether to read the model's own autoencoder; if not, the folder may lack it.

    Raises:
        DataError: the folder holds a model of an unknown family, lacks files (all of them are
            named), or its weights do not fill the model that its configs describe.
    """
    family = family_of_folder(folder)
    check_files(folder, family, with_vae)
    from diffusers import UNet2DConditionModel

    names = family.text_targets
    unet, unet_file = _read_part(UNet2DConditionModel, folder / "unet", dtypes.model)
    encoders = [_read_text_encoder(folder / name, dtypes.model) for name in names]
    parts = Parts(
        family=family,
        unet=unet,
        vae=None,
        text_encoders=tuple(encoder for encoder, _ in encoders),
        tokenizers=tuple(read_tokenizer(folder / tokenizer_of(name)) for name in names),
        schedule_config=read_json(folder / "scheduler" / "scheduler_config.json"),
        weight_files=(unet_file, *(file for _, file in encoders)),
    )
    return parts.with_vae(*read_vae_folder(folder, dtypes.vae)) if with_vae else parts


def read_vae_folder(folder: Path, dtype: torch.dtype) -> tuple[Any, Path]:
    """Read an autoencoder from its own folder, or from the vae/ folder of a whole model.

    Args:
        folder: one of the two.
        dtype: of the autoencoder.

    Returns:
        The autoencoder on the CPU, and the file of its weights.

    Raises:
        DataError: the folder holds no autoencoder.
    """
    from diffusers import AutoencoderKL

    return _read_part(AutoencoderKL, vae_weights(folder)[0], dtype)


def vae_weights(folder: Path) -> tuple[Path, Path]:
    """Find an autoencoder in its own folder, or in the vae/ folder of a whole model.

    Returns:
        The folder with its config, and the file of its weights.

    Raises:
        DataError: the folder holds no autoencoder.
    """
    inner = folder / "vae"
    if (inner / "config.json").is_file():
        folder = inner
    if not (folder / "config.json").is_file():
        raise DataError(
            "there is no autoencoder here (no config.json, and no vae/config.json)",
            where=str(folder),
            fix="name a folder that holds config.json and diffusion_pytorch_model.safetensors, or "
            "an autoencoder's single file",
        )
    weights = _weights_in(folder)[0]
    for path in (folder / "config.json", weights):
        _refuse_fault(path)
    return folder, weights


def read_json(path: Path) -> Mapping[str, Any]:
    """Read a file that holds a JSON object.

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    try:
        content = json_text.read_json(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not isinstance(content, dict):
        raise DataError(
            f"holds a {type(content).__name__}, and an object is expected",
            where=str(path),
            fix="restore it from the model's source",
        )
    return content


def tokenizer_of(text_encoder: str) -> str:
    """Return the folder of a text encoder's tokenizer: text_encoder_2 -> tokenizer_2."""
    return text_encoder.replace("text_encoder", "tokenizer")


def family_of_folder(folder: Path) -> Family:
    """Find out the family of a model from its folders and configs.

    Raises:
        DataError: it is of a family that is not known here.
    """
    for name, meaning in _OTHER_FAMILIES.items():
        if (folder / name).is_dir():
            raise DataError(
                f"this model has {meaning}; known here: {_KNOWN}",
                where=str(folder / name),
                fix="name a model of one of these families",
            )
    config = folder / "unet" / "config.json"
    options = read_json(config) if config.is_file() else {}
    if (folder / "text_encoder_2").is_dir() or options.get("addition_embed_type") == "text_time":
        if options.get("cross_attention_dim") == _REFINER_WIDTH:
            raise DataError(
                "this is the SDXL refiner, which is not trained by itself",
                where=str(folder),
                fix="name the SDXL base model",
            )
        return FAMILIES["sdxl"]
    encoder = folder / "text_encoder" / "config.json"
    # OpenAI's encoder computes with quick_gelu, OpenCLIP's with gelu.
    open_clip = encoder.is_file() and read_json(encoder).get("hidden_act") == "gelu"
    return FAMILIES["sd2" if open_clip else "sd1"]


def check_files(folder: Path, family: Family, with_vae: bool) -> None:
    """Check that the files of a model are there.

    Raises:
        DataError: some are missing; it names all of them.
    """
    stems = _stems(family, with_vae)
    needed = [f"{part}/config.json" for part in stems]
    needed.append("scheduler/scheduler_config.json")
    missing = [name for name in needed if not (folder / name).is_file()]
    for name in map(tokenizer_of, family.text_targets):
        tokenizer = folder / name
        if not any(all((tokenizer / n).is_file() for n in names) for names in _TOKENIZER_FILES):
            missing.append(f"{name}/vocab.json and {name}/merges.txt")
    missing += [
        f"{part}/{stem}.safetensors"
        for part, stem in stems.items()
        if _find_weights(folder / part, stem) is None
    ]
    if missing:
        raise DataError(
            f"this is not a whole {family.title} model; missing: {', '.join(missing)}",
            where=str(folder),
            fix="download the missing files; weights in .bin are not read from folders: download "
            "those in .safetensors",
        )
    for name in needed:
        _refuse_fault(folder / name)
    for path in weight_files(folder, family, with_vae):
        _refuse_fault(path)


def _refuse_fault(path: Path) -> None:
    """Refuse a config, a file of weights, or an index of several, before a library reads it."""
    fault = fault_in(path)
    if fault is not None:
        raise fault
    if path.name.endswith(_INDEX_ENDINGS):
        shards = read_json(path).get("weight_map")
        for name in sorted({str(s) for s in shards.values()} if isinstance(shards, dict) else ()):
            _refuse_fault(path.with_name(Path(name).name))


def weight_files(folder: Path, family: Family, with_vae: bool) -> tuple[Path, ...]:
    """Return the files of a model's weights, in the order of ``Parts.weight_files``."""
    found = (_find_weights(folder / p, stem) for p, stem in _stems(family, with_vae).items())
    return tuple(weights[0] for weights in found if weights is not None)


def _stems(family: Family, with_vae: bool) -> dict[str, str]:
    """Return part -> name of the file of its weights, without ending."""
    stems = {"unet": _MODEL_STEM, **dict.fromkeys(family.text_targets, _TEXT_STEM)}
    return stems | ({"vae": _MODEL_STEM} if with_vae else {})


def _find_weights(folder: Path, stem: str) -> tuple[Path, str | None] | None:
    """Find the weights in a model's folder.

    Returns:
        The file, or its index if the weights are in several files; and its variant ("fp16" or
        None). None if there are no weights.
    """
    for variant in (None, "fp16"):
        dotted = f".{variant}" if variant else ""
        for name in (
            f"{stem}{dotted}.safetensors",
            f"{stem}.safetensors.index{dotted}.json",
        ):
            if (folder / name).is_file():
                return folder / name, variant
    return None


def _weights_in(folder: Path) -> tuple[Path, str | None]:
    """Find the weights of a U-Net or an autoencoder, as `_find_weights` does."""
    found = _find_weights(folder, _MODEL_STEM)
    if found is None:
        raise DataError(
            f"there are no weights here (no {_MODEL_STEM}.safetensors)",
            where=str(folder),
            fix="download the file; weights in .bin are not read from folders",
        )
    return found


def _read_part(kind: Any, folder: Path, dtype: torch.dtype) -> tuple[Any, Path]:
    """Read a U-Net or an autoencoder; every weight must come from the file.

    diffusers would fill missing ones with random numbers.
    """
    weights, variant = _weights_in(folder)
    try:
        model, report = kind.from_pretrained(
            str(folder),
            variant=variant,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            torch_dtype=dtype,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise unreadable(folder, error) from error
    missing = sorted(key for key in report["missing_keys"] if not key.endswith("position_ids"))
    if missing or report["mismatched_keys"]:
        raise does_not_fill(weights, missing, report["mismatched_keys"])
    align(model)
    return model, weights


def _read_text_encoder(folder: Path, dtype: torch.dtype) -> tuple[Any, Path]:
    found = _find_weights(folder, _TEXT_STEM)
    if found is None or found[0].suffix != ".safetensors":
        raise DataError(
            "there are no weights in one file here (no model.safetensors)",
            where=str(folder),
            fix="download the file; weights in .bin are not read from folders",
        )
    try:
        stored = load_file(found[0])
    except (OSError, SafetensorError) as error:
        raise unreadable(folder, error) from error
    return read_text_encoder(folder, stored, found[0], dtype), found[0]
