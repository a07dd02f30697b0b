"""Our files through ComfyUI's own arithmetic; run by ComfyUI's Python in its folder, with the
clone and ComfyUI's options.

Prints JSON: form -> {"error": the largest distance of the weight that ComfyUI makes from ours, in
lengths of our update, "said": what we say that ComfyUI does with such a file}.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

sys.path.append(sys.argv.pop(1))  # the clone: it need not be installed there

import torch
from torch import Tensor, nn

from lycoris_ext.algorithms import detect
from lycoris_ext.formats.misread import misread_by
from lycoris_ext.formats.namings import COMFYUI
from lycoris_ext.functional import FrozenLayer
from lycoris_ext.network import Network, NetworkConfig, build_network

FORMS: dict[str, dict[str, Any]] = {
    **{algo: {"algo": algo} for algo in ("locon", "loha", "lokr", "glora", "ia3", "full", "tlora")},
    "locon, Tucker": {"algo": "locon", "use_tucker": True},
    "loha, Tucker": {"algo": "loha", "use_tucker": True},
    "lokr, whole": {"algo": "lokr", "full_matrix": True},
    "lokr, Tucker": {"algo": "lokr", "use_tucker": True, "factor": 2},
    "glora, Tucker": {"algo": "glora", "use_tucker": True},
    "ia3, on input": {"algo": "ia3", "train_on_input": True},
    **{
        f"{algo}{name}": {"algo": algo, "network_dim": 8, "conv_dim": 8, **options}
        for algo in ("diag-oft", "boft")
        for name, options in (
            ("", {}),
            (", constrained", {"constraint": 0.01}),
            (", rescaled", {"rescaled": True}),
        )
    },
    **{
        f"dora of {algo}{name}": {"algo": algo, "dora_wd": True, **options}
        for algo in ("locon", "loha", "lokr")
        for name, options in (("", {}), (", on output", {"wd_on_output": True}))
    },
    "norm": {"algo": "norm"},
}
LAYERS = {
    "linear": lambda: nn.Linear(24, 16),
    "conv 1x1": lambda: nn.Conv2d(24, 16, 1),
    "conv 3x3": lambda: nn.Conv2d(12, 16, 3),
    "conv1d": lambda: nn.Conv1d(12, 16, 3),
    "norm": lambda: nn.GroupNorm(4, 16),
}


def build(form: str, layer: nn.Module) -> Network | None:
    options = FORMS[form]
    if isinstance(layer, nn.GroupNorm) != (options["algo"] == "norm"):
        return None
    config = NetworkConfig(**{"network_dim": 2, "conv_dim": 2, "network_alpha": 1.0, **options})
    network = build_network({"model": nn.Sequential(layer)}, config).eval()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in network.named_parameters():
        if "dora_scale" in name:
            parameter.data.mul_(1.1)
        else:
            parameter.data.normal_(0, 0.3, generator=generator)
    return network


def import_comfy() -> Any:
    """Import ComfyUI's loader, which looks for a device as the options of this script say."""
    sys.path.insert(0, os.getcwd())
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.lora

    return comfy.lora


def their_weight(
    lora: Any, tensors: dict[str, Tensor], prefix: str, weight: Tensor, strength: float
) -> Tensor:
    """Return the weight that ComfyUI makes, or the unchanged one where it cannot."""
    patches = lora.load_lora(dict(tensors), {prefix: "layer.weight"}, log_missing=False)
    if "layer.weight" not in patches:
        return weight
    patch = (strength, patches["layer.weight"], 1.0, None, None)
    try:
        patched: Tensor = lora.calculate_weight([patch], weight.clone(), "layer.weight")
        return patched
    except (RuntimeError, IndexError):  # what it does not catch itself
        return weight


@torch.no_grad()
def main() -> None:
    lora = import_comfy()
    logging.disable(logging.ERROR)
    found: dict[str, dict[str, Any]] = {}
    for form in FORMS:
        for name, make in LAYERS.items():
            torch.manual_seed(0)
            layer = make().requires_grad_(False)
            network = build(form, layer)
            if network is None:
                continue
            ((key, adapter),) = network.layers.items()
            update = adapter.delta(FrozenLayer.of(layer, adapter.plan.layer)).dense()
            state = network.adapter_state(dtype=None)
            plans = {prefix: detect(tensors, prefix) for prefix, tensors in state.layers().items()}
            told = misread_by(state.tensors, plans, {})
            said = [line for line in told if line.startswith(COMFYUI)]
            errors = []
            for strength in (1.0, 0.7):
                patched = their_weight(lora, state.tensors, key, layer.weight.data, strength)
                wrong = patched - layer.weight - strength * update
                errors.append(float(wrong.norm() / (strength * update.norm())))
            found[f"{form}: {name}"] = {"error": max(errors), "said": said}
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
