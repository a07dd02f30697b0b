"""A picture depends on its spec and its adapters, and on nothing else."""

from __future__ import annotations

import pytest
import torch
from PIL import ImageChops

from lycoris_ext.errors import (
    ConfigError,
    DataError,
    DivergedError,
    EnvironmentFault,
    FormatError,
)
from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.sampling.adapters import AdapterUse, adapters_applied, refuse_unreadable
from lycoris_ext.sampling.draw import draw
from lycoris_ext.sampling.sample import sample_pictures
from lycoris_ext.sampling.samplers import SAMPLERS, SD_SCRIPTS, build_sampler
from lycoris_ext.sampling.specs import PromptSpec
from tests.tiny_pipeline import MAX_TOKENS, PICTURE_SIZE, loud_adapter, tiny_pipeline


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return tiny_pipeline(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def adapter(pipeline, tmp_path_factory):
    return loud_adapter(pipeline, tmp_path_factory.mktemp("adapters") / "loud.safetensors")


def spec(seed, prompt="a cat", **options):
    return PromptSpec(prompt, seed=seed, steps=options.pop("steps", 3), **options)


def difference(first, second):
    """Return the largest difference of two pictures in any channel, in levels of 255."""
    return max(high for _, high in ImageChops.difference(first, second).getextrema())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_gives_the_same_picture_for_the_same_seed(pipeline, sampler):
    first, second, other = sample_pictures(
        pipeline, [spec(1, sampler=sampler), spec(1, sampler=sampler), spec(2, sampler=sampler)]
    )
    assert first.size == (PICTURE_SIZE, PICTURE_SIZE)
    assert difference(first, second) <= 1
    assert difference(first, other) > 1


@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "DPM2 a", "DPM++ 2M SDE", "PLMS"])
def test_a_picture_depends_neither_on_batch_size_nor_neighbours_nor_order(pipeline, sampler):
    specs = [
        spec(5, sampler=sampler),
        spec(6, "dog", cfg_scale=1.0, sampler=sampler),
        spec(7, negative_prompt="red", steps=2),
        spec(8, cfg_scale=3.0, sampler=sampler),
        spec(9, width=40, height=24),
    ]
    together = sample_pictures(pipeline, specs, batch_size=4)
    alone = [sample_pictures(pipeline, [each], batch_size=1)[0] for each in specs]
    backwards = sample_pictures(pipeline, specs[::-1], batch_size=2)[::-1]
    for a, b, c in zip(together, alone, backwards, strict=True):
        assert difference(a, b) <= 1
        assert difference(a, c) <= 1
    assert together[4].size == (40, 24)


def test_a_long_prompt_is_read_to_its_end_and_changes_no_other_picture(pipeline):
    start = "cat " * (2 * MAX_TOKENS)
    prompts = [start + "dog", "a cat", start + "red", "red"]
    specs = [spec(5, prompt, cfg_scale=30.0) for prompt in prompts]
    specs.append(spec(5, "a cat", negative_prompt=start, cfg_scale=30.0))
    together = sample_pictures(pipeline, specs, batch_size=8)
    alone = [sample_pictures(pipeline, [each])[0] for each in specs]
    assert max(map(difference, together, alone)) <= 1
    assert difference(together[0], together[2]) > 1


def test_each_option_of_a_spec_changes_the_picture(pipeline):
    base = sample_pictures(pipeline, [spec(1)])[0]
    for other in (
        spec(1, "dog dog dog"),
        spec(1, negative_prompt="red"),
        spec(1, cfg_scale=1.0),
        spec(1, steps=4),
        spec(1, sampler="DDIM"),
    ):
        assert sample_pictures(pipeline, [other])[0].tobytes() != base.tobytes()
    assert sample_pictures(pipeline, [spec(1)], clip_skip=2)[0].tobytes() != base.tobytes()


def test_a_cfg_scale_of_1_ignores_the_negative_prompt(pipeline):
    plain, negative = sample_pictures(
        pipeline, [spec(1, cfg_scale=1.0), spec(1, cfg_scale=1.0, negative_prompt="red")], 1
    )
    assert difference(plain, negative) == 0


