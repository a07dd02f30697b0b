"""Reading a base model from a folder in the diffusers layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lycoris_ext.errors import DataError
from lycoris_ext.formats.families import FAMILIES, Family
from lycoris_ext.formats.weights import load_weights
from lycoris_ext.models.build import build_part, read_json, with_present_names
from lycoris_ext.models.faults import fault_in
from lycoris_ext.models.fill import fill
from lycoris_ext.models.part_configs import LOADED
from lycoris_ext.models.parts import Dtypes, Parts
from lycoris_ext.models.text_encoder import read_text_encoder
from lycoris_ext.models.tokenizer import read_tokenizer

_MODEL_STEM = "diffusion_pytorch_model"
_TEXT_STEM = "model"
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
    unet, unet_files = _read_part(UNet2DConditionModel, folder / "unet", dtypes.model)
    encoders = [_read_text_encoder(folder / name, dtypes.model) for name in names]
    parts = Parts(
        family=family,
        unet=unet,
        vae=None,
        text_encoders=tuple(encoder for encoder, _ in encoders),
        tokenizers=tuple(read_tokenizer(folder / tokenizer_of(name)) for name in names),
        schedule_config=read_json(folder / "scheduler" / "scheduler_config.json"),
        weight_files=(*unet_files, *(file for _, files in encoders for file in files)),
    )
    if not with_vae:
        return parts
    vae, vae_files = read_vae_folder(folder, dtypes.vae)
    return parts.with_vae(vae, *vae_files)


def read_vae_folder(folder: Path, dtype: torch.dtype) -> tuple[Any, tuple[Path, ...]]:
    """Read an autoencoder from its own folder, or from the vae/ folder of a whole model.

    Args:
        folder: one of the two.
        dtype: of the autoencoder.

    Returns:
        The autoencoder on the CPU, and the files of its weights.

    Raises:
        DataError: the folder holds no autoencoder.
    """
    from diffusers import AutoencoderKL

    return _read_part(AutoencoderKL, vae_weights(folder)[0], dtype)


def vae_weights(folder: Path) -> tuple[Path, tuple[Path, ...]]:
    """Find an autoencoder in its own folder, or in the vae/ folder of a whole model.

    Returns:
        The folder with its config, and the files of its weights.

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
    weights = _weights_in(folder, _MODEL_STEM)
    for path in (folder / "config.json", *weights):
        _refuse_fault(path)
    return folder, weights


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
    for part, stem in stems.items():
        missing += [f"{part}/{name}" for name in _missing_weights(folder / part, stem)]
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
    """Refuse a config or a file of weights before a library reads it."""
    fault = fault_in(path)
    if fault is not None:
        raise fault


def weight_files(folder: Path, family: Family, with_vae: bool) -> tuple[Path, ...]:
    """Return the files of a model's weights, in the order of ``Parts.weight_files``."""
    stems = _stems(family, with_vae)
    return tuple(
        file for part, stem in stems.items() for file in _find_weights(folder / part, stem)
    )


def _stems(family: Family, with_vae: bool) -> dict[str, str]:
    """Return part -> name of the file of its weights, without ending."""
    stems = {"unet": _MODEL_STEM, **dict.fromkeys(family.text_targets, _TEXT_STEM)}
    return stems | ({"vae": _MODEL_STEM} if with_vae else {})


def _find_weights(folder: Path, stem: str) -> tuple[Path, ...]:
    """Find the files of the weights in a part's folder: one, those of an index, or none.

    Raises:
        DataError: the index is damaged.
    """
    for variant in ("", ".fp16"):
        whole = folder / f"{stem}{variant}.safetensors"
        index = folder / f"{stem}.safetensors.index{variant}.json"
        if whole.is_file():
            return (whole,)
        if index.is_file():
            return _in_index(index)
    return ()


def _in_index(index: Path) -> tuple[Path, ...]:
    """Return the files beside an index that it names."""
    by_weight = read_json(index).get("weight_map")
    names = list(by_weight.values()) if isinstance(by_weight, dict) else []
    if not names or not all(isinstance(name, str) and name == Path(name).name for name in names):
        raise DataError(
            "names no files of weights in this folder (weight_map)",
            where=str(index),
            fix="restore it from the model's source",
        )
    return tuple(index.parent / name for name in sorted(set(names)))


def _missing_weights(folder: Path, stem: str) -> list[str]:
    """Return the names of the files of weights that a part's folder lacks."""
    found = _find_weights(folder, stem)
    if not found:
        return [f"{stem}.safetensors"]
    return [file.name for file in found if not file.is_file()]


def _weights_in(folder: Path, stem: str) -> tuple[Path, ...]:
    """Return the files of a part's weights.

    Raises:
        DataError: some are missing.
    """
    missing = _missing_weights(folder, stem)
    if missing:
        raise DataError(
            f"there are no weights here, or not all of them (no {', '.join(missing)})",
            where=str(folder),
            fix="download the missing files; weights in .bin are not read from folders",
        )
    return _find_weights(folder, stem)


def _read_weights(folder: Path, stem: str) -> tuple[dict[str, Tensor], tuple[Path, ...], Path]:
    """Read a part's weights; return them with their files, and the one to name in messages."""
    files = _weights_in(folder, stem)
    stored = {key: tensor for file in files for key, tensor in load_weights(file).tensors.items()}
    return stored, files, files[0] if len(files) == 1 else folder


def _read_part(kind: Any, folder: Path, dtype: torch.dtype) -> tuple[Any, tuple[Path, ...]]:
    """Read a U-Net or an autoencoder; every weight must come from its files."""
    from accelerate import init_empty_weights

    with init_empty_weights():
        model = build_part(kind, folder)
    stored, files, where = _read_weights(folder, _MODEL_STEM)
    fill(model, with_present_names(stored), where, dtype)
    return model, files


def _read_text_encoder(folder: Path, dtype: torch.dtype) -> tuple[Any, tuple[Path, ...]]:
    stored, files, where = _read_weights(folder, _TEXT_STEM)
    return read_text_encoder(folder, stored, where, dtype), files
