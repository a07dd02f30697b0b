"""Runs that start from adapters: network_weights are trained on, base_weights are merged."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch

from lycoris_ext.errors import ConfigError, DataError, FormatError
from lycoris_ext.formats import load_adapter, save_adapter
from lycoris_ext.models import ModelConfig, load_pipeline
from lycoris_ext.network import NetworkConfig, build_network, load_network
from lycoris_ext.runs.state import load_state
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.pipeline_base import PipelineBase
from lycoris_ext.training.start import read_start_weights
from lycoris_ext.training.start_config import StartConfig


@pytest.fixture
def adapter(tiny_base, tmp_path):
    """Return a function that writes an adapter without a zero in it and returns its path."""

    def write(name="first", seed=0, dtype=torch.float32, **options):
        targets = load_pipeline(
            ModelConfig(pretrained_model_name_or_path=str(tiny_base)), "cpu"
        ).targets()
        config = NetworkConfig(**{"network_dim": 4, "preset": "attn-only", **options})
        network = build_network(targets, config)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        path = tmp_path / f"{name}.safetensors"
        save_adapter(path, network.adapter_state(dtype=dtype))
        return path

    return write


def test_network_weights_start_the_training_from_that_file(run, adapter):
    path = adapter()
    result = run(network_weights=str(path), learning_rate=1e-7, save_precision="float")
    before, after = load_adapter(path).tensors, load_adapter(result).tensors
    assert set(before) == set(after)
    for key, tensor in after.items():
        torch.testing.assert_close(tensor, before[key], atol=1e-5, rtol=0)
    assert any(not torch.equal(after[key], before[key]) for key in after)


def test_dim_from_weights_builds_the_network_of_the_file(run, adapter):
    path = adapter(algo="locon", network_dim=3, network_alpha=2.0, conv_dim=2, preset="full")
    result = run(network_weights=str(path), dim_from_weights=True, dropout=0.1)
    before, after = load_adapter(path), load_adapter(result)
    assert {k: tuple(t.shape) for k, t in after.tensors.items()} == {
        k: tuple(t.shape) for k, t in before.tensors.items()
    }
    assert any(not torch.equal(after.tensors[k].float(), t) for k, t in before.tensors.items())
    assert (after.metadata["ss_network_dim"], after.metadata["ss_network_alpha"]) == ("3", "2.0")
    arguments = json.loads(after.metadata["ss_network_args"])
    assert (arguments["algo"], arguments["conv_dim"]) == ("locon", "2")
    run(network_weights=str(path), dim_from_weights=True, dropout=0.1, max_train_steps=5)


@pytest.mark.parametrize(
    ("option", "rate"),
    [
        ("network_train_unet_only", "text_encoder_lr"),
        ("network_train_text_encoder_only", "unet_lr"),
    ],
)
def test_dim_from_weights_trains_no_model_that_is_left_out(run, adapter, option, rate):
    path = adapter()
    with pytest.raises(ConfigError, match=option):
        run(network_weights=str(path), dim_from_weights=True, **{option: True})
    result = run(network_weights=str(path), dim_from_weights=True, **{rate: 0.0})
    before, after = load_adapter(path).tensors, load_adapter(result).tensors
    kept = {key for key in before if torch.equal(before[key].half(), after[key].half())}
    model = "lora_te" if rate == "text_encoder_lr" else "lora_unet"
    assert {key for key in before if key.startswith(model)} <= kept < set(before)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network_dim": 8}, "has rank 4, the config asks for 8"),
        ({"network_alpha": 4.0}, "has alpha 1.0, the config asks for 4.0"),
        ({"algo": "lora"}, "has algorithm loha, the config asks for lora"),
        ({"preset": "full"}, "the file lacks 57 layers of the model"),
    ],
)
def test_network_weights_that_contradict_the_config_are_refused(run, adapter, changes, said):
    with pytest.raises(FormatError) as caught:
        run(network_weights=str(adapter()), **changes)
    assert said in str(caught.value) and "first.safetensors" in str(caught.value)
    assert "dim_from_weights = true" in str(caught.value)


def test_an_alpha_that_fp16_has_rounded_does_not_contradict_the_config(run, adapter):
    path = adapter(network_dim=5, rs_lora=True, dtype=torch.float16)
    run(network_weights=str(path), network_dim=5, rs_lora=True)


def test_base_weights_are_merged_into_the_base_and_not_into_the_result(
    run, adapter, tiny_base, tmp_path
):
    first, second = adapter("first"), adapter("second", seed=1)
    config = StartConfig(base_weights=(str(first), str(second)), base_weights_multiplier=(0.5,))
    model = ModelConfig(pretrained_model_name_or_path=str(tiny_base))
    pipeline = PipelineBase(TrainConfig(model=model))
    key = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    weight = load_network(load_adapter(first), pipeline.targets()).sites[key].module.weight
    before = weight.detach().clone()
    lines = list(read_start_weights(config).merge_into(pipeline))
    assert lines[0] == "merged first.safetensors at strength 0.5 into the base"
    assert lines[1] == "merged second.safetensors at strength 1 into the base"
    expected = before.clone()
    for path, strength in ((first, 0.5), (second, 1.0)):
        layer = load_network(load_adapter(path), pipeline.targets()).layers[key]
        expected += strength * layer.delta().dense().reshape(before.shape)
    torch.testing.assert_close(weight.detach(), expected)

    plain = run(output_dir=str(tmp_path / "plain"))
    merged = run(base_weights=[str(first)])
    ours, theirs = load_adapter(merged).tensors, load_adapter(plain).tensors
    assert set(ours) == set(theirs)
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_is_not_continued_from_other_weights(run, adapter):
    path = adapter()
    result = run(base_weights=[str(path)])
    assert load_state(result.with_name("test.state")).progress.start
    with pytest.raises(DataError, match="not those this run was started with"):
        run(base_weights=[str(adapter("other", seed=4))], max_train_steps=6)
    with pytest.raises(ConfigError, match="base_weights_multiplier was"):
        run(base_weights=[str(path)], base_weights_multiplier=[0.5], max_train_steps=6)
    path.rename(path.with_name("moved.safetensors"))
    run(base_weights=[str(path.with_name("moved.safetensors"))], max_train_steps=6)


def test_missing_network_weights_are_refused_before_a_folder_is_made(run, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        run(network_weights=str(tmp_path / "none.safetensors"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dim_from_weights": True}, "network_weights is not set"),
        ({"base_weights_multiplier": (1.0,)}, "1 strength is given for 0 files"),
        (
            {"base_weights": ("a",), "base_weights_multiplier": (float("nan"),)},
            "expected a finite number",
        ),
    ],
)
def test_wrong_options_of_the_start_are_refused(options, said):
    with pytest.raises(ConfigError) as caught:
        StartConfig(**options)
    assert said in str(caught.value)


@pytest.mark.parametrize("option", ["network_weights", "base_weights"])
def test_files_that_cannot_be_read_are_refused_before_the_base_is_loaded(
    run, tmp_path, option, monkeypatch
):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the base was loaded")

    monkeypatch.setattr(PipelineBase, "load", refuse)
    path = tmp_path / "first.safetensors"
    contents = {
        "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\nsize 10\n",
        "no algorithm stores": safetensors.torch.save({"lora_unet_x.a": torch.ones(2)}),
        "a textual inversion": safetensors.torch.save({"emb_params": torch.ones(1, 768)}),
        "rank 0": safetensors.torch.save({"lora_unet_x.lora_up.weight": torch.ones(2, 0),
                                          "lora_unet_x.lora_down.weight": torch.ones(0, 2)}),
    }  # fmt: skip
    for said, content in contents.items():
        path.write_bytes(content)
        named = {option: str(path) if option == "network_weights" else [str(path)]}
        with pytest.raises(FormatError) as caught:
            run(**named)
        text = str(caught.value)
        assert said in text and option in text and "first.safetensors" in text
        assert "dim_from_weights" not in text


def test_network_weights_of_another_model_are_not_advised_to_be_built_as_they_are(run, tmp_path):
    path = tmp_path / "first.safetensors"
    layer = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = {f"{layer}.lora_up.weight": torch.ones(8, 2)}
    safetensors.torch.save_file({**tensors, f"{layer}.lora_down.weight": torch.ones(2, 4)}, path)
    with pytest.raises(FormatError, match="no place for 1 layer") as caught:
        run(network_weights=str(path))
    assert "dim_from_weights" not in str(caught.value) and "first.safetens" in str(caught.value)
