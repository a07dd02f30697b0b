"""Write a picture's generation parameters in the text form that AUTOMATIC1111 writes and reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from lycoris_ext.sampling.specs import PromptSpec

#: How many digits of a hash AUTOMATIC1111 shows for a model and for a network.
_MODEL_HASH_DIGITS = 10
_ADAPTER_HASH_DIGITS = 12


@dataclass(frozen=True)
class AdapterInfo:
    """What the parameters say of an adapter.

    Args:
        name: the file's name without extension.
        strength: the strength at which it was used.
        hash: the file's `sshs_model_hash`; "" leaves it out.
    """

    name: str
    strength: float
    hash: str = ""


def infotext(
    spec: PromptSpec,
    size: tuple[int, int],
    *,
    model_name: str = "",
    model_hash: str = "",
    adapters: Sequence[AdapterInfo] = (),
    clip_skip: int = 1,
) -> str:
    """Return a picture's parameters as text; pasted into AUTOMATIC1111 it asks for that picture.

    Args:
        spec: prompt, seed, sampler and so on.
        size: (width, height) of the picture, in pixels.
        model_name, model_hash: the base model's name and SHA-256; "" leaves each out.
        adapters: the adapters in use; each also appears in the prompt as `<lora:name:strength>`.
        clip_skip: clip skip of the text encoder; it is left out if it is 1.

    Returns:
        Two or three lines: the prompt, the negative prompt if any, the settings.
    """
    tags = [f"<lora:{adapter.name}:{adapter.strength:g}>" for adapter in adapters]
    lines = [" ".join([spec.prompt, *tags]).strip()]
    if spec.negative_prompt:
        lines.append(f"Negative prompt: {spec.negative_prompt}")
    settings: dict[str, str] = {
        "Steps": str(spec.steps),
        "Sampler": spec.sampler,
        "CFG scale": f"{spec.cfg_scale:g}",
        "Seed": str(spec.seed),
        "Size": f"{size[0]}x{size[1]}",
    }
    if model_hash:
        settings["Model hash"] = model_hash[:_MODEL_HASH_DIGITS]
    if model_name:
        settings["Model"] = model_name
    if clip_skip != 1:
        settings["Clip skip"] = str(clip_skip)
    hashed = [adapter for adapter in adapters if adapter.hash]
    if hashed:
        settings["Lora hashes"] = ", ".join(
            f"{adapter.name}: {adapter.hash[:_ADAPTER_HASH_DIGITS]}" for adapter in hashed
        )
    lines.append(", ".join(f"{key}: {_quote(value)}" for key, value in settings.items()))
    return "\n".join(lines)


def _quote(value: str) -> str:
    """Put a value in quotes if it holds a comma, a colon, a quote or a line break."""
    return json.dumps(value, ensure_ascii=False) if set(value) & set(',:\n"') else value
