"""Names of layers in adapter files: we write kohya's names and read those of all tools.

Each tool's naming is a table. Every name in a file and every layer of a model is turned into one
common name, a ``Place``; a file's layer belongs to the model's layer with an equal ``Place``:

    lora_unet_down_blocks_0_attentions_0_proj_in        kohya, SD1 and SD2
    lora_unet_input_blocks_1_1_proj_in                  kohya, SDXL
    lycoris_down_blocks_0_attentions_0_proj_in          LyCORIS
    diffusion_model.input_blocks.1.1.proj_in            ComfyUI
    unet.down_blocks.0.attentions.0.proj_in             diffusers
    base_model.model.down_blocks.0.attentions.0.proj_in PEFT

docs/formats.md describes each of them.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from lycoris_ext.algorithms import Algorithm, algorithm, algorithm_names, beside, dora
from lycoris_ext.formats.families import FAMILIES, TARGETS, TEXT_LEVEL, Family

#: The only layers of CLIP whose names do not begin with ``TEXT_LEVEL``.
_WITHOUT_TEXT_LEVEL = ("text_projection",)

_UNET = "lora_unet_"
_PLAIN = "lycoris_"
#: The name of a denoiser that is no Stable Diffusion U-Net; its layers have ComfyUI's names.
DENOISER = "diffusion_model"

_TEXTS = [encoder for family in FAMILIES.values() for encoder in family.text_encoders]
#: Prefix of a layer's name in a file -> the model (target) that it belongs to; "": not said.
_READ = {
    _UNET: "unet",
    "oft_unet_": "unet",  # sd-scripts' networks/oft.py
    "model.diffusion_model.": "unet",
    f"{DENOISER}.": "unet",
    _PLAIN: "",
    **{encoder.key.removesuffix(TEXT_LEVEL): encoder.target for encoder in _TEXTS},
    **{f"text_encoders.{one.comfyui}.transformer.": one.target for one in _TEXTS if one.comfyui},
    **{f"{target}.": target for target in TARGETS},  # diffusers
    "transformer.": "unet",  # diffusers, of a family whose denoiser is none
}
#: How the names of PEFT's layers begin.
PEFT = "base_model.model."
#: Layers' names with these prefixes contain no dots: the tensor's name begins after the first dot.
_UNDERSCORED = ("lora_", "lycoris_", "oft_")

#: Name of a single layer in ldm -> its name in diffusers, both with ``_`` for ``.``.
_LDM_LAYERS = {
    "input_blocks_0_0": "conv_in",
    "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2",
    "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
    "out_0": "conv_norm_out",
    "out_2": "conv_out",
    **{f"input_blocks_{3 * n + 3}_0_op": f"down_blocks_{n}_downsamplers_0_conv" for n in range(3)},
    # The upsampler comes after the attention if the block has one. All of SDXL's have, and only
    # SDXL's files are written with ldm's names.
    **{f"output_blocks_{3 * n + 2}_1_conv": f"up_blocks_{n}_upsamplers_0_conv" for n in range(3)},
    **{f"output_blocks_{3 * n + 2}_2_conv": f"up_blocks_{n}_upsamplers_0_conv" for n in range(3)},
}
_LDM_BLOCKS = {
    "middle_block_0": "mid_block_resnets_0",
    "middle_block_1": "mid_block_attentions_0",
    "middle_block_2": "mid_block_resnets_1",
    **{
        f"input_blocks_{3 * block + layer + 1}_{number}": f"down_blocks_{block}_{kind}_{layer}"
        for block in range(4)
        for layer in range(2)
        for number, kind in enumerate(("resnets", "attentions"))
    },
    **{
        f"output_blocks_{3 * block + layer}_{number}": f"up_blocks_{block}_{kind}_{layer}"
        for block in range(4)
        for layer in range(3)
        for number, kind in enumerate(("resnets", "attentions"))
    },
}
_LDM_RESNET = {
    "in_layers_0": "norm1",
    "in_layers_2": "conv1",
    "emb_layers_1": "time_emb_proj",
    "out_layers_0": "norm2",
    "out_layers_3": "conv2",
    "skip_connection": "conv_shortcut",
}
_TO_LDM_LAYERS = {diffusers: ldm for ldm, diffusers in _LDM_LAYERS.items()}
_TO_LDM_BLOCKS = {diffusers: ldm for ldm, diffusers in _LDM_BLOCKS.items()}
_TO_LDM_RESNET = {diffusers: ldm for ldm, diffusers in _LDM_RESNET.items()}
_UNET_PART = re.compile(
    r"(time_embed|label_emb|input_blocks|middle_block|output_blocks|out)_(\d+)(?:_|$)"
)
_UNET_PARTS = {
    "time_embed": "START",
    "label_emb": "START",
    "input_blocks": "IN",
    "middle_block": "M",
    "output_blocks": "OUT",
    "out": "END",
}
_LDM_BLOCK = re.compile(r"((?:input|output)_blocks_\d+_\d|middle_block_\d)_(.+)")
_DIFFUSERS_BLOCK = re.compile(r"((?:(?:down|up)_blocks_\d|mid_block)_[a-z]+_\d)_(.+)")

_PROCESSOR_LORA = re.compile(r"_lora\.(down\.weight|up\.weight|alpha|down\.weight\.alpha)$")
#: Old versions of diffusers stored adapters of attention layers under ``....processor.to_q_lora``,
#: with the U-Net's names even for CLIP. Last part of such a path -> last part of the layer's path,
#: in the U-Net and in CLIP.
_PROCESSOR = {"to_out": "to_out.0"}
_PROCESSOR_TEXT = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}

#: Other tools' names of tensors -> ours. PEFT's A is applied first, so it is down.
_TENSORS = (
    {
        f"{theirs}{adapter}.weight": ours
        for theirs, ours in (
            ("lora_A", "lora_down.weight"),
            ("lora_B", "lora_up.weight"),
            ("lora.down", "lora_down.weight"),
            ("lora.up", "lora_up.weight"),
            ("lora_linear_layer.down", "lora_down.weight"),
            ("lora_linear_layer.up", "lora_up.weight"),
        )
        for adapter in ("", ".default")  # PEFT's name of the adapter, which some files contain
    }
    | {
        f"lora_magnitude_vector{adapter}": dora.KEY
        for adapter in ("", ".default", ".weight", ".default.weight")
    }
    | {
        # diffusers' network_alphas: its converter named the first ones after the tensor.
        f"{theirs}{tensor}.alpha": "alpha"
        for theirs in ("lora", "lora_linear_layer")
        for tensor in ("", ".down.weight")
    }
    | {f"lora_B{adapter}.bias": "lora_up.bias" for adapter in ("", ".default")}
    | {
        f"lora_embedding_{theirs}{adapter}": f"lora_{ours}.weight"
        for theirs, ours in (("A", "down"), ("B", "up"))
        for adapter in ("", ".default")
    }
)

#: Model -> prefixes of its layers' names, for files that do not say which model they adapt.
_GUESSES = {
    "unet": ("down_blocks_", "mid_block_", "up_blocks_", "conv_in", "conv_out", "time_embedding_"),
    "text_encoder": ("encoder_layers_", "text_projection"),
}


class Place(NamedTuple):
    """The common name of a layer, the same for every tool's naming.

    Attributes:
        target: the model: one of ``TARGETS``, the user's name of another module, or "" if the file
            does not say.
        name: module path of the layer with ``_`` for ``.``; for ``TARGETS`` as diffusers has it.
    """

    target: str
    name: str


def place_in_model(target: str, module_path: str) -> Place:
    """Return the common name of a layer of a loaded model.

    Args:
        target: name of the model: one of ``TARGETS``, "diffusion_model" for a denoiser under
            ComfyUI's names, or any other name for a module that is no part of a base model.
        module_path: path of the layer inside the model, with dots or underscores, in diffusers' or
            ldm's naming.
    """
    name = module_path.replace(".", "_")
    if target == DENOISER:
        return Place("unet", name)
    return Place(target, _to_diffusers(name) if target in TARGETS else name)


def place_in_file(layer: str) -> Place:
    """Return the common name of a layer, from its name in a file as ``split_key`` returns it."""
    rest = layer.removeprefix(PEFT)
    start, target = next((pair for pair in _READ.items() if rest.startswith(pair[0])), ("", ""))
    path = rest[len(start) :].removeprefix(PEFT).replace(".processor.", ".")
    parent, _, last = path.rpartition(".")
    table = _PROCESSOR_TEXT if parent.endswith("self_attn") else _PROCESSOR
    return place_in_model(target, f"{parent}.{table.get(last, last)}" if parent else path)


def split_key(key: str) -> tuple[str, str]:
    """Split a key of a file into the layer's name, as it is, and the tensor's name, as we have it.

    ``lora_unet_x.lora_up.weight``      -> (``lora_unet_x``, ``lora_up.weight``)
    ``unet.x.to_q.lora_A.weight``       -> (``unet.x.to_q``, ``lora_down.weight``)
    ``x.processor.to_q_lora.up.weight`` -> (``x.processor.to_q``, ``lora_up.weight``)

    If no known tensor's name is found in the key, the result is (key, "").
    """
    if key.startswith(_UNDERSCORED):
        layer, _, name = key.partition(".")
        return layer, _TENSORS.get(name, name)
    parts = _PROCESSOR_LORA.sub(r".lora.\1", key).split(".")
    names = _tensor_names(tuple(map(algorithm, algorithm_names())))
    for length in (4, 3, 2, 1):
        layer, name = ".".join(parts[:-length]), ".".join(parts[-length:])
        known = names.get(name)
        if known and layer:
            return layer, known
    return key, ""


def key_prefix(target: str, module_path: str, family: Family = FAMILIES["sd1"]) -> str:
    """Return the name of a layer in the files that we write.

    It is sd-scripts' name; for a denoiser that is no Stable Diffusion U-Net it is ComfyUI's, with
    dots, and for a module that is no part of a base model LyCORIS's.

    Args:
        target, module_path: as for ``place_in_model``.
        family: the family of the models, see ``families.family_of_models``.
    """
    if target == DENOISER:
        return f"{DENOISER}.{module_path}"
    name = place_in_model(target, module_path).name
    if target == "unet":
        return _UNET + (_to_ldm(name) if family.ldm_names else name)
    start = next((one.key for one in family.text_encoders if one.target == target), _PLAIN)
    if name.startswith(_WITHOUT_TEXT_LEVEL):
        start = start.removesuffix(TEXT_LEVEL)
    return start + name


def unet_block(module_path: str) -> tuple[str, int] | None:
    """Return the block of a Stable Diffusion U-Net to which a layer belongs.

    Args:
        module_path: path of the layer in the U-Net, in diffusers' or ldm's naming.

    Returns:
        ("IN", 4) for an input block, ("OUT", 0) for an output block, ("M", 1) for a part of the
        middle block. ("START", n) and ("END", n) are the layers before the first and after the last
        block; their n means nothing. None if the layer is not in such a U-Net.
    """
    found = _UNET_PART.match(_to_ldm(place_in_model("unet", module_path).name))
    return (_UNET_PARTS[found[1]], int(found[2])) if found else None


def target_of(layer: str) -> str:
    """Find out which model a layer of a file belongs to.

    Args:
        layer: the layer's name in the file, as ``split_key`` returns it.

    Returns:
        One of ``TARGETS``, guessed from the layer's path if the name has no known prefix; "model"
        if that fails.
    """
    place = place_in_file(layer)
    if place.target:
        return place.target
    name = _to_diffusers(place.name)
    return next((t for t, starts in _GUESSES.items() if name.startswith(starts)), "model")


@cache
def _tensor_names(algorithms: tuple[type[Algorithm], ...]) -> dict[str, str]:
    """Map every name that a tensor of these algorithms may have in a file to our name of it."""
    names = {
        factor.key
        for known in algorithms
        for alternatives in known.parts.values()
        for alternative in alternatives
        for factor in alternative.factors
    } | {"alpha", "lora_up.bias", dora.KEY, *beside.KEYS}
    return {**_TENSORS, **{f"{name}.default": name for name in names}, **{n: n for n in names}}


def _to_diffusers(name: str) -> str:
    """Turn ldm's name of a layer into diffusers', and drop ``TEXT_LEVEL`` of a text encoder's."""
    if name in _LDM_LAYERS:
        return _LDM_LAYERS[name]
    match = _LDM_BLOCK.fullmatch(name)
    if match and match[1] in _LDM_BLOCKS:
        block = _LDM_BLOCKS[match[1]]
        return f"{block}_{_LDM_RESNET.get(match[2], match[2])}"
    return name.removeprefix(TEXT_LEVEL)


def _to_ldm(name: str) -> str:
    """Turn diffusers' name of a U-Net's layer into ldm's."""
    if name in _TO_LDM_LAYERS:
        return _TO_LDM_LAYERS[name]
    match = _DIFFUSERS_BLOCK.fullmatch(name)
    if match and match[1] in _TO_LDM_BLOCKS:
        block = _TO_LDM_BLOCKS[match[1]]
        return f"{block}_{_TO_LDM_RESNET.get(match[2], match[2])}"
    return name
