"""Small models with a forward, as sd-scripts hands them to a network module, and its first call."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.tiny_pipeline import tiny_modules

MODULE = importlib.import_module("lycoris_ext.kohya")
LOHA = {"algo": "loha", "conv_dim": "2", "conv_alpha": "1"}
#: What the trainer has in mind when it saves (train_network.py:1003-1225), in short.
METADATA = {
    "ss_network_module": "lycoris_ext.kohya",
    "ss_network_dim": "4",
    "ss_network_alpha": "2.0",
    "ss_network_args": json.dumps({**LOHA, "dropout": None}),
    "ss_steps": "2",
}


@dataclass
class Models:
    """Attributes:
    vae, unet: of the pipeline.
    text_encoders: one for SD1, two for SDXL.
    """

    vae: nn.Module
    unet: Any
    text_encoders: list[Any]

    @property
    def passed(self) -> Any:
        """The text encoders as the trainers pass them: a single one is not in a list."""
        return self.text_encoders if len(self.text_encoders) > 1 else self.text_encoders[0]

    def denoise(self, seed: int = 0) -> Tensor:
        """Return the U-Net's output for some noise and tokens, with gradients."""
        generator = torch.Generator().manual_seed(seed)
        latents = torch.randn(2, 4, 8, 8, generator=generator)
        tokens = torch.randint(0, 20, (2, 24), generator=generator)
        states = [encoder(tokens).last_hidden_state for encoder in self.text_encoders]
        more = {}
        if len(states) > 1:
            pooled = states[1].mean(1)[:, :24]
            more["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": torch.zeros(2, 6)}
        timesteps = torch.tensor([10, 500])
        answer: Tensor = self.unet(latents, timesteps, torch.cat(states, -1), **more).sample
        return answer


def tiny_models(folder: Path, family: str = "sd1") -> Models:
    """Return frozen models of random weights."""
    modules = tiny_modules(folder, 0, family, clip_words=False)
    for module in modules.values():
        module.requires_grad_(False).eval()
    encoders = [module for name, module in modules.items() if name.startswith("text_encoder")]
    return Models(modules["vae"], modules["unet"], encoders)


def create(models: Models, dim: int | None = 4, alpha: float | None = 2.0, **arguments: Any) -> Any:
    """Create a network as train_network.py:678 does."""
    arguments.setdefault("dropout", None)
    return MODULE.create_network(
        1.0, dim, alpha, models.vae, models.passed, models.unet, neuron_dropout=None, **arguments
    )


@torch.no_grad()
def disturb(network: nn.Module, scale: float = 0.1) -> None:
    """Move every parameter away from its start: a fresh adapter is zero and hides mistakes."""
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter += scale * torch.randn(parameter.shape, generator=generator)
