"""Noise, targets and loss weights follow their formulas and sd-scripts."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

from lycoris_ext.data import torch_generator
from lycoris_ext.diffusion import (
    LossConfig,
    NoiseSchedule,
    add_noise,
    draw_noise,
    training_target,
    weighted_loss,
)
from lycoris_ext.diffusion.draws import multires_noise
from lycoris_ext.diffusion.loss import HIGHEST_SNR, timestep_weights
from lycoris_ext.diffusion.pixel_loss import PIXEL_LOSSES
from lycoris_ext.diffusion.schedule import zero_terminal_snr
from lycoris_ext.errors import ConfigError
from tests.schedules import stable_diffusion

SCHEDULE = stable_diffusion()
VELOCITY = NoiseSchedule(SCHEDULE.alphas_cumprod, "v_prediction")
FLOW = NoiseSchedule(SCHEDULE.alphas_cumprod, "flow")
SHAPE = (4, 8, 8)
ORACLE = json.loads(
    (Path(__file__).parents[1] / "oracles" / "sd_scripts_loss.json").read_text("utf-8")
)


def draw(ids, number=0, seed=0, latents=None, **options):
    latents = torch.zeros(len(ids), *SHAPE) if latents is None else latents
    loss = LossConfig(**options)
    return draw_noise(latents, ids, SCHEDULE, loss, seed=seed, batch_number=number)


def test_the_noise_schedule_and_targets_are_those_of_diffusers():
    theirs = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    assert torch.equal(SCHEDULE.alphas_cumprod, theirs.alphas_cumprod)
    latents, noise = torch.randn(3, *SHAPE), torch.randn(3, *SHAPE)
    timesteps = torch.tensor([0, 500, 999])
    ours = add_noise(SCHEDULE, latents, noise, timesteps)
    torch.testing.assert_close(ours, theirs.add_noise(latents, noise, timesteps))
    torch.testing.assert_close(
        training_target(VELOCITY, latents, noise, timesteps),
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
    plain, shifted = draw([1]), draw([1], noise_offset=0.1)
    shift = shifted.noise - plain.noise
    assert float(shift.std(dim=(2, 3)).max()) < 1e-6
    assert float(shift.abs().max()) > 0.01


def test_timesteps_lie_between_min_timestep_and_max_timestep():
    drawn = draw(list(range(200)), min_timestep=100, max_timestep=110)
    assert set(drawn.timesteps.tolist()) == set(range(100, 110))
    with pytest.raises(ConfigError, match="between min_timestep 500 and max_timestep 500"):
        draw([0], min_timestep=500, max_timestep=500)


def test_loss_is_the_mean_over_the_batch():
    prediction, target = torch.randn(3, *SHAPE), torch.randn(3, *SHAPE)
    timesteps = torch.tensor([10, 500, 900])
    plain = weighted_loss(prediction, target, timesteps, SCHEDULE, LossConfig())
    torch.testing.assert_close(plain, (prediction - target).square().mean())


def test_an_option_of_noise_changes_neither_timesteps_nor_other_samples():
    plain = draw([1, 2])
    for options in (
        {"ip_noise_gamma": 0.1},
        {"noise_offset": 0.1, "noise_offset_random_strength": True},
        {"multires_noise_iterations": 3},
    ):
        drawn = draw([1, 2], **options)
        assert torch.equal(drawn.timesteps, plain.timesteps)
        assert not torch.equal(drawn.input_noise, plain.noise)
        alone = draw([2], **options)
        assert torch.equal(drawn.input_noise[1], alone.input_noise[0])
    assert torch.equal(plain.input_noise, plain.noise)


def test_noise_offset_random_strength_scales_each_samples_offset_between_0_and_1():
    ids = list(range(400))
    full = draw(ids, noise_offset=0.1).noise - draw(ids).noise
    some = draw(ids, noise_offset=0.1, noise_offset_random_strength=True).noise - draw(ids).noise
    strengths = (some / full).mean(dim=(2, 3))
    assert torch.allclose(strengths, strengths[:, :1].expand(-1, 4), atol=1e-2)
    assert float(strengths.min()) >= 0.0 and float(strengths.max()) <= 1.01
    assert abs(float(strengths.mean()) - 0.5) < 0.05


def test_adaptive_noise_scale_lets_the_offset_follow_the_mean_of_the_latents():
    latents = torch.zeros(1, *SHAPE)
    latents[0, 1], latents[0, 2] = 2.0, -2.0
    shift = draw([1], noise_offset=0.1).noise - draw([1]).noise
    options = {"noise_offset": 0.1, "latents": latents}
    more = draw([1], adaptive_noise_scale=0.05, **options).noise - draw([1]).noise
    ratio = (more / shift).mean(dim=(2, 3))[0]
    torch.testing.assert_close(ratio, torch.tensor([1.0, 2.0, 2.0, 1.0]), atol=1e-4, rtol=0)
    none = draw([1], adaptive_noise_scale=-0.5, **options).noise - draw([1]).noise
    assert float(none[0, 1:3].abs().max()) == 0.0 and float(none[0, 0].abs().max()) > 0


def test_input_perturbation_reaches_the_latents_not_the_target():
    plain, drawn = draw([3]), draw([3], ip_noise_gamma=0.1)
    assert torch.equal(drawn.noise, plain.noise)
    extra = (drawn.input_noise - drawn.noise) / 0.1
    assert abs(float(extra.mean())) < 0.2 and abs(float(extra.std()) - 1) < 0.2
    many = draw(list(range(300)), ip_noise_gamma=0.1, ip_noise_gamma_random_strength=True)
    deviations = (many.input_noise - many.noise).std(dim=(1, 2, 3))
    assert abs(float(deviations.mean()) - 0.05) < 0.01 and float(deviations.max()) < 0.13


def test_multires_noise_is_that_of_sd_scripts():
    generator = torch_generator(7, "oracle")
    noise = torch.randn((2, 6, 5), generator=generator)
    found = multires_noise(noise, 5, 0.4, generator)
    expected = torch.tensor(ORACLE["multires_noise"]).view(2, 6, 5)
    torch.testing.assert_close(found, expected)
    assert float(found.std()) == pytest.approx(1.0)


def test_zero_terminal_snr_gives_the_schedule_of_diffusers_and_sd_scripts():
    bent = zero_terminal_snr(SCHEDULE.alphas_cumprod)
    alphas = torch.cat([SCHEDULE.alphas_cumprod[:1], SCHEDULE.alphas_cumprod[1:]])
    betas = 1 - torch.cat([alphas[:1], alphas[1:] / alphas[:-1]])
    theirs = torch.cumprod(1 - rescale_zero_terminal_snr(betas), 0)
    torch.testing.assert_close(bent, theirs, atol=2e-6, rtol=1e-4)
    at = torch.tensor(ORACLE["timesteps"])
    expected = torch.tensor(ORACLE["zero_terminal_alphas_cumprod"])
    torch.testing.assert_close(bent[at], expected, atol=1e-6, rtol=1e-5)
    assert float(bent[-1]) == 0.0 and bent[0] == SCHEDULE.alphas_cumprod[0]
    assert torch.equal(zero_terminal_snr(bent), bent)


def test_at_zero_snr_every_weight_is_finite():
    schedule = VELOCITY.for_loss(LossConfig(zero_terminal_snr=True))
    last = torch.tensor([999])
    latents, noise = torch.randn(1, *SHAPE), torch.randn(1, *SHAPE)
    assert torch.equal(add_noise(schedule, latents, noise, last), noise)
    assert torch.equal(training_target(schedule, latents, noise, last), -latents)
    for options, weight in (
        ({"min_snr_gamma": 5.0}, 0.0),
        ({"scale_v_pred_loss_like_noise_pred": True}, 0.0),
        ({"debiased_estimation_loss": True}, 1.0),
    ):
        assert float(timestep_weights(last, schedule, LossConfig(**options))) == weight
    for kind in ("huber", "smooth_l1"):
        assert (
            LossConfig(loss_type=kind)
            .pixel_loss.errors(noise - latents, last, schedule)
            .isfinite()
            .all()
        )


def test_min_snr_leaves_pure_noise_and_no_noise_of_a_model_that_predicts_noise_finite():
    schedule = NoiseSchedule(torch.tensor([1.0, 0.5, 0.0]))
    weights = timestep_weights(torch.arange(3), schedule, LossConfig(min_snr_gamma=0.5))
    assert weights.tolist() == [0.0, 0.5, 1.0]


def test_without_options_a_schedule_keeps_its_prediction_type():
    assert SCHEDULE.for_loss(LossConfig()).prediction_type == "epsilon"
    assert VELOCITY.for_loss(LossConfig()).prediction_type == "v_prediction"


@pytest.mark.parametrize(
    ("schedule", "options", "said"),
    [
        (SCHEDULE, {"zero_terminal_snr": True}, "only noise; the base predicts epsilon"),
        (SCHEDULE, {"scale_v_pred_loss_like_noise_pred": True}, "set v_parameterization = true"),
        (VELOCITY, {"v_pred_like_loss": 0.5}, "is for models that predict noise"),
        (FLOW, {"v_pred_like_loss": 0.5}, "is for models that predict noise"),
        (FLOW, {"min_snr_gamma": 5.0}, "predict noise or velocity; the base predicts flow"),
        (FLOW, {"debiased_estimation_loss": True}, "predict noise or velocity"),
        (FLOW, {"zero_terminal_snr": True}, "only noise; the base predicts flow"),
    ],
)
def test_loss_options_for_another_kind_of_prediction_are_refused(schedule, options, said):
    with pytest.raises(ConfigError) as caught:
        schedule.for_loss(LossConfig(**options))
    assert said in str(caught.value) and next(iter(options)) in str(caught.value)


def test_a_flow_mixes_linearly_and_its_target_is_the_derivative():
    """Rectified flow: x_t = (1 - level) x_0 + level noise, whose derivative is the target."""
    levels = torch.linspace(0.001, 1.0, 1000, dtype=torch.float64)
    schedule = NoiseSchedule(((1 - levels) ** 2).float(), "flow").for_loss(LossConfig())
    latents, noise = torch.randn(3, *SHAPE), torch.randn(3, *SHAPE)
    timesteps = torch.tensor([0, 500, 999])
    level = levels[timesteps].view(-1, 1, 1, 1).float()
    noisy = add_noise(schedule, latents, noise, timesteps)
    torch.testing.assert_close(noisy, (1 - level) * latents + level * noise)
    target = training_target(schedule, latents, noise, timesteps)
    torch.testing.assert_close(noisy - level * target, latents)
    loss = weighted_loss(target, target + 1.0, timesteps, schedule, LossConfig())
    torch.testing.assert_close(loss, torch.tensor(1.0))


@pytest.mark.parametrize("name", ORACLE["weights"])
def test_timestep_weights_are_those_of_sd_scripts(name):
    option, kind = name.split()
    value = {"min_snr_gamma": 5.0, "v_pred_like_loss": 0.5}.get(option, True)
    schedule = NoiseSchedule(SCHEDULE.alphas_cumprod, kind)
    timesteps = torch.tensor(ORACLE["timesteps"])
    found = timestep_weights(timesteps, schedule, LossConfig(**{option: value}))
    torch.testing.assert_close(found, torch.tensor(ORACLE["weights"][name]), rtol=1e-4, atol=0)


def weights_in_float64(kept, *, velocity):
    """Return the weights of one timestep as their papers define them."""
    snr = kept / (1 - kept)
    capped = min(snr, HIGHEST_SNR)
    return {
        "min_snr_gamma": min(snr, 5.0) / (snr + 1 if velocity else snr),
        "debiased_estimation_loss": 1 / (capped + 1 if velocity else math.sqrt(capped)),
    }


@pytest.mark.parametrize("schedule", [SCHEDULE, VELOCITY], ids=["epsilon", "v_prediction"])
@pytest.mark.parametrize("option", ["min_snr_gamma", "debiased_estimation_loss"])
def test_timestep_weights_follow_the_formulas_of_their_papers(schedule, option):
    timesteps = torch.arange(1000)
    loss = LossConfig(**{option: 5.0 if option == "min_snr_gamma" else True})
    velocity = schedule is VELOCITY
    expected = [
        weights_in_float64(kept, velocity=velocity)[option]
        for kept in SCHEDULE.alphas_cumprod.double().tolist()
    ]
    found = timestep_weights(timesteps, schedule, loss).double()
    torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=2e-4, atol=0)


@pytest.mark.parametrize("name", ORACLE["errors"])
def test_pixel_errors_are_those_of_sd_scripts(name):
    kind, threshold = name.split()
    options = {"huber_schedule": threshold, "huber_c": 0.15, "huber_scale": 1.5}
    has_threshold = PIXEL_LOSSES[kind].options().keys() == options.keys()
    loss = LossConfig(loss_type=kind, **(options if has_threshold else {}))
    prediction, target = (
        torch.tensor(ORACLE[part]).view(-1, 1, 1, 1) for part in ("prediction", "target")
    )
    timesteps = torch.tensor(ORACLE["timesteps"])
    found = loss.pixel_loss.errors(prediction - target, timesteps, SCHEDULE).view(-1)
    torch.testing.assert_close(found, torch.tensor(ORACLE["errors"][name]), rtol=1e-4, atol=1e-7)


def test_prior_loss_weight_scales_the_loss_of_regularisation_pictures():
    prediction, target = torch.randn(3, *SHAPE), torch.randn(3, *SHAPE)
    errors = (prediction - target).square().mean(dim=(1, 2, 3))
    is_reg = torch.tensor([False, True, False])
    found = weighted_loss(
        prediction,
        target,
        torch.tensor([10, 500, 900]),
        SCHEDULE,
        LossConfig(prior_loss_weight=0.25),
        is_reg,
    )
    torch.testing.assert_close(found, (errors * torch.tensor([1.0, 0.25, 1.0])).mean())


def test_the_loss_weight_of_a_sample_enters_the_mean_over_all_samples():
    prediction, target = torch.randn(3, *SHAPE), torch.randn(3, *SHAPE)
    weights = torch.tensor([2.0, 0.5, 0.0])
    loss = LossConfig(min_snr_gamma=5.0, prior_loss_weight=0.25)
    timesteps = torch.tensor([10, 500, 900])
    errors = (prediction.double() - target.double()).square().mean(dim=(1, 2, 3))
    signal = SCHEDULE.alphas_cumprod.double()[timesteps]
    snr = signal / (1 - signal)
    expected = (
        errors * (5.0 / snr).clamp(max=1.0) * weights * torch.tensor([1.0, 0.25, 1.0])
    ).mean()
    is_reg = torch.tensor([False, True, False])
    given = (prediction, target, timesteps, SCHEDULE, loss, is_reg)
    found = weighted_loss(*given, sample_weights=weights)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    ones = weighted_loss(*given, sample_weights=torch.ones(3))
    assert torch.equal(ones, weighted_loss(*given))


def test_half_precision_predictions_are_compared_in_float32():
    prediction = torch.full((1, *SHAPE), 300.0, dtype=torch.float16)
    loss = weighted_loss(
        prediction, torch.zeros(1, *SHAPE), torch.tensor([5]), SCHEDULE, LossConfig()
    )
    assert float(loss) == 90000.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_snr_gamma": 0}, "min_snr_gamma is 0"),
        ({"noise_offset": -1}, "noise_offset is -1"),
        ({"ip_noise_gamma": -0.1}, "ip_noise_gamma is -0.1"),
        ({"prior_loss_weight": -1.0}, "prior_loss_weight is -1.0, expected 0 or more"),
        ({"multires_noise_discount": 0.0}, "multires_noise_discount is 0.0"),
        ({"huber_c": 0.0}, "huber_c is 0.0, expected a number above 0"),
        ({"loss_type": "mse"}, "use one of l2, l1, huber, smooth_l1"),
        ({"huber_c": 0.2}, "set loss_type to one of huber, smooth_l1"),
        ({"huber_schedule": "cosine"}, "use one of snr, exponential, constant"),
        ({"adaptive_noise_scale": 0.1}, "adaptive_noise_scale is 0.1, but noise_offset is 0"),
        ({"noise_offset_random_strength": True}, "set noise_offset above 0"),
        ({"ip_noise_gamma_random_strength": True}, "set ip_noise_gamma above 0"),
        (
            {"v_pred_like_loss": 0.5, "scale_v_pred_loss_like_noise_pred": True},
            "remove one of them",
        ),
    ],
)
def test_loss_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ConfigError) as caught:
        LossConfig(**options)
    assert said in str(caught.value)


def test_an_unknown_prediction_type_is_refused():
    with pytest.raises(ConfigError, match="predicts 'sample'"):
        NoiseSchedule(SCHEDULE.alphas_cumprod, "sample")
