"""Run inside ComfyUI: seconds and memory of a training step, ours, its own trainer's, or a frozen
one. Arguments: frozen, ours, seed (ours with rank 4 for convolutions) or native; LoHa or LoRA; the
clone; a checkpoint; a folder of pictures."""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from comfyui_models import ARGUMENTS

KIND, ALGORITHM, ROOT, CHECKPOINT, PICTURES = ARGUMENTS
sys.path.append(ROOT)
import comfy.sd  # noqa: E402
import torch  # noqa: E402

from comfy_nodes.host.base_model import ConnectedModel  # noqa: E402
from lycoris_ext.config import OptionSource, build_config  # noqa: E402
from lycoris_ext.training.train import train  # noqa: E402
from lycoris_ext.training.watcher import Watcher  # noqa: E402

SIZE, RANK = 128, 8
LATENTS = (1, 4, SIZE // 8, SIZE // 8)
STEPS = {"frozen": 6, "ours": 6, "seed": 6, "native": 3}


def main() -> None:
    with torch.inference_mode():
        model, clip, vae = comfy.sd.load_checkpoint_guess_config(CHECKPOINT)[:3]
        loaded = peak()
        ends = {"frozen": frozen, "native": native}.get(KIND, ours)(model, clip, vae)
    seconds = statistics.median(after - before for before, after in pairwise(ends))
    print(json.dumps({"seconds": seconds, "peak": peak(), "loaded": loaded}))


def peak() -> int:
    """Return the most memory that this process has held so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@torch.inference_mode(False)
def frozen(model: Any, clip: Any, vae: Any) -> list[float]:
    """Run forward and backward to the input, the least that a step can be; return its end times."""
    base = ConnectedModel(model, clip, vae, trains_text=False, precision="no")
    ends = []
    with base.prepared(False):
        text = base.encode_text(["a cat"])
        for _ in range(STEPS[KIND] + 1):
            noisy = torch.randn(LATENTS, requires_grad=True)
            sizes = [(SIZE, SIZE, 0, 0, SIZE, SIZE)]
            base.predict(noisy, torch.tensor([500]), text, sizes).square().mean().backward()
            ends.append(time.perf_counter())
    return ends


@torch.inference_mode(False)
def ours(model: Any, clip: Any, vae: Any) -> list[float]:
    ends: list[float] = []

    class Clock(Watcher):
        def after_step(self, run: Any, report: Any) -> None:
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        options = {
            "algo": ALGORITHM.lower(),
            "network_dim": RANK,
            "conv_dim": 4 if KIND == "seed" else RANK,
            "network_train_unet_only": True,
            "train_data_dir": PICTURES,
            "resolution": SIZE,
            "enable_bucket": False,
            "optimizer_type": "AdamW",
            "output_dir": folder,
            "max_train_steps": STEPS[KIND] + 1,
            "save_state_every_n_steps": 1000,
            "device": "cpu",
        }
        base = ConnectedModel(model, clip, vae, trains_text=False, precision="no")
        train(build_config([OptionSource("test", options)]), base, Clock())
    return ends


def native(model: Any, clip: Any, vae: Any) -> list[float]:
    """Train with ComfyUI's own trainer; return the times at which its optimizer's steps end."""
    from comfy_extras.nodes_train import TrainLoraNode

    ends: list[float] = []
    step = torch.optim.AdamW.step

    def timed(self: Any, *arguments: Any, **more: Any) -> Any:
        answer = step(self, *arguments, **more)
        ends.append(time.perf_counter())
        return answer

    torch.optim.AdamW.step = timed  # type: ignore[method-assign]
    TrainLoraNode().train(
        model=model,
        latents={"samples": torch.randn(LATENTS)},
        positive=clip.encode_from_tokens_scheduled(clip.tokenize("a cat")),
        batch_size=1,
        steps=STEPS[KIND],
        grad_accumulation_steps=1,
        learning_rate=1e-4,
        rank=RANK,
        optimizer="AdamW",
        loss_function="MSE",
        seed=1,
        training_dtype="fp32",
        lora_dtype="fp32",
        algorithm=ALGORITHM,
        gradient_checkpointing=False,
        existing_lora="[None]",
    )
    return ends


main()
