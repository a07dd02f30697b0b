"""Tools' namings of the layers in adapter files, and which of them each host places, as a table.

A host takes those layers of a file whose names it can place in its model, and leaves the others,
often without a word. For every naming, Stable Diffusion 1 and SDXL, files of several algorithms
were loaded by the hosts' own loaders, onto models with the hosts' own names; tests/hosts/naming.py
repeats that and compares it with this table. Measured: sd-scripts 0.10.1 (networks.lora),
AUTOMATIC1111 1.8.0, Forge dfdcbab6, ComfyUI 0.3.64, diffusers 0.42.1 (load_lora_weights).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lycoris_ext.formats.embeddings import is_embedding
from lycoris_ext.formats.keys import place_in_file, split_key, target_of

SD_SCRIPTS, WEBUI, FORGE, COMFYUI, DIFFUSERS = HOSTS = (
    "sd-scripts' networks.lora",
    "AUTOMATIC1111",
    "Forge",
    "ComfyUI",
    "diffusers",
)

#: Forge leaves a whole file if more of its tensors than this have no place in the model.
FORGE_LEAVES = 12

_LDM = r"(?:input_blocks|middle_block|output_blocks|time_embed_\d|label_emb|out_\d)"
#: (pattern of a whole key, name of the naming, the tool that ``info`` names); the first that fits.
NAMINGS = tuple(
    (re.compile(pattern), name, tool)
    for pattern, name, tool in (
        (rf"lora_unet_{_LDM}", "kohya, ldm", "kohya"),
        (
            r"lora_unet_(down|mid|up)_block|lora_unet_(conv_|time_|add_)",
            "kohya, diffusers",
            "kohya",
        ),
        (r"lora_transformer_", "OneTrainer", "OneTrainer"),
        (r"lora_", "kohya", "kohya"),
        (r"oft_unet_", "OFT", "sd-scripts' OFT"),
        (r"lycoris_", "LyCORIS", "LyCORIS"),
        (r"base_model\.model\.", "PEFT", "PEFT"),
        (r"model\.diffusion_model\.", "checkpoint", "ComfyUI"),
        (r"diffusion_model\.|text_encoders\.", "ComfyUI", "ComfyUI"),
        (r"(unet|text_encoder\w*)\..*(\.processor\.|\.to_\w+_lora\.)", "processors", "diffusers"),
        (r".*\.processor\.", "bare processors", "diffusers"),
        (r"(unet|text_encoder):\d+:", "numbered", "cloneofsimo/lora"),
        (r"\d+$", "list", "cloneofsimo/lora"),
        (r"", "diffusers", "diffusers"),
    )
)

#: Name of a group of layers -> pattern of their common name ("unet down_blocks_0_..."), words.
_GROUPS = {
    "all": ("", ""),
    "U-Net": (r"unet ", "those of the U-Net"),
    "text": (r"text_encoder", "those of the text encoders"),
    "attention": (r"unet .*_attn\d_to_(q|k|v|out_0)$", "the attention projections of the U-Net"),
    "ends": (
        r"unet (conv_in|conv_out|time_embedding_|add_embedding_)",
        "those before the first and after the last block",
    ),
    "blocks": (
        r"unet (?!conv_in|conv_out|time_embedding_|add_embedding_)",
        "those of the U-Net's blocks",
    ),
    "sizes": (r"unet add_embedding_", "those that read SDXL's picture sizes"),
    "upsampler": (r"unet up_blocks_0_upsamplers_", "the first upsampler"),
}

#: (naming, family) -> for each host of ``HOSTS`` the groups of layers that it leaves; the family is
#: "" where all families are alike. What is not in the table was not measured.
_LEFT: Mapping[tuple[str, str], tuple[str, str, str, str, str]] = {
    # sd-scripts, AUTOMATIC1111, Forge, ComfyUI, diffusers
    ("kohya, diffusers", "sd1"): ("ends", "", "", "", ""),
    ("kohya, diffusers", "sdxl"): ("ends", "sizes upsampler", "", "", "sizes"),
    ("kohya, ldm", "sd1"): ("U-Net", "", "", "", "blocks"),
    ("kohya, ldm", "sdxl"): ("ends", "", "", "", ""),
    ("OFT", "sd1"): ("all", "all", "all", "all", "all"),
    ("OFT", "sdxl"): ("all", "", "all", "all", "all"),
    ("LyCORIS", ""): ("all", "all", "", "", "all"),
    ("ComfyUI", ""): ("all", "all", "text", "", "all"),
    ("checkpoint", ""): ("all", "all", "all", "all", "all"),
    ("diffusers", ""): ("all", "all", "attention", "attention", ""),
    ("processors", ""): ("all", "all", "text", "text", ""),
    ("bare processors", ""): ("all", "all", "", "", "all"),
    ("PEFT", ""): ("all", "all", "all", "all", "all"),
    ("numbered", ""): ("all", "all", "all", "all", "all"),
}
#: The same for FLUX in ComfyUI alone: naming -> groups.
_LEFT_OF_FLUX = {
    "kohya": "", "OneTrainer": "", "LyCORIS": "", "ComfyUI": "", "diffusers": "", "PEFT": "all",
}  # fmt: skip

#: How a host tells that it leaves something.
TELLS = {
    SD_SCRIPTS: "and lists them; --network_module lycoris_ext.kohya takes them",
    WEBUI: "without a word",
    COMFYUI: "with a line in its log for each tensor",
    DIFFUSERS: "with a warning, or refuses the file",
}


@dataclass(frozen=True)
class Left:
    """The layers of a file that a host leaves because of their names.

    Args:
        layers: their names in the file.
        groups: words for what they are; empty if they are all.
        fails: whether the host fails on the whole file with an error.
    """

    layers: frozenset[str]
    groups: tuple[str, ...] = ()
    fails: bool = False


def naming_of(key: str) -> str:
    """Return the name of a key's naming, see ``NAMINGS``."""
    return next(name for pattern, name, _ in NAMINGS if pattern.match(key))


