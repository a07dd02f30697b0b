"""What training asks of a base model, whoever holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn

from lycoris_ext.data.store import Tensors
from lycoris_ext.diffusion import NoiseSchedule
from lycoris_ext.formats import AdapterState
from lycoris_ext.training.step import Text


class BaseModel(Protocol[Text]):
    """A frozen base model: our diffusers pipeline, or a model that a host has loaded.

    ``Text`` is whatever the model takes for the captions of a batch.

    """

    @property
    def kind(self) -> str:
        """Its family, the id of a ``formats.families.Variant``."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def latent_factor(self) -> int:
        """Pixels along a side of one latent."""

    @property
    def reads_first(self) -> bool:
        """True where captions are to be encoded before ``prepared``, because text encoder and
        denoiser may not fit the device together."""

    def load(self) -> None:
        """Read the weights, if that has not happened yet; called before all that follows."""

    def targets(self) -> Mapping[str, nn.Module]:
        """The models that may be adapted, by the names of the file format: "unet", ..."""

    def fingerprint(self) -> str:
        """A hash that another base model does not have."""

    def identity(self, part: str) -> str:
        """A hash of all that cached results depend on, beside the picture or the caption.

        Args:
            part: "vae" for latents, "text" for encoded captions.
        """

    def merge(self, state: AdapterState, strength: float) -> None:
        """Add an adapter to the weights for the time of this run.

        Raises:
            FormatError: it is for another model.
        """

    def prepared(self, gradient_checkpointing: bool) -> AbstractContextManager[object]:
        """Make the model ready for gradients inside the ``with``.

        A host's model is afterwards as it was found.
        """

    def schedule(self) -> NoiseSchedule:
        """The noise that the model was trained on."""

    def encode_pixels(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Encode pictures, as ``data.latents.EncodePosterior``."""

    def encode_text(self, captions: Sequence[str]) -> Text:
        """Encode a batch of captions; with gradients where a text encoder is adapted."""

    def join(self, texts: Sequence[Text]) -> Text:
        """Make one batch of several."""

    def to_tensors(self, text: Text) -> Tensors:
        """Take an encoded caption apart into tensors, for a cache."""

    def from_tensors(self, tensors: Tensors) -> Text:
        """Put a cached caption together again, on the device."""

    def release_text_encoders(self) -> None:
        """Free the device of the text encoders; ``encode_text`` fetches them back if it must."""

    def predict(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        text: Text,
        size_ids: Sequence[Sequence[int]],
    ) -> Tensor:
        """Ask the denoiser for what it is trained to predict.

        Args:
            noisy: (B, C, h, w), noisy latents.
            timesteps: (B,).
            text: of B captions.
            size_ids: of B pictures, as SDXL is told them (``models.pipeline.SizeIds``).

        Returns:
            (B, C, h, w).
        """
