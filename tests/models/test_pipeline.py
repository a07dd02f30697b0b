"""What a pipeline makes of captions, pixels and latents."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from lycoris_ext.errors import ConfigError
from lycoris_ext.network import NetworkConfig, build_network
from tests.tiny_pipeline import LATENT_FACTOR, MAX_TOKENS, PICTURE_SIZE, tiny_pipeline


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return tiny_pipeline(tmp_path_factory.mktemp("tiny"))


def test_a_pipeline_tells_its_picture_size_tokens_and_latent_channels(pipeline):
    assert pipeline.latent_factor == LATENT_FACTOR
    assert pipeline.picture_size == PICTURE_SIZE
    assert pipeline.max_tokens == MAX_TOKENS
    assert pipeline.latent_channels == 4


def test_encode_text_pads_and_cuts_to_the_encoders_length(pipeline):
    text = pipeline.encode_text(["a cat", "dog " * 100, ""])
    assert text.states.shape == (3, MAX_TOKENS, 32)
    assert text.pooled is None
    assert torch.equal(text.states[0], pipeline.encode_text(["a cat"]).states[0])


def test_clip_skip_counts_from_the_end(pipeline):
    tokens = pipeline.tokenizer(
        ["a cat"], padding="max_length", max_length=MAX_TOKENS, return_tensors="pt"
    ).input_ids
    output = pipeline.text_encoder(tokens, output_hidden_states=True)
    encoder = getattr(pipeline.text_encoder, "text_model", pipeline.text_encoder)
    for skip in (1, 2, 3):
        expected = encoder.final_layer_norm(output.hidden_states[-skip])
        assert torch.equal(pipeline.encode_text(["a cat"], skip).states, expected)
    assert torch.equal(pipeline.encode_text(["a cat"], 1).states, output.last_hidden_state)


def test_a_clip_skip_beyond_the_layers_is_refused(pipeline):
    with pytest.raises(ConfigError, match=r"clip_skip is 4, and the text encoder .* has 3 layers"):
        pipeline.encode_text(["a cat"], 4)


def test_encode_text_takes_the_clip_skip_of_the_config_by_default(pipeline, tmp_path):
    other = tiny_pipeline(tmp_path, clip_skip=2)
    assert torch.equal(
        other.encode_text(["a cat"]).states, pipeline.encode_text(["a cat"], 2).states
    )


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_gradients_reach_adapters_in_the_text_encoder(pipeline, clip_skip):
    network = build_network(pipeline.targets(), NetworkConfig(algo="lora", network_dim=2))
    with network.injected():
        pipeline.encode_text(["a cat"], clip_skip).states.square().mean().backward()
    first = next(layer for key, layer in network.layers.items() if key.startswith("lora_te"))
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in first.parameters())


def test_encode_posterior_returns_scaled_mean_and_standard_deviation(pipeline):
    pixels = torch.rand(2, 3, PICTURE_SIZE, PICTURE_SIZE) * 2 - 1
    mean, std = pipeline.encode_posterior(pixels)
    side = PICTURE_SIZE // LATENT_FACTOR
    assert mean.shape == std.shape == (2, 4, side, side)
    posterior, scale = pipeline.vae.encode(pixels).latent_dist, pipeline.vae.config.scaling_factor
    assert torch.allclose(mean, posterior.mean * scale)
    assert torch.allclose(std, posterior.std * scale)


def test_decode_latents_returns_rgb_pictures_of_full_size(pipeline):
    side = PICTURE_SIZE // LATENT_FACTOR
    pictures = pipeline.decode_latents(torch.randn(2, 4, side, side))
    assert [picture.size for picture in pictures] == [(PICTURE_SIZE, PICTURE_SIZE)] * 2
    assert all(isinstance(picture, Image.Image) and picture.mode == "RGB" for picture in pictures)


def test_pictures_keep_their_colours_and_orientation(pipeline, monkeypatch):
    class Decoded:
        sample = torch.full((1, 3, 2, 4), -1.0)

    Decoded.sample[0, 0, :, 3] = 1.0  # red on the right
    monkeypatch.setattr(pipeline.vae, "decode", lambda latents: Decoded)
    picture = pipeline.decode_latents(torch.zeros(1, 4, 1, 1))[0]
    assert picture.size == (4, 2)
    assert picture.getpixel((3, 1)) == (255, 0, 0)
    assert picture.getpixel((0, 1)) == (0, 0, 0)
