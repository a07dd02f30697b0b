"""The loss of a batch: from its plan through the frozen base and the adapter."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lycoris_ext.data import BatchPlan, LatentCache
from lycoris_ext.diffusion import NoiseSchedule, draw_noise
from lycoris_ext.models import Pipeline
from lycoris_ext.network import Network
from lycoris_ext.training.caches import text_encoders, text_identity, text_store
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
        store = text_store(self.config)
        encoder = text_identity(self.pipeline, self.config, store)
        self.text_states = TextStates(
            self.encode_text,
            trained=trained,
            device=self.pipeline.device,
            store=store,
            encoder=encoder,
        )
        if self.config.run.gradient_checkpointing:
            checkpoint_activations(self.pipeline, text_encoder=trained)

    def encode_text(self, captions: list[str]) -> Tensor:
        self._place_text_encoders(self.pipeline.device)
        # Also outside of a step, where captions are encoded before the first: to the same bits.
        with autocast(self.config.run.mixed_precision, self.pipeline.device):
            return self.pipeline.encode_text(captions, self.config.model.clip_skip)

    def release_text_encoders(self) -> None:
        """Free the device of the text encoders; encode_text fetches them back if it must."""
        self._place_text_encoders(torch.device("cpu"))

    def _place_text_encoders(self, device: torch.device) -> None:
        for encoder in text_encoders(self.pipeline).values():
            if next(encoder.parameters()).device != device:
                encoder.to(device)

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
        pictures = self.latents.batch(plan, seed)
        latents = pictures.latents.to(device)
        draws = draw_noise(
            tuple(latents.shape[1:]),
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
                latents,
                self.text_states(plan.captions),
                draws,
                self.schedule,
                self.config.loss,
                mask=pictures.mask,
            )


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
