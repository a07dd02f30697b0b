"""The interface that a base model must have to be trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn

from lycoris_ext.data import TokenLimit
from lycoris_ext.data.store import Tensors
from lycoris_ext.diffusion import NoiseSchedule
from lycoris_ext.formats import AdapterState
from lycoris_ext.training.step import Text


class BaseModel(Protocol[Text]):
    """A frozen base model: a diffusers pipeline, or a model that a program like ComfyUI has loaded.

    ``Text`` is the type of encoded captions that its denoiser takes.
    """

    @property
    def kind(self) -> str:
        """The model family, as the id of a ``formats.families.Variant``."""

    @property
    def device(self) -> torch.device:
        """The device on which the model computes."""

    @property
    def latent_factor(self) -> int:
        """How many times smaller latents are than pictures, along each side; 8 for SD."""

    @property
    def reads_first(self) -> bool:
        """Whether all captions should be encoded before ``prepared`` is entered.

        True if text encoder and denoiser may not fit into the device's memory together.
        """

    def token_limit(self) -> TokenLimit | None:
        """Return how many tokens of a caption are read, without loading weights; None: unknown."""

    def picture_size(self) -> int:
        """Return the side in pixels of the square pictures that the model was made for.

        Weights are not loaded for it. It is asked first, and tells what is wrong with the model.

        Raises:
            DataError: the model does not exist, or is none.
        """

    def load(self) -> None:
        """Load the weights, unless they are loaded; called before any method below."""

    def targets(self) -> Mapping[str, nn.Module]:
        """Return the models that can be adapted, by their names in files: "unet", ..."""

    def fingerprint(self) -> str:
        """Return a hash that identifies the base model's weights."""

    def identity(self, part: str) -> str:
        """Return a hash of everything in the model that a cached encoding depends on.

        Args:
            part: "vae" for cached latents, "text" for cached captions.
        """

    def merge(self, state: AdapterState, strength: float) -> None:
        """Add an adapter's update to the weights for the time of this run.

        Args:
            state: content of the adapter's file.
            strength: factor of the update.

        Raises:
            FormatError: the adapter is for another model.
        """

    def prepared(self, gradient_checkpointing: bool) -> AbstractContextManager[object]:
        """Prepare the model for training inside a ``with``; a host's model is restored afterwards.

        Args:
            gradient_checkpointing: recompute activations in the backward pass to save memory.
        """

    def schedule(self) -> NoiseSchedule:
        """Return the noise schedule with which the model was trained."""

    def encode_pixels(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Encode pictures with the VAE, as ``data.latents.EncodePosterior`` describes."""

    def encode_text(self, captions: Sequence[str]) -> Text:
        """Encode a batch of captions, with gradients if a text encoder is adapted."""

    def join(self, texts: Sequence[Text]) -> Text:
        """Concatenate encoded batches to one."""

    def to_tensors(self, text: Text) -> Tensors:
        """Turn an encoded caption into named tensors that a cache can store."""

    def from_tensors(self, tensors: Tensors) -> Text:
        """Undo ``to_tensors``: turn cached tensors into an encoded caption on the device."""

    def release_text_encoders(self) -> None:
        """Move the text encoders off the device; ``encode_text`` moves them back if needed."""

    def predict(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        text: Text,
        size_ids: Sequence[Sequence[int]],
    ) -> Tensor:
        """Return the denoiser's prediction (noise or velocity, as the schedule says).

        Args:
            noisy: (B, C, h, w), noisy latents.
            timesteps: (B,).
            text: encoding of B captions.
            size_ids: for each of B pictures the sizes that SDXL is conditioned on
                (``models.pipeline.SizeIds``); other families ignore them.

        Returns:
            (B, C, h, w).
        """
