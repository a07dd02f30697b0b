"""The node that makes a dataset of latents and conditionings of other nodes."""

from __future__ import annotations

from typing import Any

from lycoris_ext.words import count

from .dataset import EMPTY, TYPE, Dataset, check_count, widget, write
from .host.conditionings import encoded_captions
from .host.given_latents import marked_picture, single_latents, whole_pictures
from .host.widgets import check, inputs, link, read_options

_LATENTS = link("latents", "LATENT", "Batches or lists of latents, of any sizes.")
_ENCODED = link(
    "conditioning",
    "CONDITIONING",
    "Encoded captions: one for each latent, or a single one for all latents.",
)
_WIDGETS = ("train_batch_size", "num_repeats", "caption_dropout_rate")
_SENTENCES = {"num_repeats": "Number of times that an epoch shows each latent."}


class DatasetLatents:
    CATEGORY = "LyCORIS/dataset"
    DESCRIPTION = (
        "Makes a dataset to train a LoRA on of latents and conditionings, such as those of "
        "ComfyUI's own dataset nodes. Train LoRA then needs neither VAE nor CLIP."
    )
    SEARCH_ALIASES = ("training data", "latents", "load training dataset")
    RETURN_TYPES = (TYPE, "STRING")
    RETURN_NAMES = ("dataset", "summary")
    OUTPUT_TOOLTIPS = ("The latents to train on, for Train LoRA.", "What was found, as a text.")
    FUNCTION = "read"
    INPUT_IS_LIST = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        own = [widget(name, _SENTENCES.get(name)) for name in _WIDGETS]
        return inputs((_LATENTS, _ENCODED, *own), (EMPTY,))

    def read(
        self,
        latents: list[Any],
        conditioning: list[Any],
        empty_conditioning: list[Any] | None = None,
        **values: list[Any],
    ) -> tuple[Dataset, str]:
        given = {name: value[0] for name, value in values.items()}
        found = single_latents(latents)
        known = dict(found)
        options = read_options([widget(name) for name in given], given) | whole_pictures(known)
        names, encoded = encoded_captions(conditioning, empty_conditioning, options)
        check_count(len(names), len(found), "conditionings")
        pictures = [marked_picture(digest, latent) for digest, latent in found]
        names = names * (len(found) if len(names) == 1 else 1)
        options["image_dir"] = str(write(pictures, names))
        check(options)
        sizes = sorted({f"{latent.shape[2]}x{latent.shape[1]}" for latent in known.values()})
        summary = f"{count(len(found), 'latent')} of {', '.join(sizes)}"
        return Dataset(options, encoded, known), summary
