"""The model that ComfyUI has connected, as the base of a training, on stand-ins of its classes."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from comfy_nodes.dataset import DatasetFolder
from comfy_nodes.host.base_model import ConnectedModel
from tests.comfy_nodes.models import (
    Dit,
    Flux,
    LatentFormat,
    load_models,
    sampling_of,
)
from tests.comfy_nodes.stand_ins import Host


class AddOne:
    """A patch of another node, which adds 1 to a weight."""

    def calculate_weight(self, weight: Tensor, *others: Any) -> Tensor:
        return weight + 1.0


def connected(kind: str = "EPS", **more: Any) -> ConnectedModel:
    model, clip, vae = load_models(kind=kind)
    return ConnectedModel(model, clip, vae, **{"trains_text": False, "precision": "no", **more})


@pytest.mark.parametrize(
    ("kind", "expected"), [("EPS", "epsilon"), ("V_PREDICTION", "v_prediction"), ("CONST", "flow")]
)
def test_predict_returns_the_raw_output_at_the_timestep_that_comfyui_gives(
    host: Host, kind: str, expected: str
) -> None:
    base = connected(kind)
    schedule = base.schedule()
    assert schedule.prediction_type == expected and schedule.steps == 1000
    noisy, timesteps = torch.randn(2, 4, 4, 4), torch.tensor([10, 900])
    texts = base.encode_text(["a", "b"])
    with torch.inference_mode(False), base.prepared(False):
        found = base.predict(noisy, timesteps, texts, [(32, 32, 0, 0, 32, 32)] * 2)
        told = timesteps.float()
        if kind == "CONST":
            told = base.model.model.model_sampling.timestep(timesteps)
        states = torch.cat([states for states, _ in texts])
        wanted = base.model.model.diffusion_model(noisy, told, states)
    assert torch.equal(found, wanted)
    signal, noise = schedule.mix(torch.arange(1000))
    sigmas = base.model.model.model_sampling.sigmas
    level = noise if kind == "CONST" else noise / signal
    torch.testing.assert_close(level.flatten(), sigmas, rtol=1e-4, atol=1e-5)


def test_sizes_and_crops_reach_the_model(host: Host) -> None:
    base = connected()
    with torch.inference_mode(False), base.prepared(False):
        base.predict(
            torch.randn(1, 4, 4, 4),
            torch.tensor([1]),
            base.encode_text(["a"]),
            [(64, 48, 3, 5, 32, 24)],
        )
    told = base.model.model.told[-1]
    names = ("height", "width", "crop_h", "crop_w", "target_height", "target_width")
    assert [told[name] for name in names] == [64, 48, 3, 5, 32, 24]


def test_encode_pixels_returns_mean_and_standard_deviation_of_the_latents(host: Host) -> None:
    base = connected()
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    mean, spread = base.encode_pixels(pixels)
    with torch.no_grad():
        moments = base.vae.first_stage_model.encoder(pixels)
    wanted, log_variance = moments.chunk(2, dim=1)
    torch.testing.assert_close(mean, (wanted - 0.1) * 0.18215)
    torch.testing.assert_close(spread, (0.5 * log_variance).exp() * 0.18215, rtol=1e-4, atol=1e-6)
    assert type(base.vae.first_stage_model.regularization).__name__.startswith("Diagonal")


def test_a_vae_that_computes_with_the_sampled_latents_is_left_as_it_is(host: Host) -> None:
    """Flux.2's has a batch norm there, for as many channels as it samples."""
    base, pixels = connected(), torch.rand(1, 3, 32, 32) * 2 - 1
    mean, _ = base.encode_pixels(pixels)
    base.vae.first_stage_model.bn = torch.nn.BatchNorm2d(16)
    found, spread = base.encode_pixels(pixels)
    torch.testing.assert_close(found, mean)
    assert not spread.any()


