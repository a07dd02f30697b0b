"""Import every base module and train two steps with the extra [train] out of reach.

Run in a process of its own by `test_base_only.py`. ComfyUI has neither diffusers nor accelerate,
and our nodes train there on what this script uses.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import tempfile
from pathlib import Path

BLOCKED = (
    "diffusers",
    "transformers",
    "accelerate",
    "bitsandbytes",
    "tyro",
    "tqdm",
    "matplotlib",
    "onnxruntime",
)
FOR_TESTS = ("jaxtyping", "beartype")
# A name bound to None makes its import raise, wherever the package may be installed.
sys.modules.update(dict.fromkeys(BLOCKED + FOR_TESTS))

import torch  # noqa: E402 - after the block, so that torch cannot bring them in either
from torch import Tensor  # noqa: E402

import lycoris_ext  # noqa: E402

BASE_PACKAGES = (
    "functional",
    "algorithms",
    "formats",
    "modules",
    "network",
    "data",
    "diffusion",
    "runs",
    "plots",
    "hosts",
    "grids",
)
BASE_MODULES = (
    "errors",
    "options",
    "words",
    "training.step",
    "training.optimizer_kinds",
    "training.optimizers",
)
#: What our nodes use besides in a plain ComfyUI.
FOR_COMFYUI = ("cli.info", "config", "training.train", "training.preview_prompts")


def import_base_modules() -> list[str]:
    names = [f"lycoris_ext.{name}" for name in (*BASE_MODULES, *FOR_COMFYUI)]
    for package in BASE_PACKAGES:
        root = importlib.import_module(f"lycoris_ext.{package}")
        names += [root.__name__]
        names += [found.name for found in pkgutil.walk_packages(root.__path__, f"{root.__name__}.")]
    for name in names:
        importlib.import_module(name)
    return names


def train_two_steps(folder: Path) -> None:
    """Train a LoHa on a plain module for two steps, save it and load it again."""
    from lycoris_ext.diffusion import LossConfig, NoiseSchedule, draw_noise
    from lycoris_ext.training.optimizers import OptimizerConfig, build_optimizer
    from lycoris_ext.training.step import denoising_loss, optimizer_step

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(4, 16, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv2d(16, 4, 1)
    ).requires_grad_(False)
    latents, text_states = torch.randn(2, 4, 8, 8), torch.zeros(2, 1, 1)
    schedule, loss_config = NoiseSchedule(torch.linspace(0.999, 0.005, 1000)), LossConfig()
    draws = draw_noise(latents, [0, 1], schedule, loss_config, seed=0, batch_number=0)

    def denoise(noisy: Tensor, timesteps: Tensor, states: Tensor) -> Tensor:
        return model(noisy)

    def loss_now() -> Tensor:
        return denoising_loss(denoise, latents, text_states, draws, schedule, loss_config)

    config = lycoris_ext.NetworkConfig(algo="loha", network_dim=4, conv_dim=2)
    network = lycoris_ext.build_network({"model": model}, config, seed=0)
    groups = network.param_groups(learning_rate=1e-2)
    optimizer = build_optimizer(groups, OptimizerConfig(optimizer_type="AdamW"))
    losses = []
    with network.injected():
        for _ in range(2):
            loss = loss_now()
            loss.backward()
            optimizer_step(optimizer, learning_rate_factor=1.0, max_grad_norm=1.0)
            losses.append(loss.item())
        losses.append(loss_now().item())
    assert losses[2] < losses[1] < losses[0], losses

    file = folder / "adapter.safetensors"
    lycoris_ext.save_adapter(file, network.adapter_state(dtype=torch.float32))
    with lycoris_ext.load_network(file, {"model": model}).injected():
        assert loss_now().item() == losses[2]


if __name__ == "__main__":
    print("\n".join(import_base_modules()))
    with tempfile.TemporaryDirectory() as name:
        train_two_steps(Path(name))
