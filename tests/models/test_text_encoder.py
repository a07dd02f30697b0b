"""OpenCLIP's names compared with diffusers', and what SDXL reads of its text encoders."""

from __future__ import annotations

import json

import pytest
import torch

from lycoris_ext.errors import ConfigError, DataError
from lycoris_ext.models import ModelConfig, load_pipeline
from lycoris_ext.models.text_encoder import from_open_clip
from lycoris_ext.network import NetworkConfig, build_network
from tests.single_files import open_clip
from tests.tiny_pipeline import MAX_TOKENS, tiny_pipeline, write_tiny_folder


@pytest.fixture(scope="module")
def xl(tmp_path_factory):
    return tiny_pipeline(tmp_path_factory.mktemp("xl"), family="sdxl")


def test_open_clip_weights_get_the_names_that_diffusers_gives_them(xl):
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    encoder = xl.text_encoder_2
    stored = open_clip(encoder.state_dict())
    ours = from_open_clip(stored)
    # diffusers splits by the projection's width, which is the hidden one in real models.
    square = {**stored, "text_projection": torch.zeros(48, 48)}
    theirs = convert_open_clip_checkpoint(
        encoder, {f"x.{key}": value for key, value in square.items()}, prefix="x."
    )
    bare = {key.removeprefix("text_model."): value for key, value in theirs.items()}
    assert ours.keys() == bare.keys()
    del ours["text_projection.weight"], bare["text_projection.weight"]
    assert all(torch.equal(ours[key], bare[key]) for key in ours)


def test_xl_reads_both_encoders_before_their_last_layers(xl):
    tokens = [
        tokenizer(["cat"], padding="max_length", max_length=MAX_TOKENS, return_tensors="pt")
        for tokenizer in (xl.tokenizer, xl.tokenizer_2)
    ]
    with torch.no_grad():
        text = xl.encode_text(["cat"])
        first = xl.text_encoder(tokens[0].input_ids, output_hidden_states=True)
        second = xl.text_encoder_2(tokens[1].input_ids, output_hidden_states=True)
    assert text.states.shape == (1, MAX_TOKENS, 32 + 48)
    assert torch.equal(text.states[..., :32], first.hidden_states[2])
    assert torch.equal(text.states[..., 32:], second.hidden_states[2])
    assert torch.equal(text.pooled, second.text_embeds)
    assert text.pooled.shape == (1, 24)


def test_xl_reads_the_same_layer_at_clip_skip_1_and_2_and_refuses_3(xl):
    one, two = xl.encode_text(["cat"], 1), xl.encode_text(["cat"], 2)
    assert torch.equal(one.states, two.states)
    with pytest.raises(
        ConfigError, match=r"clip_skip is 3, and .* XL always reads the layer befor"
    ):
        xl.encode_text(["cat"], 3)


def test_clip_skip_is_checked_when_the_model_is_loaded(tmp_path):
    with pytest.raises(ConfigError, match=r"clip_skip is 4, and the text encoder .* has 3 layers"):
        tiny_pipeline(tmp_path, clip_skip=4)


def test_gradients_reach_adapters_in_both_text_encoders_of_xl(xl):
    config = NetworkConfig(algo="lora", network_dim=2)
    network = build_network(xl.targets(), config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1)
    with network.injected():
        text = xl.encode_text(["cat"])
        (text.states.square().mean() + text.pooled.square().mean()).backward()
    reached = {
        site.target
        for key, site in network.sites.items()
        if any(
            p.grad is not None and p.grad.abs().sum() > 0 for p in network.layers[key].parameters()
        )
    }
    assert reached == {"text_encoder", "text_encoder_2"}


def test_xl_predicts_something_else_for_other_sizes_and_crops(xl):
    latents, timesteps = torch.zeros(2, 4, 8, 8), torch.tensor([3, 700])
    with torch.no_grad():
        text = xl.encode_text(["cat", "dog"])
        square, wide = (32, 32, 0, 0, 32, 32), (32, 64, 0, 16, 32, 32)
        one = xl.predict(latents, timesteps, text, [square, square])
        other = xl.predict(latents, timesteps, text, [square, wide])
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[1], other[1])


@pytest.mark.parametrize("key", ["_attn_implementation_internal", "attn_implementation"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_config_that_names_code_on_the_internet_is_refused(tmp_path, key, nested):
    folder = write_tiny_folder(tmp_path)
    path = folder / "text_encoder" / "config.json"
    stored = json.loads(path.read_text("utf-8"))
    for value in ("sdpa", None):  # what real files may have
        path.write_text(json.dumps({**stored, key: value}), encoding="utf-8")
        load_pipeline(ModelConfig(pretrained_model_name_or_path=str(folder)), "cpu", torch.float32)
    bad = {key: "somebody/some-kernels"}
    bad = {"text_config": [bad]} if nested else bad
    path.write_text(json.dumps({**stored, **bad}), encoding="utf-8")
    with pytest.raises(DataError, match="names code on the internet: 'somebody/some-kernels'"):
        load_pipeline(ModelConfig(pretrained_model_name_or_path=str(folder)), "cpu", torch.float32)