def test_sampling_leaves_torchs_random_state_alone(pipeline):
    before = torch.get_rng_state()
    sample_pictures(pipeline, [spec(1, sampler="Euler a"), spec(1)])
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_counts_every_call_of_the_denoiser(pipeline):
    seen = []
    specs = [spec(1), spec(2, steps=2), spec(3)]
    sample_pictures(pipeline, specs, 1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 8) for n in range(1, 9)]
    seen.clear()
    specs = [spec(1, sampler="DPM2"), spec(2)]
    sample_pictures(pipeline, specs, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 8) for n in range(1, 9)]  # 2 * 3 - 1 calls, and 3


def test_adapters_change_pictures_and_leave_no_trace(pipeline, adapter):
    bare = sample_pictures(pipeline, [spec(1)])[0]
    with adapters_applied(pipeline, [AdapterUse(adapter, 0.0)]):
        assert difference(sample_pictures(pipeline, [spec(1)])[0], bare) == 0
    with adapters_applied(pipeline, [AdapterUse(adapter)]) as loaded:
        changed = sample_pictures(pipeline, [spec(1)])[0]
        assert len(loaded[0].hash) == 64
    assert changed.tobytes() != bare.tobytes()
    with adapters_applied(pipeline, [AdapterUse(adapter, 0.25), AdapterUse(adapter, 0.75)]):
        assert difference(sample_pictures(pipeline, [spec(1)])[0], changed) <= 1
    assert difference(sample_pictures(pipeline, [spec(1)])[0], bare) == 0


def test_adapter_errors_leave_the_model_bare(pipeline, adapter, tmp_path):
    bare = sample_pictures(pipeline, [spec(1)])[0]
    uses = [AdapterUse(adapter), AdapterUse(tmp_path / "none.safetensors")]
    with pytest.raises(DataError, match=r"none.safetensors"), adapters_applied(pipeline, uses):
        pass
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    uses = [AdapterUse(adapter), AdapterUse(broken)]
    with pytest.raises(FormatError, match="broken"), adapters_applied(pipeline, uses):
        pass
    assert difference(sample_pictures(pipeline, [spec(1)])[0], bare) == 0


@pytest.mark.parametrize(
    ("text", "path", "strength"),
    [
        ("a.safetensors", "a.safetensors", 1.0),
        ("a.safetensors:0.8", "a.safetensors", 0.8),
        ("a.safetensors:-1", "a.safetensors", -1.0),
        ("C:\\loras\\a.safetensors", "C:\\loras\\a.safetensors", 1.0),
        ("C:\\loras\\a.safetensors:.5", "C:\\loras\\a.safetensors", 0.5),
    ],
)
def test_an_adapter_is_parsed_with_or_without_a_strength(text, path, strength):
    use = AdapterUse.parse(text)
    assert (str(use.path), use.strength) == (path, strength)


@pytest.mark.parametrize("strength", [101, -1e300])
def test_a_strength_that_overflows_any_weight_is_refused(strength):
    with pytest.raises(ConfigError, match="use a strength from -100 to 100"):
        AdapterUse.parse(f"a.safetensors:{strength}")


def test_a_picture_that_became_nan_is_told_with_its_adapters_and_never_black(pipeline, tmp_path):
    path = loud_adapter(pipeline, tmp_path / "mad.safetensors")
    state = load_adapter(path)
    mad = {k: t if k.endswith("alpha") else t.float() * 1e20 for k, t in state.tensors.items()}
    save_adapter(path, AdapterState(mad))
    assert any("which overflows" in note for note in refuse_unreadable([AdapterUse(path)]))
    sound, broken = draw(pipeline, [spec(1)]), draw(pipeline, [spec(1)], [AdapterUse(path, 0.5)])
    assert not sound[0].fault
    assert "NaN or infinite while it was denoised" in broken[0].fault
    assert "mad.safetensors at strength 0.5" in broken[0].fault
    assert "which overflows" in broken[0].fault
    with (
        adapters_applied(pipeline, [AdapterUse(path)]),
        pytest.raises(DivergedError, match="NaN or infinite"),
    ):
        sample_pictures(pipeline, [spec(1)])


