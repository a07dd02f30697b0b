"""Train the judges on drawn pictures, both as drawn and after the autoencoder."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from lycoris_ext.mini.building.grids import save_grid
from lycoris_ext.mini.building.shares import Shares
from lycoris_ext.mini.building.stage import Budget, Stage, learning_rate
from lycoris_ext.mini.judges import Judge

BATCH = 128
PEAK_RATE = 3e-3
WIDTHS = {"style": 16, "subject": 24}


def _roughened(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Augment uint8 pictures [N, 3, H, W] at random; return floats from about -1 to 1.

    They are moved, mirrored, tinted, blurred and made noisy, so that a judge does not depend on
    details that a diffusion model gets wrong.
    """
    signal = pictures.float() / 127.5 - 1.0
    count = len(signal)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=rng)

    turn = torch.eye(2).repeat(count, 1, 1) * draw(0.9, 1.12, 1, 1)
    turn[:, 0, 0] *= torch.where(draw(0, 1) < 0.5, -1.0, 1.0)
    turn[:, 0, 1], turn[:, 1, 0] = draw(-0.12, 0.12), draw(-0.12, 0.12)
    frame = torch.cat([turn, draw(-0.1, 0.1, 2, 1)], dim=2)
    grid = functional.affine_grid(frame, list(signal.shape), align_corners=False)
    signal = functional.grid_sample(signal, grid, padding_mode="border", align_corners=False)
    soft = functional.avg_pool2d(
        functional.pad(signal, (1, 1, 1, 1), mode="replicate"), 3, stride=1
    )
    signal = torch.lerp(signal, soft, draw(0, 0.9, 1, 1, 1) * (draw(0, 1, 1, 1, 1) < 0.5))
    signal = signal * draw(0.85, 1.15, 1, 1, 1) + draw(-0.1, 0.1, 3, 1, 1)
    return signal + torch.randn(signal.shape, generator=rng) * draw(0, 0.08, 1, 1, 1)


def train_judge(
    name: str, pictures: Sequence[Tensor], answers: Sequence[str], folder: Path, budget: Budget
) -> Judge:
    """Train a judge and return it.

    Args:
        name: "style" or "subject".
        pictures: versions of the same uint8 pictures [N, 3, 64, 64], such as drawn and
            reconstructed; the steps use them in turn.
        answers: the label of each of the N pictures.
        folder: for checkpoint, log and grids.
        budget: number of steps and so on.
    """
    labels = sorted(set(answers))
    targets = torch.tensor([labels.index(answer) for answer in answers])
    torch.manual_seed(0)
    judge = Judge(labels, WIDTHS[name])
    optimizer = torch.optim.AdamW(judge.parameters(), lr=PEAK_RATE, weight_decay=0.05, fused=True)

    shares = Shares(list(judge.parameters()), budget.workers)

    def loss_of(signal: Tensor, wanted: Tensor) -> Tensor:
        return functional.cross_entropy(judge(signal), wanted, label_smoothing=0.05)

    def step(number: int) -> dict[str, float]:
        rng = torch.Generator().manual_seed(number)
        version = pictures[number % len(pictures)]
        chosen = torch.randint(len(targets), (BATCH,), generator=rng)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(number, budget.steps, PEAK_RATE, warmup=50)
        parts = zip(
            _roughened(version[chosen], rng).chunk(budget.workers),
            targets[chosen].chunk(budget.workers),
            strict=True,
        )
        loss = shares.backward([functools.partial(loss_of, *part) for part in parts])
        optimizer.step()
        return {"loss": loss}

    def sample(path: Path) -> None:
        rough = _roughened(pictures[-1][:32], torch.Generator().manual_seed(0))
        save_grid(((rough.clamp(-1, 1) + 1) * 127.5).to(torch.uint8), path, columns=8)

    parts: dict[str, nn.Module | torch.optim.Optimizer] = {"judge": judge, "optimizer": optimizer}
    Stage(f"judge-{name}", folder, parts, step, sample).train(budget)
    return judge.eval()


@torch.no_grad()
def share_right(judge: Judge, pictures: Tensor, answers: Sequence[str]) -> float:
    """Return the judge's accuracy on uint8 pictures [N, 3, 64, 64], from 0 to 1."""
    signal = pictures.float() / 127.5 - 1.0
    found = torch.cat([judge(some) for some in signal.split(256)]).argmax(1)
    right = sum(
        judge.labels[i] == answer for i, answer in zip(found.tolist(), answers, strict=True)
    )
    return round(right / len(answers), 4)


def save_judge(judge: Judge, path: Path) -> None:
    """Write a judge in half precision, with its labels in the metadata, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    tensors = {
        key: value.to(torch.float16).contiguous() for key, value in judge.state_dict().items()
    }
    save_file(tensors, str(part), {"labels": json.dumps(judge.labels), "width": str(judge.width)})
    os.replace(part, path)
