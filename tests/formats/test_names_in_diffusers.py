"""What `lycoris-ext info` says of names in diffusers is what load_lora_weights does."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest

from lycoris_ext.formats.keys import place_in_file, place_in_model
from lycoris_ext.formats.misread import knows
from lycoris_ext.formats.namings import DIFFUSERS, left_by
from lycoris_ext.models import build_meta
from tests.hosts.naming import FAMILIES, FORMS, NamedFile, write_files

FORM = ("LoRA", "LoCon", "LoHa", "OFT")


def pipeline(family: str) -> Any:
    """Return diffusers' pipeline with models of real names and without numbers."""
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    absent = {"vae": None, "tokenizer": None, "scheduler": None}
    if family == "sdxl":
        return StableDiffusionXLPipeline(**build_meta(family), **absent, tokenizer_2=None)
    return StableDiffusionPipeline(
        **build_meta(family),
        **absent,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def taken(pipe: Any) -> set[tuple[str, str]]:
    """Return the common names of the layers that an adapter was loaded for."""
    return {
        place_in_model(target, path)
        for target in ("unet", "text_encoder", "text_encoder_2")
        for path, module in (getattr(pipe, target, None) or pipe.unet).named_modules()
        if getattr(module, "lora_A", None)
    }


def left(pipe: Any, folder: Path, file: NamedFile) -> set[str]:
    """Load a file with diffusers; return the layers that it left, all of them if it refused it."""
    with contextlib.suppress(ValueError), contextlib.redirect_stderr(io.StringIO()):
        pipe.load_lora_weights(str(folder), weight_name=file.file)
    names = taken(pipe)
    places = {layer: place_in_file(layer) for layer in file.layers}
    pipe.unload_lora_weights()
    return {
        layer
        for layer, place in places.items()
        if (place.target or "unet", place.name) not in names
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_leaves_exactly_the_layers_that_we_say(family: str, tmp_path: Path) -> None:
    pipe = pipeline(family)
    wrong = []
    for file in write_files(tmp_path):
        if file.family == family and file.form in FORM:
            said = set(left_by(DIFFUSERS, file.keys, family).layers)
            if not knows(DIFFUSERS, FORMS[file.form].algorithm):
                said = file.layers
            found = left(pipe, tmp_path, file)
            if found != said:
                wrong.append(f"{file}: {sorted(found ^ said)[:4]}")
    assert not wrong
