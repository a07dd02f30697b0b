"""The layers of models that can be adapted, and how the layers of a file are matched with them."""

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
from lycoris_ext.modules import fused_modules
from lycoris_ext.words import and_more, count

Targets = Mapping[str, nn.Module]
DENOISERS = ("unet", DENOISER)


@dataclass(frozen=True)
class Site:
    """One layer of a model that can be adapted.

    Attributes:
        target: name of the model: "unet", "text_encoder", ...
        path: of the module inside the model.
        module: the Linear, convolution or normalisation.
        spec: its shapes.
        key: its name in the files that we write, the prefix of its tensors.
        fused: modules around it that do not always call it (``modules.fused_modules``).
        shared: name of another layer with the same weight (tied weights); "": there is none.
    """

    target: str
    path: str
    module: nn.Module
    spec: LayerSpec
    key: str
    fused: tuple[nn.Module, ...] = ()
    shared: str = ""

    @property
    def weight(self) -> Tensor:
        """The weight as the module holds it; of a quantised module the packed tensor."""
        weight = self.module.weight
        assert isinstance(weight, Tensor)  # every layer that is adapted has one
        return weight

    @property
    def bias(self) -> Tensor | None:
        """The bias, (out,), or None."""
        bias = getattr(self.module, "bias", None)  # RMSNorm has no such attribute
        assert bias is None or isinstance(bias, Tensor)
        return bias

    @property
    def place(self) -> Place:
        """The name of the layer that is common to all naming schemes of models and files."""
        return place_in_model(self.target, self.path)

    @property
    def name(self) -> str:
        """Model and path, in which patterns are searched: unet.down_blocks.0.resnets.0.conv1."""
        return f"{self.target}.{self.path}"


def all_sites(targets: Targets) -> dict[str, Site]:
    """Return every Linear, convolution and normalisation of the models, by its key in files.

    Args:
        targets: models by name: "unet", "text_encoder", ...

    Raises:
        FormatError: two layers would have the same key.
    """
    sites: dict[str, Site] = {}
    owners = _owners(targets)
    unet = targets.get("unet")
    children = () if unet is None else (name for name, _ in unet.named_children())
    family = family_of_models(targets, children)
    for target, model in targets.items():
        fused = fused_modules(model)
        for path, module in model.named_modules():
            spec = spec_of(module)
            if spec is None or _bypasses_forward(model, path):
                continue
            key = key_prefix(target, path, family)
            outer = (m for start, m in fused.items() if not start or path.startswith(f"{start}."))
            name = f"{target}.{path}"
            others = (other for other in owners.get(id(module.weight), ()) if other != name)
            site = Site(target, path, module, spec, key, tuple(outer), next(others, ""))
            if site.key in sites:
                raise FormatError(
                    f"the layers {sites[site.key].name} and {site.name} share this key",
                    where=site.key,
                    fix="pass the models under different target names",
                )
            sites[site.key] = site
    return sites


def place_layers(layers: Iterable[str], sites: Mapping[str, Site]) -> dict[str, Site]:
    """Find the model's layer for each layer of a file.

    Args:
        layers: names of layers in the file, in the naming of any tool.
        sites: the models' layers, by key.

    Returns:
        Name in the file -> the model's layer; names that no layer of the models has are left out.

    Raises:
        FormatError: a name that says no model fits layers of several models, or two names mean one
            layer.
    """
    by_place = {site.place: site for site in sites.values()}
    targets = {site.target for site in sites.values()}
    placed: dict[str, Site] = {}
    taken: dict[str, str] = {}
    for layer in layers:
        named, name = place_in_file(layer)
        places = {place_in_model(target, name) for target in ([named] if named else targets)}
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
    """Return the tensors of a file's layers under the keys of the model's layers.

    Args:
        layers: layer's name in the file -> its tensors; in the naming of any tool.
        sites: the models' layers, by key; the result has their order.
        all_of_them: refuse a file that lacks some of the layers in ``sites``.

    Raises:
        FormatError: the file has layers that the models lack, or it lacks layers that it must have.
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


def _owners(targets: Targets) -> dict[int, list[str]]:
    """Return the id of each parameter -> the names of the layers that it belongs to."""
    owners: dict[int, list[str]] = {}
    for target, model in targets.items():
        for path, module in model.named_modules():
            for parameter in module.parameters(recurse=False):
                owners.setdefault(id(parameter), []).append(f"{target}.{path}")
    return owners


def _bypasses_forward(model: nn.Module, path: str) -> bool:
    """Whether a layer is never called: nn.MultiheadAttention only reads its out_proj's weight."""
    parent = model.get_submodule(path.rpartition(".")[0])
    return isinstance(parent, nn.MultiheadAttention)
