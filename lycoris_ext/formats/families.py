"""The families of base models: one table, one row a family.

Whatever differs between families as a fact stands here: names in metadata and in files, text
encoders, the blocks of the U-Net, what hosts call them. What has to be programmed (loading a model,
encoding its text) is in ``models``. To add a family, add its row; docs/contributing/family.md says
what else a family needs that is to be trained here and not in a host.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lycoris_ext.errors import ConfigError

#: transformers 5 dropped this level of CLIPTextModel; every file has it.
TEXT_LEVEL = "text_model_"
#: The text encoders' names, as diffusers calls their folders and as we call what adapters are
#: injected into.
TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
#: The models whose layers have the same names in every family; "unet" is any family's denoiser.
TARGETS = ("unet", *TEXT_ENCODERS)


@dataclass(frozen=True)
class TextEncoder:
    """One text encoder of a family.

    Args:
        target: one of ``TEXT_ENCODERS``.
        key: how the names of its layers begin in the adapters that we write (kohya's names).
        comfyui: what ComfyUI's CLIP calls it; empty where nothing of ours lies in it there.
        in_checkpoint: how its keys begin in a base model that is one file; empty where such files
            are not read here.
        open_clip: whether that file has OpenCLIP's names of weights, not those of transformers.
    """

    target: str
    key: str
    comfyui: str = ""
    in_checkpoint: str = ""
    open_clip: bool = False


@dataclass(frozen=True)
class Variant:
    """Those models of a family that predict the same, and what metadata call them.

    Args:
        id: what a run calls it (``Pipeline.kind``).
        predicts: "epsilon", "v_prediction" or "flow".
        version: ss_base_model_version, as sd-scripts writes it.
        architecture: modelspec.architecture of the model; "/lora" is added for an adapter.
    """

    id: str
    predicts: str
    version: str
    architecture: str


@dataclass(frozen=True)
class Blocks:
    """How Stable Diffusion's U-Net is cut into blocks that have numbers.

    Args:
        sides: how many blocks lead in (IN00, IN01, ...), and how many lead out (OUT00, ...).
        attentive: the numbers of those with attention, leading in and leading out.
        middles: into how many blocks sd-scripts divides the middle, which is M00 elsewhere.
        has_ends: whether sd-scripts counts the layers before and behind the blocks as a block each;
            without, they belong to the first and to the last block.
    """

    sides: int
    attentive: tuple[tuple[int, ...], tuple[int, ...]]
    middles: int
    has_ends: bool

    @property
    def count(self) -> int:
        """How many blocks sd-scripts counts."""
        return 2 * self.sides + self.middles + 2 * self.has_ends


@dataclass(frozen=True)
class Family:
    """What differs between families, as far as code must know it.

    Args:
        id: its name in this package, also that of `--family`.
        title: in words.
        versions: how ss_base_model_version begins in the adapters of this family, whoever wrote it.
        text_encoders: in the order in which sd-scripts hands them over.
        variants: by what they predict, the usual one first; empty where we write no metadata that
            name the family.
        implementation: modelspec.implementation.
        v2: sd-scripts' option of this name.
        blocks: of its U-Net; None for denoisers of another kind (transformers).
        ldm_names: whether kohya's keys call the U-Net's layers as the original repository (ldm)
            does; otherwise diffusers' names, or the denoiser's own.
        submodules: direct submodules of the denoiser by which the family is known; Stable
            Diffusion's U-Nets are told apart by other things.
        latent_channels: of the denoiser's input.
        comfyui: the classes in ComfyUI's supported_models that are trained as this family.
        webui: what AUTOMATIC1111's cards of networks call it.
    """

    id: str
    title: str
    versions: tuple[str, ...]
    text_encoders: tuple[TextEncoder, ...]
    variants: tuple[Variant, ...] = ()
    implementation: str = "diffusers"
    v2: bool = False
    blocks: Blocks | None = None
    ldm_names: bool = False
    submodules: frozenset[str] = frozenset()
    latent_channels: int = 4
    comfyui: tuple[str, ...] = ()
    webui: str = "Unknown"

    @property
    def text_targets(self) -> tuple[str, ...]:
        """The targets of its text encoders."""
        return tuple(encoder.target for encoder in self.text_encoders)

    def variant(self, predicts: str) -> Variant:
        """The models that predict this; the usual ones where the table has none."""
        fitting = (variant for variant in self.variants if variant.predicts == predicts)
        return next(fitting, self.variants[0])


_SD_BLOCKS = Blocks(12, ((1, 2, 4, 5, 7, 8), tuple(range(3, 12))), middles=1, has_ends=False)
_SDXL_BLOCKS = Blocks(9, ((4, 5, 7, 8), tuple(range(6))), middles=3, has_ends=True)
_CLIP = f"lora_te_{TEXT_LEVEL}"
_CLIP_L = TextEncoder("text_encoder", f"lora_te1_{TEXT_LEVEL}", "clip_l")
_CLIP_G = TextEncoder("text_encoder_2", f"lora_te2_{TEXT_LEVEL}", "clip_g")
_T5 = TextEncoder("text_encoder_3", "lora_te3_", "t5xxl")
_LANGUAGE_MODEL = TextEncoder("text_encoder", "lora_te_")

#: Sources: sd-scripts 48d368f (library/sai_model_spec.py, *_utils.py, networks/lora*.py), ComfyUI
#: 0.3.64 (comfy/supported_models.py), AUTOMATIC1111 1.8.0 (extensions-builtin/Lora/network.py).
FAMILIES = {
    family.id: family
    for family in (
        Family(
            "sd1",
            "Stable Diffusion 1.x",
            ("sd_v1",),
            (TextEncoder("text_encoder", _CLIP, "clip_l", "cond_stage_model.transformer."),),
            (
                Variant("sd1", "epsilon", "sd_v1", "stable-diffusion-v1"),
                Variant("sd1_v", "v_prediction", "sd_v1_v", "stable-diffusion-v1"),
            ),
            blocks=_SD_BLOCKS,
            comfyui=("SD15",),
            webui="SD1",
        ),
        Family(
            "sd2",
            "Stable Diffusion 2.x",
            ("sd_v2",),
            (TextEncoder("text_encoder", _CLIP, "clip_h", "cond_stage_model.model.", True),),
            (
                Variant("sd2", "epsilon", "sd_v2", "stable-diffusion-v2-512"),
                Variant("sd2_v", "v_prediction", "sd_v2_v", "stable-diffusion-v2-768-v"),
            ),
            v2=True,
            blocks=_SD_BLOCKS,
            comfyui=("SD20",),
            webui="SD2",
        ),
        Family(
            "sdxl",
            "Stable Diffusion XL",
            ("sdxl",),
            (
                replace(_CLIP_L, in_checkpoint="conditioner.embedders.0.transformer."),
                replace(_CLIP_G, in_checkpoint="conditioner.embedders.1.model.", open_clip=True),
            ),
            (
                Variant("sdxl", "epsilon", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
                Variant("sdxl_v", "v_prediction", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
            ),
            implementation="https://github.com/Stability-AI/generative-models",
            blocks=_SDXL_BLOCKS,
            ldm_names=True,
            comfyui=("SDXL",),
            webui="SDXL",
        ),
        Family(
            "hunyuan_image",
            "HunyuanImage",
            ("hunyuan-image",),
            (),  # sd-scripts trains none of them
            submodules=frozenset({"double_blocks", "byt5_in"}),
            latent_channels=64,
        ),
        Family(
            "flux",
            "FLUX.1",
            ("flux1",),
            (_CLIP_L, _T5),
            submodules=frozenset({"double_blocks", "single_blocks"}),
            latent_channels=16,
        ),
        Family(
            "sd3",
            "Stable Diffusion 3",
            ("medium", "5-medium", "5-large"),
            (_CLIP_L, _CLIP_G, _T5),
            submodules=frozenset({"joint_blocks"}),
            latent_channels=16,
        ),
        Family(
            "lumina",
            "Lumina-Image 2",
            ("lumina2",),
            (_LANGUAGE_MODEL,),
            submodules=frozenset({"noise_refiner", "context_refiner"}),
            latent_channels=16,
        ),
        Family(
            "anima",
            "Anima",
            ("anima",),
            (_LANGUAGE_MODEL,),
            submodules=frozenset({"x_embedder", "blocks", "t_embedding_norm"}),
            latent_channels=16,
        ),
    )
}
#: What a host has loaded and we know no more of.
OTHER = Family(
    "other",
    "a model of another family",
    (),
    (),
    (
        Variant("other", "epsilon", "other", "other"),
        Variant("other_v", "v_prediction", "other", "other"),
        Variant("other_flow", "flow", "other", "other"),
    ),
)


def family_of_models(targets: Iterable[str], denoiser: Iterable[str]) -> Family:
    """The family of models that are adapted together.

    SD1 and SD2 have the same layers under the same names: sd1 stands for both, and for whatever is
    no model of a family that is known here.

    Args:
        targets: their names, such as "unet" and "text_encoder".
        denoiser: names of the direct submodules of the U-Net or transformer; none where there is
            none.
    """
    children = set(denoiser)
    for family in FAMILIES.values():
        if family.submodules and family.submodules <= children:
            return family
    # SDXL's way in for the sizes of pictures, in diffusers' and in ldm's naming.
    takes_sizes = {"add_embedding", "label_emb"} & children
    return FAMILIES["sdxl" if "text_encoder_2" in targets or takes_sizes else "sd1"]


def family_of_version(version: str) -> Family | None:
    """The family that a file's ss_base_model_version tells; None where it tells none."""
    for family in FAMILIES.values():
        if version.startswith(family.versions):
            return family
    return None


def variant_of(id: str) -> tuple[Family, Variant]:
    """A variant by its id, and its family.

    Raises:
        ConfigError: there is none.
    """
    known = {
        variant.id: (family, variant)
        for family in (*FAMILIES.values(), OTHER)
        for variant in family.variants
    }
    if id not in known:
        raise ConfigError(f"unknown family {id!r}", where="family", fix=f"use one of {[*known]}")
    return known[id]
