"""Files of other programs, and models of other number formats, in the node Apply."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from comfy_nodes.apply import Apply
from comfy_nodes.host.adapter import Adapter
from comfy_nodes.host.gradients import own_tensors
from lycoris_ext.errors import FormatError
from tests.comfy_nodes.models import load_models
from tests.comfy_nodes.packed import PackedTensor, pack, unpack
from tests.comfy_nodes.stand_ins import Host
from tests.comfy_nodes.test_files import merged, perturbed
from tests.comfy_nodes.test_train import dataset, train

#: Our key of a layer -> its path in ComfyUI's model, in diffusers' model.
LAYERS = {
    "lora_unet_conv_in": ("input_blocks.0.0", "conv_in"),
    "lora_unet_down_blocks_0_attentions_0_to_k": (
        "input_blocks.1.1.to_k",
        "down_blocks.0.attentions.0.to_k",
    ),
}
NEEDS_WEIGHT = [
    {"algo": "lora", "dora_wd": True},
    {"algo": "lora", "dora_wd": True, "wd_on_output": True},
    {"algo": "diag-oft", "network_dim": 4, "conv_dim": 4},
    {"algo": "boft", "network_dim": 4, "conv_dim": 4},
    {"algo": "ia3"},
    {"algo": "glora"},
    {"algo": "tlora"},
    {"algo": "loha"},
]
ids = {"ids": lambda options: " ".join(map(str, options.values()))}


def weights_of(models: Any, network: Any, strength: float = 1.0) -> dict[str, Tensor]:
    """Return the merged weight of each layer of the U-Net by its name in ComfyUI."""
    wanted = merged(network, strength)
    return {
        f"diffusion_model.{site.path}.weight": wanted[key][0]
        for key, site in network.sites.items()
        if site.target == "unet"
    }


def of_diffusers(network: Any) -> dict[str, Tensor]:
    """Return a LoRA's tensors under the names with which diffusers saves PEFT's DoRA."""
    names = {
        "lora_up.weight": "lora.up.weight",
        "lora_down.weight": "lora.down.weight",
        "dora_scale": "lora_magnitude_vector",
    }
    found = {}
    for key, tensor in network.adapter_state(dtype=torch.float32).tensors.items():
        layer, _, name = key.partition(".")
        if layer in LAYERS and name in names:
            flat = tensor.reshape(-1) if name == "dora_scale" else tensor
            found[f"unet.{LAYERS[layer][1]}.{names[name]}"] = flat
    return found


def test_a_dora_of_peft_under_diffusers_names_is_applied(host: Host) -> None:
    models = load_models()
    network = perturbed(models, algo="lora", dora_wd=True, wd_on_output=True)
    tensors = of_diffusers(network)
    assert len(tensors) == 6
    model, _, report = Apply().apply(models[0], Adapter(tensors, {}, "peft"), 1.0)
    assert "2 layers of the model" in report and "every key of the file was matched" in report
    wanted = weights_of(models, network)
    for path, _ in LAYERS.values():
        key = f"diffusion_model.{path}.weight"
        torch.testing.assert_close(model.patched(key), wanted[key])


def test_a_file_of_comfyuis_own_trainer_is_applied_with_its_biases(host: Host) -> None:
    models = load_models()
    key = "diffusion_model.input_blocks.1.1.to_k"
    tensors = {
        f"{key}.lora_up.weight": torch.randn(16, 2),
        f"{key}.lora_down.weight": torch.randn(2, 16),
        f"{key}.alpha": torch.tensor(1.0),
        f"{key}.diff_b": torch.randn(16),
    }
    model, _, report = Apply().apply(models[0], Adapter(tensors, {}, "native"), 1.0)
    assert "every key of the file was matched" in report and "ComfyUI's own loader" not in report
    to_k = models[0].model.diffusion_model.input_blocks[1][1].to_k
    weight, bias = to_k.weight.clone(), to_k.bias.clone()
    update = tensors[f"{key}.lora_up.weight"] @ tensors[f"{key}.lora_down.weight"] * 0.5
    torch.testing.assert_close(model.patched(f"{key}.weight"), weight + update)
    torch.testing.assert_close(model.patched(f"{key}.bias"), bias + tensors[f"{key}.diff_b"])
    # Block weights work on it, too: all of it goes through our own patches.
    half = Apply().apply(models[0], Adapter(tensors, {}, "native"), 1.0, block_weights="IN01=0.5")
    torch.testing.assert_close(half[0].patched(f"{key}.weight"), weight + 0.5 * update)


def test_the_true_reason_is_told_for_an_oft_of_peft(host: Host) -> None:
    key = "base_model.model.down_blocks.0.attentions.0.to_k.oft_R.weight"
    lora = Adapter({key: torch.zeros(4, 6)}, {}, "oft")
    with pytest.raises(FormatError, match="OFT, which rotates the inputs") as told:
        Apply().apply(load_models()[0], lora, 1.0)
    assert "merge_and_unload" in str(told.value) and "oft" in str(told.value.where)


def test_the_reason_is_told_for_a_layer_of_the_model_that_nobody_can_read(host: Host) -> None:
    key = "lora_unet_down_blocks_0_attentions_0_to_k"
    half = Adapter({f"{key}.lora_up.weight": torch.zeros(16, 2)}, {}, "half")
    with pytest.raises(FormatError, match="no algorithm stores the keys") as told:
        Apply().apply(load_models()[0], half, 1.0)
    assert told.value.where == f"half, {key}"
    models = load_models()
    whole = perturbed(models).adapter_state(dtype=None).tensors
    rest = {k: t for k, t in whole.items() if not k.startswith(key)}
    _, _, report = Apply().apply(models[0], Adapter(rest | dict(half), {}, "a"), 1.0, models[1])
    assert "1 key NOT MATCHED" in report and f"{key}: no algorithm stores the keys" in report


@pytest.mark.parametrize("options", NEEDS_WEIGHT, **ids)
def test_adapters_are_applied_to_packed_weights_as_comfyui_unpacks_them(
    host: Host, options: dict[str, Any]
) -> None:
    """A GGUF model: ComfyUI-GGUF hands an unpacked float32 copy to each patch."""
    models = load_models()
    unet = models[0].model.diffusion_model
    with torch.inference_mode():
        pack(unet)
        unpack(unet)  # rounded
    network = perturbed(models, **options)
    wanted = weights_of(models, network, 0.7)
    tensors = network.adapter_state(dtype=torch.float32).tensors
    with torch.inference_mode():
        pack(unet)
    model = Apply().apply(models[0], Adapter(tensors, {}, "a"), 0.7)[0]
    for key, weight in wanted.items():
        module = unet.get_submodule(key.removeprefix("diffusion_model.").removesuffix(".weight"))
        ((strength, patch),) = model.patches[key]
        handed, _ = module.numbers()
        found = patch.calculate_weight(handed, key, strength, 1.0, None, None)
        torch.testing.assert_close(found, weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", NEEDS_WEIGHT, **ids)
def test_adapters_are_applied_to_fp8_weights_in_any_order(
    host: Host, options: dict[str, Any]
) -> None:
    models = load_models()
    unet = models[0].model.diffusion_model
    with torch.inference_mode():
        for parameter in unet.parameters():
            parameter.copy_(parameter.to(torch.float8_e4m3fn).float())
    network, other = perturbed(models, **options), perturbed(models, algo="loha")
    plain, loha = weights_of(models, network), weights_of(models, other)
    loras = [
        Adapter(each.adapter_state(dtype=torch.float32).tensors, {}, "a")
        for each in (network, other)
    ]
    originals = {key: models[0].model.state_dict()[key].clone() for key in plain}
    with torch.inference_mode():
        for module in unet.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    fp8 = parameter.to(torch.float8_e4m3fn)
                    module._parameters[name] = torch.nn.Parameter(fp8, requires_grad=False)
    for order in (loras, loras[::-1]):
        model = models[0]
        for lora in order:
            model = Apply().apply(model, lora, 1.0)[0]
        for key in plain:
            weight = originals[key].clone()
            for strength, patch in model.patches[key]:
                weight = patch.calculate_weight(weight, key, strength, 1.0, None, None)
            wanted = plain[key] + loha[key] - originals[key]
            torch.testing.assert_close(weight, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("algo", ["lora", "ia3"])
@pytest.mark.parametrize("more", [{}, {"gradient_checkpointing": True}])
def test_a_model_of_packed_weights_is_trained_and_left_as_it_was(
    host: Host, more: dict[str, Any], algo: str
) -> None:
    models = load_models()
    unet = models[0].model.diffusion_model
    with torch.inference_mode():
        pack(unet)
        unpack(unet)
    only = {"algo": algo, "network_dim": 2, "conv_dim": 2, "network_train_unet_only": True}
    plain = train(models, dataset(), only, output_name="plain", **more)["result"][0]
    with torch.inference_mode():
        pack(unet)
    before = {n: p.as_subclass(Tensor).clone() for n, p in unet.named_parameters()}
    packed = train(models, dataset(), only, output_name="packed", **more)["result"][0]
    for key, tensor in plain.items():
        torch.testing.assert_close(packed[key], tensor, rtol=1e-2, atol=1e-3)
    after = {n: p.as_subclass(Tensor) for n, p in unet.named_parameters()}
    assert all(torch.equal(before[name], after[name]) for name in before)
    # Another packed weight is another model.
    with torch.inference_mode():
        unet.out[2].weight.as_subclass(Tensor)[0] += 7
    again = train(models, dataset(), only, output_name="packed", **more)["result"][1]
    assert again.endswith("packed-2.safetensors")


def test_packed_tensors_that_comfyui_loaded_can_be_saved_for_the_backward_pass() -> None:
    with torch.inference_mode():
        norm = torch.nn.LayerNorm(8)
        weight = torch.randn(8).as_subclass(PackedTensor)
        weight.tensor_shape = weight.size()
        norm.weight = torch.nn.Parameter(weight, requires_grad=False)
    own_tensors(norm)
    assert type(norm.weight) is PackedTensor and norm.weight.tensor_shape == (8,)
    assert torch.equal(norm.weight.as_subclass(Tensor), weight.as_subclass(Tensor))
    x = torch.randn(2, 8, requires_grad=True)
    norm(x).sum().backward()
    assert x.grad is not None
