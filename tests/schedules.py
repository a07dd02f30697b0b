"""The noise schedule that tests train with."""

from __future__ import annotations

import torch

from lycoris_ext.diffusion import NoiseSchedule


def stable_diffusion() -> NoiseSchedule:
    """Return SD 1.x's schedule: 1000 betas from 0.00085 to 0.012, evenly spaced in their roots."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float32) ** 2
    return NoiseSchedule(torch.cumprod(1.0 - betas, dim=0))
