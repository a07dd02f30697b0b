"""Apply adapters to ComfyUI's models, as patches of its ModelPatcher.

ComfyUI calls the patches when it loads a model, or at every forward of a layer for which the GPU's
memory does not suffice. They add our own `Delta` to each weight, so that
DoRA, (IA)^3, OFT and all other algorithms give the same update as in training.
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
from lycoris_ext.formats.peft_unread import refuse_unread
from lycoris_ext.functional import Delta, FrozenLayer
from lycoris_ext.functional.layer import PLAIN
from lycoris_ext.functional.merge import add_delta
from lycoris_ext.modules import AdapterLayer
from lycoris_ext.network import BlockWeights, load_network
from lycoris_ext.network.sites import DENOISERS, Site, all_sites, place_layers
from lycoris_ext.words import and_more, count

from .adapter import name_of, notes_of, state_of

#: Attribute of ComfyUI's text encoder, such as clip_l -> our target, such as text_encoder.
_ENCODERS = {
    encoder.comfyui: encoder.target
    for family in FAMILIES.values()
    if family.comfyui
    for encoder in family.text_encoders
}


@dataclass
class Applied:
    """A model and a text encoder with an adapter applied, and which of its keys were used.

    Attributes:
        model, clip: patched clones; None if no model or clip was given.
        model_layers, clip_layers: number of layers that the adapter changes in each.
        by_comfyui: keys that ComfyUI's own loader applied.
        unmatched: keys that fit no layer.
        reasons: layer's name in the file -> why it was not read, although the model has it.
        has_blocks: whether block_weights are set; ComfyUI's loader ignores them.
        notes: what is strange about the adapter, one sentence each.
    """

    model: Any
    clip: Any
    model_layers: int = 0
    clip_layers: int = 0
    by_comfyui: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    reasons: dict[str, FormatError] = field(default_factory=dict)
    has_blocks: bool = False
    notes: tuple[str, ...] = ()

    def report(self) -> str:
        """Return lines for the node: how many layers were changed, and which keys fit none."""
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
            lines += [f"{layer}: {told.what}" for layer, told in [*self.reasons.items()][:1]]
        else:
            lines.append("every key of the file was matched")
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


def targets_of(model: Any, clip: Any) -> dict[str, nn.Module]:
    """Return the modules in ComfyUI's MODEL and CLIP by target name; either may be None."""
    targets: dict[str, nn.Module] = {}
    if model is not None:
        network = model.model.diffusion_model
        targets["unet" if hasattr(network, "input_blocks") else DENOISER] = network
    if clip is not None:
        for target, name in encoders_of(clip).items():
            targets[target] = getattr(clip.cond_stage_model, name).transformer
    return targets


def encoders_of(clip: Any) -> dict[str, str]:
    """Return the CLIP encoders in a text encoder: target name -> attribute of cond_stage_model."""
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
        model, clip: ComfyUI's; either may be None.
        state: tensors and metadata of an adapter file.
        strength_model, strength_clip: a weight W becomes W + strength * delta.
        blocks: strengths of the U-Net's blocks, which multiply strength_model.

    Raises:
        FormatError: the file contradicts itself or the model's shapes.
    """
    applied = Applied(
        model and model.clone(), clip and clip.clone(), has_blocks=bool(blocks and blocks.weights)
    )
    targets = targets_of(model, clip)
    divided = _divide(state, all_sites(targets))
    if divided.ours.tensors:
        # Another clone's patches may lie in the weights until ComfyUI loads this one.
        network = load_network(divided.ours, targets, keeps_origin=False).cpu()
        applied.notes = network.notices
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
    _let_comfyui(divided.rest, applied, strength_model, strength_clip)
    left = {split_key(key)[0] for key in applied.unmatched}
    applied.reasons = {layer: told for layer, told in divided.reasons.items() if layer in left}
    by_comfyui = [
        f"{name}: {told.what}" for name, told in divided.reasons.items() if name not in left
    ]
    for refused in by_comfyui[:1]:
        applied.notes += (f"ComfyUI's own loader reads what this one refuses: {refused}",)
    return applied


def put_on(
    model: Any,
    clip: Any,
    lora: Any,
    strength_model: float,
    strength_clip: float,
    block_weights: str = "",
) -> Applied:
    """Apply an adapter to clones of a model and a text encoder, for a node.

    Args:
        model, clip: ComfyUI's; either may be None.
        lora: a LORA_MODEL.
        strength_model, strength_clip: a weight W becomes W + strength * delta.
        block_weights: as the user wrote them.

    Raises:
        FormatError: no layer of the adapter fits the model, or shapes differ; the message says to
            connect another model.
    """
    blocks = BlockWeights.parse(block_weights)
    state, name = state_of(lora), name_of(lora)
    fix = "connect the family of models that the file was trained on"
    try:
        _layers(state)
    except FormatError as error:
        raise error.within(name) from error
    try:
        applied = apply_adapter(model, clip, state, strength_model, strength_clip, blocks)
    except FormatError as error:
        where = f"{name}: {error.where}" if error.where else name
        raise FormatError(error.what, where=where, fix=fix) from error
    if not applied.model_layers and not applied.clip_layers:
        for reason in applied.reasons.values():
            raise reason.within(name)
        raise FormatError(
            f"none of the {len(state.tensors)} tensors fits the connected model; the first is "
            f"{next(iter(state.tensors), 'missing')}",
            where=name,
            fix=fix,
        )
    applied.notes = (*notes_of(lora), *applied.notes)
    return applied


@dataclass(frozen=True)
class _Divided:
    """A file in two parts.

    Args:
        ours: the layers that we can apply.
        rest: all other tensors.
        reasons: layer's name in the file -> why we cannot read it, although the model has it.
    """

    ours: AdapterState
    rest: dict[str, Tensor]
    reasons: dict[str, FormatError]


def _divide(state: AdapterState, sites: Mapping[str, Site]) -> _Divided:
    """Split a file into the layers that we can apply to these sites, and all other tensors.

    Raises:
        FormatError: the file is of a form that nobody reads here; the message names it.
    """
    layers = _layers(state)
    reasons: dict[str, FormatError] = {}
    readable = set()
    for layer in place_layers(layers, sites):
        try:
            detect(layers[layer], layer)
        except FormatError as error:
            reasons[layer] = error  # ComfyUI may know this algorithm
        else:
            readable.add(layer)
    ours: dict[str, Tensor] = {}
    rest: dict[str, Tensor] = {}
    for key, tensor in state.tensors.items():
        layer, name = split_key(key)
        (ours if name and layer in readable else rest)[key] = tensor
    return _Divided(AdapterState(ours, state.metadata), rest, reasons)


def _layers(state: AdapterState) -> dict[str, dict[str, Tensor]]:
    """Return the layers of a file as `AdapterState.layers` does, without keys that name none."""
    refuse_unread(state.tensors)
    named = {key: tensor for key, tensor in state.tensors.items() if split_key(key)[1]}
    return AdapterState(named, state.metadata).layers()


def _patches(path: str, layer: AdapterLayer, site: Site) -> dict[str, Any]:
    """Return a layer's patches by parameter name: for the weight and, if it changes, the bias."""
    make = _patch_class()
    patches = {f"{path}.weight": make(layer, site, of_bias=False)}
    if getattr(site.module, "bias", None) is not None and _changes_bias(layer, site):
        patches[f"{path}.bias"] = make(layer, site, of_bias=True)
    return patches


