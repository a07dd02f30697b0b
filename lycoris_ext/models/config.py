"""The options that choose the base model of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lycoris_ext.errors import ConfigError, LycorisExtError
from lycoris_ext.formats.families import CLIP_TEXT, LONGEST_TEXT
from lycoris_ext.options import Section, option
from lycoris_ext.words import count

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
    max_token_length: int = option(
        CLIP_TEXT,
        "How many tokens of a caption the text encoder reads: 75, 150 or 225; the rest of a longer "
        "caption is not used. A tag takes about three tokens. More than 75 are read in pieces of "
        "75, and a step takes a little longer.",
        low=CLIP_TEXT,
        high=LONGEST_TEXT,
        step=CLIP_TEXT,
        fix="use 75, 150 or 225",
    )
    weighted_captions: bool = option(
        False,
        'Read weights in captions: "(hat:1.2)" multiplies what the text encoder says about the hat '
        'by 1.2, "(hat)" by 1.1, "[hat]" by 1 / 1.1; write "\\(" and "\\)" for parentheses. Off: '
        "brackets and numbers are read like all other characters.",
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
        if self.max_token_length % CLIP_TEXT:
            yield ConfigError(
                f"max_token_length is {self.max_token_length}, and captions are read in pieces of "
                f"{count(CLIP_TEXT, 'token')}",
                fix="use 75, 150 or 225",
            )


def mini_base_folder() -> Path:
    """Return the folder of the base model "mini", which some installations leave out."""
    return Path(__file__).resolve().parent.parent / "mini" / "base"
