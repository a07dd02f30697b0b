"""The loss of a batch: from its plan through the frozen base and the adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lycoris_ext.data import BatchPlan, LatentCache
from lycoris_ext.diffusion import LossConfig, NoiseSchedule
from lycoris_ext.models import BaseSchedule, Conditioning, Pipeline
from lycoris_ext.network import Network
from lycoris_ext.training.batch_loss import batch_loss
from lycoris_ext.training.caches import text_identity, text_store
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.precision import autocast
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
        adapted = {site.target for site in self.network.sites.values()}
        encoders = self.pipeline.text_encoders()
        trained = [encoder for name, encoder in encoders.items() if name in adapted]
        store = text_store(self.config)
        self.text_states = TextStates(
            self.encode_text,
            trained=bool(trained),
            device=self.pipeline.device,
            store=store,
            encoder=text_identity(self.pipeline, self.config, store),
        )
        if self.config.run.gradient_checkpointing:
            checkpoint_activations(self.pipeline.unet, trained)

    def encode_text(self, captions: list[str]) -> Conditioning:
        self._place_text_encoders(self.pipeline.device)
        # Also outside of a step, where captions are encoded before the first: to the same bits.
        with autocast(self.config.run.mixed_precision, self.pipeline.device):
            return self.pipeline.encode_text(captions, self.config.model.clip_skip)

    def release_text_encoders(self) -> None:
        """Free the device of the text encoders; encode_text fetches them back if it must."""
        self._place_text_encoders(torch.device("cpu"))

    def _place_text_encoders(self, device: torch.device) -> None:
        for encoder in self.pipeline.text_encoders().values():
            if next(encoder.parameters()).device != device:
                encoder.to(device)

    def __call__(self, plan: BatchPlan) -> Tensor:
        def denoise(noisy: Tensor, timesteps: Tensor, text: Conditioning) -> Tensor:
            return self.pipeline.predict(noisy, timesteps, text, plan.size_ids)

        return batch_loss(
            self.config,
            self.network,
            plan,
            self.latents,
            self.schedule,
            self.pipeline.device,
            self.text_states,
            denoise,
        )


def use_asked_schedule(pipeline: Pipeline, loss: LossConfig) -> None:
    """Let training and pictures follow what the options say of the base's noise.

    Raises:
        ConfigError: an option is for the other kind of prediction than the base's.
    """
    base = pipeline.noise_schedule
    asked = NoiseSchedule(base.alphas_cumprod, base.prediction_type).as_asked(loss)
    pipeline.noise_schedule = BaseSchedule(asked.alphas_cumprod, asked.prediction_type)
    if loss.zero_terminal_snr:
        pipeline.schedule_config = {**pipeline.schedule_config, "rescale_betas_zero_snr": True}


def checkpoint_activations(unet: Any, text_encoders: Sequence[Any]) -> None:
    """Compute activations a second time in the backward pass instead of keeping them."""
    unet.enable_gradient_checkpointing()
    for encoder in text_encoders:
        # transformers 5 renamed it.
        enable = getattr(encoder, "activation_checkpointing_enable", None)
        (enable or encoder.gradient_checkpointing_enable)({"use_reentrant": False})
    for model in (unet, *text_encoders):
        # Some versions only checkpoint in training mode; the frozen base's own dropouts stay off.
        model.train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.eval()
