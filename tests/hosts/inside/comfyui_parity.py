"""Run inside ComfyUI: compare our patches and its own loader with merging, for all algorithms."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from comfyui_models import ARGUMENTS, small_clip, small_model

sys.path.append(ARGUMENTS[0])  # behind everything of ComfyUI's
import comfy.sd
import torch
from comfy.model_management import load_models_gpu

from comfy_nodes.host.patches import apply_adapter, targets_of
from lycoris_ext.network import NetworkConfig, build_network

SIZES: dict[str, Any] = {"network_dim": 4, "network_alpha": 2.0, "conv_dim": 2, "conv_alpha": 1.0}
CASES: dict[str, dict[str, Any]] = {
    "loha": {"algo": "loha"},
    "loha tucker": {"algo": "loha", "use_tucker": True},
    "loha dora": {"algo": "loha", "dora_wd": True},
    "loha dora of outputs": {"algo": "loha", "dora_wd": True, "wd_on_output": True},
    "loha norm": {"algo": "loha", "train_norm": True},
    "locon": {"algo": "locon"},
    "locon tucker": {"algo": "locon", "use_tucker": True},
    "lokr": {"algo": "lokr"},
    "glora": {"algo": "glora"},
    "ia3": {"algo": "ia3", "preset": "full-lin"},
    "diag-oft": {"algo": "diag-oft"},
    "boft": {"algo": "boft", "network_dim": 16, "conv_dim": 16},
    "full": {"algo": "full"},
    "tlora": {"algo": "tlora"},
}
STRENGTH = 0.7


class Missing(logging.Handler):
    """Counts the keys that ComfyUI logs as not loaded."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "not loaded" in record.getMessage()


def main() -> None:
    model, clip = small_model(), small_clip()
    handler = Missing()
    logging.getLogger().addHandler(handler)
    found = {}
    for name, options in CASES.items():
        network = build_network(targets_of(model, clip), NetworkConfig(**SIZES | options))
        perturb(network)
        state = network.adapter_state(dtype=torch.float32)
        network.merge(STRENGTH)
        wanted = weights(network)
        network.unmerge()
        applied = apply_adapter(model, clip, state, STRENGTH, STRENGTH)
        with torch.inference_mode():
            load_models_gpu([applied.model, applied.clip.patcher], force_full_load=True)
        again = apply_adapter(model, clip, state, STRENGTH, STRENGTH)  # the first one's are there
        handler.count = 0
        theirs = comfy.sd.load_lora_for_models(model, clip, dict(state.tensors), STRENGTH, STRENGTH)
        found[name] = {
            "ours": worst(wanted, patched(network, applied.model, applied.clip)),
            "again": worst(wanted, patched(network, again.model, again.clip)),
            "theirs": worst(wanted, patched(network, *theirs)),
            "unmatched": applied.unmatched,
            "theirs_missing": handler.count,
        }
    print(json.dumps(found))


def perturb(network: Any) -> None:
    """Move every tensor away from its start: a fresh adapter is zero and hides every mistake."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in network.layers.values():
            for tensor in layer.tensors().values():
                if tensor.is_floating_point():
                    tensor.add_(0.02 * torch.randn(tensor.shape, generator=generator))


def weights(network: Any) -> dict[str, Any]:
    return {key: site.module.weight.detach().clone() for key, site in network.sites.items()}


def patched(network: Any, model: Any, clip: Any) -> dict[str, Any]:
    """Return the weights as ComfyUI patches them for sampling."""
    with torch.inference_mode():
        load_models_gpu([model, clip.patcher], force_full_load=True)
        found = weights(network)
        model.unpatch_model()
        clip.patcher.unpatch_model()
    return found


def worst(wanted: dict[str, Any], found: dict[str, Any]) -> float:
    """Return the largest error of any layer, as a share of that layer's largest weight."""
    return max(
        float((wanted[key] - found[key]).abs().max() / wanted[key].abs().max()) for key in wanted
    )


main()
