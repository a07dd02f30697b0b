"""The options that choose the base model of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.options import Section, option

MINI = "mini"


@dataclass(frozen=True, init=False)
class ModelConfig(Section):
    """The options of the base model and of how its text encoder is read."""

    pretrained_model_name_or_path: str = option(
        MINI,
        "Path of a Stable Diffusion 1.x, 2.x or XL model: one .safetensors or .ckpt file, or a "
        'folder in the diffusers layout; models are not downloaded. "mini" is the small base model '
        "that ships with this package.",
        is_path=True,
        may_change="always",
    )
    vae: str | None = option(
        None,
        "An autoencoder to use in place of the base model's own: a folder in the diffusers layout, "
        "or one file.",
        unset="the base model's own",
        is_path=True,
        may_change="always",
    )
    clip_skip: int = option(
        1,
        "Which layer of the text encoder is read, counted from the end; 1 is the last. SDXL's "
        "encoders are always read at the layer before the last.",
        low=1,
        fix="use 1, or 2 for the layer before the last",
    )
    v2: bool | None = option(
        None,
        "Whether the base model is Stable Diffusion 2.x.",
        unset="it is found out from the model",
    )
    v_parameterization: bool | None = option(
        None,
        "Whether the base model predicts velocity, as the 768-pixel models of Stable Diffusion 2 "
        "do.",
        unset="as the model itself says",
    )

    def contradictions(self) -> Iterator[LycorisExtError]:
        if not self.pretrained_model_name_or_path:
            yield ConfigError(
                "no base model is named",
                where="pretrained_model_name_or_path",
                fix='give a model: a .safetensors file, a diffusers folder, or "mini"',
            )


def mini_base_folder() -> Path:
    """Return the folder of the base model "mini", which some installations leave out."""
    return Path(__file__).resolve().parent.parent / "mini" / "base"
