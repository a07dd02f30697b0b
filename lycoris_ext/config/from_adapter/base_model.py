"""Find the layers of a file in the base model that it is for, without the model's own file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from torch import Tensor

from lycoris_ext.algorithms import Plan, detect
from lycoris_ext.config.from_adapter.patterns import Path
from lycoris_ext.errors import LycorisExtError
from lycoris_ext.formats.families import TARGETS, TEXT_LEVEL, family_of_version
from lycoris_ext.formats.keys import place_in_file, target_of
from lycoris_ext.models import build_meta
from lycoris_ext.models.part_configs import LOADED
from lycoris_ext.network.sites import Targets, all_sites, place_layers

Layers = Mapping[str, Mapping[str, Tensor]]
#: Names of Stable Diffusion's convolutions larger than 1x1.
_WIDE = re.compile(r"(.*_)?conv([12]|_in|_out)?")
#: The first words of the layers of Stable Diffusion, to tell other files without building a model.
_PARTS = ("down_blocks", "mid_block", "up_blocks", "conv_", "time_emb", "add_emb", "encoder_")


@dataclass(frozen=True)
class FileLayer:
    """One layer of an adapter file.

    Attributes:
        path: model and words of the layer's path; the words of a layer whose model is not known
            are those between the underscores of its name in the file.
        tensors: its tensors in the file.
        plan: how they adapt the layer.
        sure: whether the layer's shapes are known, not only inferred from the tensors.
        wide: whether it is a convolution larger than 1x1; None: the tensors do not tell, because
            some algorithms store kernels flat.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    plan: Plan
    sure: bool
    wide: bool | None


@dataclass(frozen=True)
class FoundLayers:
    """The layers of a file, and the model that has them.

    Attributes:
        layers: of the file.
        targets: the models with the layers, on the meta device; None: the base model is not known.
    """

    layers: tuple[FileLayer, ...]
    targets: Targets | None


def find_layers(layers: Layers, version: str) -> FoundLayers:
    """Find the base model that has all layers of a file, in the file's shapes.

    Args:
        layers: layer's name in the file -> its tensors.
        version: the file's ss_base_model_version, of use where families have equal layers; or "".

    Raises:
        FormatError: no algorithm stores these tensors.
    """
    said = family_of_version(version)
    for family in sorted(LOADED, key=lambda id: said is None or id != said.id):
        if not (layers and _may_be_stable_diffusion(layers)):
            break
        targets = _models(family)
        found = _placed(layers, targets)
        if found is not None:
            return FoundLayers(found, targets)
    return FoundLayers(tuple(_unplaced(layers)), None)


def site_path(name: str) -> Path:
    """Return the path of a layer of a base model from its name, unet.conv_in.

    The word text_model is left out, because only some versions of transformers have it.
    """
    return tuple(word for word in name.split(".") if word != TEXT_LEVEL.rstrip("_"))


_models = cache(build_meta)


def _may_be_stable_diffusion(layers: Layers) -> bool:
    """Whether the names are those of a base model that can be built here."""
    if any(find_spec(package) is None for package in ("diffusers", "transformers")):
        return False
    return all(
        target_of(layer) in TARGETS and place_in_file(layer).name.startswith(_PARTS)
        for layer in layers
    )


def _placed(layers: Layers, targets: Targets) -> tuple[FileLayer, ...] | None:
    """Return the layers with the models' shapes; None if the models lack some or have others."""
    try:
        placed = place_layers(layers, all_sites(targets))
        if len(placed) < len(layers):
            return None
        return tuple(
            FileLayer(site_path(site.name), layers[layer], plan, True, site.spec.is_spatial)
            for layer, site in placed.items()
            for plan in [detect(layers[layer], layer, site.spec)]
        )
    except LycorisExtError:  # of another family
        return None


def _unplaced(layers: Layers) -> Iterator[FileLayer]:
    for layer, tensors in layers.items():
        place = place_in_file(layer)
        words = place.name.removeprefix(TEXT_LEVEL).split("_")
        plan = detect(tensors, layer)
        wide: bool | None = plan.layer.is_spatial
        if not (wide or plan.layer.kernel or plan.algorithm.of_norms):
            named = place.target == "unet" and place.name.startswith(_PARTS)
            wide = _WIDE.fullmatch(place.name) is not None if named else None
        yield FileLayer((place.target, *words), tensors, plan, False, wide)