def test_a_vae_that_returns_nan_is_told_from_an_adapter_that_does(pipeline, monkeypatch):
    decode = pipeline.decode_pixels
    monkeypatch.setattr(pipeline, "decode_pixels", lambda latents: decode(latents) * torch.nan)
    assert "the VAE turned it into NaN" in draw(pipeline, [spec(1)])[0].fault


@pytest.mark.parametrize("text", ["", ":0.5", "a:nan"])
def test_an_adapter_without_file_or_finite_strength_is_refused(text):
    with pytest.raises(ConfigError, match="is neither FILE nor FILE:STRENGTH"):
        AdapterUse.parse(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "Eular"}, "did you mean 'Euler'"),
        ({"steps": 0}, "0 denoising steps"),
        ({"seed": -1}, "seed is -1"),
        ({"cfg_scale": float("nan")}, "cfg_scale is nan"),
        ({"width": 0}, "width is 0"),
    ],
)
def test_wrong_options_of_a_spec_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        PromptSpec("a", **options)


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("dpm++ 2m karras", "DPM++ 2M Karras"),
        ("euler_a", "Euler a"),
        ("K_EULER", "Euler"),
        ("ddim", "DDIM"),
        ("pndm", "PLMS"),
        ("dpmsolver++", "DPM++ 2M"),
        ("dpm_2_a", "DPM2 a"),
    ],
)
def test_sampler_names_of_both_tools_are_known_in_any_case(given, known):
    assert PromptSpec("a", sampler=given).sampler == known


def test_every_sampler_of_sd_scripts_is_known():
    names = [  # the choices of its sample_sampler
        *("ddim", "pndm", "lms", "euler", "euler_a", "heun", "dpm_2", "dpm_2_a"),
        *("dpmsolver", "dpmsolver++", "dpmsingle"),
        *("k_lms", "k_euler", "k_euler_a", "k_dpm_2", "k_dpm_2_a"),
    ]
    assert list(SD_SCRIPTS) == names
    assert {PromptSpec("a", sampler=name).sampler for name in names} <= set(SAMPLERS)
    schedule = build_sampler(PromptSpec("a", sampler="dpmsolver").sampler, {}, 3)
    assert schedule.config.algorithm_type == "dpmsolver"


def test_a_sampler_that_needs_a_missing_package_names_it(monkeypatch):
    import diffusers

    def missing(**options):
        raise ImportError("LMSDiscreteScheduler requires\nthe scipy library")

    monkeypatch.setattr(diffusers, "LMSDiscreteScheduler", missing)
    with pytest.raises(EnvironmentFault, match="requires the scipy library") as caught:
        build_sampler("LMS", {}, 4)
    assert "use another sampler" in str(caught.value)


def test_more_steps_than_a_sampler_can_take_of_a_model_are_refused():
    for name in ("DDIM", "DDPM"):
        with pytest.raises(ConfigError, match=r"cannot draw with 11 steps of a model that .* 10\n"):
            build_sampler(name, {"num_train_timesteps": 10}, 11)


def test_zero_terminal_snr_starts_from_noise_alone():
    config = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    sampler = build_sampler("DDIM", config, 10)
    assert int(sampler.timesteps[0]) == 999
    assert float(sampler.alphas_cumprod[-1]) == 0.0
    assert sampler.config.prediction_type == "v_prediction"
    with pytest.raises(ConfigError, match="Heun cannot draw with zero terminal SNR"):
        build_sampler("Heun", config, 10)


def test_a_size_that_does_not_fit_the_base_is_refused(pipeline):
    with pytest.raises(ConfigError, match=r"width is 30 pixels, .* multiples of 4"):
        sample_pictures(pipeline, [spec(1, width=30)])
