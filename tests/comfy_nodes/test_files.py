"""The nodes Load, Apply, Inspect, Save and Compare Grid on stand-ins of ComfyUI's models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from comfy_nodes.apply import Apply
from comfy_nodes.compare_grid import CompareGrid
from comfy_nodes.host.adapter import Adapter, content_hash
from comfy_nodes.host.patches import targets_of
from comfy_nodes.inspect_file import Inspect
from comfy_nodes.load import Load
from comfy_nodes.lora_list import LoraList, found_files
from comfy_nodes.sampling import Sampling
from comfy_nodes.save import Save
from lycoris_ext.algorithms import algorithm_names
from lycoris_ext.errors import ConfigError, DataError, FormatError
from lycoris_ext.formats import AdapterState, load_adapter, save_adapter
from lycoris_ext.network import Network, NetworkConfig, build_network
from tests.comfy_nodes.models import Patcher, load_models
from tests.comfy_nodes.stand_ins import Host, InterruptProcessingException

HOW: dict[str, Any] = {
    "steps": 1,
    "cfg": 1.0,
    "sampler_name": "euler",
    "scheduler": "normal",
    "width": 32,
    "height": 32,
}


def perturbed(models: Any, **options: Any) -> Network:
    """Return a network over ComfyUI's modules whose update is not zero."""
    config = NetworkConfig(**{"network_dim": 2, "conv_dim": 2, "network_alpha": 2.0, **options})
    with torch.inference_mode(False):
        network = build_network(targets_of(models[0], models[1]), config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer in network.layers.values():
            for tensor in filter(torch.is_floating_point, layer.tensors().values()):
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return network


def written(host: Host, models: Any, name: str = "a", **options: Any) -> Network:
    network = perturbed(models, **options)
    state = network.adapter_state({"modelspec.trigger_phrase": "my_word"}, torch.float32)
    save_adapter(host.loras / f"{name}.safetensors", state)
    return network


def merged(network: Network, multiplier: float) -> dict[str, tuple[Tensor, Tensor | None]]:
    """Return weight and bias of every layer with the update merged into them."""
    with torch.inference_mode():
        network.merge(multiplier)
        found = {
            key: (site.module.weight.clone(), None if site.module.bias is None else
                  site.module.bias.clone())
            for key, site in network.sites.items()
        }  # fmt: skip
        network.unmerge()
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"algo": "loha"},
        {"algo": "locon", "dora_wd": True, "wd_on_output": True},
        {"algo": "full"},
        {"algo": "ia3", "preset": "full-lin"},
        {"algo": "diag-oft", "network_dim": 4, "conv_dim": 4},
        {"algo": "tlora"},
    ],
    ids=lambda options: options["algo"],
)
def test_apply_gives_the_weights_that_merging_the_network_gives(host: Host, options: Any) -> None:
    models = load_models()
    network = written(host, models, **options)
    wanted = merged(network, 0.7)
    lora, path = Load().read("a.safetensors")
    assert Path(path).name == "a.safetensors" and isinstance(lora, Adapter)
    model, clip, report = Apply().apply(models[0], lora, 0.7, models[1], 0.7, unique_id="4")
    assert "every key of the file was matched" in report and host.shown == [("4", report)]
    for key, site in network.sites.items():
        patcher, start = (
            (model, "diffusion_model.")
            if site.target == "unet"
            else (clip.patcher, "clip_l.transformer.")
        )
        weight, bias = wanted[key]
        torch.testing.assert_close(patcher.patched(f"{start}{site.path}.weight"), weight)
        if bias is not None:
            torch.testing.assert_close(patcher.patched(f"{start}{site.path}.bias"), bias)
    assert not models[0].patches, "the connected model is left alone"


def test_stacked_adapters_give_the_same_weights_in_any_order(host: Host) -> None:
    models = load_models()
    loras = [
        Adapter(perturbed(models, algo="loha").adapter_state(dtype=None).tensors, {}, "loha"),
        Adapter(
            perturbed(models, algo="lora", dora_wd=True).adapter_state(dtype=None).tensors, {}, "d"
        ),
    ]
    results = []
    for order in (loras, loras[::-1]):
        model = models[0]
        for lora in order:
            model = Apply().apply(model, lora, 1.0)[0]
        results.append(model.patched("diffusion_model.input_blocks.1.1.to_k.weight"))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("options", [{"algo": "tlora"}, {"algo": "lora", "dora_wd": True}])
def test_patches_that_are_loaded_when_apply_runs_do_not_change_its_result(
    host: Host, options: Any
) -> None:
    """In the second column of a grid the patches of the first are still in the weights."""
    models = load_models()
    lora = Adapter(perturbed(models, **options).adapter_state(dtype=None).tensors, {}, "a")
    key = "diffusion_model.input_blocks.1.1.to_k.weight"
    first = Apply().apply(models[0], lora, 1.0)[0].patched(key)
    assert models[0].backup, "the module is patched"
    second = Apply().apply(models[0], lora, 1.0)[0].patched(key)
    torch.testing.assert_close(second, first)


