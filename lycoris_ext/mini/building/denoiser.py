"""Train the U-Net and the text encoder together from scratch, on latents and captions.

They are small enough for a CPU: the U-Net works on 8 x 8 and 4 x 4 latents, with cross-attention
only on the latter, and trains on more than two hundred pictures a second on two cores.
"""

from __future__ import annotations

import copy
import functools
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from lycoris_ext.mini.building.autoencoder import decode_all
from lycoris_ext.mini.building.grids import save_grid
from lycoris_ext.mini.building.shares import Shares
from lycoris_ext.mini.building.stage import Budget, Stage, learning_rate
from lycoris_ext.mini.building.words import MAX_TOKENS

CHANNELS = (96, 192)
TEXT_WIDTH = 160
TEXT_LAYERS = 3
BATCH = 64
PEAK_RATE = 1e-3
MIN_SNR_GAMMA = 5.0
EMA_DECAY = 0.999


def build_unet(latent_channels: int) -> UNet2DConditionModel:
    """Build an untrained U-Net of 9 M parameters."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build an untrained CLIP text encoder of 1 M parameters."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def build_scheduler() -> DDIMScheduler:
    """Build a DDIM scheduler with Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )


@dataclass
class Denoiser:
    """The U-Net with its text encoder and tokenizer."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer

    def prepare(self, device: torch.device) -> None:
        """Move the model to the device, and choose the attention that trains faster there."""
        self.unet.to(device)
        self.text_encoder.to(device)
        # For so few tokens, unfused attention is faster on a CPU than the fused kernel's backward.
        self.unet.set_attn_processor(AttnProcessor())
        self.text_encoder.set_attn_implementation("eager")

    def tokenize(self, captions: Sequence[str]) -> Tensor:
        """Turn N captions into token ids [N, MAX_TOKENS], padded or cut to this length."""
        ids: Tensor = self.tokenizer(
            list(captions),
            padding="max_length",
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        ).input_ids
        return ids

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Turn N captions into text embeddings [N, MAX_TOKENS, TEXT_WIDTH]."""
        hidden: Tensor = self.text_encoder(self.tokenize(captions).to(self.text_encoder.device))[0]
        return hidden


def varied_caption(caption: str, rng: random.Random, reserved: Sequence[str]) -> str:
    """Return a random variation of a training caption.

    It may be empty (for classifier-free guidance), or lack the style or some tags, or have them in
    another order. Sometimes the style is replaced by a random word, so that the model learns to
    ignore unknown style names and still draw the subject.

    Args:
        caption: "by style, subject, tag, ...".
        rng: decides the variation.
        reserved: words that must not be used as random style names, because adapters will learn
            them.
    """
    if rng.random() < 0.1:
        return ""
    style, subject, *rest = caption.split(", ")
    rest = [tag for tag in rest if rng.random() > 0.1]
    if rng.random() < 0.5:
        rng.shuffle(rest)
    chance = rng.random()
    if chance < 0.08:
        invented = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 6)))
        style = style if invented in reserved else f"by {invented}"
    elif chance < 0.14:
        return ", ".join((subject, *rest))
    return ", ".join((style, subject, *rest))


