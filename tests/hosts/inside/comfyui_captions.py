"""Run inside ComfyUI: how its text encoder reads long captions for us. Argument: the clone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from comfyui_models import ARGUMENTS, small_clip, small_model

sys.path.append(ARGUMENTS[0])  # behind everything of ComfyUI's
import torch
from torch import nn

from comfy_nodes.host.base_model import ConnectedModel

CAPTIONS = ["a cat", "red hat, " * 25, "a (red) hat, " * 16, "1girl, solo, " * 70]
SIZES = [(64, 64, 0, 0, 64, 64)]


class Vae:
    latent_channels = 4
    first_stage_model = nn.Module()

    def spacial_compression_encode(self) -> int:
        return 8


def main() -> None:
    with torch.inference_mode():
        model, clip = small_model(), small_clip()
    found: dict[str, Any] = {"lengths": {}}
    for length in (75, 150, 225):
        base = ConnectedModel(
            model, clip, Vae(), trains_text=False, precision="no", max_token_length=length
        )
        texts = [base.encode_text([caption]) for caption in CAPTIONS]
        found["lengths"][length] = [text[0][0].shape[1] for text in texts]
    limit = base.token_limit()
    found["ours"] = [limit.count(caption) for caption in CAPTIONS]
    found["theirs"] = [count(clip, caption) for caption in CAPTIONS]
    with torch.inference_mode(False), torch.no_grad(), base.prepared(False):
        noisy, timesteps = torch.randn(len(CAPTIONS), 4, 8, 8), torch.arange(len(CAPTIONS)) * 100
        together = base.predict(noisy, timesteps, base.join(texts), SIZES * len(CAPTIONS))
        alone = [
            base.predict(noisy[n : n + 1], timesteps[n : n + 1], text, SIZES)
            for n, text in enumerate(texts)
        ]
    found["difference"] = float((together - torch.cat(alone)).abs().max())
    print(json.dumps(found))


def count(clip: Any, caption: str) -> int:
    """Count the tokens of a caption in ComfyUI, without marks and padding."""
    escaped = caption.replace("(", "\\(").replace(")", "\\)")
    pieces = clip.tokenize(escaped, return_word_ids=True)["l"]
    return sum(word != 0 for piece in pieces for _, _, word in piece)


main()