@pytest.mark.parametrize("name", algorithm_names())
def test_apply_puts_every_algorithm_on_model_and_clip(host: Host, name: str) -> None:
    models = load_models()
    options = {"algo": name, "network_dim": 4, "conv_dim": 4}
    if name == "norm":
        options |= {"algo": "lora", "train_norm": True}
    network = written(host, models, **options)
    wanted = merged(network, 1.0)
    model, clip, _ = Apply().apply(models[0], Load().read("a.safetensors")[0], 1.0, models[1])
    for key, site in network.sites.items():
        in_model = site.target == "unet"
        patcher = model if in_model else clip.patcher
        path = f"{'diffusion_model.' if in_model else 'clip_l.transformer.'}{site.path}"
        for kind, tensor in zip(("weight", "bias"), wanted[key], strict=True):
            if tensor is not None:
                found = patcher.patched(f"{path}.{kind}")
                torch.testing.assert_close(found, tensor, rtol=1e-4, atol=1e-5)


def test_the_report_says_that_comfyuis_own_loader_ignores_block_weights(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_lora(tensors: Any, names: Any, log_missing: bool) -> dict[str, Any]:
        return {"diffusion_model.out.2.weight": tensors["what.is.this"]}

    monkeypatch.setattr(sys.modules["comfy.lora"], "load_lora", load_lora)
    model, lora = load_models()[0], Adapter({"what.is.this": torch.ones(1)}, {}, "a")
    _, _, report = Apply().apply(model, lora, 1.0, block_weights="OUT=0")
    assert "1 key read by ComfyUI's own loader, WITHOUT block_weights" in report
    _, _, report = Apply().apply(model, lora, 1.0)
    assert "1 key read by ComfyUI's own loader\n" in report


def test_block_weights_scale_layers_and_a_strength_of_0_adds_no_patches(host: Host) -> None:
    models = load_models()
    lora = Adapter(perturbed(models).adapter_state(dtype=None).tensors, {}, "a")

    def changed(patcher: Patcher) -> set[str]:
        return {key.removesuffix(".weight") for key in patcher.patches}

    model, clip, _ = Apply().apply(models[0], lora, 1.0, models[1], 0.0, "IN00=0, BASE=0.5")
    assert "diffusion_model.input_blocks.0.0" not in changed(model) and not clip.patcher.patches
    assert "diffusion_model.input_blocks.1.1.to_k" in changed(model)
    (half, _), *_ = model.patches["diffusion_model.out.2.weight"]
    assert half == 0.5


def test_the_report_lists_keys_that_nobody_knows(host: Host) -> None:
    models = load_models()
    tensors = perturbed(models).adapter_state(dtype=None).tensors
    strange = {"lora_unet_mars.lora_up.weight": torch.ones(2, 2), "what.is.this": torch.ones(1)}
    _, _, report = Apply().apply(models[0], Adapter(tensors | strange, {}, "a"), 1.0, models[1])
    assert "2 keys NOT MATCHED:" in report
    assert "lora_unet_mars.lora_up.weight" in report and "what.is.this" in report


def test_a_file_for_another_model_is_refused(host: Host) -> None:
    models = load_models()
    strange = {"lora_unet_mars.lora_up.weight": torch.ones(2, 2)}
    with pytest.raises(FormatError, match="none of the 1 tensors fits the connected model") as told:
        Apply().apply(models[0], Adapter(strange, {}, "mars"), 1.0)
    assert told.value.where == "mars"
    key = "lora_unet_conv_in"
    shapes = {f"{key}.lora_up.weight": torch.ones(9, 2, 1, 1), f"{key}.alpha": torch.tensor(1.0)}
    shapes[f"{key}.lora_down.weight"] = torch.ones(2, 4, 3, 3)
    with pytest.raises(FormatError, match="connect the family of models"):
        Apply().apply(models[0], Adapter(shapes, {}, "wide"), 1.0)


def test_inspect_shows_algorithm_rank_and_trigger_words(host: Host) -> None:
    written(host, load_models())
    (text,) = Inspect().tell("a.safetensors", unique_id="1")["result"]
    assert "loha, rank 2, alpha 2" in text and "my_word" in text
    path = str(host.loras / "a.safetensors")
    assert Inspect().tell("(connected path)", path)["result"] == (text,)
    with pytest.raises(DataError, match="there is no such adapter"):
        Inspect().tell("b.safetensors")


def test_save_writes_the_chosen_name_dtype_and_metadata(host: Host) -> None:
    models = load_models()
    written(host, models)
    lora, _ = Load().read("a.safetensors")
    words = {"trigger_words": "one, two", "comment": "mine"}
    (path,) = Save().save(lora, "people/b", "fp16", False, **words)["result"]
    assert Path(path) == host.loras / "people" / "b.safetensors"
    state = load_adapter(path)
    assert set(state.tensors) == set(lora)
    assert {t.dtype for t in state.tensors.values()} == {torch.float16}
    assert state.metadata["modelspec.trigger_phrase"] == "one, two"
    assert state.metadata["ss_training_comment"] == "mine"
    assert Path(Save().save(lora, "a", "as it is", False)["result"][0]).name == "a-2.safetensors"
    assert Path(Save().save(lora, "a", "as it is", True)["result"][0]).name == "a.safetensors"
    with pytest.raises(DataError, match="the adapter is empty"):
        Save().save({}, "c", "as it is", False)


def test_save_keeps_an_alpha_that_half_precision_cannot_hold(host: Host) -> None:
    models = load_models()
    state = perturbed(models, network_alpha=100_000.0).adapter_state()
    for model in (None, models[0]):
        kept = Adapter({k: t for k, t in state.tensors.items() if "unet" in k}, {}, "a")
        (path,) = Save().save(kept, "a", "fp16", True, model=model)["result"]
        found = load_adapter(path).tensors
        assert {float(t) for key, t in found.items() if key.endswith(".alpha")} == {100_000.0}


def test_save_writes_kohyas_keys(host: Host) -> None:
    """The adapter is as ComfyUI's own trainer leaves it: under its names, kernels flattened."""
    models = load_models()
    tensors = {}
    for path, up, down in (
        ("input_blocks.0.0", (8, 2, 1, 1), (2, 4, 3, 3)),
        ("input_blocks.1.1.to_k", (16, 2), (2, 16)),
    ):
        key = f"diffusion_model.{path}"
        tensors[f"{key}.lora_up.weight"] = torch.randn(up).flatten(1)
        tensors[f"{key}.lora_down.weight"] = torch.randn(down).flatten(1)
        tensors[f"{key}.alpha"] = torch.tensor(2.0)
    (path,) = Save().save(tensors, "kohya", "float", False, model=models[0])["result"]
    found = load_adapter(path).tensors
    assert found["lora_unet_conv_in.lora_down.weight"].shape == (2, 4, 3, 3)
    assert found["lora_unet_conv_in.lora_up.weight"].shape == (8, 2, 1, 1)
    assert "lora_unet_down_blocks_0_attentions_0_to_k.lora_up.weight" in found


def test_save_as_it_is_keeps_the_commonest_dtype(host: Host) -> None:
    models = load_models()
    state = perturbed(models).adapter_state(dtype=torch.float16)
    alphas = {key: t.float() for key, t in state.tensors.items() if key.endswith("alpha")}
    lora = Adapter({**state.tensors, **alphas}, {}, "half")
    (path,) = Save().save(lora, "half", "as it is", False, models[0], models[1])["result"]
    found = load_adapter(path).tensors
    assert {t.dtype for key, t in found.items() if key not in alphas} == {torch.float16}


def compare(models: Any, files: str = "", **given: Any) -> Any:
    """Draw a grid of the files that a text names, with the node for its list and for sampling."""
    how = {name: given.pop(name) for name in ("steps", "cfg", "sampler_name", "scheduler")}
    (listed,) = LoraList().collect(files) if files else ((),)
    (sampling,) = Sampling().collect(**how)
    return CompareGrid().compare(*models, checkpoints=listed, sampling=sampling, **given)


def test_a_grid_has_adapters_across_and_prompts_down(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def remember(cells: Any, rows: Any, columns: Any, **more: Any) -> Image.Image:
        seen.update(rows=rows, columns=columns, **more)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr("lycoris_ext.grids.output.comparison_grid", remember)
    models = load_models()
    written(host, models, "run-step-1")
    written(host, models, "run-step-2", algo="lora")
    lora = Adapter(dict(Load().read("run-step-1.safetensors")[0]), {}, "connected")
    given = {"prompts": "a cat\na dog", "seeds": "1-2", "strengths": "0.5, 0.5:1", **HOW}
    grid, pictures = compare(models, files="run-step-*", **given, adapter=lora)
    names = ("connected", "run-step-1", "run-step-2")
    adapted = [f"{name} at {strength}" for name in names for strength in ("0.5", "0.5:1")]
    assert seen["columns"] == ["without adapter", *adapted]
    assert seen["rows"] == [
        f"{prompt}\nseed {seed}" for prompt in ("a cat", "a dog") for seed in "12"
    ]
    assert seen["subtitle"] == "euler, scheduler normal, 1 step, CFG 1, 32x32"
    assert pictures.shape == (4 * (1 + 3 * 2), 32, 32, 3) and grid.shape[0] == 1
    (first, second, *_) = rows = pictures.reshape(4, 7, 32, 32, 3)
    assert not torch.equal(first[0], second[0]), "another seed"
    assert not torch.equal(first[0], first[1]), "an adapter"
    assert not torch.equal(first[1], first[2]), "another strength"
    assert torch.equal(rows[:, 1:3], rows[:, 3:5]), "the connected one is the first file"
    steps = [done for done, total, _ in host.progress if total == 5 * 4]
    assert steps == sorted(steps) and steps[-1] == 5 * 4, "what is the same is drawn once"
    assert sum(shown is not None for _, _, shown in host.progress) == 5 * 4
    without = compare(models, files="", **given, adapter=lora, without_adapter=False, title="T")
    assert without[1].shape[0] == 2 * 4 and seen["title"] == "T" and seen["groups"] == ()


def test_adapters_of_one_name_are_shown_with_their_hashes_and_equal_ones_once(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(
        "lycoris_ext.grids.output.comparison_grid",
        lambda cells, rows, columns, **_: seen.append(columns) or Image.new("RGB", (8, 8)),
    )
    models = load_models()
    written(host, models, "a")
    lora, _ = Load().read("a.safetensors")
    other = Adapter(perturbed(models, algo="lora").adapter_state(dtype=None).tensors, {}, "a")
    given = {"prompts": "a cat", "seeds": "1", "strengths": "1", "files": "a", **HOW}
    compare(models, **given, adapter=lora)
    compare(models, **given, adapter=lora, adapter_2=other)
    assert seen[0] == ["without adapter", "a"]
    digests = [content_hash(each)[:6] for each in (lora, other)]
    assert seen[1] == ["without adapter", *(f"a ({digest})" for digest in digests)]


def test_cancel_stops_a_grid(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, management = sys.modules["comfy.sample"], sys.modules["comfy.model_management"]
    sample = sampler.sample

    def interrupted(*arguments: Any, **more: Any) -> Tensor:
        management.throw_exception_if_processing_interrupted()  # as ComfyUI's samplers do
        return sample(*arguments, **more)

    monkeypatch.setattr(sampler, "sample", interrupted)
    models = load_models()
    written(host, models)
    given = {"prompts": "a cat", "seeds": "1, 2, 3", "strengths": "1", "files": "a", **HOW}
    host.cancel_at = (4, 6)
    with pytest.raises(InterruptProcessingException):
        compare(models, **given)
    assert host.progress[-1][:2] == (4, 6)


def test_a_damaged_file_is_refused_before_anything_is_drawn(host: Host) -> None:
    models = load_models()
    written(host, models)
    (host.loras / "b.safetensors").write_bytes(b"nothing")
    given = {"prompts": "a cat", "seeds": "1", "strengths": "1", "files": "a\nb", **HOW}
    with pytest.raises(FormatError, match=r"b\.safetensors"):
        compare(models, **given)
    assert host.progress == []


def test_the_grid_node_refuses_inputs_that_choose_nothing_or_make_no_sense(host: Host) -> None:
    models = load_models()
    written(host, models)
    given = {"prompts": "", "seeds": "1", "strengths": "1", "files": "", **HOW}
    for changed, reason in (
        ({"files": ""}, "no adapter is given"),
        ({"files": "gone-*"}, "no adapter file has this name"),
        ({"files": "a", "strengths": "much"}, "'much' is no strength"),
        ({"files": "a", "strengths": "1, nan"}, "a strength is nan"),
        ({"files": "a", "strengths": " , "}, "strengths: nothing is chosen"),
        ({"files": "a", "seeds": "1.5"}, "'1.5' is no seed"),
        ({"files": "a", "seeds": "-1"}, "'-1' is no seed"),
        ({"files": "a", "seeds": f"{2**64}"}, f"the seed is {2**64}"),
        ({"files": "a", "seeds": " , "}, "'' is no seed"),
        ({"files": "a", "prompts": "x\nx"}, "tests: x stands twice"),
    ):
        with pytest.raises((ConfigError, DataError), match=reason):
            compare(models, **{**given, **changed})
    compare(models, **{**given, "files": "a"})  # no prompt draws what comes


def test_files_are_found_by_name_and_pattern_with_steps_in_order(host: Host) -> None:
    for name in ("b", "a-step-2", "a-step-10"):
        save_adapter(host.loras / f"{name}.safetensors", AdapterState({"x.alpha": torch.ones(1)}))
    assert found_files("b\na-step-*\nb.safetensors") == [
        "b.safetensors",
        "a-step-2.safetensors",
        "a-step-10.safetensors",
    ]
    before = LoraList.IS_CHANGED(pattern="a-step-*")
    save_adapter(host.loras / "a-step-3.safetensors", AdapterState({"x.alpha": torch.ones(1)}))
    assert LoraList.IS_CHANGED(pattern="a-step-*") != before
