"""Files of cloneofsimo/lora number the layers in the order in which it goes through the model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from lycoris_ext.errors import FormatError
from lycoris_ext.formats import load_adapter, save_adapter
from lycoris_ext.formats.adapter_file import read_adapter_file
from lycoris_ext.formats.namings import HOSTS
from lycoris_ext.formats.summary import refuse_other_files, summarize
from lycoris_ext.models.quiet import quiet_loading
from lycoris_ext.network import load_network

Layers = list[tuple[str, nn.Module]]
ATTENTION = {"Attention", "CrossAttention"}
TARGETS = {
    "usual": ATTENTION | {"GEGLU"},
    "attention": ATTENTION,
    "with resnets": ATTENTION | {"GEGLU", "ResnetBlock2D"},
}


@pytest.fixture(scope="module")
def unet() -> Any:
    """A U-Net with the blocks of Stable Diffusion 1, narrow."""
    with quiet_loading():
        from diffusers import UNet2DConditionModel
    with torch.device("meta"):
        return UNet2DConditionModel(
            block_out_channels=(16, 24, 32, 32), cross_attention_dim=20, norm_num_groups=8
        )


@pytest.fixture(scope="module")
def text_encoder() -> Any:
    with quiet_loading():
        from transformers import CLIPTextConfig, CLIPTextModel
    sizes = {"hidden_size": 20, "intermediate_size": 24, "num_hidden_layers": 3}
    config = CLIPTextConfig(**sizes, num_attention_heads=2, vocab_size=9, bos_token_id=None,
                            eos_token_id=None)  # fmt: skip
    with torch.device("meta"):
        return CLIPTextModel(config)


def found_by_the_tool(model: nn.Module, classes: set[str]) -> Iterator[tuple[str, nn.Module]]:
    """Go through the modules as the tool does; yield the paths of what it adapts."""
    kinds = (nn.Linear, nn.Conv2d) if "ResnetBlock2D" in classes else (nn.Linear,)
    for path, ancestor in model.named_modules():
        if type(ancestor).__name__ in classes:
            for name, module in ancestor.named_modules():
                if isinstance(module, kinds):
                    yield f"{path}.{name}", module


def factors_of(layers: Layers) -> list[Tensor]:
    """Return up, down, up, down, ...: every layer with a rank and numbers of its own."""
    factors = []
    for number, (_, module) in enumerate(layers):
        weight, rank = module.weight, 1 + number % 3
        assert isinstance(weight, Tensor)
        ones = (1,) * (weight.ndim - 2)
        factors.append(torch.full((weight.shape[0], rank, *ones), float(number)))
        factors.append(torch.ones(rank, *weight.shape[1:]))
    return factors


def write(path: Path, models: dict[str, tuple[Layers, set[str]]], **words: Tensor) -> None:
    tensors, metadata = dict(words), dict.fromkeys(words, "<embed>")
    for model, (layers, classes) in models.items():
        metadata[model] = json.dumps(sorted(classes))
        for place, factor in enumerate(factors_of(layers)):
            tensors[f"{model}:{place // 2}:{('up', 'down')[place % 2]}"] = factor
            metadata[f"{model}:{place // 2}:rank"] = "4"
    safetensors.torch.save_file(tensors, path, metadata)


def check(found: dict[str, Tensor], model: str, layers: Layers) -> None:
    for number, (path, _) in enumerate(layers):
        up = found[f"{model}.{path}.lora_up.weight"]
        assert bool((up == number).all()) and up.shape[1] == 1 + number % 3, path


def reordered(unet: nn.Module) -> None:
    """Put the feed-forward before the second attention, as diffusers once did."""
    for module in unet.modules():
        if type(module).__name__ == "BasicTransformerBlock":
            names = ("attn1", "ff", "attn2")
            module._modules = {name: module._modules[name] for name in names}


@pytest.mark.parametrize("order", ["new", "old"])
@pytest.mark.parametrize("case", TARGETS)
def test_the_numbered_layers_are_those_that_the_tool_adapts(
    case: str, order: str, unet: Any, text_encoder: Any, tmp_path: Path
) -> None:
    from copy import deepcopy

    model, classes = deepcopy(unet), TARGETS[case]
    if order == "old":
        reordered(model)
    layers = list(found_by_the_tool(model, classes))
    texts = list(found_by_the_tool(text_encoder, {"CLIPAttention"}))
    path = tmp_path / "a.safetensors"
    write(path, {"unet": (layers, classes), "text_encoder": (texts, {"CLIPAttention"})})
    state = load_adapter(path)
    assert len(state.tensors) == 2 * (len(layers) + len(texts))
    check(state.tensors, "unet", layers)
    found = {key.replace("text_model.", ""): tensor for key, tensor in state.tensors.items()}
    check(found, "text_encoder", [(p.replace("text_model.", ""), m) for p, m in texts])
    assert not state.metadata
    network = load_network(path, {"unet": unet, "text_encoder": text_encoder})
    assert {layer.plan.scale for layer in network.layers.values()} == {1.0}


@pytest.mark.parametrize("case", TARGETS)
def test_lists_of_torch_are_read_for_each_model(
    case: str, unet: Any, text_encoder: Any, tmp_path: Path
) -> None:
    layers = list(found_by_the_tool(unet, TARGETS[case]))
    texts = list(found_by_the_tool(text_encoder, {"CLIPAttention"}))
    for model, name, found in (("unet", "a.pt", layers), ("text_encoder", "a.te.pt", texts)):
        torch.save([nn.Parameter(factor) for factor in factors_of(found)], tmp_path / name)
        tensors = load_adapter(tmp_path / name).tensors
        starts = {key.partition(".")[0] for key in tensors}
        assert starts == {model} and len(tensors) == 2 * len(found)
    check(load_adapter(tmp_path / "a.pt").tensors, "unet", layers)


def test_words_in_such_a_file_are_kept_as_bundled_embeddings(
    text_encoder: Any, tmp_path: Path
) -> None:
    texts = list(found_by_the_tool(text_encoder, {"CLIPAttention"}))
    words = {"<s1>": torch.ones(20), "<s2>": torch.ones(1, 20)}
    write(tmp_path / "a.safetensors", {"text_encoder": (texts, {"CLIPAttention"})}, **words)
    assert summarize(tmp_path / "a.safetensors").embeddings == ("<s1>", "<s2>")
    state = load_adapter(tmp_path / "a.safetensors")
    save_adapter(tmp_path / "b", state)
    again = load_adapter(tmp_path / "b")
    assert again.embeddings().keys() == {"bundle_emb.<s1>.clip_l", "bundle_emb.<s2>.clip_l"}
    assert again.layers().keys() == state.layers().keys() and not again.metadata.get("<s1>")


def test_info_describes_the_names_and_the_metadata_that_stand_in_the_file(
    unet: Any, text_encoder: Any, tmp_path: Path
) -> None:
    layers = list(found_by_the_tool(unet, TARGETS["usual"]))
    texts = list(found_by_the_tool(text_encoder, {"CLIPAttention"}))
    models = {"unet": (layers, TARGETS["usual"]), "text_encoder": (texts, {"CLIPAttention"})}
    write(tmp_path / "a.safetensors", models, **{"<s1>": torch.ones(20)})
    torch.save([nn.Parameter(factor) for factor in factors_of(layers)], tmp_path / "a.pt")
    found = summarize(tmp_path / "a.safetensors")
    for summary in (found, summarize(tmp_path / "a.pt")):
        assert summary.keys == ("cloneofsimo/lora",)
        note, *hosts = summary.misread_by
        assert "numbers instead of names" in note and "kohya's names" in note
        assert all("leaves out" in told for told in hosts)
        assert len(hosts) == (len(HOSTS) if summary is found else 0)  # lists were not measured
    assert found.modules == {"unet": len(layers), "text_encoder": len(texts)}
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert found.metadata == file.metadata() and found.metadata["<s1>"] == "<embed>"


def written(tmp_path: Path, tensors: dict[str, Tensor], **metadata: str) -> Path:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(tensors, path, metadata or None)
    return path


PAIR = {"unet:0:up": torch.ones(4, 1), "unet:0:down": torch.ones(1, 4)}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (PAIR, "numbers 1 layer of the unet, which are not those of Stable Diffusion"),
        ({**PAIR, "unet:2:up": torch.ones(4, 1)}, "have gaps in their numbers"),
        ({"unet:0:up": torch.ones(4, 1)}, "lack a factor"),
        ({**PAIR, "unet:1:up": torch.ones(())}, "'unet:1:up' is no matrix"),
        ({**PAIR, "x": torch.ones(2, 2)}, "holds 'x' beside numbered layers"),
        ({"0": torch.ones(4, 1), "1": torch.ones(1, 4)}, "numbers 1 layer of the text_encoder"),
        ({"0": torch.ones(4, 1)}, "lack a factor"),
        ({"0": torch.ones(())}, "is no matrix"),
    ],
)
def test_numbers_that_are_no_layers_of_stable_diffusion_are_refused(
    tensors: dict[str, Tensor], message: str, tmp_path: Path
) -> None:
    path = written(tmp_path, tensors)
    read_adapter_file(path, refuse_other_files)  # the keys are those of an adapter
    with pytest.raises(FormatError, match=message) as caught:
        load_adapter(path)
    assert str(path) in str(caught.value)


def test_metadata_that_contradict_the_number_of_layers_are_refused(
    unet: Any, tmp_path: Path
) -> None:
    layers = list(found_by_the_tool(unet, TARGETS["usual"]))
    write(tmp_path / "a", {"unet": (layers, ATTENTION)})
    with pytest.raises(FormatError, match="numbers 144 layers"):
        load_adapter(tmp_path / "a")
    write(tmp_path / "a", {"unet": (layers, TARGETS["usual"])})
    tensors = safetensors.torch.load_file(tmp_path / "a")
    assert len(load_adapter(written(tmp_path, tensors, unet="[")).tensors) == 288
