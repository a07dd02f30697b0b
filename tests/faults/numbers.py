"""Impossible and huge numbers in every option of a training."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lycoris_ext.config import OptionSource, build_config
from lycoris_ext.errors import LycorisExtError
from lycoris_ext.options import Option, alternatives
from lycoris_ext.training.config import all_options
from lycoris_ext.training.terminal import train_in_terminal
from tests.faults.trials import Kind, Trial
from tests.tiny_pictures import write_pictures
from tests.tiny_pipeline import write_tiny_folder

_NUMBERS: tuple[float, ...] = (
    *(float("nan"), float("inf"), -float("inf"), -1, 0, 1e-300, 1e30, 1.7e308),
    *(2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**400),
)
#: A huge value of these is what it says: a run of that length, or so many batches for a step.
_AS_LONG_AS_ASKED = ("max_train_steps", "max_train_epochs", "gradient_accumulation_steps")
#: Options that others of the same name need to be read at all.
_TOGETHER: dict[str, dict[str, Any]] = {
    "adaptive_noise_scale": {"noise_offset": 0.1},
    "multires_noise_discount": {"multires_noise_iterations": 3},
    "huber_c": {"loss_type": "huber"},
    "noising_weight": {"timestep_distribution": "sigmoid"},
    "noising_bias": {"timestep_distribution": "inverted_parabola", "noising_weight": 4.0},
    "huber_scale": {"loss_type": "huber"},
    "conv_alpha": {"conv_dim": 2},
    "factor": {"algo": "lokr"},
    "block_size": {"algo": "dylora"},
    "constraint": {"algo": "diag-oft"},
    "caption_variants": {"cache_text_encoder_outputs": True, "shuffle_caption": True},
    "sgd_momentum": {"optimizer_type": "SGD"},
    "rmsprop_alpha": {"optimizer_type": "RMSprop"},
    "lr_warmup_steps": {"lr_scheduler": "constant_with_warmup"},
    "lr_scheduler_num_cycles": {"lr_scheduler": "cosine_with_restarts", "lr_warmup_steps": 1},
    "lr_scheduler_power": {"lr_scheduler": "polynomial"},
    "lr_decay_steps": {"lr_scheduler": "warmup_stable_decay"},
    "lr_scheduler_timescale": {"lr_scheduler": "inverse_sqrt"},
}


def _is_number(option: Option) -> bool:
    return any(kind in (int, float) for kind in alternatives(option.hint))


def _outcome(config: dict[str, Any], *, run: bool) -> str:
    """Return what is bad about how a training ends; "": it trains, or says what is wrong."""
    try:
        built = build_config([OptionSource("trial", config)])
        if run:
            train_in_terminal(built)
    except LycorisExtError as error:
        return "" if error.what else "no word"
    except Exception as error:  # noqa: BLE001 - this is what the trials look for
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def _numbers(number: int, seed: int, folder: Path) -> Iterator[Trial]:
    chance = random.Random(seed)
    base = write_tiny_folder(folder / "base")
    pictures = write_pictures(folder / "pictures", count=2, repeats=1)
    names = [name for name, option in all_options().items() if _is_number(option)]
    every = [(name, value) for name in names for value in _NUMBERS]
    for turn, (name, value) in enumerate(chance.sample(every, min(number, len(every)))):
        torch.manual_seed(0)
        config: dict[str, Any] = {
            "pretrained_model_name_or_path": str(base),
            "train_data_dir": str(pictures),
            "output_dir": str(folder / f"out-{turn}"),
            "resolution": 32,
            "network_dim": 2,
            "preset": "attn-only",
            "max_train_steps": 2,
            "device": "cpu",
            **_TOGETHER.get(name, {}),
        }
        asked = {**config, name: value}
        yield Trial(f"{name} = {value}", _outcome(asked, run=name not in _AS_LONG_AS_ASKED))


KINDS = [
    Kind("a number in an option that is none, negative or huge", _numbers, 6, 250, before=(118, 8)),
]
