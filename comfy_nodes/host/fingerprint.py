"""Hashes by which a connected model is known again after a restart of ComfyUI."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .prediction import LATENTS, SAMPLING, Prediction

_NUMBERS = 4096
"""About how many numbers of each weight go into a fingerprint."""

Digest = Any
"""One of hashlib's objects."""


def load(patchers: list[Any], whole: bool) -> None:
    """Let ComfyUI load models and put the patches of exactly these clones into their weights.

    Clones share one module, in which the patches of the clone that was loaded last stay.

    Args:
        patchers: ComfyUI's ModelPatchers.
        whole: onto the device as a whole, even where its memory is short.
    """
    from comfy.model_management import load_models_gpu

    load_models_gpu(patchers, memory_required=1e20, force_full_load=whole)


def model_digest(model: Any, prediction: Prediction) -> bytes:
    """Hash a MODEL: its weights with all LoRAs, and what other nodes changed of its sampling."""
    digest = hashlib.blake2b(digest_size=20)
    _add_weights(digest, "model", model.model.diffusion_model, model)
    changed = getattr(model, "object_patches", {})
    if SAMPLING in changed:
        digest.update(prediction.kind.encode() + prediction.levels().numpy().tobytes())
    if LATENTS in changed:
        digest.update(type(model.get_model_object(LATENTS)).__name__.encode())
    return digest.digest()


def vae_digest(vae: Any) -> bytes:
    """Hash the weights of a VAE."""
    digest = hashlib.blake2b(digest_size=20)
    _add_weights(digest, "vae", vae.first_stage_model)
    return digest.digest()


def clip_digest(clip: Any) -> bytes:
    """Hash a CLIP: its weights with all LoRAs, and the layer that another node chose."""
    digest = hashlib.blake2b(digest_size=20)
    _add_weights(digest, "clip", clip.cond_stage_model, clip.patcher)
    for name in ("layer_idx", "tokenizer_options"):
        chosen = getattr(clip, name, None)
        if chosen:
            digest.update(f"{name} {chosen!r}".encode())
    return digest.digest()


def conditioning_digest(conditioning: Any) -> str:
    """Hash one of ComfyUI's conditionings: 16 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=8)
    _add_value(digest, conditioning, whole=True)
    return digest.hexdigest()


def _add_weights(digest: Digest, part: str, module: nn.Module, patcher: Any = None) -> None:
    """Hash some thousand numbers of each weight of a module.

    Args:
        digest: the hash to update.
        part: name of the module.
        module: ComfyUI's.
        patcher: its ModelPatcher, if it may have LoRAs.
    """
    if patcher is not None:
        # Loading puts this clone's LoRAs into the shared weights, and takes other clones' out.
        # Without a LoRA even weights that stay off a small device are right.
        load([patcher], whole=bool(patcher.patches))
    for name, value, is_packed in _weights(module):
        digest.update(f"{part}.{name}:{tuple(value.shape)}".encode())
        _add_value(digest, value)
        if is_packed and patcher is not None:
            # The LoRAs of such a weight are applied in each forward, and are not in its numbers.
            prefix = "diffusion_model." if part == "model" else ""
            _add_value(digest, patcher.patches.get(prefix + name, []))


def _weights(module: nn.Module) -> Iterator[tuple[str, Tensor, bool]]:
    """Return name, numbers, and whether they are packed, of every weight of a module.

    The state_dict of a GGUF model holds tensors without numbers, and some that are no weights.
    """
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, value in module.state_dict().items():
        if not value.is_meta:
            yield name, value, False
        elif name in own:
            yield name, own[name].as_subclass(Tensor), True


def _add_value(digest: Digest, value: Any, whole: bool = False) -> None:
    """Hash tensors, numbers and texts in nested lists, dicts and ComfyUI's patches."""
    if torch.is_tensor(value):
        flat = value.detach().reshape(-1)
        step = 1 if whole else max(1, flat.numel() // _NUMBERS)
        digest.update(flat[::step].float().cpu().numpy().tobytes())
    elif isinstance(value, Mapping):
        for name, part in value.items():
            digest.update(f"{name}:".encode())
            _add_value(digest, part, whole)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _add_value(digest, part, whole)
    elif hasattr(value, "weights"):
        _add_value(digest, value.weights, whole)
    elif isinstance(value, (str, int, float, bool)) or value is None:
        digest.update(repr(value).encode())
    else:
        digest.update(type(value).__name__.encode())
