"""A frozen text-to-image base: text in, latents in between, pictures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from lycoris_ext.errors import ConfigError
from lycoris_ext.formats.families import Family
from lycoris_ext.formats.hashes import sha256_of_files


@dataclass(frozen=True)
class BaseSchedule:
    """The noise a base model was trained with.

    Args:
        alphas_cumprod: (T,) float32 on the CPU, decreasing; timestep t keeps
            sqrt(alphas_cumprod[t]) of the latents.
        prediction_type: what the U-Net predicts: "epsilon", "v_prediction" or "sample".
    """

    alphas_cumprod: Tensor
    prediction_type: str


SizeIds = tuple[int, int, int, int, int, int]
"""What SDXL is told of a picture: (height, width) of the original, (top, left) of the cut in the
scaled picture, (height, width) of the cut, all in pixels. Podell et al. 2023, arXiv:2307.01952,
section 2.2.
"""


@dataclass(frozen=True)
class Conditioning:
    """What the U-Net is told of a batch's text.

    Args:
        states: (B, tokens, D), for its cross-attention.
        pooled: (B, P), a summary of each text by the second encoder; SDXL alone takes one.
    """

    states: Tensor
    pooled: Tensor | None = None

    @staticmethod
    def join(parts: Sequence[Conditioning]) -> Conditioning:
        """One batch out of several."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return Conditioning(
            torch.cat([part.states for part in parts]), torch.cat(pooled) if pooled else None
        )


@dataclass(eq=False)
class Pipeline:
    """The parts of a base model, frozen and in eval mode.

    Args:
        family: which kind of model it is.
        unet, vae, text_encoder, tokenizer: the parts, as diffusers and transformers build them.
        text_encoder_2, tokenizer_2: SDXL's second ones, None elsewhere.
        schedule_config: the model's own scheduler_config.json.
        noise_schedule: the noise it was trained with.
        name: what to call the model in file names and metadata.
        weight_files: the files the weights came from, in a fixed order.
        clip_skip: what `encode_text` uses where the caller names nothing.
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

    def __post_init__(self) -> None:
        self._check_clip_skip(self.clip_skip)

    def targets(self) -> dict[str, nn.Module]:
        """The modules an adapter may be injected into, under the names of the file format."""
        return {"unet": self.unet, **self.text_encoders()}

    def text_encoders(self) -> dict[str, nn.Module]:
        """The text encoders by the names of their targets."""
        second = {} if self.text_encoder_2 is None else {"text_encoder_2": self.text_encoder_2}
        return {"text_encoder": self.text_encoder, **second}

    def tokenizers(self) -> list[Any]:
        """The text encoders' tokenizers, in the same order."""
        return [self.tokenizer] + ([] if self.tokenizer_2 is None else [self.tokenizer_2])

    @property
    def kind(self) -> str:
        """The family's variant, with "_v" where the model predicts velocity: "sd1", "sd2_v"."""
        return self.family.variant(self.noise_schedule.prediction_type).id

    @property
    def device(self) -> torch.device:
        """Where the U-Net lies; the other parts lie there too."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The U-Net's dtype."""
        return next(self.unet.parameters()).dtype

    @property
    def latent_factor(self) -> int:
        """Pixels per latent, along one side (8 for Stable Diffusion)."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def latent_channels(self) -> int:
        """Channels of a latent (4 for Stable Diffusion)."""
        return int(self.vae.config.latent_channels)

    @property
    def picture_size(self) -> int:
        """Side of the square pictures the model was made for, in pixels."""
        return int(self.unet.config.sample_size) * self.latent_factor

    @property
    def max_tokens(self) -> int:
        """Length every caption is padded or cut to, start and end marks included."""
        return int(self.text_encoder.config.max_position_embeddings)

    def encode_text(self, captions: Sequence[str], clip_skip: int | None = None) -> Conditioning:
        """Encode captions for the U-Net; gradients flow to adapters in the text encoders.

        SDXL reads both of its encoders at the layer before the last, without final layer norm, and
        joins what they say; clip_skip 1 and 2 are the same there.

        Args:
            captions: B texts; what exceeds `max_tokens` is cut.
            clip_skip: N reads the N-th layer from the end; None takes the pipeline's own.

        Returns:
            States (B, max_tokens, D), in the text encoder's dtype.

        Raises:
            ConfigError: the text encoder has fewer layers than `clip_skip`.
        """
        skip = self.clip_skip if clip_skip is None else clip_skip
        self._check_clip_skip(skip)
        tokens = self._tokens(self.tokenizer, captions)
        if self.text_encoder_2 is not None:
            first = self.text_encoder(tokens, output_hidden_states=True)
            tokens = self._tokens(self.tokenizer_2, captions)
            second = self.text_encoder_2(tokens, output_hidden_states=True)
            states = [first.hidden_states[-2], second.hidden_states[-2]]
            return Conditioning(torch.cat(states, dim=-1), second.text_embeds)
        if skip == 1:
            return Conditioning(self.text_encoder(tokens).last_hidden_state)
        hidden = self.text_encoder(tokens, output_hidden_states=True).hidden_states[-skip]
        # transformers 5 dropped the `text_model` level; both depths are in use.
        owner = getattr(self.text_encoder, "text_model", self.text_encoder)
        return Conditioning(owner.final_layer_norm(hidden))

    def _tokens(self, tokenizer: Any, captions: Sequence[str]) -> Tensor:
        tokens: Tensor = tokenizer(
            list(captions),
            padding="max_length",
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        ).input_ids
        return tokens.to(self.device)

    def _check_clip_skip(self, skip: int) -> None:
        layers = int(self.text_encoder.config.num_hidden_layers)
        most = layers if self.text_encoder_2 is None else 2
        if not 1 <= skip <= most:
            what = f"the text encoder of {self.name} has {layers} layers"
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
        """Ask the U-Net what it is trained to predict.

        Args:
            latents: (B, C, h, w), noisy.
            timesteps: (B,), or a scalar for all.
            text: of B captions.
            sizes: of B pictures; the families before SDXL take no notice of them.

        Returns:
            (B, C, h, w) in the U-Net's dtype.
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
        """Encode pictures to the distribution of their scaled latents.

        Args:
            pixels: (B, 3, H, W) in [-1, 1]; H and W multiples of `latent_factor`.

        Returns:
            Mean and standard deviation, each (B, C, H / latent_factor, W / latent_factor) float32,
            on the pipeline's device.
        """
        posterior = self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist
        scale = self.vae.config.scaling_factor
        return posterior.mean.float() * scale, posterior.std.float() * scale

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> list[Image.Image]:
        """Decode scaled latents (B, C, h, w) to B RGB pictures."""
        latents = latents.to(self.device, self.vae.dtype) / self.vae.config.scaling_factor
        pixels = self.vae.decode(latents).sample.float()
        return [_to_picture(picture) for picture in pixels.cpu()]

    @cached_property
    def _hash(self) -> str:
        return sha256_of_files(*self.weight_files)

    def base_hash(self) -> str:
        """SHA-256 over the weight files, as hex; read once, then remembered."""
        return self._hash


def _to_picture(pixels: Tensor) -> Image.Image:
    """Turn (3, H, W) in [-1, 1] into an RGB picture."""
    _, height, width = pixels.shape
    levels = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    interleaved = levels.permute(1, 2, 0).contiguous()
    return Image.frombytes("RGB", (width, height), interleaved.numpy().tobytes())
