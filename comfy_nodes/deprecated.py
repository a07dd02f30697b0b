"""The nodes of version 0.1.0, so that workflows that were saved with it still load and run.

ComfyUI stores the values of widgets by position. These nodes therefore have the widgets of then in
the order of then, and hand them to the nodes of today, which have fewer and other ones. ComfyUI
does not offer them in its search any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from . import dataset, network, optimizer, train
from .compare_grid import ADAPTERS, LINKS, WIDGETS, CompareGrid
from .dataset import Dataset, DatasetFolder, DatasetImages
from .host import folder_content
from .host.drawing import drawing_widgets
from .host.places import adapter_file
from .host.widgets import Widget, inputs
from .lora_list import PATTERN, fingerprint, found_files
from .network import Network
from .optimizer import Optimizer
from .train import Train

_CATEGORY = "LyCORIS/deprecated"
_NETWORK = (
    "use_tucker", "dora_wd", "wd_on_output", "dropout", "rank_dropout", "module_dropout", "factor",
    "full_matrix", "decompose_both", "use_scalar", "rs_lora", "train_norm", "train_on_input",
    "constraint", "rescaled", "block_size", "include", "exclude", "rank_dropout_scale",
    "bypass_mode", "network_train_text_encoder_only", "unbalanced_factorization",
)  # fmt: skip
_OPTIMIZER = (
    "unet_lr", "text_encoder_lr", "loraplus_lr_ratio", "weight_decay", "adam_beta1", "adam_beta2",
    "max_grad_norm", "scale_weight_norms", "ema_decay", "lr_scheduler_num_cycles",
    "lr_scheduler_power", "lr_scheduler_min_lr_ratio", "lr_decay_steps", "loss_type",
    "huber_schedule", "huber_c", "min_snr_gamma", "debiased_estimation_loss", "noise_offset",
    "multires_noise_iterations", "ip_noise_gamma", "min_timestep", "max_timestep",
    "prior_loss_weight", "adam_epsilon", "lr_scheduler_timescale", "huber_scale",
)  # fmt: skip
_CUT = ("resolution", "train_batch_size", "num_repeats", "enable_bucket")
_CAPTIONS = (
    "shuffle_caption", "keep_tokens", "caption_dropout_rate", "caption_tag_dropout_rate",
    "caption_prefix", "caption_suffix",
)  # fmt: skip
_READING = (
    "caption_extension", "allow_missing_captions", "flip_aug", "alpha_mask", "bucket_no_upscale",
    "enable_wildcard", "keep_tokens_separator",
)  # fmt: skip
_RUN = ("max_train_steps", "seed", "gradient_accumulation_steps", "gradient_checkpointing")
_TRAIN = (
    "mixed_precision", "when_it_exists", "network_weights", "save_precision", "save_every_n_steps",
    "save_every_n_epochs", "sample_every_n_steps", "sample_at_first", "sample_prompts",
    "sample_negative", "sample_steps", "sample_cfg", "sample_sampler_name", "sample_scheduler",
    "max_token_length",
)  # fmt: skip


def _text(name: str, tooltip: str) -> Widget:
    return Widget(name, "STRING", {"default": "", "tooltip": tooltip})


class OldNetwork(Network):
    DEPRECATED = True
    CATEGORY = _CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        main = (*network.MAIN, "network_train_unet_only")
        return inputs([network.widget(n) for n in main], [network.widget(n) for n in _NETWORK])


class OldOptimizer(Optimizer):
    DEPRECATED = True
    CATEGORY = _CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        main = ("optimizer_type", "learning_rate", "lr_scheduler", "lr_warmup_steps")
        more = [optimizer.widget(name) for name in _OPTIMIZER]
        return inputs([optimizer.widget(name) for name in main], more)


class OldDataset(DatasetFolder):
    DEPRECATED = True
    CATEGORY = _CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        folder = _text("folder", "A folder of pictures and captions, or the parent of such ones.")
        regular = _text("reg_folder", "Folder of regularisation pictures; empty: none.")
        more = [dataset.widget(name) for name in (*_CAPTIONS, *_READING)]
        return inputs((folder, *map(dataset.widget, _CUT)), (*more, regular))

    @classmethod
    def VALIDATE_INPUTS(cls, folder: str | None = None) -> bool | str:  # type: ignore[override]
        return super().VALIDATE_INPUTS(folder, "")

    @classmethod
    def IS_CHANGED(  # type: ignore[override]
        cls, folder: str | None = None, reg_folder: str | None = None, **_: Any
    ) -> str | float:
        changed = super().IS_CHANGED(folder, "")
        return f"{changed}{folder_content.fingerprint(reg_folder)}" if reg_folder else changed

    def read(self, folder: str, **values: Any) -> tuple[Dataset, str]:  # type: ignore[override]
        return super().read(folder, **values)


class OldDatasetImages(DatasetImages):
    DEPRECATED = True
    CATEGORY = _CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        cut, captions = map(dataset.widget, _CUT), map(dataset.widget, _CAPTIONS)
        return inputs((dataset.IMAGES, dataset.TEXTS, *cut), (dataset.ENCODED, *captions))


class OldTrain(Train):
    DEPRECATED = True
    CATEGORY = _CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        known = train.known_widgets()
        model, *others = train.LINKS
        required = (model, train.VAE, *others, *(known[name] for name in ("output_name", *_RUN)))
        return inputs(required, (train.CLIP, *(known[n] for n in _TRAIN)), train.HIDDEN)


class OldCompareGrid(CompareGrid):
    DEPRECATED = True
    CATEGORY = _CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        known = {widget.name: widget for widget in WIDGETS}
        files = Widget("files", PATTERN.kind, PATTERN.settings)
        first = (known["prompts"], known["seeds"], files, known["strengths"])
        required = (*LINKS, *first, *drawing_widgets(), known["width"], known["height"])
        last = [known[name] for name in ("negative", "without_adapter", "title")]
        return inputs(required, (*last, *ADAPTERS))

    @classmethod
    def IS_CHANGED(cls, files: str | None = None, **_: Any) -> str:
        """Return a text that changes when other files match `files`, or one of them is written."""
        return fingerprint(found_files(files or "", must=False))

    def compare(  # type: ignore[override]
        self,
        model: Any,
        clip: Any,
        vae: Any,
        *,
        files: str,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        **values: Any,
    ) -> tuple[Tensor, Tensor]:
        paths: Sequence[Any] = tuple(map(adapter_file, found_files(files)))
        how = {"steps": steps, "cfg": cfg, "sampler_name": sampler_name, "scheduler": scheduler}
        return super().compare(model, clip, vae, checkpoints=paths, sampling=how, **values)
