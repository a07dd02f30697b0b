"""Run inside ComfyUI: what our nodes rely on when other nodes have changed or used the same model.

Argument: the clone. Prints JSON: name of a check -> what was found.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from comfyui_models import ARGUMENTS, small_clip, small_model

sys.path.append(ARGUMENTS[0])  # behind everything of ComfyUI's
import comfy.lora
import comfy.sd
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy.model_management import load_models_gpu
from comfy_extras.nodes_model_advanced import ModelSamplingContinuousEDM, ModelSamplingDiscrete
from comfy_extras.nodes_train import TrainLoraNode
from torch import Tensor

from comfy_nodes.host.adapter import Adapter
from comfy_nodes.host.base_model import ConnectedModel
from comfy_nodes.host.cables import check_cables
from comfy_nodes.host.patches import put_on, targets_of
from comfy_nodes.host.prediction import Prediction
from comfy_nodes.save import prepared
from lycoris_ext.errors import ConfigError
from lycoris_ext.network import NetworkConfig, build_network

NEED_WEIGHT: dict[str, dict[str, Any]] = {
    "dora": {"algo": "lora", "dora_wd": True},
    "dora of outputs": {"algo": "lora", "dora_wd": True, "wd_on_output": True},
    "oft": {"algo": "diag-oft", "network_dim": 4, "conv_dim": 4},
    "ia3": {"algo": "ia3"},
    "loha": {"algo": "loha", "network_dim": 2, "conv_dim": 2},
}


MISREAD: dict[str, dict[str, Any]] = {
    "ia3": {"algo": "ia3"},
    "dora of outputs": {"algo": "lora", "dora_wd": True, "wd_on_output": True},
    "loha with dora": {"algo": "loha", "dora_wd": True, "wd_on_output": True},
    "lokr tucker": {"algo": "lokr", "use_tucker": True, "network_dim": 2, "conv_dim": 2},
    "oft": {"algo": "diag-oft", "network_dim": 4, "conv_dim": 4, "constraint": 0.1},
}


class Vae:
    """Stands for a VAE; nothing is encoded here."""

    latent_channels = 4
    first_stage_model = torch.nn.Module()

    def spacial_compression_encode(self) -> int:
        return 8


def connected(model: Any, vae: Any = None) -> ConnectedModel:
    return ConnectedModel(model, None, vae or Vae(), trains_text=False, precision="no")


def sampled_before() -> dict[str, Any]:
    """Leave the sampling of another clone in the shared module, as a KSampler does."""
    model = small_model()
    fingerprint = connected(model).fingerprint()
    (edm,) = ModelSamplingContinuousEDM().patch(model, "edm_playground_v2.5", 120.0, 0.002)
    (velocity,) = ModelSamplingDiscrete().patch(model, "v_prediction", True)
    found = {}
    for name, clone in (("edm", edm), ("velocity", velocity)):
        load_models_gpu([clone], force_full_load=True)
        assert model.model.model_sampling is clone.get_model_object("model_sampling")
        found[name] = connected(model).kind
    patched = Prediction(velocity)
    base = connected(velocity)
    with base.prepared(False):
        raw = model.model.model_sampling
        with base.sampling():
            load_models_gpu([edm], force_full_load=True)
            load_models_gpu([base.model], force_full_load=True)
            sampled = model.model.model_sampling is patched.sampling
        stays = model.model.model_sampling is raw is not patched.sampling
    return {
        **found,
        "patched": base.kind,
        "ends_in_pure_noise": patched.ends_in_pure_noise,
        "plain_ends_in_pure_noise": Prediction(model).ends_in_pure_noise,
        "sampled": sampled,
        "raw_stays": stays,
        "same_fingerprint": connected(model).fingerprint() == fingerprint,
        "other_fingerprint": base.fingerprint() != fingerprint,
    }


def latents() -> dict[str, float]:
    """Encode a picture with a small VAE of the real classes, whole and in tiles."""
    description = {
        "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3,
        "ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "attn_resolutions": [],
        "dropout": 0.0,
    }  # fmt: skip
    first_stage = AutoencoderKL(ddconfig=description, embed_dim=4).eval()
    for parameter in first_stage.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    whole, tiled = VaeOf(first_stage), VaeOf(first_stage)
    tiled.encode = tiled.in_tiles  # type: ignore[method-assign]
    pixels = torch.rand(1, 3, 256, 256) * 2 - 1
    (mean, spread), (of_tiles, spread_of_tiles) = (
        connected(small_model(), vae).encode_pixels(pixels) for vae in (whole, tiled)
    )
    with torch.no_grad():
        given, log_variance = first_stage.quant_conv(first_stage.encoder(pixels)).chunk(2, dim=1)
    scale = small_model().get_model_object("latent_format").scale_factor
    return {
        "mean": distance(mean, given * scale),
        "spread": distance(spread, (0.5 * log_variance).exp() * scale),
        "mean of tiles": distance(of_tiles, mean),
        "spread of tiles": distance(spread_of_tiles, spread),
    }


class VaeOf(comfy.sd.VAE):  # type: ignore[misc]
    """ComfyUI's VAE around a network of our own."""

    def __init__(self, first_stage: Any) -> None:
        self.first_stage_model, self.latent_channels, self.downscale_ratio = first_stage, 4, 8
        self.device = self.output_device = torch.device("cpu")
        self.vae_dtype = torch.float32

    def process_input(self, picture: Tensor) -> Tensor:
        return picture * 2.0 - 1.0

    def spacial_compression_encode(self) -> int:
        return 8

    def encode(self, pictures: Tensor) -> Tensor:
        answer: Tensor = self.first_stage_model.encode(self.process_input(pictures.movedim(-1, 1)))
        return answer

    def in_tiles(self, pictures: Tensor) -> Tensor:
        answer: Tensor = self.encode_tiled_(pictures.movedim(-1, 1), 512, 512, 64)
        return answer


