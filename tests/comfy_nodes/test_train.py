"""Training through the nodes on stand-ins of ComfyUI's models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from comfy_nodes.dataset import Dataset, DatasetFolder, DatasetImages
from comfy_nodes.host.adapter import Adapter
from comfy_nodes.host.prompt import UNKNOWN, model_name
from comfy_nodes.network import Network
from comfy_nodes.optimizer import Optimizer
from comfy_nodes.train import Train
from lycoris_ext.errors import ConfigError, EnvironmentFault, MemoryFault
from lycoris_ext.formats import load_adapter
from lycoris_ext.network import load_network
from lycoris_ext.runs.events import read_events
from lycoris_ext.runs.state import load_state
from tests.comfy_nodes.models import (
    Dit,
    Flux,
    SpatialTransformer,
    load_models,
    sampling_of,
)
from tests.comfy_nodes.stand_ins import (
    DiagonalGaussianRegularizer,
    Host,
    InterruptProcessingException,
)

NETWORK = {"algo": "loha", "network_dim": 2, "network_alpha": 1.0, "conv_dim": 2, "preset": "full"}


def dataset(**more: Any) -> Dataset:
    options = {"resolution": 32, "train_batch_size": 2, "num_repeats": 1, "enable_bucket": False}
    return DatasetFolder().read("shapes", **options, **more)[0]


def train(models: Any, data: Dataset, network: dict[str, Any] = NETWORK, **more: Any) -> Any:
    """Run the node Train as ComfyUI does: in inference mode."""
    model, clip, vae = models
    given = {"output_name": "mine", "max_train_steps": 4, "seed": 1, "clip": clip, **more}
    rates = {"optimizer_type": "AdamW", "learning_rate": 0.05, "lr_scheduler": "constant"}
    with torch.inference_mode():
        return Train().train(
            model=model,
            vae=vae,
            network=Network().describe(**network)[0],
            dataset=data,
            optimizer=Optimizer().describe(**rates)[0],
            unique_id="7",
            **given,
        )


def steps(host: Host, name: str = "mine") -> list[int]:
    events = read_events(host.loras / f"{name}.events.jsonl")
    return [event["step"] for event in events if event["event"] == "step"]


def weights(models: Any) -> dict[str, Tensor]:
    model, clip, _ = models
    parts = {"model": model.model, "clip": clip.cond_stage_model}
    return {
        f"{part}.{name}": tensor.detach().clone()
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
    }


def test_the_train_node_writes_its_files_and_leaves_the_model_as_it_was(host: Host) -> None:
    models = load_models()
    before = weights(models)
    sampling = models[0].model.model_sampling
    answer = train(models, dataset(), save_every_n_steps=2)
    adapter, path, curve, samples, checkpoints = answer["result"]
    assert isinstance(adapter, Adapter) and adapter.name == "mine"
    assert Path(path) == host.loras / "mine.safetensors"
    assert curve.shape[0] == samples.shape[0] == 1 and curve.shape[3] == 3
    assert float(curve.min()) >= 0.0 and float(curve.max()) <= 1.0
    assert {key.partition(".")[0] for key in adapter} == {
        "lora_unet_conv_in",
        "lora_unet_conv_out",
        "lora_unet_time_embedding_linear_1",
        "lora_unet_down_blocks_0_attentions_0_proj_in",
        "lora_unet_down_blocks_0_attentions_0_proj_out",
        "lora_unet_down_blocks_0_attentions_0_to_k",
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
    }
    assert all(bool(t.any()) for key, t in adapter.items() if "w2_a" in key), "all were trained"
    assert adapter.metadata["ss_base_model_version"] == "sd_v1"
    assert (host.loras / "mine-step-2.safetensors").is_file()
    assert [found.stem for found in checkpoints] == ["mine-step-2", "mine"]
    after = weights(models)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert models[0].model.model_sampling is sampling
    changed = [name for name, m in models[0].model.named_modules() if "forward" in vars(m)]
    assert changed == [], "every forward is the class's own again"
    assert host.progress[-1][:2] == (4, 4)
    assert any("loss" in text for node, text in host.shown if node == "7")


def test_training_the_unet_only_adapts_no_clip_and_reads_each_caption_once(host: Host) -> None:
    models = load_models()
    answer = train(models, dataset(), {**NETWORK, "network_train_unet_only": True})
    assert not [key for key in answer["result"][0] if key.startswith("lora_te")]
    # Each caption was read once, and its parentheses are letters.
    assert len(models[1].read) == len(set(models[1].read))


def test_gradient_checkpointing_does_not_change_the_adapter(host: Host) -> None:
    plain = train(load_models(), dataset(), output_name="plain")["result"][0]
    again = train(load_models(), dataset(), output_name="again", gradient_checkpointing=True)
    assert all(torch.equal(plain[key], again["result"][0][key]) for key in plain)


def test_a_cancelled_run_is_saved_and_continued_exactly_by_the_same_workflow(host: Host) -> None:
    whole = train(load_models(), dataset(), output_name="whole")["result"][0]
    host.cancel_at = (2, 4)
    with pytest.raises(InterruptProcessingException):
        train(load_models(), dataset())
    assert steps(host) == [1, 2, 3], "Cancel came after the second, and ends with the third"
    done = steps(host)[-1]
    state = load_state(host.loras / "mine.state")
    assert state is not None and state.progress.step == done
    load_adapter(host.loras / f"mine-step-{done}.safetensors")
    host.cancel_at = None
    answer = train(load_models(), dataset())
    assert Path(answer["result"][1]).name == "mine.safetensors" and steps(host) == [1, 2, 3, 4]
    resumed = answer["result"][0]
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_a_changed_caption_starts_a_run_of_another_name(host: Host) -> None:
    host.cancel_at = (1, 4)
    with pytest.raises(InterruptProcessingException):
        train(load_models(), dataset())
    host.cancel_at = None
    (host.input / "shapes" / "2_shapes" / "00.txt").write_text("something else", encoding="utf-8")
    assert Path(train(load_models(), dataset())["result"][1]).stem == "mine-2"


def test_sample_pictures_are_saved_and_shown_and_do_not_change_the_adapter(host: Host) -> None:
    more = {"sample_every_n_steps": 2, "sample_prompts": "a cat\na dog", "sample_steps": 1}
    answer = train(load_models(), dataset(), **more)
    assert answer["result"][3].shape == (4, 32, 32, 3)
    names = sorted(path.name for path in (host.loras / "sample").iterdir())
    assert names == [f"mine-step-{step}-{number:02d}.png" for step in (2, 4) for number in (0, 1)]
    assert any(preview for _, _, preview in host.progress), "shown beside the progress bar"
    plain = train(load_models(), dataset(), output_name="plain")["result"][0]
    assert all(torch.equal(plain[key], answer["result"][0][key]) for key in plain)


def test_images_captions_and_conditionings_of_other_nodes_are_trained_on(host: Host) -> None:
    images = [torch.rand(2, 32, 32, 3), torch.rand(1, 40, 32, 3)]
    cut = {"resolution": [32], "train_batch_size": [1], "enable_bucket": [False]}
    encoded = [[[torch.randn(1, 3, 16), {"pooled_output": torch.randn(1, 16)}]]]
    data, summary = DatasetImages().read(images, [""], encoded, **cut)
    assert "3 pictures, 3 an epoch" in summary
    answer = train(load_models(), data, clip=None)
    assert not [key for key in answer["result"][0] if key.startswith("lora_te")]
    assert any("no CLIP is connected, so the model alone" in text for _, text in host.shown)
    data, _ = DatasetImages().read(images, ["one\ntwo\nthree"], **cut)
    models = load_models()
    train(models, data, output_name="texts")
    assert set(models[1].read) - {""} == {"one", "two", "three"}
    with pytest.raises(ConfigError, match="2 captions for 3 images"):
        DatasetImages().read(images, ["one", "two"], **cut)


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (
            RuntimeError("DefaultCPUAllocator: not enough memory"),
            MemoryFault,
            "gradient_checkpoint",
        ),
        (RuntimeError("a mistake"), RuntimeError, "a mistake"),
    ],
)
def test_an_error_leaves_the_model_as_it_was(
    host: Host, monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type, said: str
) -> None:
    models = load_models()
    before, sampling = weights(models), models[0].model.model_sampling

    def fail(self: Any, x: Tensor, context: Tensor) -> Tensor:
        raise error

    with monkeypatch.context() as patched, pytest.raises(raised, match=said):
        patched.setattr(SpatialTransformer, "forward", fail)
        train(models, dataset())
    after = weights(models)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert models[0].model.model_sampling is sampling
    modules = [*models[0].model.modules(), *models[1].cond_stage_model.modules()]
    assert not [m for m in modules if "forward" in vars(m) or m._forward_pre_hooks]
    assert type(models[2].first_stage_model.regularization) is DiagonalGaussianRegularizer
    train(models, dataset())


def test_wrong_cables_are_told_all_at_once_before_anything_is_encoded(host: Host) -> None:
    models = load_models()
    model, clip, vae = models
    vae.latent_channels = 16
    model.model.model_config.unet_config = {"context_dim": 1024}
    vae.encode = clip.encode_from_tokens = None  # nobody may call them
    with pytest.raises(ConfigError) as told:
        train(models, dataset())
    said = str(told.value)
    assert "makes latents of 16 channels, and the model reads 4" in said
    assert "gives 16 numbers for each token, and the model reads 1024" in said
    assert not list(host.loras.iterdir())


def test_patterns_that_fit_no_layer_are_told_before_anything_is_encoded(host: Host) -> None:
    models = load_models()
    models[2].encode = None
    with pytest.raises(ConfigError, match="the pattern 'nowhere' fits no layer"):
        train(models, dataset(), {**NETWORK, "exclude": "nowhere"})
    assert not list(host.loras.iterdir())


def test_the_optimizer_node_tells_what_train_would_refuse(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="no timestep lies between min_timestep 500"):
        Optimizer().describe(optimizer_type="AdamW", min_timestep=500, max_timestep=400)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(EnvironmentFault, match="bitsandbytes cannot be imported") as told:
        Optimizer().describe(optimizer_type="AdamW8bit")
    assert "lycoris-ext[" not in str(told.value)


def test_captions_without_a_connected_clip_are_refused(host: Host) -> None:
    with pytest.raises(ConfigError, match="no CLIP is connected, and the dataset has captions"):
        train(load_models(), dataset(), clip=None)


def test_the_text_encoder_alone_is_not_trained_without_a_clip(host: Host) -> None:
    encoded = Dataset(dataset().options, {"a": None})
    with pytest.raises(ConfigError, match='choose model under "train" on the Network node'):
        train(load_models(), encoded, {"train": "text encoder"}, clip=None)


def test_notes_on_the_node_name_widgets(host: Host) -> None:
    train(load_models(), dataset(), {**NETWORK, "algo": "lora", "dora_wd": True})
    (shown,) = [text for _, text in host.shown if "saved mine" in text]
    assert 'output channels ("DoRA of output channels")' in shown and "wd_on_output" not in shown


def test_an_unknown_family_is_saved_under_comfyuis_names_and_its_clip_is_refused(
    host: Host,
) -> None:
    models = load_models(Dit, Flux, "CONST")
    only = {**NETWORK, "network_train_unet_only": True}
    adapter = train(models, dataset(), only)["result"][0]
    assert {key.rpartition(".")[0].removesuffix(".lora_up") for key in adapter} == {
        "diffusion_model.img_in",
        "diffusion_model.double_blocks.0",
        "diffusion_model.final",
    }
    assert adapter.metadata["ss_base_model_version"] == "other"
    assert "modelspec.prediction_type" not in adapter.metadata  # it has no word for flow
    network = load_network(
        host.loras / "mine.safetensors", {"unet": models[0].model.diffusion_model}
    )
    assert len(network.layers) == 3
    with pytest.raises(ConfigError, match=r"only the text encoders of Stable Diffusion 1\.x, "):
        train(models, dataset(), output_name="text")


def test_a_velocity_model_of_an_unknown_family_is_saved_as_v_prediction(host: Host) -> None:
    only = {**NETWORK, "network_train_unet_only": True}
    adapter = train(load_models(Dit, Flux, "V_PREDICTION"), dataset(), only)["result"][0]
    assert adapter.metadata["ss_base_model_version"] == "other"
    assert adapter.metadata["modelspec.prediction_type"] == "v"


@pytest.mark.parametrize("zsnr", [False, True])
def test_the_file_says_which_prediction_was_trained(host: Host, zsnr: bool) -> None:
    models = load_models()
    models[0].add_object_patch("model_sampling", sampling_of("V_PREDICTION", zsnr))
    metadata = train(models, dataset())["result"][0].metadata
    assert metadata["ss_base_model_version"] == "sd_v1_v"
    assert metadata["modelspec.prediction_type"] == "v"
    assert metadata["ss_zero_terminal_snr"] == str(zsnr)
    plain = train(load_models(), dataset(), output_name="plain")["result"][0].metadata
    assert plain["modelspec.prediction_type"] == "epsilon"


@pytest.mark.parametrize("kind", ["EDM", "X0"])
def test_models_that_predict_neither_noise_velocity_nor_flow_are_refused(
    host: Host, kind: str
) -> None:
    with pytest.raises(ConfigError, match="are not trained here"):
        train(load_models(kind=kind), dataset())


def test_models_for_videos_are_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    models = load_models()
    monkeypatch.setattr(type(models[0].model.latent_format), "latent_dimensions", 3)
    with pytest.raises(ConfigError, match="only models for pictures can be trained"):
        train(models, dataset())


def test_network_weights_start_the_training_from_that_adapter(host: Host) -> None:
    train(load_models(), dataset(), output_name="first")
    start = load_adapter(host.loras / "first.safetensors").tensors
    more = {"network_weights": "first.safetensors", "max_train_steps": 1}
    adapter = train(load_models(), dataset(), output_name="second", **more)["result"][0]
    key = "lora_unet_conv_in.hada_w1_a"
    assert float((adapter[key] - start[key]).abs().max()) < 0.11, "one step of 0.05 away"


def test_the_models_name_is_found_in_the_workflow() -> None:
    prompt = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a\\b.safetensors"}},
        "2": {"class_type": "LoraLoader", "inputs": {"model": ["1", 0], "lora_name": "x"}},
        "3": {"class_type": "LycorisExtTrain", "inputs": {"model": ["2", 0]}},
        "4": {"class_type": "Loop", "inputs": {"model": ["4", 0]}},
    }
    assert model_name(prompt, "3") == "b.safetensors"
    assert model_name(prompt, "4") == model_name(None, None) == UNKNOWN
