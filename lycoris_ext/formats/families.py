"""The families of base models (SD1, SD2, SDXL, FLUX, ...), as a table with one row for each.

The table holds the facts in which families differ: names in metadata and in files, text encoders,
blocks of the U-Net, names that hosts use. Code that depends on the family (loading a model,
encoding its text) is in ``models``. To add a family, add its row; docs/contributing/family.md says
what else is needed so that `lycoris-ext train` can load it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lycoris_ext.errors import ConfigError

#: The beginning of CLIP's layer names in adapter files. transformers 5 dropped this level of the
#: module path.
TEXT_LEVEL = "text_model_"
#: Number of tokens that CLIP reads of a text at once, besides its two marks; max_token_length
#: counts in these.
CLIP_TEXT = 75
#: The largest max_token_length, as in sd-scripts.
LONGEST_TEXT = 225
#: Names of text encoders: diffusers' folders have them, and we use them for the models that
#: adapters are injected into.
TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
#: Names of the models that an adapter may belong to; "unet" is the denoiser of any family.
TARGETS = ("unet", *TEXT_ENCODERS)


@dataclass(frozen=True)
class TextEncoder:
    """One text encoder of a family.

    Args:
        target: its name, one of ``TEXT_ENCODERS``.
        key: prefix of its layers in the adapters that we write (kohya's names).
        comfyui: its name in ComfyUI's CLIP object; empty if adapters for it are not used there.
        in_checkpoint: prefix of its weights in a base model that is a single file; empty if we do
            not read such files of this family.
        open_clip: whether its weights have OpenCLIP's names in that file, not transformers'.
    """

    target: str
    key: str
    comfyui: str = ""
    in_checkpoint: str = ""
    open_clip: bool = False


@dataclass(frozen=True)
class Variant:
    """The models of a family that predict the same thing, with their names in metadata.

    Args:
        id: its name in this package, such as "sd2_v" (``Pipeline.kind``).
        predicts: "epsilon", "v_prediction" or "flow".
        version: the value of ss_base_model_version, as sd-scripts writes it.
        architecture: the value of modelspec.architecture for a base model; for an adapter "/lora"
            is added.
    """

    id: str
    predicts: str
    version: str
    architecture: str


@dataclass(frozen=True)
class Blocks:
    """The numbered blocks of a Stable Diffusion U-Net.

    Args:
        sides: number of input blocks (IN00, IN01, ...), which is also that of output blocks
            (OUT00, ...).
        attentive: numbers of the input blocks with attention, and of the output blocks with it.
        middles: number of blocks that sd-scripts makes of the middle block; other tools count one,
            M00.
        has_ends: whether sd-scripts counts the layers before the first block and those after the
            last one as a block each. If not, they belong to the first and to the last block.
    """

    sides: int
    attentive: tuple[tuple[int, ...], tuple[int, ...]]
    middles: int
    has_ends: bool

    @property
    def count(self) -> int:
        """Number of blocks that sd-scripts counts."""
        return 2 * self.sides + self.middles + 2 * self.has_ends


@dataclass(frozen=True)
class Family:
    """One family of base models: a row of the table ``FAMILIES``.

    Args:
        id: its name in this package, which `--family` takes, too.
        title: its name in messages.
        versions: beginnings of ss_base_model_version in adapters of this family, of any trainer.
        text_encoders: its text encoders, in the order in which sd-scripts passes them.
        variants: one for each kind of prediction, the usual one first; empty if we write no
            metadata for this family.
        implementation: the value of modelspec.implementation.
        v2: the value of sd-scripts' option v2.
        blocks: the blocks of its U-Net; None if its denoiser is a transformer.
        ldm_names: whether kohya's keys use the original repository's (ldm) names of the U-Net's
            layers; if not, they use diffusers' names or the denoiser's own.
        submodules: names of direct submodules by which the denoiser is recognised; empty for the
            Stable Diffusion families, which are recognised in another way.
        latent_channels: channels of the latents that the denoiser takes.
        comfyui: the classes in ComfyUI's supported_models that are trained as this family.
        webui: the name on the cards of AUTOMATIC1111's extra networks.
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
        """The names of its text encoders."""
        return tuple(encoder.target for encoder in self.text_encoders)

    def variant(self, predicts: str) -> Variant:
        """Return the variant that predicts this, or the usual variant if none does.

        Args:
            predicts: "epsilon", "v_prediction" or "flow".
        """
        fitting = (variant for variant in self.variants if variant.predicts == predicts)
        return next(fitting, (self.variants or OTHER.variants)[0])


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
            (),  # sd-scripts trains none of its text encoders
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
#: Stands for any model that a host has loaded and that is of no family in the table.
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
    """Recognise the family of some loaded models by their names and submodules.

    SD1 and SD2 have the same layers under the same names: for both the result is sd1, and so it is
    for models of an unknown family.

    Args:
        targets: names of the models, such as "unet" and "text_encoder".
        denoiser: names of the direct submodules of the U-Net or transformer; empty if there is no
            such model.
    """
    children = set(denoiser)
    for family in FAMILIES.values():
        if family.submodules and family.submodules <= children:
            return family
    # The layers by which SDXL reads picture sizes, in diffusers' and in ldm's naming.
    takes_sizes = {"add_embedding", "label_emb"} & children
    return FAMILIES["sdxl" if "text_encoder_2" in targets or takes_sizes else "sd1"]


def family_of_version(version: str) -> Family | None:
    """Return the family that a file's ss_base_model_version names; None if it names none."""
    for family in FAMILIES.values():
        if version.startswith(family.versions):
            return family
    return None


def variant_of(id: str) -> tuple[Family, Variant]:
    """Find a variant by its id, such as "sd2_v"; return its family and the variant.

    Raises:
        ConfigError: no variant has this id.
    """
    known = {
        variant.id: (family, variant)
        for family in (*FAMILIES.values(), OTHER)
        for variant in family.variants
    }
    if id not in known:
        raise ConfigError(f"unknown family {id!r}", where="family", fix=f"use one of {[*known]}")
    return known[id]
