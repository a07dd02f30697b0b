"""The training loss of one batch: draw latents and noise, encode captions, predict, compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

import torch
from torch import Tensor

from lycoris_ext.data import BatchPlan, LatentCache, PictureBatch
from lycoris_ext.diffusion import Draws, draw_noise
from lycoris_ext.formats.families import TEXT_ENCODERS
from lycoris_ext.network import Network
from lycoris_ext.training.base_model import BaseModel
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.precision import autocast
from lycoris_ext.training.step import Text, denoising_loss, seed_dropouts
from lycoris_ext.training.text import TextCache


@dataclass
class BatchLoss(Generic[Text]):
    """A function that computes the training loss of a batch.

    Its result depends on the seed, the batch and the adapter's parameters only, not on what was
    computed before.

    Args:
        config: of the run.
        base: the frozen model, with the network injected.
        network: the adapter that is trained.
        latents: of the whole training set.
        texts: encodes captions, or takes them from its cache.
    """

    config: TrainConfig
    base: BaseModel[Text]
    network: Network
    latents: LatentCache
    texts: TextCache[Text]

    def __post_init__(self) -> None:
        self.schedule = self.base.schedule().for_loss(self.config.loss)
        adapted = {site.target for site in self.network.sites.values()}
        self.trains_text = not adapted.isdisjoint(TEXT_ENCODERS)

    def __call__(self, plan: BatchPlan) -> Tensor:
        """Compute the loss of one batch.

        Args:
            plan: the batch: its samples, captions and number.

        Returns:
            A float32 scalar with gradients to the adapter's parameters.
        """
        seed = self.config.run.seed
        pictures = self.latents.batch(plan, seed)
        draws = draw_noise(
            pictures.latents,
            plan.sample_ids,
            self.schedule,
            self.config.loss,
            seed=seed,
            batch_number=plan.number,
        )
        seed_dropouts(seed, plan.number)
        return self.of(plan, pictures, draws)

    def of(self, plan: BatchPlan, pictures: PictureBatch, draws: Draws) -> Tensor:
        """Compute the loss of one batch from what was drawn for it.

        Args:
            plan: the batch: its captions and sizes.
            pictures: its latents and masks.
            draws: its noise and timesteps.

        Returns:
            A float32 scalar, the mean over the samples.
        """
        config, base = self.config, self.base

        def denoise(noisy: Tensor, timesteps: Tensor, text: Text) -> Tensor:
            self.network.set_timesteps(timesteps)
            return base.predict(noisy, timesteps, text, plan.size_ids)

        with autocast(config.run.mixed_precision, base.device):
            return denoising_loss(
                denoise,
                pictures.latents.to(base.device),
                self.texts(plan.captions, gradients=self.trains_text),
                draws,
                self.schedule,
                config.loss,
                is_reg=torch.as_tensor(plan.is_reg),
                mask=pictures.mask,
                sample_weights=torch.tensor(plan.loss_weights),
            )
