"""Every call that sd-scripts' generation scripts make on a network module.

Of sd-scripts 48d368f: gen_img.py, sdxl_gen_img.py and the *_minimal_inference.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lycoris_ext.network import Network
from tests.kohya_models import LOHA, METADATA, MODULE, Models, create, disturb, tiny_models


def test_gen_img_draws_the_same_applied_merged_and_calculated_before(
    models: Models, tmp_path: Path
) -> None:
    """As gen_img.py:1911-1938 and 2595-2616 do, which pass one text encoder in a list."""
    network = create(models, **LOHA)
    disturb(network)
    path = str(tmp_path / "file.safetensors")
    network.save_weights(path, None, METADATA)
    network.apply_to(models.passed, models.unet, True, True)
    network.set_multiplier(0.7)
    expected = models.denoise()

    def load(folder: str) -> tuple[Models, Any, Any]:
        models = tiny_models(tmp_path / folder)
        network, weights = MODULE.create_network_from_weights(
            0.7, path, models.vae, models.text_encoders, models.unet, for_inference=True
        )
        assert network.is_mergeable() is True
        assert any(key.startswith("lora_te_") for key in network.layers)
        return models, network, weights

    applied, network, weights = load("applied")
    network.apply_to(applied.text_encoders, applied.unet)
    assert list(network.load_state_dict(weights, False)) == [[], []]
    network.to(torch.float32).to("cpu")
    network.set_multiplier(0.7)
    torch.testing.assert_close(applied.denoise(), expected, rtol=1e-4, atol=1e-5)

    merged, network, weights = load("merged")
    network.merge_to(merged.text_encoders, merged.unet, weights, torch.float32, "cpu")
    torch.testing.assert_close(merged.denoise(), expected, rtol=1e-4, atol=1e-5)

    before, network, weights = load("before")
    plain = before.denoise()
    second, _ = MODULE.create_network_from_weights(
        0.3, path, before.vae, before.text_encoders, before.unet, for_inference=True
    )
    networks = (network, second)
    for one in networks:
        one.apply_to(before.text_encoders, before.unet)
        one.backup_weights()
    for multipliers in ((0.7, 0.0), (0.3, 0.4), (0.7, 0.0)):
        for one, multiplier in zip(networks, multipliers, strict=True):
            one.set_multiplier(multiplier)
        for one in networks:
            one.restore_weights()
        for one in networks:
            one.pre_calculation()
        torch.testing.assert_close(before.denoise(), expected, rtol=1e-4, atol=1e-5)
    for one in networks:
        one.restore_weights()
    assert torch.equal(before.denoise(), plain)


@pytest.mark.parametrize("named", ["kohya", "diffusers"])
def test_minimal_inference_scripts_draw_the_same_applied_and_merged(
    sdxl: Models, tmp_path: Path, named: str
) -> None:
    """flux, sd3 and lumina pass arguments by position, without dtype and device, and load strictly;
    hunyuan passes keywords."""
    network = create(sdxl, algo="lora", conv_dim="0")
    disturb(network)
    network.apply_to(sdxl.passed, sdxl.unet)
    expected = sdxl.denoise()
    weights = network.adapter_state(dtype=None).tensors
    if named == "diffusers":
        weights = under_diffusers_names(network)
    again = tiny_models(tmp_path / "again", "sdxl")
    lora_model, _ = MODULE.create_network_from_weights(
        1.0, None, again.vae, again.text_encoders, again.unet, weights, True
    )
    lora_model.apply_to(again.text_encoders, again.unet)
    assert list(lora_model.load_state_dict(weights, strict=True)) == [[], []]
    lora_model.eval()
    lora_model.to("cpu")
    torch.testing.assert_close(again.denoise(), expected, rtol=1e-4, atol=1e-5)

    merged = tiny_models(tmp_path / "merged", "sdxl")
    lora_model, _ = MODULE.create_network_from_weights(
        1.0, None, merged.vae, merged.text_encoders, merged.unet, weights, True
    )
    lora_model.merge_to(merged.text_encoders, merged.unet, weights)
    torch.testing.assert_close(merged.denoise(), expected, rtol=1e-4, atol=1e-5)

    without_text, _ = MODULE.create_network_from_weights(
        multiplier=1.0, file=None, weights_sd=weights, unet=merged.unet, text_encoder=None,
        vae=None, for_inference=True,
    )  # fmt: skip
    assert without_text.targets == ("unet",)
    without_text.merge_to(None, merged.unet, weights, dtype=None, device=torch.device("cpu"))


def under_diffusers_names(network: Network) -> dict[str, Tensor]:
    """Return the tensors under diffusers' names; without alphas, the ranks take their place."""
    named = {}
    for key, layer in network.layers.items():
        site = network.sites[key]
        tensors = dict(layer.tensors())
        tensors["lora_up.weight"] = tensors["lora_up.weight"] * layer.plan.scale
        for name, tensor in tensors.items():
            letter = "A" if "down" in name else "B"
            named[f"{site.target}.{site.path}.lora_{letter}.weight"] = tensor.detach()
    return named
