"""The loss of a batch: from its plan through the frozen base and the adapter."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lycoris_ext.data import BatchPlan, LatentCache
from lycoris_ext.diffusion import LossConfig, NoiseSchedule, draw_noise
from lycoris_ext.models import BaseSchedule, Pipeline
from lycoris_ext.network import Network
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.precision import autocast
from lycoris_ext.training.step import denoising_loss, seed_dropouts
from lycoris_ext.training.text import TextStates


@dataclass
class BatchLoss:
    """The loss of a batch, as a function of the batch alone (and of the adapter's parameters)."""

    config: TrainConfig
    pipeline: Pipeline
    network: Network
    latents: LatentCache

    def __post_init__(self) -> None:
        base = self.pipeline.noise_schedule
        self.schedule = NoiseSchedule(base.alphas_cumprod, base.prediction_type)
        trained = any(site.target == "text_encoder" for site in self.network.sites.values())
        self.text_states = TextStates(self.encode_text, trained=trained)
        if self.config.run.gradient_checkpointing:
            checkpoint_activations(self.pipeline, text_encoder=trained)

    def encode_text(self, captions: list[str]) -> Tensor:
        return self.pipeline.encode_text(captions, self.config.model.clip_skip)

    def denoise(self, noisy: Tensor, timesteps: Tensor, text_states: Tensor) -> Tensor:
        dtype = self.pipeline.dtype
        answer = self.pipeline.unet(
            noisy.to(dtype), timesteps, encoder_hidden_states=text_states.to(dtype)
        )
        prediction: Tensor = answer.sample
        return prediction

    def __call__(self, plan: BatchPlan) -> Tensor:
        seed = self.config.run.seed
        device = self.pipeline.device
        latents = self.latents.latents(plan, seed)
        draws = draw_noise(
            latents,
            plan.sample_ids,
            self.schedule,
            self.config.loss,
            seed=seed,
            batch_number=plan.number,
        )
        seed_dropouts(seed, plan.number)
        with autocast(self.config.run.mixed_precision, device):
            return denoising_loss(
                self.denoise,
                latents.to(device),
                self.text_states(plan.captions),
                draws,
                self.schedule,
                self.config.loss,
                torch.as_tensor(plan.is_reg),
            )


def use_asked_schedule(pipeline: Pipeline, loss: LossConfig) -> None:
    """Let training and pictures follow what the options say of the base's noise.

    Raises:
        ConfigError: an option is for the other kind of prediction than the base's.
    """
    base = pipeline.noise_schedule
    asked = NoiseSchedule(base.alphas_cumprod, base.prediction_type).as_asked(loss)
    pipeline.noise_schedule = BaseSchedule(asked.alphas_cumprod, asked.prediction_type)
    pipeline.schedule_config = {
        **pipeline.schedule_config,
        "prediction_type": asked.prediction_type,
        **({"rescale_betas_zero_snr": True} if loss.zero_terminal_snr else {}),
    }


def checkpoint_activations(pipeline: Pipeline, *, text_encoder: bool) -> None:
    """Compute activations a second time in the backward pass instead of keeping them."""
    pipeline.unet.enable_gradient_checkpointing()
    models: list[nn.Module] = [pipeline.unet]
    if text_encoder:
        encoder = pipeline.text_encoder
        # transformers 5 renamed it.
        enable = getattr(encoder, "activation_checkpointing_enable", None)
        (enable or encoder.gradient_checkpointing_enable)({"use_reentrant": False})
        models.append(pipeline.text_encoder)
    for model in models:
        # Some versions only checkpoint in training mode; the frozen base's own dropouts stay off.
        model.train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.eval()
