"""Two small classifiers that say in whose style a picture is drawn and what it shows.

They make "the adapter learned the style" a number. Both were trained on real pictures of all three
styles, the learned one included, and never on anything a denoiser made; `judges/accuracy.json` has
their accuracy on real pictures that they were not trained on.
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
    """Four strided convolutions, the mean over all places, one linear layer.

    Args:
        labels: the answers it can give.
        width: channels of the first layer.
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
        """[N, 3, 64, 64] from -1 to 1 to [N, labels]."""
        found = nn.functional.adaptive_avg_pool2d(self.features(signal), 2)
        scores: Tensor = self.head(found.flatten(1))
        return scores

    @torch.no_grad()
    def answer(self, images: Sequence[Image.Image]) -> list[str]:
        """The most likely label of each picture."""
        if not images:
            return []
        scores = [self(_signal(images[i : i + 128])) for i in range(0, len(images), 128)]
        return [self.labels[index] for index in torch.cat(scores).argmax(1).tolist()]


def _signal(images: Sequence[Image.Image]) -> Tensor:
    """Images of any size to [N, 3, 64, 64] from -1 to 1."""
    rows = []
    for image in images:
        small = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        flat = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
        rows.append(flat.view(SIZE, SIZE, 3).permute(2, 0, 1))
    return torch.stack(rows).float() / 127.5 - 1.0


@functools.cache
def load_judge(name: str) -> Judge:
    """The shipped judge of a name: "style" or "subject"."""
    with safe_open(FOLDER / f"{name}.safetensors", framework="pt") as file:
        written = file.metadata()
        judge = Judge(json.loads(written["labels"]), int(written["width"]))
        judge.load_state_dict({key: file.get_tensor(key).float() for key in list(file.keys())})
    return judge.eval().requires_grad_(False)


def style_judge(images: Sequence[Image.Image]) -> list[str]:
    """In whose style each picture is drawn."""
    return load_judge("style").answer(images)


def subject_judge(images: Sequence[Image.Image]) -> list[str]:
    """What each picture shows."""
    return load_judge("subject").answer(images)


def judge_accuracy() -> dict[str, dict[str, float]]:
    """Shares of right answers on real pictures kept apart from the judges' training."""
    accuracy: dict[str, dict[str, float]] = json.loads(
        (FOLDER / "accuracy.json").read_text(encoding="utf-8")
    )
    return accuracy
