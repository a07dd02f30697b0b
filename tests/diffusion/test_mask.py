"""Masks weigh the loss of each place of the latents."""

from __future__ import annotations

import torch

from lycoris_ext.diffusion import LossConfig, draw_noise, weighted_loss
from lycoris_ext.training.step import denoising_loss
from tests.schedules import stable_diffusion

SCHEDULE = stable_diffusion()
TIMESTEPS = torch.tensor([10, 500])


def some(seed, channels=4):
    return torch.randn(2, channels, 6, 5, generator=torch.Generator().manual_seed(seed))


def loss(prediction, mask, config=None):
    config = config or LossConfig()
    return weighted_loss(prediction, some(1), TIMESTEPS, SCHEDULE, config, mask=mask)


def test_a_mask_of_ones_changes_nothing():
    for config in (LossConfig(), LossConfig(min_snr_gamma=5.0)):
        expected = weighted_loss(some(0), some(1), TIMESTEPS, SCHEDULE, config)
        assert torch.equal(loss(some(0), torch.ones(2, 1, 6, 5), config), expected)


def test_the_mask_weighs_the_error_of_each_place():
    mask = some(2, channels=1).sigmoid()
    expected = ((some(0) - some(1)).double() ** 2 * mask).mean()
    torch.testing.assert_close(loss(some(0), mask).double(), expected)


def test_masked_places_get_no_gradient():
    mask = torch.ones(2, 1, 6, 5)
    mask[:, :, :, :2] = 0.0
    prediction = some(0).requires_grad_()
    loss(prediction, mask).backward()
    assert prediction.grad is not None
    assert bool((prediction.grad[..., :2] == 0).all()) and bool(
        (prediction.grad[..., 2:] != 0).all()
    )


def test_the_training_step_applies_the_mask():
    latents = torch.zeros(2, 4, 6, 5)
    draws = draw_noise(latents, [0, 1], SCHEDULE, LossConfig(), seed=0, batch_number=0)

    def of(mask):
        return denoising_loss(
            lambda noisy, timesteps, states: noisy * 0.5,
            some(3),
            torch.zeros(2, 1, 1),
            draws,
            SCHEDULE,
            LossConfig(),
            mask=mask,
        )

    assert float(of(torch.zeros(2, 1, 6, 5))) == 0.0
    assert torch.equal(of(torch.ones(2, 1, 6, 5)), of(None))
