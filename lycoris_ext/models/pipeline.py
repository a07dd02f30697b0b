"""A frozen text-to-image model: encodes texts and pictures, predicts noise, decodes latents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.families import CLIP_TEXT, Family
from lycoris_ext.formats.hashes import sha256_of_files
from lycoris_ext.models.tokens import Tokens, count_tokens, split_captions
from lycoris_ext.words import count


@dataclass(frozen=True)
class BaseSchedule:
    """The noise schedule that a base model was trained with.

    Args:
        alphas_cumprod: (T,) float32 on the CPU, decreasing. At timestep t the noisy latents are
            sqrt(alphas_cumprod[t]) * latents + sqrt(1 - alphas_cumprod[t]) * noise.
        prediction_type: what the U-Net predicts: "epsilon", "v_prediction" or "sample".
    """

    alphas_cumprod: Tensor
    prediction_type: str


USUAL_SIZE = 64
"""Latents a side of a U-Net whose config does not say it: Stable Diffusion 1's."""

SizeIds = tuple[int, int, int, int, int, int]
"""The sizes that SDXL takes as an input for each picture, in pixels: (height, width) of the file,
(top, left) of the crop in the scaled picture, (height, width) of the crop. Podell et al. 2023,
arXiv:2307.01952, section 2.2.
"""


