"""The node that trains an adapter on the connected model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from lycoris_ext.config import OptionSource, TrainConfig, build_config
from lycoris_ext.errors import ConfigError, RunInterrupted
from lycoris_ext.formats.families import LONGEST_TEXT
from lycoris_ext.training.run_name import CONTINUE, MODES
from lycoris_ext.training.train import train

from . import dataset, network, optimizer
from .advanced import Advanced, Values, joined, more
from .host import adapter
from .host.drawing import Drawing, drawing_widgets
from .host.outcome import outcome, told
from .host.places import adapter_file, adapter_files, output_place
from .host.prompt import model_name
from .host.status import show
from .host.watching import NodeWatcher
from .host.widgets import Widget, chooser, inputs, link, option, read_options
from .load import changed
from .sampling import SAMPLING

_ADVANCED = "LYCORIS_TRAIN_ADVANCED"
_PLAIN = "Train"
_NONE = "(none)"
_NO_CLIP = "no CLIP is connected"
_ENCODED = "the captions of this dataset are encoded already"

LINKS = (
    link("model", "MODEL", "The diffusion model to train the adapter for; it is not changed."),
    link("network", network.TYPE, "The adapter to train, from a Network node."),
    link("dataset", dataset.TYPE, "Pictures and captions, from a Dataset node."),
    link("optimizer", optimizer.TYPE, "How to train, from an Optimizer node."),
)
VAE = link(
    "vae",
    "VAE",
    "The VAE, which turns pictures into latents. A dataset of latents needs none.",
)
CLIP = link(
    "clip",
    "CLIP",
    "The text encoder. It reads the captions, and is trained, too, if the Network node says so.",
)
HIDDEN = {"unique_id": "UNIQUE_ID", "prompt": "PROMPT"}
_NAME = Widget(
    "output_name",
    "STRING",
    {
        "default": "my_lora",
        "tooltip": "Name of the adapter's file in ComfyUI's first LoRA folder, without ending; "
        "people/mine puts it into the folder people.",
    },
)
_PRECISION = Widget(
    "mixed_precision",
    ["auto", "no", "bf16", "fp16"],
    {
        "default": "auto",
        "tooltip": "Number format that the model computes in; no: float32; auto: bf16 or fp16 on a "
        "GPU, float32 on a CPU.",
    },
)
_MODE = Widget(
    "when_it_exists",
    list(MODES),
    {
        "default": MODES[0],
        "tooltip": "What to do if there is a run of this name already. continue or new: if nothing "
        "was changed, use its file if it was finished, and go on with it if it was stopped; else "
        "train under a new name such as NAME-2. continue: always go on with it, also to make it "
        "longer; the state that this needs is kept with continue alone. new name: always take a "
        "new name. overwrite: replace it.",
    },
)
_PROMPTS = Widget(
    "sample_prompts",
    "STRING",
    {
        "default": "",
        "multiline": True,
        "tooltip": "Prompts to draw during training, one on each line; empty: a few captions of "
        "the dataset.",
    },
)
_NEGATIVE = Widget(
    "sample_negative",
    "STRING",
    {"default": "", "tooltip": "Negative prompt of the pictures drawn during training."},
)
_RUN = (
    "max_train_steps", "max_train_epochs", "save_every_n_epochs", "seed", "gradient_checkpointing",
)  # fmt: skip
_SAVING = ("save_precision", "save_every_n_steps", "save_last_n_steps", "save_last_n_epochs")
_METADATA = (
    "metadata_trigger_phrase", "metadata_title", "metadata_author", "metadata_description",
    "metadata_license", "metadata_tags", "metadata_usage_hint", "training_comment",
)  # fmt: skip
_DRAWING = ("sample_every_n_steps", "sample_every_n_epochs", "sample_at_first")
#: Options that are widgets of Train in workflows of 0.1.0, and of another node now.
_ONCE = ("gradient_accumulation_steps", "max_token_length")
#: ComfyUI itself reads prompts of any length.
_USUAL = {"max_token_length": LONGEST_TEXT}


_OPTIONS = (*_RUN, *_SAVING, *_METADATA, *_DRAWING, *_ONCE)


def _start() -> Widget:
    tooltip = "An adapter file to train further; (none): begin with a new adapter."
    return chooser("network_weights", adapter_files(), tooltip, _NONE)


def known_widgets() -> dict[str, Widget]:
    """Return every widget of these nodes by name, those of workflows of 0.1.0 included."""
    samples = (replace(each, name=f"sample_{each.name}") for each in drawing_widgets())
    own = (_NAME, _PRECISION, _MODE, _start(), _PROMPTS, _NEGATIVE, *samples)
    return {each.name: each for each in own} | {
        name: option(name, default=_USUAL.get(name)) for name in _OPTIONS
    }


class Train:
    CATEGORY = "LyCORIS/training"
    DESCRIPTION = (
        "Trains an adapter (LoRA, LoHa, LoKr and others) on the connected model, shows loss and "
        "pictures during training, and saves it to the LoRA folder. Cancel saves, too; queue the "
        "same workflow again to go on. The model itself is not changed."
    )
    SEARCH_ALIASES = ("lora trainer", "lora training", "finetune", "train lokr", "train dora")
    RETURN_TYPES = (adapter.TYPE, "STRING", "IMAGE", "IMAGE", adapter.SEVERAL)
    RETURN_NAMES = ("adapter", "path", "loss_curve", "samples", "checkpoints")
    OUTPUT_TOOLTIPS = (
        "The trained adapter, for nodes that apply, compare or save one, ComfyUI's own included.",
        "Path of the adapter's file.",
        "A chart of the loss over the steps.",
        "The pictures drawn during training; the loss curve if none were drawn.",
        "The copies that the run saved, and the trained adapter: for Compare LoRAs.",
    )
    OUTPUT_NODE = True
    FUNCTION = "train"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        known = known_widgets()
        names = ("output_name", *_RUN, "network_weights", "when_it_exists")
        links = (VAE, CLIP, more(_ADVANCED, _PLAIN))
        return inputs((*LINKS, *(known[name] for name in names)), links, HIDDEN)

    @classmethod
    def IS_CHANGED(cls, network_weights: str | None = None, **_: Any) -> str:
        """Return a text that changes when the file to start from is written again."""
        return changed(network_weights)

    def train(
        self,
        model: Any,
        network: Any,
        dataset: Any,
        optimizer: Any,
        output_name: str,
        vae: Any = None,
        clip: Any = None,
        when_it_exists: str = MODES[0],
        advanced: Values | None = None,
        unique_id: str | None = None,
        prompt: Any = None,
        **values: Any,
    ) -> dict[str, Any]:
        from comfy.model_management import throw_exception_if_processing_interrupted

        from .host.base_model import ConnectedModel, best_precision
        from .host.prediction import Prediction

        dataset.check_links(clip, vae)
        values = joined(advanced, values)
        precision = values.get("mixed_precision", "auto")
        precision = best_precision() if precision == "auto" else precision
        no_text = _NO_CLIP if clip is None else _ENCODED if dataset.conditionings else ""
        config = _config(
            values,
            {
                **network,
                **dataset.options,
                **optimizer,
                "pretrained_model_name_or_path": model_name(prompt, unique_id),
                "mixed_precision": precision,
                "zero_terminal_snr": Prediction(model).ends_in_pure_noise,
            },
            output_name,
            no_text,
        )
        with torch.inference_mode(False), torch.enable_grad():
            base = ConnectedModel(
                model,
                clip,
                vae,
                trains_text=not config.effective_network.network_train_unet_only,
                precision=precision,
                conditionings=dataset.conditionings,
                latents=dataset.latents,
                max_token_length=config.model.max_token_length,
            )
            watcher = NodeWatcher(
                base,
                config,
                _drawing(values, config),
                unique_id,
                values,
                captions_are_names=bool(dataset.conditionings),
            )
            if no_text and not network.get("network_train_unet_only"):
                watcher.told.append(f"{no_text}, so the model alone gets an adapter")
            try:
                path = train(
                    config, base, watcher, when_it_exists, keep_state=when_it_exists == CONTINUE
                )
            except RunInterrupted as stopped:
                show(str(stopped), unique_id)
                throw_exception_if_processing_interrupted()
                raise
        show(told(path, watcher), unique_id)
        return {"ui": {"text": [str(path)]}, "result": tuple(outcome(path, watcher))}


def _config(
    values: dict[str, Any], given: dict[str, Any], output_name: str, no_text: str
) -> TrainConfig:
    """Make the config of a run from the inputs of all nodes.

    Args:
        values: inputs of the Train node.
        given: options from the other nodes.
        output_name: as the user wrote it.
        no_text: why the diffusion model alone can be trained; "" if the text encoder can be, too.

    Raises:
        ConfigError: an option is wrong, or options contradict each other.
    """
    folder, name = output_place(output_name)
    read = [option(name, default=_USUAL.get(name)) for name in _OPTIONS if name in values]
    options = _USUAL | read_options(read, values) | given
    options |= {"output_dir": str(folder), "output_name": name, "device": _device()}
    if no_text:
        if options.get("network_train_text_encoder_only"):
            raise ConfigError(
                f"{no_text}, and the text encoder alone is to be trained",
                where="clip",
                fix="connect a CLIP and a dataset with captions, or choose model under "
                '"train" on the Network node',
            )
        options["network_train_unet_only"] = True
    start = values.get("network_weights", _NONE)
    if start != _NONE:
        options["network_weights"] = str(adapter_file(start))
    return build_config([OptionSource("this workflow", options)])


class _More(Advanced):
    TYPE, PLAIN = _ADVANCED, _PLAIN
    WIDGETS: tuple[str, ...] = ()

    @classmethod
    def widgets(cls) -> Sequence[Widget]:
        known = known_widgets()
        return [known[name] for name in cls.WIDGETS]


class TrainSaving(_More):
    DESCRIPTION = "Number formats, and which copies of the adapter are saved during training."
    WIDGETS = ("mixed_precision", *_SAVING)


class TrainMetadata(_More):
    DESCRIPTION = "What the adapter's file says of itself, for other programs and people."
    WIDGETS = _METADATA


class TrainPreviews(_More):
    DESCRIPTION = "Draws pictures during training, which Train LoRA shows and saves."
    WIDGETS = (*_DRAWING, "sample_prompts", "sample_negative")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        given = super().INPUT_TYPES()
        given["optional"][SAMPLING.name] = SAMPLING.as_input()
        return given

    def collect(
        self, advanced: Values | None = None, sampling: Values | None = None, **values: Any
    ) -> tuple[Values]:
        how = {f"sample_{name}": value for name, value in (sampling or {}).items()}
        return (joined(advanced, {**values, **how}),)


def _device() -> str:
    from comfy.model_management import get_torch_device

    return str(get_torch_device())


def _drawing(values: dict[str, Any], config: TrainConfig) -> Drawing:
    width, height = config.data.size
    return Drawing(
        values.get("sample_negative", ""),
        int(values.get("sample_steps", 20)),
        float(values.get("sample_cfg", 7.0)),
        values.get("sample_sampler_name", "euler"),
        values.get("sample_scheduler", "normal"),
        width,
        height,
    )
