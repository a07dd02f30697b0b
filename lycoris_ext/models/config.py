"""Which base model a run stands on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.errors import ConfigError

MINI = "mini"


@dataclass(frozen=True)
class ModelConfig:
    """The base model and how its text is read.

    Args:
        pretrained_model_name_or_path: a Stable Diffusion 1.x, 2.x or XL model: one .safetensors or
            .ckpt file, or a folder in the diffusers layout; "mini" is the small base that ships
            with this package.
        vae: another autoencoder in place of the model's own: a folder, or one file.
        clip_skip: which layer of the text encoder is read, counted from the end; 1 is the last.
            SDXL's encoders are always read at the layer before the last.
        v2: whether the model is Stable Diffusion 2.x; unset: found in the model.
        v_parameterization: whether the model predicts velocity, as the 768-pixel models of Stable
            Diffusion 2 do; unset: as the model says.
    """

    pretrained_model_name_or_path: str = MINI
    vae: str | None = None
    clip_skip: int = 1
    v2: bool | None = None
    v_parameterization: bool | None = None

    def __post_init__(self) -> None:
        if not self.pretrained_model_name_or_path:
            raise ConfigError(
                "no base model is named",
                where="pretrained_model_name_or_path",
                fix='give a model: a .safetensors file, a diffusers folder, or "mini"',
            )
        if self.clip_skip < 1:
            raise ConfigError(
                f"clip_skip is {self.clip_skip}, and 1 (the last layer) is the smallest there is",
                where="clip_skip",
                fix="use 1, or 2 for the layer before the last",
            )


def mini_base_folder() -> Path:
    """Folder of the shipped base model (it need not exist in a stripped installation)."""
    return Path(__file__).resolve().parent.parent / "mini" / "base"
