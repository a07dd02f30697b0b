"""Which hosts read an adapter file wrongly, as a table of what was measured with them.

A host may skip some layers of a file, or all of them, without an error. Our files of every
algorithm were loaded by each host's own code and their output compared with ours: sd-scripts
0.10.1, AUTOMATIC1111 1.8.0, ComfyUI 0.3.64 (for the names also 0.8.0), diffusers 0.42.1.
tests/hosts/test_comfyui_weights.py repeats the measurements with ComfyUI.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lycoris_ext.algorithms import Plan
from lycoris_ext.formats.families import FAMILIES, family_of_version
from lycoris_ext.formats.keys import target_of

SD_SCRIPTS, WEBUI, COMFYUI, DIFFUSERS = (
    "sd-scripts' networks.lora",
    "AUTOMATIC1111",
    "ComfyUI",
    "diffusers",
)
_SKIPPED = "skips these layers without a word"

#: (prefix of layers' names in a file, the tool that writes such names); the first that fits counts.
NAMINGS = (
    ("lora_", "kohya"),
    ("lycoris_", "LyCORIS"),
    ("base_model.model.", "PEFT"),
    ("diffusion_model.", "ComfyUI"),
    ("model.diffusion_model.", "ComfyUI"),
    ("text_encoders.", "ComfyUI"),
    ("", "diffusers"),
)

_BY_US = "--network_module lycoris_ext.kohya does"
_BY_BOTH = "--network_module lycoris_ext.kohya or lycoris.kohya does"

#: (feature of a file, host) -> what that host does with such a file, as the end of a sentence.
_MISREAD = {
    ("PEFT", SD_SCRIPTS): "does not know the names",
    ("PEFT", WEBUI): _SKIPPED,
    ("PEFT", COMFYUI): _SKIPPED,
    ("diffusers", SD_SCRIPTS): "does not know the names",
    ("diffusers", WEBUI): _SKIPPED,
    ("diffusers", COMFYUI): _SKIPPED,
    ("ComfyUI", SD_SCRIPTS): "does not know the names",
    ("ComfyUI", WEBUI): _SKIPPED,
    ("LyCORIS", SD_SCRIPTS): "does not know the names",
    ("LyCORIS", WEBUI): _SKIPPED,
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
    ("ia3 on output", WEBUI): "leaves out (IA)^3 on the outputs of convolutions",
    ("diag-oft", SD_SCRIPTS): f"knows no diag-oft: {_BY_BOTH}",
    ("diag-oft", COMFYUI): "applies a diag-oft's strength twice: 0.7 acts as 0.49, 1 is right",
    ("diag-oft", DIFFUSERS): "knows no diag-oft",
    ("boft", SD_SCRIPTS): f"knows no BOFT: {_BY_BOTH}",
    ("boft", COMFYUI): "turns by other angles where a BOFT's strength is not 1",
    ("boft", DIFFUSERS): "knows no BOFT",
    ("rescaled diag-oft", COMFYUI): "leaves out the lengths of a rescaled diag-oft",
    ("constrained", COMFYUI): "does not multiply the constraint by the outputs: turns too little",
    ("glora", SD_SCRIPTS): f"knows no GLoRA: {_BY_BOTH}",
    ("glora", WEBUI): "knows an older GLoRA alone and leaves these layers out",
    ("glora", DIFFUSERS): "knows no GLoRA",
    **{
        ("tlora", host): "knows no T-LoRA: merge it into the model, or train another algorithm"
        for host in (SD_SCRIPTS, WEBUI, COMFYUI, DIFFUSERS)
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


def naming_of(layers: Iterable[str]) -> tuple[str, ...]:
    """Return the tools whose naming the layers of a file have; usually one.

    Args:
        layers: the layers' names in the file.
    """
    found = {next(name for start, name in NAMINGS if layer.startswith(start)) for layer in layers}
    return tuple(sorted(found))


def misread_by(plans: Mapping[str, Plan], metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return one sentence for each way in which some host is known to read a file wrongly.

    Args:
        plans: layer's name in the file -> its algorithm, rank and shapes.
        metadata: of the file.
    """
    features = {*naming_of(plans)}
    for plan in plans.values():
        features |= _features(plan)
    sdxl = any(target_of(layer) == "text_encoder_2" or "input_blocks" in layer for layer in plans)
    stated = family_of_version(metadata.get("ss_base_model_version", ""))
    if sdxl and stated is not FAMILIES["sdxl"]:
        features.add("unnamed sdxl")
    return tuple(
        f"{host} {happens}" for (feature, host), happens in _MISREAD.items() if feature in features
    )


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
