"""Small adapter files in every tool's naming, for the hosts' own loaders.

For each naming, family and form one file is written. A host's own code loads it, in the host's own
environment, and tells which of its tensors it left. That must be what the table in
lycoris_ext/formats/namings.py says, from which `lycoris-ext info` and docs/compatibility.md speak.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from lycoris_ext.algorithms import algorithm
from lycoris_ext.formats.keys import split_key
from lycoris_ext.formats.misread import knows
from lycoris_ext.formats.namings import FORGE, FORGE_LEAVES, WEBUI, left_by
from lycoris_ext.models import build_meta
from lycoris_ext.network.sites import Site, all_sites
from tests.hosts.checkouts import Checkout, run_script
from tests.key_formats import FORMATS, KeyFormat, Namer
from tests.stand_ins import TEXT, UNETS

INSIDE = Path(__file__).resolve().parent / "inside"


@dataclass(frozen=True)
class Form:
    """A form of an algorithm.

    Args:
        algorithm: its name.
        options: of the algorithm.
        spatial: whether files of this form also have convolutions.
        naming: the only naming in which it is written; None for all that the tools write.
        rank: of its layers.
    """

    algorithm: str
    options: Mapping[str, Any] = field(default_factory=dict)
    spatial: bool = True
    naming: str | None = None
    rank: int = 1


_OURS = "kohya, diffusers' layers"
FORMS = {
    "LoRA": Form("lora", spatial=False),
    "LoCon": Form("lora"),
    "LoHa": Form("loha"),
    "LoKr": Form("lokr", {"factor": 4}),
    "DoRA": Form("lora", {"dora_wd": True}, naming=_OURS),
    "LoCon, Tucker": Form("lora", {"use_tucker": True}, naming=_OURS),
    "LoHa, Tucker": Form("loha", {"use_tucker": True}, naming=_OURS),
    "LoKr, Tucker": Form("lokr", {"factor": 4, "use_tucker": True}, naming=_OURS),
    "(IA)^3": Form("ia3", naming=_OURS),
    "(IA)^3, on input": Form("ia3", {"train_on_input": True}, naming=_OURS),
    "diag-OFT": Form("diag-oft", naming=_OURS, rank=16),
    "BOFT": Form("boft", naming=_OURS, rank=16),
    "GLoRA": Form("glora", naming=_OURS),
    "full": Form("full", naming=_OURS),
    "OFT": Form("diag-oft", spatial=False, naming="sd-scripts' OFT", rank=16),
}
#: Layers with more weights are left out of files that hold whole weights.
MOST_WEIGHTS = 1_000_000
FAMILIES = {"sd1": "sd", "sdxl": "sdxl"}


def _without_model(namer: Namer) -> Namer:
    """Drop the name of the model, as the first trainers of diffusers did; the U-Net alone."""

    def named(target: str, path: str, name: str, family: str) -> str | None:
        key = namer(target, path, name, family) if target == "unet" else None
        return key and key.removeprefix("unet.")

    return named


def _onetrainer(target: str, path: str, name: str, family: str) -> str | None:
    """Name the U-Net's layers as diffusers does, also in SDXL, and the text encoders' as kohya."""
    if target == "unet":
        return BY_NAME["sd-scripts, lycoris-lora in it"].key(target, path, name, "sd")
    return BY_NAME["sd-scripts, lycoris-lora in it"].key(target, path, name, family)


def _oft(target: str, path: str, name: str, family: str) -> str | None:
    key = BY_NAME["sd-scripts, lycoris-lora in it"].key(target, path, name, family)
    return key and key.replace("lora_unet_", "oft_unet_") if target == "unet" else None


def _checkpoint(target: str, path: str, name: str, family: str) -> str | None:
    key = BY_NAME["ComfyUI"].key(target, path, name, family)
    return f"model.{key}" if target == "unet" else None


BY_NAME = {one.name: one for one in FORMATS}
_PROCESSORS = BY_NAME["diffusers, with attention processors"]
#: Naming, by the name that lycoris_ext.formats.misread has for it -> who writes it.
NAMINGS: Mapping[str, KeyFormat] = {
    "kohya": BY_NAME["sd-scripts, lycoris-lora in it"],
    "kohya, diffusers' layers": KeyFormat("", "", _onetrainer),
    "kohya, ldm's layers": BY_NAME["others with ldm's names in kohya keys"],
    "sd-scripts' OFT": KeyFormat("", "", _oft),
    "LyCORIS": BY_NAME["lycoris-lora over a module"],
    "ComfyUI": BY_NAME["ComfyUI"],
    "checkpoint": KeyFormat("", "", _checkpoint),
    "diffusers": BY_NAME["diffusers, today"],
    "diffusers, lora": BY_NAME["diffusers, with `lora` layers"],
    "diffusers, processors": _PROCESSORS,
    "diffusers, bare processors": KeyFormat("", "", _without_model(_PROCESSORS.key), False, True),
    "PEFT": BY_NAME["PEFT"],
}
#: The same for FLUX, whose layers are named by hand: naming -> layer's name, tensors' names.
_A_B, _DOWN_UP = ("lora_A", "lora_B"), ("lora_down", "lora_up")
_DIFFUSERS_FLUX = (
    "transformer_blocks.0.attn.to_q",
    "transformer_blocks.0.ff.net.0.proj",
    "single_transformer_blocks.0.attn.to_k",
    "single_transformer_blocks.0.proj_out",
)
_BFL_FLUX = ("double_blocks.0.img_attn.qkv", "double_blocks.0.img_mlp.0",
             "single_blocks.0.linear1", "single_blocks.0.linear2")  # fmt: skip
FLUX: Mapping[str, tuple[tuple[str, ...], tuple[str, str]]] = {
    "kohya": (tuple(f"lora_unet_{n.replace('.', '_')}" for n in _BFL_FLUX), _DOWN_UP),
    "OneTrainer": (
        tuple(f"lora_transformer_{n.replace('.', '_')}" for n in _DIFFUSERS_FLUX), _DOWN_UP,
    ),
    "LyCORIS": (tuple(f"lycoris_{n.replace('.', '_')}" for n in _DIFFUSERS_FLUX), _DOWN_UP),
    "ComfyUI": (tuple(f"diffusion_model.{n}" for n in _BFL_FLUX), _A_B),
    "diffusers": (tuple(f"transformer.{n}" for n in _DIFFUSERS_FLUX), _A_B),
    "PEFT": (tuple(f"base_model.model.{n}" for n in _DIFFUSERS_FLUX), _A_B),
}  # fmt: skip

#: Layers of a numbered file of each model, more than Forge would leave one by one.
NUMBERED = 16


@dataclass(frozen=True)
class NamedFile:
    """A file in one tool's naming.

    Args:
        naming: a key of ``NAMINGS`` or ``FLUX``, or "numbered".
        family: "sd1", "sdxl" or "flux".
        form: a key of ``FORMS``.
        keys: names of the tensors in it.
    """

    naming: str
    family: str
    form: str
    keys: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.naming}, {self.family}, {self.form}"

    @property
    def layers(self) -> set[str]:
        """Names of the layers in the file."""
        return {split_key(key)[0] for key in self.keys}

    @property
    def file(self) -> str:
        text = f"{self.naming} {self.family} {self.form}".lower()
        return re.sub(r"[^a-z0-9]+", "-", text) + ".safetensors"


def write_files(folder: Path) -> list[NamedFile]:
    """Write a file for each naming, family and form that exists; return what is in them."""
    written = []

    def write(naming: str, family: str, form: str, tensors: Mapping[str, Tensor]) -> None:
        named = NamedFile(naming, family, form, tuple(tensors))
        save_file(dict(tensors), folder / named.file)
        written.append(named)

    for family, stand_in in FAMILIES.items():
        sites = list(_chosen_sites(family))
        for form in FORMS:
            layers = _layers(sites, form)
            for naming, key_format in NAMINGS.items():
                exists = form == "LoRA" or not key_format.only_lora
                if (
                    FORMS[form].naming in (None, naming)
                    and exists
                    and (naming != "sd-scripts' OFT" or form == "OFT")
                ):
                    write(naming, family, form, key_format.write(layers, stand_in))
        write("numbered", family, "LoRA", _numbered())
    for naming, (names, (down, up)) in FLUX.items():
        tensors = {f"{name}.{down}.weight": torch.ones(1, 8) for name in names}
        tensors |= {f"{name}.{up}.weight": torch.ones(8, 1) for name in names}
        write(naming, "flux", "LoRA", tensors)
    return written


def _numbered() -> dict[str, Tensor]:
    """Return layers as github.com/cloneofsimo/lora names them; their sizes do not count here."""
    return {
        f"{model}:{number}:{factor}": torch.ones(shape)
        for model in ("unet", "text_encoder")
        for number in range(NUMBERED)
        for factor, shape in (("up", (8, 1)), ("down", (1, 8)))
    }


def _chosen_sites(family: str) -> Iterator[Site]:
    paths = [path.replace(".", "_") for path, _, _ in UNETS[FAMILIES[family]]]
    paths += [path.replace(".", "_").removeprefix("text_model_") for path in TEXT]
    for site in all_sites(build_meta(family)).values():
        name = site.path.replace(".", "_").removeprefix("text_model_")
        if name in paths and (name != "text_projection" or site.target == "text_encoder_2"):
            yield site


def _layers(sites: list[Site], form: str) -> dict[tuple[str, str], dict[str, Tensor]]:
    chosen, options = algorithm(FORMS[form].algorithm), FORMS[form].options
    layers = {}
    for site in sites:
        if FORMS[form].spatial or not site.spec.is_spatial:
            if form == "full" and site.weight.numel() > MOST_WEIGHTS:
                continue
            plan = chosen.plan(site.spec, FORMS[form].rank, 1.0, chosen.Options(**options))
            tensors = {key: torch.full(shape, 0.01).half() for key, shape in plan.shapes().items()}
            path = site.path
            if site.target != "unet" and not path.startswith(("text_model.", "text_projection")):
                path = f"text_model.{path}"
            layers[site.target, path] = {**tensors, "alpha": torch.tensor(1.0)}
    return layers


def disagreements(host: str, scripts: Checkout, script: str, families: Sequence[str]) -> list[str]:
    """Load files of these families in a host; return where it does not do what we say of it.

    Args:
        host: its name in ``lycoris_ext.formats.namings``.
        scripts: its checkout.
        script: in the folder ``inside``; it prints what the host left of each file.
        families: "sd1", "sdxl", "flux".
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [one for one in write_files(folder) if one.family in families]
        asked = folder / "asked.json"
        asked.write_text(json.dumps([[one.family, str(folder / one.file)] for one in files]))
        run = run_script(scripts, INSIDE / script, str(asked))
        found = json.loads(run.output.splitlines()[-1])
        told = [(one, found[str(folder / one.file)]) for one in files]
        return [fault for one, of_it in told for fault in _compare(host, one, of_it)]


