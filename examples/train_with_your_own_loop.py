"""Train a LoHa in a training loop of your own.

Noise, loss and optimizer are on this page; the package puts adapters into the U-Net and saves them.
It learns a drawing style on the small base model that comes along, in less than a minute on a CPU:

    python examples/train_with_your_own_loop.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from PIL import Image
from torch import Tensor

from lycoris_ext import NetworkConfig, build_network
from lycoris_ext.mini import style_folder
from lycoris_ext.models import ModelConfig, load_pipeline

BATCH_SIZE = 8


def main() -> None:
    options = read_options()
    torch.manual_seed(0)
    # Yours: diffusers' StableDiffusionPipeline.from_pretrained(...) has the same parts.
    base = load_pipeline(
        ModelConfig(pretrained_model_name_or_path="mini"), torch.device("cpu"), torch.float32
    )
    unet, vae = base.unet, base.vae
    schedule = DDPMScheduler.from_config(base.schedule_config)

    pixels, captions = read_pictures(style_folder() / "10_ink")
    with torch.no_grad():
        latents = vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor
        texts = base.encode_text(captions).states

    config = NetworkConfig(algo="loha", network_dim=8, conv_dim=4, preset="unet-only")
    network = build_network({"unet": unet}, config, seed=0, freeze=True)
    optimizer = torch.optim.AdamW(network.param_groups(learning_rate=6e-3))
    network.print_summary()

    network.train()
    with network.injected():
        for step in range(1, options.steps + 1):
            chosen = torch.randint(len(latents), (BATCH_SIZE,))
            noise = torch.randn_like(latents[chosen])
            timesteps = torch.randint(schedule.config.num_train_timesteps, (BATCH_SIZE,))
            noisy = schedule.add_noise(latents[chosen], noise, timesteps)
            predicted = unet(noisy, timesteps, encoder_hidden_states=texts[chosen]).sample
            loss = F.mse_loss(predicted, noise)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if step % 10 == 0 or step == options.steps:
                print(f"step {step}: loss {loss.item():.4f}")

    file = options.output_dir / "own_loop.safetensors"
    network.save(file, {"ss_training_comment": "examples"})
    print(f"adapter: {file}")


def read_pictures(folder: Path) -> tuple[Tensor, list[str]]:
    """Pictures, (count, 3, height, width) from -1 to 1, and the caption beside each."""
    paths = sorted(folder.glob("*.png"))
    pictures = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pixels, [path.with_suffix(".txt").read_text("utf-8").strip() for path in paths]


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--output-dir", type=Path, default=Path("output"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
