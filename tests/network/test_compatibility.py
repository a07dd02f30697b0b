"""docs/compatibility.md is what these tests find out, by really reading such files.

Write it anew:  python -m tests.network.test_compatibility
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from lycoris_ext.algorithms import Algorithm, Plan, algorithm
from lycoris_ext.errors import FormatError
from lycoris_ext.formats import AdapterState
from lycoris_ext.formats.misread import misread_by
from lycoris_ext.formats.namings import (
    COMFYUI,
    DIFFUSERS,
    SD_SCRIPTS,
    WEBUI,
    measured_families,
    words_on,
)
from lycoris_ext.formats.namings import HOSTS as ALL_HOSTS
from lycoris_ext.functional import LayerSpec, spec_of
from lycoris_ext.network import load_network
from lycoris_ext.network.sites import all_sites, place_layers
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
WRITTEN: dict[str, tuple[str, dict[str, Any]]] = {
    "LoRA": ("lora", {}),
    "LoCon": ("lora", {}),
    "LoCon, Tucker": ("lora", {"use_tucker": True}),
    "LoHa": ("loha", {}),
    "LoHa, Tucker": ("loha", {"use_tucker": True}),
    "LoKr": ("lokr", {"factor": 2}),
    "LoKr, Tucker": ("lokr", {"factor": 2, "use_tucker": True}),
    "DoRA around LoCon": ("lora", {"dora_wd": True}),
    "the same, `wd_on_output`": ("lora", {"dora_wd": True, "wd_on_output": True}),
    "(IA)^3": ("ia3", {}),
    "(IA)^3, `train_on_input`": ("ia3", {"train_on_input": True}),
    "diag-OFT": ("diag-oft", {}),
    "diag-OFT, `rescaled`": ("diag-oft", {"rescaled": True}),
    "diag-OFT, `constraint`": ("diag-oft", {"constraint": 0.1}),
    "BOFT": ("boft", {}),
    "BOFT, `constraint`": ("boft", {"constraint": 0.1}),
    "GLoRA": ("glora", {}),
    "GLoRA, Tucker": ("glora", {"use_tucker": True}),
    "full": ("full", {}),
    "norm": ("norm", {}),
    "T-LoRA": ("tlora", {}),
}
FAMILIES = {"SD1 and SD2": "sd", "SDXL": "sdxl"}


def planned(chosen: type[Algorithm], spec: LayerSpec, tucker: bool) -> Plan:
    """Return a plan with a rank at which even small LoKr factors are stored as products."""
    rank = 1 if chosen.name == "lokr" else 2
    asked = {"use_tucker": tucker, "factor": 2}
    options = {name: value for name, value in asked.items() if chosen.reads(name)}
    return chosen.plan(spec, rank, rank, chosen.Options(**options))


def layers_of(family: str, name: str, spatial: bool, tucker: bool) -> dict:
    """Return tensors for every layer of the stand-in: (target, path) -> name -> tensor."""
    chosen = algorithm(name)
    layers = {}
    for site in all_sites(stand_in(family)).values():
        if spatial or not site.spec.is_spatial:
            plan = planned(chosen, site.spec, tucker)
            tensors = {name: torch.ones(shape) for name, shape in plan.shapes().items()}
            layers[site.target, site.path] = {**tensors, "alpha": torch.tensor(1.0)}
    return layers


def outcome(key_format: KeyFormat, family: str, case: str) -> str:
    """Tell whether such a file is read whole into a U-Net of either naming."""
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
    """Return the table of what hosts do with our files, from what `lycoris-ext info` says."""
    lines = ["| our file | " + " | ".join(HOSTS) + " |", "|---|" + "---|" * len(HOSTS)]
    for case, (name, options) in WRITTEN.items():
        chosen = algorithm(name)
        modules = [nn.LayerNorm(16)] if chosen.of_norms else [nn.Linear(24, 16)]
        if not chosen.of_norms and case != "LoRA":
            modules.append(nn.Conv2d(24, 16, 3))
        plans = {
            f"lora_unet_{number}": chosen.plan(spec_of(module), 2, 2, chosen.Options(**options))
            for number, module in enumerate(modules)
        }
        told = misread_by(plans.keys(), plans, {"ss_base_model_version": "sd_v1"})
        cells = [
            "; ".join(line.removeprefix(host).strip() for line in told if line.startswith(host))
            for host in HOSTS
        ]
        lines.append(f"| {case} | " + " | ".join(cell or "yes" for cell in cells) + " |")
    return lines


#: Key -> who writes such keys; each is of another naming.
NAMES = {
    "lora_unet_down_blocks_0_….": "sd-scripts, OneTrainer",
    "lora_unet_input_blocks_1_….": "sd-scripts (SDXL)",
    "oft_unet_….": "sd-scripts' networks.oft",
    "lycoris_….": "LyCORIS over a module",
    "diffusion_model.….": "ComfyUI, ai-toolkit",
    "model.diffusion_model.….": "tools that keep a checkpoint's names",
    "unet.….to_q.lora_A.weight": "diffusers",
    "unet.….processor.to_q_lora.down.weight": "diffusers, older",
    "down_blocks.0.….processor.to_q_lora.down.weight": "diffusers, oldest",
    "base_model.model.….": "PEFT",
}


def names_table() -> list[str]:
    """Return the table of what hosts do with each naming, as `info` says it."""
    lines = ["| keys | written by | family | " + " | ".join(ALL_HOSTS) + " |"]
    lines.append("|---|---|---|" + "---|" * len(ALL_HOSTS))
    titles = {"sd1": "SD1", "sdxl": "SDXL", "": "all"}
    for key, tool in NAMES.items():
        for family in measured_families(key):
            cells = " | ".join(words_on(host, key, family) for host in ALL_HOSTS)
            lines.append(f"| `{key.rstrip('.')}` | {tool} | {titles[family]} | {cells} |")
    return lines


TEXT = """\
# Compatibility