def test_a_picture_that_comfyui_encodes_in_tiles_has_mean_and_deviation_too(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so if the memory of the GPU does not suffice for the whole picture."""
    base, pixels = connected(), torch.rand(1, 3, 32, 32) * 2 - 1
    whole, encode = base.encode_pixels(pixels), base.vae.encode

    def in_tiles(images: Tensor) -> Tensor:
        latent = torch.zeros(1, base.vae.latent_channels, 4, 4)
        for start in (0, 16):
            latent[..., start // 8 : start // 8 + 2, :] += encode(images[:, start : start + 16])
        return latent

    monkeypatch.setattr(base.vae, "encode", in_tiles)
    for found, wanted in zip(base.encode_pixels(pixels), whole, strict=True):
        torch.testing.assert_close(found, wanted)
    assert base.vae.latent_channels == 4


def test_parentheses_in_captions_are_escaped_for_the_text_encoder(host: Host) -> None:
    base = connected()
    base.encode_text(["saber (fate)"])
    assert base.clip.read[-1:] == ["saber \\(fate\\)"]


@pytest.mark.parametrize("length", [75, 150, 225])
def test_a_long_caption_is_read_up_to_max_token_length(host: Host, length: int) -> None:
    base = connected(max_token_length=length)
    short, whole, longer = base.encode_text(["a" * 40, "a" * length, "a" * 300])
    assert short[0].shape[1] == 3  # as many pieces as it needs, as ComfyUI does with prompts
    assert torch.equal(whole[0], longer[0])
    assert whole[0].shape[1] == 3 * length // 75
    limit = base.token_limit()
    assert limit is not None and limit.tokens == length
    assert limit.count("a hat, " * 30) == 90


def test_only_stable_diffusions_text_encoders_have_a_limit(host: Host) -> None:
    model, clip, vae = load_models(Dit, Flux)
    base = ConnectedModel(model, clip, vae, trains_text=False, precision="no", max_token_length=75)
    (whole,) = base.encode_text(["a" * 300])
    assert whole[0].shape[1] == 3 * 4
    assert base.token_limit() is None


def test_an_unset_resolution_is_the_usual_one_of_the_family(host: Host) -> None:
    assert connected().picture_size() == 512
    model, clip, vae = load_models(Dit, Flux)
    base = ConnectedModel(model, clip, vae, trains_text=False, precision="no")
    assert base.picture_size() == 1024
    kind, settings = DatasetFolder.INPUT_TYPES()["required"]["resolution"]
    assert (kind, settings["default"], settings["min"]) == ("INT", 0, 0)
    options = {"train_batch_size": 2, "num_repeats": 1, "enable_bucket": False}
    for number, wanted in ((0, {}), (768, {"resolution": 768})):
        read, _ = DatasetFolder().read("shapes", resolution=number, **options)
        assert {n: v for n, v in read.options.items() if n == "resolution"} == wanted


def test_a_changed_weight_changes_the_fingerprint_of_the_model(host: Host) -> None:
    one, same, other = connected(), connected(), connected()
    with torch.no_grad(), torch.inference_mode():
        other.model.model.diffusion_model.time_embed[0].bias[0] += 1
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()


def test_a_lora_node_before_ours_changes_the_fingerprint(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its patches are in the weights only while ComfyUI has the model loaded."""
    plain, base, loaded = connected().fingerprint(), connected(), []
    base.model.add_patches({"diffusion_model.out.2.weight": AddOne()})
    management = sys.modules["comfy.model_management"]
    load = management.load_models_gpu

    def count(patchers: Any, force_full_load: bool, **options: Any) -> None:
        loaded.append((patchers, force_full_load))
        load(patchers, **options)

    monkeypatch.setattr(management, "load_models_gpu", count)
    assert base.fingerprint() == base.fingerprint() != plain
    wanted = [([base.model], True), ([base.clip.patcher], False)]
    assert loaded == wanted, "once, one after the other, and a whole text encoder only if it must"


@pytest.mark.parametrize("part", ["model", "clip"])
def test_patches_that_another_node_left_loaded_do_not_change_the_fingerprint(
    host: Host, part: str
) -> None:
    plain, (model, clip, vae) = connected().fingerprint(), load_models()
    layer = "text_model.encoder.layers.0.self_attn.q_proj"
    patcher, key = {
        "model": (model.clone(), "diffusion_model.out.2.weight"),
        "clip": (clip.clone().patcher, f"clip_l.transformer.{layer}.weight"),
    }[part]
    patcher.add_patches({key: AddOne()})
    patcher.load()
    assert patcher.backup, "the module is patched"
    base = ConnectedModel(model, clip, vae, trains_text=False, precision="no")
    assert base.fingerprint() == plain


@pytest.mark.parametrize("left", ["V_PREDICTION", "EDM"])
def test_what_was_sampled_before_does_not_decide_what_the_model_predicts(
    host: Host, left: str
) -> None:
    model, clip, vae = load_models()
    other = model.clone()
    other.add_object_patch("model_sampling", sampling_of(left))
    other.load()
    assert type(model.model.model_sampling).__mro__[1].__name__ != "_Eps", "left by the sampler"
    base = ConnectedModel(model, clip, vae, trains_text=False, precision="no")
    assert base.kind == "sd1" and base.schedule().prediction_type == "epsilon"
    assert base.fingerprint() == connected().fingerprint()


def test_another_sampling_is_another_fingerprint(host: Host) -> None:
    model, clip, vae = load_models()
    model.add_object_patch("model_sampling", sampling_of("V_PREDICTION"))
    base = ConnectedModel(model, clip, vae, trains_text=False, precision="no")
    assert base.kind == "sd1_v" and base.fingerprint() != connected().fingerprint()


def test_a_model_with_another_sampling_is_trained_raw_after_its_previews_too(host: Host) -> None:
    """Loading the clone again puts its own sampling back into the shared module."""
    model, clip, vae = load_models()
    patched = sampling_of("V_PREDICTION")
    model.add_object_patch("model_sampling", patched)
    base = ConnectedModel(model, clip, vae, trains_text=False, precision="no")
    with torch.inference_mode(False), base.prepared(False):
        raw = base.model.model.model_sampling
        with base.sampling():
            assert base.model.model.model_sampling is patched
        assert base.model.model.model_sampling is raw is not patched
        base.encode_text(["read while the model is prepared"])
        assert base.model.model.model_sampling is raw
    assert base.model.model.model_sampling is patched


def test_latents_are_scaled_as_the_connected_clone_says(host: Host) -> None:
    class Doubled(LatentFormat):
        def process_in(self, latent: Tensor) -> Tensor:
            return 2.0 * latent

    model, clip, vae = load_models()
    other = model.clone()
    other.add_object_patch("latent_format", Doubled())
    other.load()
    pixels = torch.zeros(1, 3, 32, 32)
    plain = ConnectedModel(model, clip, vae, trains_text=False, precision="no")
    torch.testing.assert_close(plain.encode_pixels(pixels), connected().encode_pixels(pixels))
    model.load()
    doubled = ConnectedModel(other, clip, vae, trains_text=False, precision="no")
    with torch.no_grad():
        mean, _ = vae.first_stage_model.encoder(pixels).chunk(2, dim=1)
    torch.testing.assert_close(doubled.encode_pixels(pixels)[0], 2.0 * mean)