def _compare(host: str, file: NamedFile, found: Mapping[str, Any]) -> Iterator[str]:
    left = {split_key(key)[0] for key in found["left"] if not key.endswith(_BESIDE)}
    said = set(left_by(host, file.keys, file.family).layers)
    form = FORMS[file.form]
    core = f"core of {form.algorithm}" if form.options.get("use_tucker") else form.algorithm
    if not (knows(host, form.algorithm) and knows(host, core)):
        said = set(file.layers)
    if left != said:
        odd = sorted(left ^ said)
        yield f"{file}: it leaves {len(left)} layers, we say {len(said)}: {odd[:3]}"
    if host == FORGE:
        whole = len(found["left"]) > FORGE_LEAVES or len(left) == len(file.layers)
        if found["nothing"] != whole:
            yield f"{file}: it leaves the whole file: {found['nothing']}, we say {whole}"
    if bool(found["lines"]) != tells(host, said, file.keys):
        yield f"{file}: it prints {found['lines']} lines"


def tells(host: str, left: set[str], keys: Iterable[str]) -> bool:
    """Tell whether we say that a host prints something about the layers that it leaves."""
    if host == FORGE:
        return True  # it also says what it has loaded
    fails = any(key.startswith("diffusion_model.") for key in keys)
    return bool(left) and (host != WEBUI or fails)


#: Tensors beside the update: a host that leaves one of them alone takes the layer.
_BESIDE = (".alpha", ".dora_scale")
