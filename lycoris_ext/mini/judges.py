"""The judges: two small classifiers that name the style and the subject of a picture.

They measure whether an adapter learned its style. Both were trained on pictures drawn by code in
all three styles, and never on pictures from a diffusion model. `judges/accuracy.json` has their
accuracy on drawn pictures that they were not trained on.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

FOLDER = Path(__file__).parent / "judges"
SIZE = 64


class Judge(nn.Module):
    """A classifier of four strided convolutions, average pooling to 2 x 2 and one linear layer.

    Args:
        labels: the classes.
        width: channels of the first convolution.
    """

    def __init__(self, labels: Sequence[str], width: int) -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.width = width
        widths = (3, width, 2 * width, 3 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1),
                nn.GroupNorm(4, after),
                nn.SiLU(),
            ]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1] * 4, len(labels))

    def forward(self, signal: Tensor) -> Tensor:
        """Turn pictures [N, 3, 64, 64] with values from -1 to 1 into logits [N, labels]."""
        found = nn.functional.adaptive_avg_pool2d(self.features(signal), 2)
        scores: Tensor = self.head(found.flatten(1))
        return scores

    @torch.no_grad()
    def answer(self, images: Sequence[Image.Image]) -> list[str]:
        """Return the most likely label of each picture, which may have any size."""
        if not images:
            return []
        scores = [self(_signal(images[i : i + 128])) for i in range(0, len(images), 128)]
        return [self.labels[index] for index in torch.cat(scores).argmax(1).tolist()]


def _signal(images: Sequence[Image.Image]) -> Tensor:
    """Turn images of any size into a tensor [N, 3, 64, 64] with values from -1 to 1."""
    rows = []
    for image in images:
        small = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        flat = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
        rows.append(flat.view(SIZE, SIZE, 3).permute(2, 0, 1))
    return torch.stack(rows).float() / 127.5 - 1.0


@functools.cache
def load_judge(name: str) -> Judge:
    """Load the shipped judge "style" or "subject"; it is cached."""
    with safe_open(FOLDER / f"{name}.safetensors", framework="pt") as file:
        written = file.metadata()
        judge = Judge(json.loads(written["labels"]), int(written["width"]))
        judge.load_state_dict({key: file.get_tensor(key).float() for key in list(file.keys())})
    return judge.eval().requires_grad_(False)


def style_judge(images: Sequence[Image.Image]) -> list[str]:
    """Return the style of each picture, as the style judge recognises it."""
    return load_judge("style").answer(images)


def subject_judge(images: Sequence[Image.Image]) -> list[str]:
    """Return the subject of each picture, as the subject judge recognises it."""
    return load_judge("subject").answer(images)


def judge_accuracy() -> dict[str, dict[str, float]]:
    """Return the judges' accuracy: judge -> kind of test pictures -> share of right answers.

    The test pictures were not used for training the judges.
    """
    accuracy: dict[str, dict[str, float]] = json.loads(
        (FOLDER / "accuracy.json").read_text(encoding="utf-8")
    )
    return accuracy