This page is written by `python -m tests.network.test_compatibility`, and a test fails if it does
not say what the code does. The keys of each tool are in [formats.md](formats.md).

## What is read here

For each cell a file with all kinds of layers of the family, under the keys of the tool, was read
into a U-Net with diffusers' names and into one with ldm's. `yes`: every layer of the file found its
layer in the model. `there is none`: the tool writes no such file.

{reading}

LyCORIS's keys over a module and PEFT's do not say whether they are for the U-Net or a text encoder:
the layers' names decide, and a file that fits two text encoders is refused unless only one of them
is passed. LyCORIS's DoRA (`dora_scale`), (IA)^3, OFT, BOFT, GLoRA, full and norm files are read,
and PEFT's DoRA (`lora_magnitude_vector`: lengths of output channels) and biases (`lora_bias`).
What else PEFT writes, such as its own forms of (IA)^3, OFT and BOFT, is
[refused with the reason](formats.md#what-of-peft-is-not-read).
Files of torch (`.bin`, `.pt`, `.pth`, `.ckpt`), folders of PEFT and diffusers, and what ComfyUI's
trainer, OneTrainer, cloneofsimo/lora and older versions of LyCORIS store in ways of their own are
in [formats.md](formats.md#read).

The tests also read files that lycoris-lora, PEFT and diffusers themselves wrote, and compare what
they do here and there.

## Where our files load

We write files with sd-scripts' keys. `yes`: the host computes the same as we do. For each row such
a file was given to the host's own code, and its result compared with ours: the network that
sd-scripts 0.10.1 builds from it, the weights that AUTOMATIC1111 1.8.0 and ComfyUI 0.3.64 compute
(at strengths 1 and 0.7), the output of diffusers 0.42.1's U-Net.
`tests/hosts/test_comfyui_weights.py` measures ComfyUI's column again. `lycoris-ext info FILE` says
the same about a given file.

{writing}

`networks.lora` of sd-scripts knows only the layers that it adapts itself: those before the first
and after the last block (`conv_in`, `time_embedding`, ...), which the preset `full` has, it leaves
out and lists.

## Which names a host knows

A host takes the layers whose names it can place, and leaves out the others. Files of each naming,
with LoRA, LoCon, LoHa and LoKr, were given to the host's own loader, over models with the host's
own names. `yes`: it took every layer of an algorithm that it knows. Forge leaves out a whole file
if more than 12 of its tensors have no place. `tests/hosts/test_*_names.py` and
`tests/formats/test_names_in_diffusers.py` measure it again, and fail if this table is out of date.

{names}

AUTOMATIC1111 leaves layers out without a word; on ComfyUI's keys it fails and prints the error.
ComfyUI writes a line in its log for each tensor that it leaves out, Forge one line for the file;
diffusers warns or raises an error. With FLUX, ComfyUI takes the keys of kohya, OneTrainer
(`lora_transformer_`), LyCORIS, ComfyUI and diffusers (`transformer.`), and leaves out PEFT's.

How large these errors are, as length of the error divided by length of the update, on small layers
with strong updates: DoRA without its lengths about 1; DoRA with lengths divided by those of W 0.1
to 0.9 (0.025 if the update is 1 % of W); diag-OFT with the strength 0.7 applied twice 0.3; BOFT at
strength 0.7 0.2 to 0.4; a constraint that is not multiplied 0.96; a rescaled diag-OFT without its
lengths about 1.
"""


def page() -> str:
    tables = {"reading": reading_table(), "writing": writing_table(), "names": names_table()}
    return TEXT.format(**{name: "\n".join(lines) for name, lines in tables.items()})


def test_docs_compatibility_says_what_the_code_does() -> None:
    assert PAGE.read_text("utf-8") == page(), "python -m tests.network.test_compatibility"


def test_every_format_is_read_for_every_family() -> None:
    for key_format in FORMATS:
        for family in FAMILIES.values():
            found = {outcome(key_format, family, case) for case in CASES}
            assert "yes" in found and found <= {"yes", "there is none"}, (key_format.name, found)


def test_files_of_other_models_are_not_placed_by_chance() -> None:
    """The table of compatibility would be worth little if anything were read."""
    sites = all_sites(stand_in("sd"))
    foreign = ("lora_unet_double_blocks_0_img_attn_qkv", "transformer.blocks.0.attn.to_q",
               "lora_te3_encoder_block_0_layer_0_SelfAttention_q")  # fmt: skip
    assert place_layers(foreign, sites) == {}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE}")