def _changes_bias(layer: AdapterLayer, site: Site) -> bool:
    """Tell whether the update changes the bias."""
    # On the meta device, where T-LoRA's decomposition of the weight costs nothing.
    weight = torch.empty(site.spec.weight_shape, device="meta")
    return delta_of(layer, site, weight).bias() is not None


def delta_of(layer: AdapterLayer, site: Site, weight: Tensor) -> Delta:
    """Return a layer's update at strength 1 of a weight, on the weight's device."""
    base = FrozenLayer(site.spec, weight, None, site.module.forward)
    tensors = {name: tensor.detach().to(weight.device) for name, tensor in layer.tensors().items()}
    return layer.plan.delta(tensors, layer.with_origin(base))


def _original(site: Site, handed: Tensor) -> Tensor:
    """Return a layer's own weight, before any patch.

    ComfyUI computes all patches of a weight before it sets the weight. The module therefore still
    has its original weight, and the order of stacked adapters does not matter. Where the module's
    numbers are packed (GGUF, scaled fp8, 4 bits), only what ComfyUI hands over can be read: patches
    of adapters that were applied before are in it.

    Args:
        site: the layer.
        handed: ComfyUI's copy, unpacked.
    """
    stored = site.weight
    is_packed = type(stored) not in PLAIN or stored.shape != handed.shape
    if is_packed or not stored.is_floating_point() or hasattr(site.module, "convert_weight"):
        return handed.clone()
    original = stored.detach().to(handed.device)
    return original.to(handed.dtype) if original.itemsize == 1 else original  # fp8


@cache
def _patch_class() -> Any:
    from comfy.weight_adapter import WeightAdapterBase

    class CorePatch(WeightAdapterBase):
        """The update of one weight or bias, which ComfyUI asks for."""

        name = "lycoris_ext"

        def __init__(self, layer: AdapterLayer, site: Site, of_bias: bool) -> None:
            self.layer, self.site, self.of_bias = layer, site, of_bias
            self.loaded_keys: set[str] = set()
            self.weights = list(layer.tensors().values())

        def calculate_weight(
            self, weight: Tensor, key: str, strength: float, *others: Any, **more: Any
        ) -> Tensor:
            """Add strength * delta to `weight`, a copy of the weight or bias, and return it.

            The copy is in float32 when ComfyUI loads the layer, and in the input's dtype when the
            layer stays off the GPU and is patched at every forward.
            """
            if self.of_bias:
                # An update of the bias does not read the numbers of the weight.
                unread = torch.empty(self.site.spec.weight_shape, device=weight.device)
                bias = delta_of(self.layer, self.site, unread).scaled(strength).bias()
                assert bias is not None
                weight += bias.to(weight.dtype)
            else:
                own = _original(self.site, weight)
                add_delta(weight, delta_of(self.layer, self.site, own).scaled(strength))
            return weight

    return CorePatch


class _Watched(dict[str, Tensor]):
    """A dict of tensors that remembers which keys were read."""

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
    """Let ComfyUI's own loader apply the remaining tensors, and note in `applied` what it used."""
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
