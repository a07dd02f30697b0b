"""Noise, targets and weights against their formulas."""

from __future__ import annotations

import pytest
import torch

from lycoris_ext.diffusion import (
    LossConfig,
    NoiseSchedule,
    add_noise,
    draw_noise,
    training_target,
    weighted_loss,
)
from lycoris_ext.errors import ConfigError

SCHEDULE = NoiseSchedule.stable_diffusion()
SHAPE = (4, 8, 8)


def draw(ids, number=0, seed=0, config=None):
    loss = config or LossConfig()
    return draw_noise(SHAPE, ids, SCHEDULE, loss, seed=seed, batch_number=number)


def test_schedule_is_stable_diffusions():
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    )
    assert torch.equal(SCHEDULE.alphas_cumprod, theirs.alphas_cumprod)
    latents, noise = torch.randn(3, *SHAPE), torch.randn(3, *SHAPE)
    timesteps = torch.tensor([0, 500, 999])
    ours = add_noise(SCHEDULE, latents, noise, timesteps)
    torch.testing.assert_close(ours, theirs.add_noise(latents, noise, timesteps))
    velocity = NoiseSchedule(SCHEDULE.alphas_cumprod, "v_prediction")
    torch.testing.assert_close(
        training_target(velocity, latents, noise, timesteps),
        theirs.get_velocity(latents, noise, timesteps),
    )
    assert training_target(SCHEDULE, latents, noise, timesteps) is noise


def test_draws_depend_on_the_sample_not_on_its_neighbours():
    together = draw([3, 5, 9])
    alone = draw([5])
    assert torch.equal(together.noise[1], alone.noise[0])
    assert together.timesteps[1] == alone.timesteps[0]
    assert not torch.equal(draw([5], number=1).noise, alone.noise)
    assert not torch.equal(draw([5], seed=1).noise, alone.noise)


def test_draws_have_the_right_distribution():
    drawn = draw(list(range(2000)))
    assert abs(float(drawn.noise.mean())) < 0.01
    assert abs(float(drawn.noise.std()) - 1.0) < 0.01
    assert int(drawn.timesteps.min()) < 10 and int(drawn.timesteps.max()) > 990
    assert abs(float(drawn.timesteps.float().mean()) - 499.5) < 20


def test_noise_offset_shifts_whole_channels():
    plain, shifted = draw([1]), draw([1], config=LossConfig(noise_offset=0.1))
    shift = shifted.noise - plain.noise
    assert float(shift.std(dim=(2, 3)).max()) < 1e-6
    assert float(shift.abs().max()) > 0.01


def test_range_of_timesteps():
    drawn = draw(list(range(200)), config=LossConfig(min_timestep=100, max_timestep=110))
    assert set(drawn.timesteps.tolist()) == set(range(100, 110))
    with pytest.raises(ConfigError, match="between min_timestep 500 and max_timestep 500"):
        draw([0], config=LossConfig(min_timestep=500, max_timestep=500))


def test_loss_is_the_mean_over_the_batch():
    prediction, target = torch.randn(3, *SHAPE), torch.randn(3, *SHAPE)
    timesteps = torch.tensor([10, 500, 900])
    plain = weighted_loss(prediction, target, timesteps, SCHEDULE, LossConfig())
    torch.testing.assert_close(plain, (prediction - target).square().mean())


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_min_snr_weights(kind):
    schedule = NoiseSchedule(SCHEDULE.alphas_cumprod, kind)
    timesteps = torch.tensor([5, 300, 990])
    kept = schedule.alphas_cumprod[timesteps]
    snr = kept / (1 - kept)
    weights = snr.clamp(max=5.0) / (snr if kind == "epsilon" else snr + 1)
    prediction, target = torch.randn(3, *SHAPE), torch.randn(3, *SHAPE)
    errors = (prediction - target).square().mean(dim=(1, 2, 3))
    found = weighted_loss(prediction, target, timesteps, schedule, LossConfig(min_snr_gamma=5.0))
    torch.testing.assert_close(found, (errors * weights).mean())


def test_half_precision_predictions_are_compared_in_float32():
    prediction = torch.full((1, *SHAPE), 300.0, dtype=torch.float16)
    loss = weighted_loss(
        prediction, torch.zeros(1, *SHAPE), torch.tensor([5]), SCHEDULE, LossConfig()
    )
    assert float(loss) == 90000.0


def test_bad_options():
    with pytest.raises(ConfigError, match="min_snr_gamma is 0"):
        LossConfig(min_snr_gamma=0)
    with pytest.raises(ConfigError, match="noise_offset is -1"):
        LossConfig(noise_offset=-1)
    with pytest.raises(ConfigError, match="predicts 'sample'"):
        NoiseSchedule(SCHEDULE.alphas_cumprod, "sample")
