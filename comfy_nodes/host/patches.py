"""Adapters on ComfyUI's models: as patches of its ModelPatcher, computed by the core.

ComfyUI patches weights when it loads a model; what it then adds is our `Delta` in its exact form,
so that DoRA, (IA)^3, OFT and all others mean the same here as in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from lycoris_ext.algorithms import detect
from lycoris_ext.errors import FormatError
from lycoris_ext.formats import AdapterState
from lycoris_ext.formats.families import FAMILIES
from lycoris_ext.formats.keys import DENOISER, split_key
from lycoris_ext.functional import Delta, FrozenLayer
from lycoris_ext.functional.merge import add_delta
from lycoris_ext.modules import AdapterLayer
from lycoris_ext.network import BlockWeights, load_network
from lycoris_ext.network.sites import DENOISERS, Site, all_sites, place_layers
from lycoris_ext.words import and_more, count

from .adapter import name_of, state_of

#: What ComfyUI's text encoder calls an encoder -> what we call it.
_ENCODERS = {
    encoder.comfyui: encoder.target
    for family in FAMILIES.values()
    if family.comfyui
    for encoder in family.text_encoders
}


@dataclass
class Applied:
    """What an adapter did to a model and a text encoder.

    Attributes:
        model, clip: patched copies; None where none was given.
        model_layers, clip_layers: how many layers each of them has patches for.
        by_comfyui: keys that ComfyUI's own loader took.
        unmatched: keys that nobody knows what to do with.
        has_blocks: whether blocks have strengths of their own, which ComfyUI's loader ignores.
    """

    model: Any
    clip: Any
    model_layers: int = 0
    clip_layers: int = 0
    by_comfyui: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    has_blocks: bool = False

    def report(self) -> str:
        """What happened, in lines for the node."""
        layers = count(self.model_layers, "layer")
        lines = [f"{layers} of the model, {self.clip_layers} of the text encoder"]
        if self.by_comfyui:
            ignored = ", WITHOUT block_weights" if self.has_blocks else ""
            lines.append(
                f"{count(len(self.by_comfyui), 'key')} read by ComfyUI's own loader{ignored}"
            )
        if self.unmatched:
            lines.append(f"{count(len(self.unmatched), 'key')} NOT MATCHED:")
            lines += [f"  {line}" for line in and_more(self.unmatched, 20, "\n").split("\n")]
        else:
            lines.append("every key of the file was matched")
        return "\n".join(lines)


def targets_of(model: Any, clip: Any) -> dict[str, nn.Module]:
    """The modules behind ComfyUI's MODEL and CLIP by the core's names; None leaves one out."""
    targets: dict[str, nn.Module] = {}
    if model is not None:
        network = model.model.diffusion_model
        targets["unet" if hasattr(network, "input_blocks") else DENOISER] = network
    if clip is not None:
        for target, name in encoders_of(clip).items():
            targets[target] = getattr(clip.cond_stage_model, name).transformer
    return targets


def encoders_of(clip: Any) -> dict[str, str]:
    """Target -> attribute of ComfyUI's text encoder, for CLIP's encoders."""
    stage = clip.cond_stage_model
    return {
        target: name
        for name, target in _ENCODERS.items()
        if hasattr(getattr(stage, name, None), "transformer")
    }


def apply_adapter(
    model: Any,
    clip: Any,
    state: AdapterState,
    strength_model: float = 1.0,
    strength_clip: float = 1.0,
    blocks: BlockWeights | None = None,
) -> Applied:
    """Patch copies of a model and a text encoder with an adapter.

    Args:
        model, clip: ComfyUI's; None where there is none.
        state: a file's content.
        strength_model, strength_clip: W becomes W + strength * delta.
        blocks: strengths of the U-Net's blocks, on top of strength_model.

    Raises:
        FormatError: the file contradicts itself or the model's shapes.
    """
    applied = Applied(
        model and model.clone(), clip and clip.clone(), has_blocks=bool(blocks and blocks.weights)
    )
    targets = targets_of(model, clip)
    ours, rest = _divide(state, all_sites(targets))
    if ours.tensors:
        # Another clone's patches may lie in the weights until ComfyUI loads this one.
        network = load_network(ours, targets, keeps_origin=False).cpu()
        starts = dict.fromkeys(DENOISERS, "diffusion_model.")
        if clip is not None:
            starts |= {target: f"{name}.transformer." for target, name in encoders_of(clip).items()}
        for key, layer in network.layers.items():
            site = network.sites[key]
            in_model = site.target in DENOISERS
            patcher = applied.model if in_model else applied.clip
            strength = strength_model if in_model else strength_clip
            strength *= blocks.of(site) if blocks else 1.0
            if strength:
                patcher.add_patches(
                    _patches(starts[site.target] + site.path, layer, site), strength
                )
            applied.model_layers += in_model
            applied.clip_layers += not in_model
    _let_comfyui(rest, applied, strength_model, strength_clip)
    return applied


def put_on(
    model: Any,
    clip: Any,
    lora: Any,
    strength_model: float,
    strength_clip: float,
    block_weights: str = "",
) -> Applied:
    """Apply an adapter, or say that it is for another model.

    Raises:
        FormatError: no layer of the file has a place, or one of other shapes.
    """
    blocks = BlockWeights.parse(block_weights)
    state, name = state_of(lora), name_of(lora)
    fix = "connect the family of models that the file was trained on"
    try:
        applied = apply_adapter(model, clip, state, strength_model, strength_clip, blocks)
    except FormatError as error:
        where = f"{name}: {error.where}" if error.where else name
        raise FormatError(error.what, where=where, fix=fix) from error
    if not applied.model_layers and not applied.clip_layers:
        raise FormatError(
            f"none of the {len(state.tensors)} tensors fits the connected model; the first is "
            f"{next(iter(state.tensors), 'missing')}",
            where=name,
            fix=fix,
        )
    return applied


def _divide(
    state: AdapterState, sites: Mapping[str, Site]
) -> tuple[AdapterState, dict[str, Tensor]]:
    """What the core places in these models, and all other tensors of a file."""
    layers: dict[str, dict[str, str]] = {}
    for key in state.tensors:
        layer, name = split_key(key)
        if name:
            layers.setdefault(layer, {})[name] = key
    ours: dict[str, Tensor] = {}
    for layer in place_layers(layers, sites):
        tensors = {name: state.tensors[key] for name, key in layers[layer].items()}
        try:
            detect(tensors, layer)
        except FormatError:
            continue  # of an algorithm that ComfyUI may know; what it does not is told
        ours |= {key: state.tensors[key] for key in layers[layer].values()}
    rest = {key: tensor for key, tensor in state.tensors.items() if key not in ours}
    return AdapterState(ours, state.metadata), rest


def _patches(path: str, layer: AdapterLayer, site: Site) -> dict[str, Any]:
    """A layer's patches by the names of its weight and, where it changes it, its bias."""
    make = _patch_class()
    patches = {f"{path}.weight": make(layer, site, of_bias=False)}
    if getattr(site.module, "bias", None) is not None and _changes_bias(layer, site):
        patches[f"{path}.bias"] = make(layer, site, of_bias=True)
    return patches


