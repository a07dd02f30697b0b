"""The base model of training outside of other programs: a pipeline of diffusers models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lycoris_ext.data import TokenLimit, cache_key, weights_digest
from lycoris_ext.data.store import Tensors
from lycoris_ext.diffusion import NoiseSchedule
from lycoris_ext.errors import Faults
from lycoris_ext.formats import AdapterState
from lycoris_ext.models import BaseSchedule, Conditioning, Pipeline, load_pipeline
from lycoris_ext.models.outline import check_vae, load_outline, picture_size_of
from lycoris_ext.network import load_network
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.precision import DTYPES, autocast, choose_device
from lycoris_ext.training.token_limit import token_limit


class PipelineBase:
    """A ``BaseModel`` that is loaded from the file or folder that a config names.

    Args:
        config: of the run.
    """

    reads_first = False

    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    @cached_property
    def pipeline(self) -> Pipeline:
        """The pipeline, loaded at first access; it draws with the config's noise schedule.

        Raises:
            ConfigError: an option of the loss does not fit the base's prediction type.
        """
        loss = self.config.loss
        pipeline = self._read()
        self._schedule = _schedule_of(pipeline)
        asked = self._schedule.for_loss(loss)
        pipeline.noise_schedule = BaseSchedule(asked.alphas_cumprod, asked.prediction_type)
        if loss.zero_terminal_snr:
            pipeline.schedule_config = {**pipeline.schedule_config, "rescale_betas_zero_snr": True}
        return pipeline

    def _read(self) -> Pipeline:
        run = self.config.run
        device = choose_device(run.device)
        return load_pipeline(self.config.model, device, DTYPES[run.mixed_precision])

    def token_limit(self) -> TokenLimit | None:
        return token_limit(self.config.model)

    def picture_size(self) -> int:
        faults = Faults()
        with faults:
            size = picture_size_of(self.config.model)
        with faults:
            check_vae(self.config.model)
        faults.raise_all()
        return size

    def load(self) -> None:
        _ = self.pipeline

    @property
    def kind(self) -> str:
        return self.pipeline.kind

    @property
    def device(self) -> torch.device:
        return self.pipeline.device

    @property
    def latent_factor(self) -> int:
        return self.pipeline.latent_factor

    def targets(self) -> Mapping[str, nn.Module]:
        return self.pipeline.targets()

    def fingerprint(self) -> str:
        return self.pipeline.base_hash()

    def identity(self, part: str) -> str:
        # Hash the weights in memory, so that a base with another precision or with an adapter
        # merged into it has another identity.
        pipeline = self.pipeline
        if part == "vae":
            scale = float(pipeline.vae.config.scaling_factor)
            return cache_key(weights=weights_digest({"vae": pipeline.vae}), scale=scale)
        words = json.dumps(
            [
                [sorted(part.get_vocab().items()), sorted(part.special_tokens_map.items())]
                for part in pipeline.tokenizers()
            ]
        )
        return cache_key(
            weights=weights_digest(pipeline.text_encoders()),
            tokenizer=hashlib.blake2b(words.encode("utf-8"), digest_size=20).hexdigest(),
            max_tokens=pipeline.max_tokens,
            max_token_length=self.config.model.max_token_length,
            weighted_captions=self.config.model.weighted_captions,
            clip_skip=self.config.model.clip_skip,
            precision=self.config.run.mixed_precision,
        )

    def merge(self, state: AdapterState, strength: float) -> None:
        load_network(state, self.targets()).merge(strength, keep=False)

    @contextmanager
    def prepared(self, gradient_checkpointing: bool) -> Iterator[None]:
        if gradient_checkpointing:
            trains_text = not self.config.effective_network.network_train_unet_only
            encoders = self.pipeline.text_encoders().values() if trains_text else ()
            checkpoint_activations(self.pipeline.unet, list(encoders))
        yield

    def schedule(self) -> NoiseSchedule:
        self.load()
        return self._schedule

    def encode_pixels(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.pipeline.encode_posterior(pixels)

    def encode_text(self, captions: Sequence[str]) -> Conditioning:
        self._place_text_encoders(self.device)
        # autocast also applies outside of a step, so that captions encoded in advance are the
        # same bits.
        with autocast(self.config.run.mixed_precision, self.device):
            return self.pipeline.encode_text(captions, self.config.model.clip_skip)

    def join(self, texts: Sequence[Conditioning]) -> Conditioning:
        return Conditioning.join(texts)

    def to_tensors(self, text: Conditioning) -> Tensors:
        pooled = {} if text.pooled is None else {"pooled": text.pooled}
        return {"states": text.states, **pooled}

    def from_tensors(self, tensors: Tensors) -> Conditioning:
        pooled = tensors.get("pooled")
        return Conditioning(
            tensors["states"].to(self.device), None if pooled is None else pooled.to(self.device)
        )

    def release_text_encoders(self) -> None:
        self._place_text_encoders(torch.device("cpu"))

    def _place_text_encoders(self, device: torch.device) -> None:
        for encoder in self.pipeline.text_encoders().values():
            if next(encoder.parameters()).device != device:
                encoder.to(device)

    def predict(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        text: Conditioning,
        size_ids: Sequence[Any],
    ) -> Tensor:
        return self.pipeline.predict(noisy, timesteps, text, size_ids)


class OutlineBase(PipelineBase):
    """The base model of a config without its weights, to check in advance whether it fits a run."""

    def _read(self) -> Pipeline:
        return load_outline(self.config.model)

    def merge(self, state: AdapterState, strength: float) -> None:
        load_network(state, self.targets())  # refuses an adapter for another model


def _schedule_of(pipeline: Pipeline) -> NoiseSchedule:
    base = pipeline.noise_schedule
    return NoiseSchedule(base.alphas_cumprod, base.prediction_type)


def checkpoint_activations(unet: Any, text_encoders: Sequence[Any]) -> None:
    """Switch on gradient checkpointing: activations are recomputed in the backward pass."""
    unet.enable_gradient_checkpointing()
    for encoder in text_encoders:
        # transformers 5 renamed this method.
        enable = getattr(encoder, "activation_checkpointing_enable", None)
        (enable or encoder.gradient_checkpointing_enable)({"use_reentrant": False})
    for model in (unet, *text_encoders):
        # Some versions only checkpoint in training mode; the frozen base's own dropouts stay off.
        model.train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.eval()