class Ema:
    """An exponential moving average of a denoiser's weights, which is what ships."""

    def __init__(self, model: Denoiser) -> None:
        self.model = Denoiser(
            copy.deepcopy(model.unet), copy.deepcopy(model.text_encoder), model.tokenizer
        )
        self._pairs = [
            (list(mine.parameters()), list(theirs.parameters()))
            for mine, theirs in (
                (self.model.unet.requires_grad_(False).eval(), model.unet),
                (self.model.text_encoder.requires_grad_(False).eval(), model.text_encoder),
            )
        ]

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Update the average with the current weights; early steps have a larger share."""
        share = 1.0 - min(EMA_DECAY, (1 + step) / (10 + step))
        for mine, theirs in self._pairs:
            torch._foreach_lerp_(mine, [p.detach() for p in theirs], share)

    def parts_of(self, model: Denoiser) -> dict[str, Any]:
        """Name -> module of the denoiser and of its average, as a checkpoint holds them."""
        return {
            "unet": model.unet,
            "text_encoder": model.text_encoder,
            "ema_unet": self.model.unet,
            "ema_text_encoder": self.model.text_encoder,
        }


@torch.no_grad()
def generate(
    model: Denoiser,
    vae: AutoencoderKL,
    captions: Sequence[str],
    seeds: Sequence[int],
    steps: int = 25,
    guidance: float = 4.0,
) -> Tensor:
    """Generate one uint8 picture per caption and seed, as [N, 3, 64, 64]."""
    scheduler = build_scheduler()
    scheduler.set_timesteps(steps)
    channels = model.unet.config.in_channels
    noise = [
        torch.randn(channels, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds
    ]
    device = model.unet.device
    latents = torch.stack(noise).to(device)
    context = torch.cat([model.encode([""] * len(captions)), model.encode(captions)])
    for timestep in scheduler.timesteps:
        with torch.autocast(device.type, torch.bfloat16):
            both = model.unet(torch.cat([latents, latents]), timestep, context).sample.float()
        free, guided = both.chunk(2)
        latents = scheduler.step(free + guidance * (guided - free), timestep, latents).prev_sample
    return decode_all(vae, latents.cpu() / vae.config.scaling_factor)


def noise_loss(
    model: Denoiser, alphas: Tensor, clean: Tensor, noise: Tensor, timesteps: Tensor, ids: Tensor
) -> Tensor:
    """Return the mean squared error of the predicted noise, with min-SNR weights.

    Args:
        model: predicts the noise.
        alphas: the schedule's alphas_cumprod (T,).
        clean, noise: latents and noise (B, C, h, w).
        timesteps: timesteps (B,).
        ids: token ids of the captions (B, tokens).
    """
    alpha = alphas[timesteps].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    with torch.autocast(clean.device.type, torch.bfloat16):
        prediction = model.unet(noisy, timesteps, model.text_encoder(ids)[0]).sample
    error = (prediction.float() - noise).square().mean(dim=(1, 2, 3))
    snr = alphas / (1 - alphas)
    weights = snr.clamp(max=MIN_SNR_GAMMA) / snr
    return (error * weights[timesteps]).mean()


def train_denoiser(
    model: Denoiser,
    vae: AutoencoderKL,
    latents: Tensor,
    captions: Sequence[str],
    shown: Sequence[str],
    reserved: Sequence[str],
    folder: Path,
    budget: Budget,
) -> Denoiser:
    """Train a denoiser on latents and captions; return the moving average of its weights.

    Args:
        model: the untrained denoiser.
        vae: decodes the sample grids.
        latents: [N, C, 8, 8], multiplied by the scaling factor.
        captions: the caption of each picture.
        shown: captions for the sample grids.
        reserved: words that adapters will learn, see `varied_caption`.
        folder: for checkpoint, log and grids.
        budget: number of steps and so on.
    """
    device = torch.device(budget.device)
    model.prepare(device)
    ema = Ema(model)
    parameters = [*model.unet.parameters(), *model.text_encoder.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    shares = Shares(parameters, budget.workers)
    alphas = build_scheduler().alphas_cumprod.to(device)
    loss_of = functools.partial(noise_loss, model, alphas)

    def step(number: int) -> dict[str, float]:
        rng = torch.Generator().manual_seed(number)
        words = random.Random(number)
        chosen = torch.randint(len(latents), (BATCH,), generator=rng)
        clean = latents[chosen]
        noise = torch.randn(clean.shape, generator=rng)
        timesteps = torch.randint(0, len(alphas), (BATCH,), generator=rng)
        ids = model.tokenize(
            [varied_caption(captions[i], words, reserved) for i in chosen.tolist()]
        )
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(number, budget.steps, PEAK_RATE)
        batch = [some.to(device) for some in (clean, noise, timesteps, ids)]
        parts = zip(*(some.chunk(budget.workers) for some in batch), strict=True)
        loss = shares.backward([functools.partial(loss_of, *part) for part in parts])
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        ema.follow(number)
        return {"loss": loss}

    def sample(path: Path) -> None:
        pictures = generate(ema.model, vae, shown, range(len(shown)))
        save_grid(pictures, path, columns=16)

    kept = {**ema.parts_of(model), "optimizer": optimizer}
    Stage("denoiser", folder, kept, step, sample).train(budget)
    return ema.model