def fp8() -> dict[str, float]:
    """Compare our patches of fp8 weights with merging into the same weights in float32."""
    found = {}
    for name, options in NEED_WEIGHT.items():
        plain, packed = small_model(), small_model()
        for whole, part in zip(plain.model.parameters(), packed.model.parameters(), strict=True):
            part.data = part.data.to(torch.float8_e4m3fn)
            whole.data = part.data.float()
        network = perturbed(plain, options)
        lora = Adapter(network.adapter_state(dtype=torch.float32).tensors, {}, name)
        model = put_on(packed, None, lora, 0.7, 1.0).model
        network.merge(0.7)
        found[name] = max(
            distance(
                comfy.lora.calculate_weight(patches, weight_of(packed, key).float(), key),
                weight_of(plain, key),
            )
            for key, patches in model.patches.items()
        )
        network.unmerge()
    return found


def native_trainer() -> dict[str, Any]:
    """Train with ComfyUI's own node, and give its adapter to our nodes."""
    found: dict[str, Any] = {}
    for algorithm in ("LoRA", "LoHa"):
        model = small_model()
        latents = {"samples": torch.randn(1, 4, 8, 8)}
        positive = [[torch.randn(1, 77, 768), {"pooled_output": torch.randn(1, 768)}]]
        _, lora, _, _ = TrainLoraNode().train(
            model, latents, positive, 1, 2, 1, 0.05, 4, "AdamW", "MSE", 1, "fp32", "fp32",
            algorithm, False, "[None]",
        )  # fmt: skip
        lora = {key: tensor.detach().clone() for key, tensor in lora.items()}
        model = small_model()
        theirs, _ = comfy.sd.load_lora_for_models(model, None, lora, 1.0, 1.0)
        applied = put_on(model, None, lora, 1.0, 1.0)
        written, _ = prepared(lora, "float", model, None, False)
        again, _ = comfy.sd.load_lora_for_models(model, None, dict(written.tensors), 1.0, 1.0)
        wanted = loaded(theirs)
        found[algorithm] = {
            "unmatched": applied.unmatched,
            "by_comfyui": len(applied.by_comfyui),
            "applied": furthest(loaded(applied.model), wanted),
            "saved": furthest(loaded(again), wanted),
            "starts": sorted({key.partition("_")[0] for key in written.tensors}),
            "moved": furthest(wanted, loaded(model)),
        }
    return found


def baked() -> dict[str, Any]:
    """Save adapters that ComfyUI's own loader computes wrongly, as they are and baked."""
    found = {}
    for name, options in MISREAD.items():
        model = small_model()
        network = perturbed(model, options)
        lora = Adapter(network.adapter_state(dtype=torch.float32).tensors, {}, name)
        network.merge(0.6)
        wanted = {key: tensor.clone() for key, tensor in model.model.state_dict().items()}
        network.unmerge()
        plain, told = prepared(lora, "float", model, None, False)
        whole, _ = prepared(lora, "float", model, None, True)
        found[name] = {"told": told} | {
            form: furthest(
                loaded(comfy.sd.load_lora_for_models(model, None, dict(state.tensors), 0.6, 0)[0]),
                wanted,
            )
            for form, state in (("plain", plain), ("baked", whole))
        }
    return found


def cables() -> str:
    try:
        check_cables(small_model("SD20"), small_clip(), Vae(), {}, {})
    except ConfigError as error:
        return str(error)
    return ""


def perturbed(model: Any, options: dict[str, Any]) -> Any:
    network = build_network(targets_of(model, None), NetworkConfig(**options), freeze=True)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer in network.layers.values():
            for tensor in filter(torch.is_floating_point, layer.tensors().values()):
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return network


def weight_of(model: Any, key: str) -> Tensor:
    return model.model.get_parameter(key).detach().clone()


def loaded(model: Any) -> dict[str, Tensor]:
    load_models_gpu([model], force_full_load=True)
    return {key: tensor.detach().clone() for key, tensor in model.model.state_dict().items()}


def furthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(distance(tensor, other[key]) for key, tensor in one.items())


def distance(found: Tensor, wanted: Tensor) -> float:
    scale = float(wanted.float().abs().max()) or 1.0
    return float((found.float() - wanted.float()).abs().max()) / scale


CHECKS = (sampled_before, latents, fp8, native_trainer, baked, cables)
with torch.inference_mode(False):
    print(json.dumps({check.__name__: check() for check in CHECKS}))