def tools_of(keys: Iterable[str]) -> tuple[str, ...]:
    """Return the tools whose naming the layers of a file have, by its keys; usually one."""
    tools = {next(t for p, _, t in NAMINGS if p.match(key)) for key in _of_layers(keys)}
    return tuple(sorted(tools))


def left_by(host: str, keys: Iterable[str], family: str) -> Left:
    """Find out which layers of a file a host leaves because of their names.

    Args:
        host: one of ``HOSTS``.
        keys: of the file's tensors.
        family: of the base model: "sd1", "sdxl", "flux", ...; where nothing was measured
            for it, nothing is said.
    """
    layers: set[str] = set()
    words: list[str] = []
    names = {split_key(key)[0]: naming_of(key) for key in _of_layers(keys)}
    for layer, naming in names.items():
        for group in _groups(host, naming, family):
            pattern, told = _GROUPS[group]
            if re.match(pattern, _common_name(layer)):
                layers.add(layer)
                words.append(told)
    everything = len(layers) == len(names)
    fails = host == WEBUI and any(layer.startswith("diffusion_model.") for layer in layers)
    return Left(
        frozenset(names if fails else layers),
        () if everything or fails else tuple(dict.fromkeys(words)),
        fails,
    )


def measured_families(key: str) -> tuple[str, ...]:
    """Return the families for which the naming of a key was measured; ("",) if all are alike."""
    return tuple(family for naming, family in _LEFT if naming == naming_of(key))


def words_on(host: str, key: str, family: str) -> str:
    """Say which layers a host takes of files with such keys: "yes", "none", "all but ...".

    Args:
        host: one of ``HOSTS``.
        key: of such a file.
        family: one of ``measured_families``.
    """
    groups = _groups(host, naming_of(key), family)
    if "all" in groups:
        return "none"
    return f"all but {' and '.join(_GROUPS[group][1] for group in groups)}" if groups else "yes"


def _of_layers(keys: Iterable[str]) -> Iterator[str]:
    """Leave out the keys of bundled textual inversions, which belong to no layer."""
    return (key for key in keys if not is_embedding(key))


def _groups(host: str, naming: str, family: str) -> list[str]:
    if family == "flux":
        return _LEFT_OF_FLUX.get(naming, "").split() if host == COMFYUI else []
    cells = _LEFT.get((naming, family)) or _LEFT.get((naming, "")) or ("",) * len(HOSTS)
    return cells[HOSTS.index(host)].split()


def _common_name(layer: str) -> str:
    return f"{target_of(layer)} {place_in_file(layer).name}"
