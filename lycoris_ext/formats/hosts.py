"""Which hosts would misread a file: what was measured there, as a table.

A file that loads in one place may load in part, or not at all and without a word, in another.
Measured with sd-scripts 0.10.1, AUTOMATIC1111 1.8.0, ComfyUI 0.8.0 and diffusers 0.42; the rows of
full, norm and T-LoRA come from the lists of what these hosts read. Of (IA)^3, OFT, BOFT, GLoRA and
DoRA nothing is said yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lycoris_ext.algorithms import Plan
from lycoris_ext.formats.keys import target_of

SD_SCRIPTS, WEBUI, COMFYUI, DIFFUSERS = (
    "sd-scripts' networks.lora",
    "AUTOMATIC1111",
    "ComfyUI",
    "diffusers",
)
_SKIPPED = "skips these layers without a word"

#: How layers' names begin, and what the tool that writes them so is called.
NAMINGS = (
    ("lora_", "kohya"),
    ("lycoris_", "LyCORIS"),
    ("base_model.model.", "PEFT"),
    ("diffusion_model.", "ComfyUI"),
    ("model.diffusion_model.", "ComfyUI"),
    ("text_encoders.", "ComfyUI"),
    ("", "diffusers"),
)

#: (what a file has, host) -> what happens there.
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
    ("loha", SD_SCRIPTS): "knows no LoHa: --network_module lycoris_ext.kohya or lycoris.kohya does",
    ("loha", DIFFUSERS): "knows no LoHa: PEFT does, under its own keys",
    ("lokr", SD_SCRIPTS): "knows no LoKr: --network_module lycoris_ext.kohya or lycoris.kohya does",
    ("lokr", DIFFUSERS): "knows no LoKr: PEFT does, under its own keys",
    ("full", SD_SCRIPTS): "knows no full: --network_module lycoris_ext.kohya or lycoris.kohya does",
    ("full", DIFFUSERS): "knows no full differences",
    ("norm", SD_SCRIPTS): "knows no updates of normalisations",
    ("norm", DIFFUSERS): "knows no updates of normalisations",
    **{
        ("tlora", host): "knows no T-LoRA: merge it into the model, or train another algorithm"
        for host in (SD_SCRIPTS, WEBUI, COMFYUI, DIFFUSERS)
    },
    ("LoKr core", COMFYUI): "leaves out Tucker layers of a LoKr, with a line in its log",
    ("core", SD_SCRIPTS): "knows no Tucker cores",
    ("core", DIFFUSERS): "knows no Tucker cores",
    ("core beside Conv2d", COMFYUI): "fails on Tucker cores of Conv1d and Conv3d",
    ("unnamed sdxl", WEBUI): "takes a file without ss_base_model_version for SD1 and hides it",
}


def naming_of(layers: Iterable[str]) -> tuple[str, ...]:
    """Whose names a file's layers have; more than one where it mixes them."""
    found = {next(name for start, name in NAMINGS if layer.startswith(start)) for layer in layers}
    return tuple(sorted(found))


def misread_by(plans: Mapping[str, Plan], metadata: Mapping[str, str]) -> tuple[str, ...]:
    """One line for each host that is known to misread such a file.

    Args:
        plans: layer's name in the file -> how it is adapted.
        metadata: of the file.
    """
    features = {*naming_of(plans), *(plan.algorithm.name for plan in plans.values())}
    cores = [plan for plan in plans.values() if plan.uses_core]
    features |= {"core"} if cores else set()
    if any(len(plan.layer.kernel) != 2 for plan in cores):
        features.add("core beside Conv2d")
    if any(plan.algorithm.name == "lokr" for plan in cores):
        features.add("LoKr core")
    sdxl = any(target_of(layer) == "text_encoder_2" or "input_blocks" in layer for layer in plans)
    if sdxl and not metadata.get("ss_base_model_version", "").startswith("sdxl"):
        features.add("unnamed sdxl")
    return tuple(
        f"{host} {happens}" for (feature, host), happens in _MISREAD.items() if feature in features
    )
