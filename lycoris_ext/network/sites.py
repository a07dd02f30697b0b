"""The layers of a model, and where a file's belong among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from lycoris_ext.errors import FormatError
from lycoris_ext.formats.families import family_of_models
from lycoris_ext.formats.keys import (
    DENOISER,
    Place,
    key_prefix,
    place_in_file,
    place_in_model,
)
from lycoris_ext.functional import LayerSpec, spec_of
from lycoris_ext.words import and_more, count

Targets = Mapping[str, nn.Module]
DENOISERS = ("unet", DENOISER)


@dataclass(frozen=True)
class Site:
    """One layer of a model: where it is and what it is called in the files we write."""

    target: str
    path: str
    module: nn.Module
    spec: LayerSpec
    key: str

    @property
    def weight(self) -> Tensor:
        """As the module holds it; packed in a quantised one."""
        weight = self.module.weight
        assert isinstance(weight, Tensor)  # every layer that is adapted has one
        return weight

    @property
    def bias(self) -> Tensor | None:
        bias = getattr(self.module, "bias", None)  # RMSNorm has no such thing
        assert bias is None or isinstance(bias, Tensor)
        return bias

    @property
    def place(self) -> Place:
        """Where it is in everybody's naming."""
        return place_in_model(self.target, self.path)

    @property
    def name(self) -> str:
        """As patterns see it: ``unet.down_blocks.0.resnets.0.conv1``."""
        return f"{self.target}.{self.path}"


def all_sites(targets: Targets) -> dict[str, Site]:
    """Every Linear, Conv and normalisation by its key.

    Raises:
        FormatError: two layers would have the same key.
    """
    sites: dict[str, Site] = {}
    unet = targets.get("unet")
    children = () if unet is None else (name for name, _ in unet.named_children())
    family = family_of_models(targets, children)
    for target, model in targets.items():
        for path, module in model.named_modules():
            spec = spec_of(module)
            if spec is None or _bypasses_forward(model, path):
                continue
            key = key_prefix(target, path, family)
            site = Site(target, path, module, spec, key)
            if site.key in sites:
                raise FormatError(
                    f"the layers {sites[site.key].name} and {site.name} share this key",
                    where=site.key,
                    fix="pass the models under different target names",
                )
            sites[site.key] = site
    return sites


def place_layers(layers: Iterable[str], sites: Mapping[str, Site]) -> dict[str, Site]:
    """A file's layers and the model's, brought together by their places.

    Args:
        layers: names in the file, in anybody's naming.
        sites: of the models, by key.

    Returns:
        Layer's name in the file -> site, for the layers that have one.

    Raises:
        FormatError: a name without a target fits layers of several models, or two names one layer.
    """
    by_place = {site.place: site for site in sites.values()}
    targets = {site.target for site in sites.values()}
    placed: dict[str, Site] = {}
    taken: dict[str, str] = {}
    for layer in layers:
        told, name = place_in_file(layer)
        places = {place_in_model(target, name) for target in ([told] if told else targets)}
        found = [by_place[place] for place in places if place in by_place]
        if len(found) > 1:
            raise FormatError(
                f"the layer may be any of {', '.join(sorted(site.name for site in found))}",
                where=layer,
                fix="pass only the model that the file is for",
            )
        for site in found:
            if taken.setdefault(site.key, layer) != layer:
                raise FormatError(
                    f"{taken[site.key]!r} and {layer!r} name the same layer",
                    where=site.name,
                    fix="the file mixes two adapters: separate them",
                )
            placed[layer] = site
    return placed


def stored_by_key(
    layers: Mapping[str, Mapping[str, Tensor]],
    sites: Mapping[str, Site],
    all_of_them: bool = True,
) -> dict[str, Mapping[str, Tensor]]:
    """The tensors of a file's layers by our keys, in the order of ``sites``.

    Args:
        layers: of the file, in anybody's naming.

    Raises:
        FormatError: layers have no place, or some of ``all_of_them`` are missing.
    """
    placed = place_layers(layers, sites)
    found = {placed[layer].key: tensors for layer, tensors in layers.items() if layer in placed}
    left_over = [layer for layer in layers if layer not in placed]
    missing = [key for key in sites if key not in found] if all_of_them else []
    faults = [
        f"{what} {count(len(names), 'layer')} of the {whole}: {and_more(sorted(names), 10)}"
        for what, names, whole in (
            ("the model has no place for", left_over, "file"),
            ("the file lacks", missing, "model"),
        )
        if names
    ]
    if faults:
        raise FormatError(
            "; ".join(faults),
            fix="the adapter belongs to another model family, or the file is damaged",
        )
    return {key: found[key] for key in sites if key in found}


def _bypasses_forward(model: nn.Module, path: str) -> bool:
    """nn.MultiheadAttention reads its out_proj's weight without ever calling it."""
    parent = model.get_submodule(path.rpartition(".")[0])
    return isinstance(parent, nn.MultiheadAttention)