def _changes_bias(layer: AdapterLayer, site: Site) -> bool:
    """Found on meta, where T-LoRA's decomposition of the weight costs nothing."""
    return _delta(layer, site, torch.device("meta")).bias() is not None


def _delta(layer: AdapterLayer, site: Site, device: torch.device) -> Delta:
    """A layer's update at full strength. ComfyUI computes all patches of a weight before it sets
    it, so the module has its original one: stacked adapters have no order."""
    stored, bias = site.module.weight, getattr(site.module, "bias", None)
    assert isinstance(stored, Tensor)
    base = FrozenLayer(
        site.spec,
        stored.detach().to(device),
        None if bias is None else bias.detach().to(device),
        site.module.forward,
    )
    tensors = {name: tensor.detach().to(device) for name, tensor in layer.tensors().items()}
    return layer.plan.delta(tensors, layer.with_origin(base))


@cache
def _patch_class() -> Any:
    from comfy.weight_adapter import WeightAdapterBase

    class CorePatch(WeightAdapterBase):
        """What ComfyUI calls to patch one weight or bias."""

        name = "lycoris_ext"

        def __init__(self, layer: AdapterLayer, site: Site, of_bias: bool) -> None:
            self.layer, self.site, self.of_bias = layer, site, of_bias
            self.loaded_keys: set[str] = set()
            self.weights = list(layer.tensors().values())

        def calculate_weight(
            self, weight: Tensor, key: str, strength: float, *others: Any, **more: Any
        ) -> Tensor:
            """weight + strength * delta, in place: ComfyUI passes a float32 copy."""
            delta = _delta(self.layer, self.site, weight.device).scaled(strength)
            if self.of_bias:
                bias = delta.bias()
                assert bias is not None
                weight += bias.to(weight.dtype)
            else:
                add_delta(weight, delta)
            return weight

    return CorePatch


class _Watched(dict[str, Tensor]):
    """Remembers which of its tensors were taken."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(tensors)
        self.taken: set[str] = set()

    def __getitem__(self, key: str) -> Tensor:
        self.taken.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401 - that would call this again


def _let_comfyui(
    tensors: dict[str, Tensor], applied: Applied, strength_model: float, strength_clip: float
) -> None:
    """Give ComfyUI's own loader what is left: other families' names, and what only it knows."""
    if not tensors:
        return
    import comfy.lora
    import comfy.lora_convert

    names: dict[str, Any] = {}
    if applied.model is not None:
        names = comfy.lora.model_lora_keys_unet(applied.model.model, names)
    if applied.clip is not None:
        names = comfy.lora.model_lora_keys_clip(applied.clip.cond_stage_model, names)
    watched = _Watched(comfy.lora_convert.convert_lora(tensors))
    patches = comfy.lora.load_lora(watched, names, log_missing=False)
    if applied.model is not None:
        applied.model_layers += len(applied.model.add_patches(patches, strength_model))
    if applied.clip is not None:
        applied.clip_layers += len(applied.clip.add_patches(patches, strength_clip))
    applied.by_comfyui = sorted(watched.taken)
    applied.unmatched = sorted(set(watched) - watched.taken)
