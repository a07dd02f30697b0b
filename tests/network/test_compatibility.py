"""docs/compatibility.md is what these tests find out, by really reading such files.

Write it anew:  python -m tests.network.test_compatibility
"""

from __future__ import annotations

from pathlib import Path

import torch

from lycoris_ext.algorithms import Algorithm, Options, Plan, algorithm
from lycoris_ext.errors import FormatError
from lycoris_ext.formats import AdapterState
from lycoris_ext.formats.hosts import COMFYUI, DIFFUSERS, SD_SCRIPTS, WEBUI, misread_by
from lycoris_ext.functional import LayerSpec
from lycoris_ext.network import load_network
from lycoris_ext.network.selection import all_sites, place_layers
from tests.key_formats import FORMATS, KeyFormat
from tests.stand_ins import stand_in

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
HOSTS = (SD_SCRIPTS, WEBUI, COMFYUI, DIFFUSERS)
CASES = {
    "LoRA": ("lora", False, False),
    "LoCon": ("lora", True, False),
    "LoCon, Tucker": ("lora", True, True),
    "LoHa": ("loha", True, False),
    "LoHa, Tucker": ("loha", True, True),
    "LoKr": ("lokr", True, False),
    "LoKr, Tucker": ("lokr", True, True),
}
FAMILIES = {"SD1 and SD2": "sd", "SDXL": "sdxl"}


def planned(chosen: type[Algorithm], spec: LayerSpec, tucker: bool) -> Plan:
    """A rank at which even the stand-in's small LoKr factors are stored as products."""
    rank = 1 if chosen.name == "lokr" else 2
    return chosen.plan(spec, rank, rank, Options(use_tucker=tucker, factor=2))


def layers_of(family: str, name: str, spatial: bool, tucker: bool) -> dict:
    """Every layer of the stand-in, adapted: (target, path) -> tensors."""
    chosen = algorithm(name)
    layers = {}
    for site in all_sites(stand_in(family)).values():
        if spatial or not site.spec.is_spatial:
            plan = planned(chosen, site.spec, tucker)
            tensors = {name: torch.ones(shape) for name, shape in plan.shapes().items()}
            layers[site.target, site.path] = {**tensors, "alpha": torch.tensor(1.0)}
    return layers


def outcome(key_format: KeyFormat, family: str, case: str) -> str:
    """Whether such a file is read whole into both namings of the U-Net."""
    name, spatial, tucker = CASES[case]
    if key_format.only_lora and case != "LoRA":
        return "there is none"
    written = key_format.write(layers_of(family, name, spatial, tucker), family)
    if not key_format.has_alpha and case == "LoCon, Tucker":
        return "there is none"  # PEFT's LoRA, which diffusers' is, too, has no such form
    state = AdapterState(written)
    try:
        found = [load_network(state, stand_in(family, naming)) for naming in ("diffusers", "ldm")]
    except FormatError as error:
        return f"refused: {error.what}"
    assert all(len(network.sites) == len(state.layers()) for network in found)
    return "yes"


def reading_table() -> list[str]:
    lines = [
        "| written by | keys | family | " + " | ".join(CASES) + " |",
        "|---|---|---|" + "---|" * len(CASES),
    ]
    for key_format in FORMATS:
        for title, family in FAMILIES.items():
            cells = [outcome(key_format, family, case) for case in CASES]
            lines.append(
                f"| {key_format.name} | `{key_format.example}` | {title} | "
                + " | ".join(cells)
                + " |"
            )
    return lines


def writing_table() -> list[str]:
    """What our own files meet in the hosts, from the table that `lycoris-ext info` uses."""
    lines = ["| our file | " + " | ".join(HOSTS) + " |", "|---|" + "---|" * len(HOSTS)]
    for case, (name, spatial, tucker) in CASES.items():
        sites = all_sites(stand_in("sd"))
        chosen = algorithm(name)
        plans = {
            key: planned(chosen, site.spec, tucker)
            for key, site in sites.items()
            if spatial or not site.spec.is_spatial
        }
        told = misread_by(plans, {"ss_base_model_version": "sd_v1"})
        cells = [
            next((line.removeprefix(host).strip() for line in told if line.startswith(host)), "yes")
            for host in HOSTS
        ]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return lines


TEXT = """\
# Compatibility

Written by `python -m tests.network.test_compatibility`; a test fails when this page does not say
what the code does. How the keys of each tool look: [formats.md](formats.md).

## What is read here

Every cell is a file with all kinds of layers of its family, under the keys of that tool, read into
a U-Net with diffusers' names and into one with ldm's. `yes`: every layer was placed.

{reading}

LyCORIS's keys over a module and PEFT's name no model: what they adapt is found by the layers'
names, and a file that fits two text encoders is refused until only one of them is passed.
LyCORIS's DoRA (`dora_scale`), (IA)^3, OFT, BOFT, GLoRA, full and norm files are read. PEFT's own
forms of DoRA (`lora_magnitude_vector`), (IA)^3 and OFT, and embeddings in the same file, are
refused by name: this version does not know them.

Files that lycoris-lora, PEFT and diffusers themselves wrote are read in the tests, too, and do here
what they do there.

## Where our files load

Files are written with sd-scripts' keys. Measured with sd-scripts 0.10.1, AUTOMATIC1111 1.8.0,
ComfyUI 0.8.0 and the conversion of diffusers 0.42; `lycoris-ext info FILE` says the same of any
file.

{writing}
"""


def page() -> str:
    return TEXT.format(reading="\n".join(reading_table()), writing="\n".join(writing_table()))


def test_the_page_says_what_the_code_does() -> None:
    assert PAGE.read_text("utf-8") == page(), "python -m tests.network.test_compatibility"


def test_every_format_is_read_for_every_family() -> None:
    for key_format in FORMATS:
        for family in FAMILIES.values():
            found = {outcome(key_format, family, case) for case in CASES}
            assert "yes" in found and found <= {"yes", "there is none"}, (key_format.name, found)


def test_files_of_other_models_are_not_placed_by_chance() -> None:
    """The table would be worth little if anything were read."""
    sites = all_sites(stand_in("sd"))
    foreign = ("lora_unet_double_blocks_0_img_attn_qkv", "transformer.blocks.0.attn.to_q",
               "lora_te3_encoder_block_0_layer_0_SelfAttention_q")  # fmt: skip
    assert place_layers(foreign, sites) == {}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE}")
