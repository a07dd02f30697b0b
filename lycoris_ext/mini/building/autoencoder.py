"""Build and train the autoencoder: 64 x 64 pixels to 8 x 8 latents with eight channels.

The latents are this small so that two CPU cores train the U-Net on some hundred pictures a second.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from lycoris_ext.mini.building.grids import save_grid
from lycoris_ext.mini.building.shares import Shares
from lycoris_ext.mini.building.stage import Budget, Stage, learning_rate

CHANNELS = (16, 32, 64, 96)
LATENT_CHANNELS = 8
BATCH = 16
PEAK_RATE = 3e-3
KL_WEIGHT = 3e-4
POLISH_RATE = 2e-3
LATENT_NOISE = 0.03


def build_autoencoder(latent_channels: int = LATENT_CHANNELS) -> AutoencoderKL:
    """Build an untrained AutoencoderKL of 1.7 M parameters."""
    levels = len(CHANNELS)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=latent_channels,
        # With one channel per group this would be instance norm, which loses a picture's colour.
        norm_num_groups=4,
        sample_size=64,
    )


def to_signal(pictures: Tensor) -> Tensor:
    """Turn uint8 pictures into floats from -1 to 1."""
    return pictures.float() / 127.5 - 1.0


def to_pictures(signal: Tensor) -> Tensor:
    """Turn the decoder's output (floats from -1 to 1) into uint8 pictures."""
    return ((signal.float().clamp(-1, 1) + 1.0) * 127.5).round().to(torch.uint8)


def reconstruction_loss(decoded: Tensor, target: Tensor) -> Tensor:
    """Return L1 + L2 + L1 of the differences between neighbouring pixels.

    The last term keeps outlines and small parts sharp. Both tensors are [N, 3, H, W].
    """
    loss = functional.l1_loss(decoded, target) + functional.mse_loss(decoded, target)
    for axis in (-1, -2):
        loss = loss + functional.l1_loss(decoded.diff(dim=axis), target.diff(dim=axis))
    return loss


class Descent:
    """AdamW on some parameters; the budget's workers share each batch."""

    def __init__(self, parameters: list[nn.Parameter], peak_rate: float, budget: Budget) -> None:
        self.parameters, self.peak_rate, self.budget = parameters, peak_rate, budget
        self.optimizer = torch.optim.AdamW(
            parameters, lr=peak_rate, betas=(0.9, 0.99), weight_decay=1e-4
        )
        self.shares = Shares(parameters, budget.workers)

    def step(
        self, number: int, loss_of: Callable[[Tensor, Tensor], Tensor], *batch: Tensor
    ) -> dict[str, float]:
        """Do one optimizer step and return the values to log.

        Args:
            number: index of the step, which decides the learning rate.
            loss_of: returns the loss of a part of the batch; the step uses the mean over parts.
            batch: tensors with the batch as first axis, passed to `loss_of` in parts.
        """
        budget = self.budget
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(number, budget.steps, self.peak_rate)
        device = torch.device(budget.device)
        parts = zip(*(some.chunk(budget.workers) for some in batch), strict=True)
        losses = [functools.partial(loss_of, *(some.to(device) for some in part)) for part in parts]
        loss = self.shares.backward(losses)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return {"loss": loss}


def train_autoencoder(vae: AutoencoderKL, pictures: Tensor, folder: Path, budget: Budget) -> None:
    """Train the autoencoder on uint8 pictures [N, 3, 64, 64] for the budget's steps."""
    device = torch.device(budget.device)
    parameters = list(vae.to(device).parameters())
    descent = Descent(parameters, PEAK_RATE, budget)

    def loss_of(target: Tensor, noise: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            posterior = vae.encode(target).latent_dist
            decoded = vae.decode(posterior.mean + posterior.std * noise).sample
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()
        return reconstruction_loss(decoded.float(), target) + KL_WEIGHT * kl

    def step(number: int) -> dict[str, float]:
        rng = torch.Generator().manual_seed(number)
        target = to_signal(pictures[torch.randint(len(pictures), (BATCH,), generator=rng)])
        noise = torch.randn(BATCH, int(vae.config.latent_channels), 8, 8, generator=rng)
        return descent.step(number, loss_of, target, noise)

    def sample(path: Path) -> None:
        shown = pictures[torch.linspace(0, len(pictures) - 1, 48).long()]
        save_grid(torch.stack([shown, reconstruct(vae, shown)], 1).flatten(0, 1), path, columns=16)

    Stage("autoencoder", folder, {"vae": vae, "optimizer": descent.optimizer}, step, sample).train(
        budget
    )


def polish_decoder(
    vae: AutoencoderKL, pictures: Tensor, means: Tensor, folder: Path, budget: Budget
) -> None:
    """Train only the decoder, on fixed latents.

    The encoder stays as it is, so latents that a denoiser was trained on remain valid. A little
    noise on the latents teaches the decoder to tolerate a denoiser's small errors.

    Args:
        vae: the trained autoencoder, whose decoder is changed.
        pictures: uint8 [N, 3, 64, 64].
        means: latent means [N, C, 8, 8] of the pictures, not scaled.
        folder: for checkpoint and log.
        budget: number of steps and so on.
    """
    device = torch.device(budget.device)
    vae.to(device)
    parameters = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    descent = Descent(parameters, POLISH_RATE, budget)
    spread = float(means[:2048].std())

    def loss_of(latents: Tensor, target: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            decoded = vae.decode(latents).sample
        return reconstruction_loss(decoded.float(), target)

    def step(number: int) -> dict[str, float]:
        rng = torch.Generator().manual_seed(number)
        chosen = torch.randint(len(pictures), (BATCH,), generator=rng)
        noise = torch.randn(BATCH, *means.shape[1:], generator=rng)
        latents = means[chosen] + LATENT_NOISE * spread * noise
        return descent.step(number, loss_of, latents, to_signal(pictures[chosen]))

    def sample(path: Path) -> None:
        shown = torch.linspace(0, len(pictures) - 1, 48).long()
        pairs = torch.stack([pictures[shown], decode_all(vae, means[shown])], 1)
        save_grid(pairs.flatten(0, 1), path, columns=16)

    Stage("decoder", folder, {"vae": vae, "optimizer": descent.optimizer}, step, sample).train(
        budget
    )


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Encode and decode uint8 pictures [N, 3, 64, 64]; return uint8 pictures of this shape."""
    latents = encode_all(vae, pictures)
    return decode_all(vae, latents)


@torch.no_grad()
def encode_all(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Return the latent means [N, C, 8, 8] of uint8 pictures, without the scaling factor."""
    means = [
        vae.encode(to_signal(some).to(vae.device)).latent_dist.mean.cpu()
        for some in pictures.split(128)
    ]
    return torch.cat(means)


@torch.no_grad()
def decode_all(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Decode latents [N, C, 8, 8], without the scaling factor, into uint8 pictures."""
    return torch.cat(
        [to_pictures(vae.decode(some.to(vae.device)).sample.cpu()) for some in latents.split(64)]
    )
