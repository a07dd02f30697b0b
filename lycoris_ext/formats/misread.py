"""Which hosts read an adapter file wrongly, as a table of what was measured with them.

A host may skip some layers of a file, or all of them, without an error. Our files of every
algorithm were loaded by each host's own code and their output compared with ours: sd-scripts
0.10.1, AUTOMATIC1111 1.8.0, ComfyUI 0.3.64, diffusers 0.42.1; of Forge dfdcbab6 only which layers
it takes was measured. tests/hosts/test_comfyui_weights.py repeats the measurements with ComfyUI.
What the names of layers do is in ``namings``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lycoris_ext.algorithms import Plan
from lycoris_ext.formats.cloneofsimo import is_numbered
from lycoris_ext.formats.families import FAMILIES, family_of_version
from lycoris_ext.formats.keys import split_key, target_of
from lycoris_ext.formats.namings import (
    COMFYUI,
    DIFFUSERS,
    FORGE,
    FORGE_LEAVES,
    HOSTS,
    SD_SCRIPTS,
    TELLS,
    WEBUI,
    left_by,
)
from lycoris_ext.words import count

_BY_US = "--network_module lycoris_ext.kohya does"
_BY_BOTH = "--network_module lycoris_ext.kohya or lycoris.kohya does"

_NUMBERED = (
    "its layers have numbers instead of names: for the hosts save it again under kohya's names, "
    "with load_network(...).save(...)"
)

#: (feature of a file, host) -> what that host does with such a file, as the end of a sentence.
_MISREAD = {
    ("loha", SD_SCRIPTS): f"knows no LoHa: {_BY_BOTH}",
    ("loha", DIFFUSERS): "knows no LoHa: PEFT does, under its own keys",
    ("lokr", SD_SCRIPTS): f"knows no LoKr: {_BY_BOTH}",
    ("lokr", DIFFUSERS): "knows no LoKr: PEFT does, under its own keys",
    ("lokr beside Conv2d", COMFYUI): "builds other weights from a LoKr of Conv1d and Conv3d",
    ("full", SD_SCRIPTS): f"knows no full: {_BY_BOTH}",
    ("full", DIFFUSERS): "knows no full differences",
    ("norm", SD_SCRIPTS): "knows no updates of normalisations",
    ("norm", DIFFUSERS): "knows no updates of normalisations",
    ("norm without bias", WEBUI): "fails on the whole file: normalisations must have a bias",
    ("ia3", SD_SCRIPTS): f"knows no (IA)^3: {_BY_US}",
    ("ia3", COMFYUI): "knows no (IA)^3 and leaves its layers out, with lines in its log",
    ("ia3", DIFFUSERS): "knows no (IA)^3 under these keys",
    ("ia3", FORGE): "knows no (IA)^3 and leaves its layers out, with a line in its console",
    ("ia3 on output", WEBUI): "leaves out (IA)^3 on the outputs of convolutions",
    ("diag-oft", SD_SCRIPTS): f"knows no diag-oft: {_BY_BOTH}",
    ("diag-oft", COMFYUI): "applies a diag-oft's strength twice: 0.7 acts as 0.49, 1 is right",
    ("diag-oft", FORGE): "knows no diag-oft and leaves its layers out, with a line in its console",
    ("diag-oft", DIFFUSERS): "knows no diag-oft",
    ("boft", SD_SCRIPTS): f"knows no BOFT: {_BY_BOTH}",
    ("boft", COMFYUI): "turns by other angles where a BOFT's strength is not 1",
    ("boft", FORGE): "knows no BOFT and leaves its layers out, with a line in its console",
    ("boft", DIFFUSERS): "knows no BOFT",
    ("rescaled diag-oft", COMFYUI): "leaves out the lengths of a rescaled diag-oft",
    ("constrained", COMFYUI): "does not multiply the constraint by the outputs: turns too little",
    ("glora", SD_SCRIPTS): f"knows no GLoRA: {_BY_BOTH}",
    ("glora", WEBUI): "knows an older GLoRA alone and leaves these layers out",
    ("glora", DIFFUSERS): "knows no GLoRA",
    **{
        ("tlora", host): "knows no T-LoRA: merge it into the model, or train another algorithm"
        for host in HOSTS
    },
    ("DoRA", SD_SCRIPTS): f"leaves out DoRA's lengths: {_BY_US}",
    ("DoRA", WEBUI): "before 1.9 leaves out DoRA's lengths without a word",
    ("DoRA", DIFFUSERS): "leaves out DoRA's lengths, with a line in its log",
    ("DoRA on output", COMFYUI): "divides DoRA's lengths of outputs by those of W, not of W + d",
    ("core of lokr", COMFYUI): "leaves out Tucker layers of a LoKr, with a line in its log",
    ("core of glora", COMFYUI): "leaves out Tucker layers of a GLoRA, with a line in its log",
    ("core of lora", SD_SCRIPTS): "knows no Tucker cores",
    ("core of lora", DIFFUSERS): "knows no Tucker cores",
    ("core beside Conv2d", COMFYUI): "fails on Tucker cores of Conv1d and Conv3d",
    ("unnamed sdxl", WEBUI): "takes a file without ss_base_model_version for SD1 and hides it",
}


def misread_by(
    keys: Collection[str], plans: Mapping[str, Plan], metadata: Mapping[str, str]
) -> tuple[str, ...]:
    """Return one sentence for each way in which some host is known to read a file wrongly.

    Args:
        keys: of the file's tensors, as they stand in the file.
        plans: layer's name in the file -> its algorithm, rank and shapes.
        metadata: of the file.
    """
    family = _family_of(plans, metadata)
    features = {feature for plan in plans.values() for feature in _features(plan)}
    stated = family_of_version(metadata.get("ss_base_model_version", ""))
    if family == "sdxl" and stated is not FAMILIES["sdxl"]:
        features.add("unnamed sdxl")
    names = (_names_misread(host, keys, len(plans), family) for host in HOSTS)
    forms = (
        f"{host} {happens}" for (feature, host), happens in _MISREAD.items() if feature in features
    )
    mend = (_NUMBERED,) if is_numbered(keys) else ()
    return (*mend, *filter(None, names), *forms)


def misreads(host: str, plan: Plan) -> tuple[str, ...]:
    """Return what a host does wrongly with one layer of a file, as ends of sentences.

    Args:
        host: one of ``HOSTS``.
        plan: algorithm, rank and shapes of the layer.
    """
    features = _features(plan)
    return tuple(
        told for (feature, known), told in _MISREAD.items() if known == host and feature in features
    )


def knows(host: str, feature: str) -> bool:
    """Tell whether a host takes layers of an algorithm, or of a feature such as "core of lora"."""
    return not _MISREAD.get((feature, host), "").startswith("knows no")


def _family_of(plans: Mapping[str, Plan], metadata: Mapping[str, str]) -> str:
    """Find out the id of the family that a file's layers are of; "" if nothing tells it.

    Args:
        plans, metadata: as for ``misread_by``.
    """
    stated = family_of_version(metadata.get("ss_base_model_version", ""))
    if stated is not None:
        return stated.id
    widths = {
        plan.layer.in_features
        for layer, plan in plans.items()
        if layer.replace(".", "_").endswith(("attn2_to_k", "attn2_to_v"))
    }
    for width, family in _TEXT_WIDTHS.items():
        if width in widths:
            return family
    if any("double_blocks" in layer or "single_transformer" in layer for layer in plans):
        return "flux"
    if any(target_of(layer) == "text_encoder_2" for layer in plans):
        return "sdxl"
    return ""


#: Numbers a token of the text that a U-Net reads -> its family.
_TEXT_WIDTHS = {768: "sd1", 1024: "sd2", 2048: "sdxl"}


def _names_misread(host: str, keys: Collection[str], layers: int, family: str) -> str | None:
    """Return a sentence on the layers that a host leaves because of their names, if there are."""
    left = left_by(host, keys, family)
    if not left.layers:
        return None
    if left.fails:
        return f"{host} fails on the whole file, with an error in its console"
    tensors = sum(split_key(key)[0] in left.layers for key in keys)
    if host == FORGE:
        if tensors > FORGE_LEAVES:
            return (
                f"{host} leaves out the whole file, with a line in its console: it has no place "
                f"for {count(tensors, 'tensor')}, and allows {FORGE_LEAVES}"
            )
        return f"{host} leaves out {count(tensors, 'tensor')}, with a line in its console"
    what = f"{len(left.layers)} of {count(layers, 'layer')}" if left.groups else "all layers"
    which = f" ({' and '.join(left.groups)})" if left.groups else ", whose names it does not know"
    return f"{host} leaves out {what}{which}, {TELLS[host]}"


def _features(plan: Plan) -> set[str]:
    """Return those features of one layer that ``_MISREAD`` may have a row for."""
    name, options = plan.algorithm.name, plan.shown_options()
    # A kernel that is stored flat is read well by all hosts, and its dimensions are not known.
    shaped = any("k" in factor.axes.split() for factor in plan.factors())
    beside = shaped and len(plan.layer.kernel) in (1, 3)
    found = {
        name: True,
        f"core of {name}": plan.uses_core,
        "core beside Conv2d": plan.uses_core and beside,
        f"{name} beside Conv2d": beside,
        "DoRA": "dora_wd" in options,
        "DoRA on output": "wd_on_output" in options,
        "constrained": "constraint" in options,
        f"rescaled {name}": "rescaled" in options,
        f"{name} on output": "train_on_input" not in options,
        f"{name} without bias": not any("b_norm" in factor.key for factor in plan.factors()),
    }
    return {feature for feature, present in found.items() if present}
