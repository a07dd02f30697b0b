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
from comfy_nodes.host.base_model import ConnectedModel
from comfy_nodes.host.prompt import UNKNOWN, model_name
from comfy_nodes.network import Network
from comfy_nodes.optimizer import Optimizer
from comfy_nodes.train import Train
from lycoris_ext.errors import ConfigError, MemoryFault
from lycoris_ext.formats import load_adapter
from lycoris_ext.network import load_network
from lycoris_ext.runs.events import read_events
from lycoris_ext.runs.state import load_state
from tests.comfy_nodes.models import (
    DiagonalGaussianRegularization,
    Dit,
    Flux,
    SpatialTransformer,
    load_models,
)
from tests.comfy_nodes.stand_ins import Host, InterruptProcessingException

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
    adapter, path, curve, samples = answer["result"]
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


def test_a_taken_name_is_numbered_overwritten_or_continued_as_chosen(host: Host) -> None:
    def name(**more: Any) -> str:
        return Path(train(load_models(), dataset(), **more)["result"][1]).stem

    assert [name(), name(), name(when_it_exists="new name")] == ["mine", "mine-2", "mine-3"]
    assert name(when_it_exists="overwrite") == "mine"
    with pytest.raises(ConfigError, match="this run is finished at step 4, and 4 are asked"):
        name(when_it_exists="continue")
    assert name(when_it_exists="continue", max_train_steps=6) == "mine"
    assert steps(host) == [1, 2, 3, 4, 5, 6]


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
    data, _ = DatasetImages().read(images, ["one\ntwo\nthree"], **cut)
    models = load_models()
    train(models, data, output_name="texts")
    assert set(models[1].read) == {"one", "two", "three"}
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
    assert type(models[2].first_stage_model.regularization) is DiagonalGaussianRegularization
    train(models, dataset())


def test_captions_without_a_connected_clip_are_refused(host: Host) -> None:
    with pytest.raises(ConfigError, match="no CLIP is connected, and the dataset has captions"):
        train(load_models(), dataset(), clip=None)


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


def test_parentheses_in_captions_are_escaped_for_the_text_encoder(host: Host) -> None:
    base = connected()
    base.encode_text(["saber (fate)"])
    assert base.clip.read == ["saber \\(fate\\)"]


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


def test_the_models_name_is_found_in_the_workflow() -> None:
    prompt = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a\\b.safetensors"}},
        "2": {"class_type": "LoraLoader", "inputs": {"model": ["1", 0], "lora_name": "x"}},
        "3": {"class_type": "LycorisExtTrain", "inputs": {"model": ["2", 0]}},
        "4": {"class_type": "Loop", "inputs": {"model": ["4", 0]}},
    }
    assert model_name(prompt, "3") == "b.safetensors"
    assert model_name(prompt, "4") == model_name(None, None) == UNKNOWN