@dataclass(frozen=True)
class Conditioning:
    """The encoded captions of a batch, as the U-Net takes them.

    Args:
        states: (B, tokens, D), for the cross-attention.
        pooled: (B, P), one vector for each caption from the second text encoder; None except for
            SDXL.
    """

    states: Tensor
    pooled: Tensor | None = None

    @staticmethod
    def join(parts: Sequence[Conditioning]) -> Conditioning:
        """Concatenate several batches to one."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return Conditioning(
            torch.cat([part.states for part in parts]), torch.cat(pooled) if pooled else None
        )


@dataclass(eq=False)
class Pipeline:
    """A base model, frozen and in eval mode, with all that training and sampling need of it.

    Args:
        family: the model's family.
        unet, vae, text_encoder, tokenizer: the parts, as diffusers and transformers build them.
        text_encoder_2, tokenizer_2: SDXL's second ones; None for other families.
        schedule_config: the content of the model's scheduler_config.json.
        noise_schedule: the noise schedule that the model was trained with.
        name: of the model, for file names and metadata.
        weight_files: the files that the weights come from, in a fixed order.
        clip_skip: the layer that `encode_text` reads unless its caller names another one.
        max_token_length: the option of this name; `encode_text` splits captions into as many
            pieces as it has 75s.
        weighted_captions: read weights such as "(hat:1.2)" in captions and prompts.
    """

    family: Family
    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    text_encoder_2: Any
    tokenizer_2: Any
    schedule_config: Mapping[str, Any]
    noise_schedule: BaseSchedule
    name: str
    weight_files: Sequence[Path] = field(default=())
    clip_skip: int = 1
    max_token_length: int = CLIP_TEXT
    weighted_captions: bool = False

    def __post_init__(self) -> None:
        self._check_clip_skip(self.clip_skip)

    def targets(self) -> dict[str, nn.Module]:
        """Return the models that can be adapted: "unet" and text encoders, name -> module."""
        return {"unet": self.unet, **self.text_encoders()}

    def text_encoders(self) -> dict[str, nn.Module]:
        """Return the text encoders: "text_encoder" and perhaps "text_encoder_2" -> module."""
        second = {} if self.text_encoder_2 is None else {"text_encoder_2": self.text_encoder_2}
        return {"text_encoder": self.text_encoder, **second}

    def tokenizers(self) -> list[Any]:
        """Return the tokenizers, in the order of ``text_encoders``."""
        return [self.tokenizer] + ([] if self.tokenizer_2 is None else [self.tokenizer_2])

    @property
    def kind(self) -> str:
        """Id of the family's variant: "sd1", or "sd2_v" if the model predicts velocity."""
        return self.family.variant(self.noise_schedule.prediction_type).id

    @property
    def device(self) -> torch.device:
        """The device of the U-Net, and of all other parts."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The U-Net's dtype."""
        return next(self.unet.parameters()).dtype

    @property
    def latent_factor(self) -> int:
        """Pixels for each latent, along one side (8 for Stable Diffusion)."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def latent_channels(self) -> int:
        """Channels of a latent (4 for Stable Diffusion)."""
        return int(self.vae.config.latent_channels)

    @property
    def picture_size(self) -> int:
        """Side in pixels of the square pictures that the model was made for."""
        size = self.unet.config.sample_size
        return (size if isinstance(size, int) else USUAL_SIZE) * self.latent_factor

    @property
    def max_tokens(self) -> int:
        """Number of tokens that a text encoder reads at once, with start and end mark."""
        return int(self.text_encoder.config.max_position_embeddings)

    def pieces_of(self, text: str) -> int:
        """Return the number of pieces into which a text has to be split to be read to its end."""
        tokens = count_tokens(self.tokenizer, text, weighted=self.weighted_captions)
        return max(1, math.ceil(tokens / (self.max_tokens - 2)))

    def encode_text(
        self, captions: Sequence[str], clip_skip: int | None = None, pieces: int | None = None
    ) -> Conditioning:
        """Encode captions for the U-Net; gradients flow to adapters in the text encoders.

        For SDXL both encoders are read at the layer before the last, without the final layer norm,
        and their outputs are concatenated; clip_skip 1 and 2 make no difference. Its pooled vector
        is that of the first piece.

        Args:
            captions: B texts; those that are too long for their pieces are cut.
            clip_skip: N reads the N-th layer from the end; None takes the pipeline's `clip_skip`.
            pieces: number of pieces into which all captions are split, see `models.tokens`; None
                takes as many as `max_token_length` says.

        Returns:
            States (B, pieces * (max_tokens - 2) + 2, D) in the text encoder's dtype, and SDXL's
            pooled vectors.

        Raises:
            ConfigError: the text encoder has fewer layers than `clip_skip`.
        """
        skip = self.clip_skip if clip_skip is None else clip_skip
        self._check_clip_skip(skip)
        number = self.max_token_length // CLIP_TEXT if pieces is None else pieces
        tokens = self._tokens(self.tokenizer, captions, number)
        ids = tokens.ids.flatten(0, 1).to(self.device)
        if self.text_encoder_2 is not None:
            first = self.text_encoder(ids, output_hidden_states=True)
            tokens_2 = self._tokens(self.tokenizer_2, captions, number)
            ids = tokens_2.ids.flatten(0, 1).to(self.device)
            second = self.text_encoder_2(ids, output_hidden_states=True)
            states = [
                tokens.join_pieces(first.hidden_states[-2]),
                tokens_2.join_pieces(second.hidden_states[-2]),
            ]
            return Conditioning(torch.cat(states, dim=-1), second.text_embeds[::number])
        if skip == 1:
            return Conditioning(tokens.join_pieces(self.text_encoder(ids).last_hidden_state))
        hidden = self.text_encoder(ids, output_hidden_states=True).hidden_states[-skip]
        # transformers 5 dropped the `text_model` level; both depths are in use.
        owner = getattr(self.text_encoder, "text_model", self.text_encoder)
        return Conditioning(tokens.join_pieces(owner.final_layer_norm(hidden)))

    def _tokens(self, tokenizer: Any, captions: Sequence[str], pieces: int) -> Tokens:
        return split_captions(
            tokenizer, captions, self.max_tokens, pieces, weighted=self.weighted_captions
        )

    def _check_clip_skip(self, skip: int) -> None:
        layers = int(self.text_encoder.config.num_hidden_layers)
        most = layers if self.text_encoder_2 is None else 2
        if not 1 <= skip <= most:
            what = f"the text encoder of {self.name} has {count(layers, 'layer')}"
            if self.text_encoder_2 is not None:
                what = f"{self.family.title} always reads the layer before the last"
            raise ConfigError(
                f"clip_skip is {skip}, and {what}",
                where="clip_skip",
                fix=f"use a value from 1 to {most}",
            )

    def predict(
        self,
        latents: Tensor,
        timesteps: Tensor,
        text: Conditioning,
        sizes: Sequence[SizeIds],
    ) -> Tensor:
        """Run the U-Net on noisy latents.

        Args:
            latents: (B, C, h, w), noisy.
            timesteps: (B,), or a scalar for the whole batch.
            text: the encoded captions of the B pictures.
            sizes: one for each picture; only SDXL uses them.

        Returns:
            The prediction (noise or velocity, see `noise_schedule`), (B, C, h, w) in the U-Net's
            dtype.
        """
        dtype = self.dtype
        extra = None
        if text.pooled is not None:
            # float32: the ids are embedded as exactly as timesteps are.
            ids = torch.tensor(sizes, dtype=torch.float32, device=self.device)
            extra = {"text_embeds": text.pooled.to(self.device, dtype), "time_ids": ids}
        answer = self.unet(
            latents.to(dtype),
            timesteps,
            encoder_hidden_states=text.states.to(self.device, dtype),
            added_cond_kwargs=extra,
        )
        prediction: Tensor = answer.sample
        return prediction

    @torch.no_grad()
    def encode_posterior(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Encode pictures with the VAE to the distributions of their scaled latents.

        Args:
            pixels: (B, 3, H, W) in [-1, 1]; H and W multiples of `latent_factor`.

        Returns:
            Mean and standard deviation, each (B, C, H / latent_factor, W / latent_factor) float32
            on the pipeline's device, multiplied by the VAE's scaling factor.
        """
        posterior = self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist
        scale = self.vae.config.scaling_factor
        return posterior.mean.float() * scale, posterior.std.float() * scale

    def decode_latents(self, latents: Tensor) -> list[Image.Image]:
        """Decode scaled latents (B, C, h, w) to B RGB pictures."""
        return [to_picture(pixels) for pixels in self.decode_pixels(latents)]

    @torch.no_grad()
    def decode_pixels(self, latents: Tensor) -> Tensor:
        """Decode scaled latents (B, C, h, w) to pixels (B, 3, H, W) on the CPU, about -1 to 1."""
        latents = latents.to(self.device, self.vae.dtype) / self.vae.config.scaling_factor
        pixels: Tensor = self.vae.decode(latents).sample.float().cpu()
        return pixels

    @cached_property
    def _hash(self) -> str:
        return sha256_of_files(*self.weight_files)

    def base_hash(self) -> str:
        """Return the SHA-256 of all weight files, as hex; they are read only at the first call."""
        return self._hash


def to_picture(pixels: Tensor) -> Image.Image:
    """Turn (3, H, W) in [-1, 1] into an RGB picture."""
    _, height, width = pixels.shape
    levels = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    interleaved = levels.permute(1, 2, 0).contiguous()
    return Image.frombytes("RGB", (width, height), interleaved.numpy().tobytes())
