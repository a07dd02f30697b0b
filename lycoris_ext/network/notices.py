"""What a user should know about the layers that a config has chosen; none of it is an error."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from torch import nn

from lycoris_ext.formats.families import TEXT_ENCODERS
from lycoris_ext.formats.keys import DENOISER
from lycoris_ext.functional import spec_of
from lycoris_ext.network.config import NetworkConfig
from lycoris_ext.network.preset_file import read_preset
from lycoris_ext.network.presets import PRESETS
from lycoris_ext.network.selection import covered_modules, fits_any, left_out_by, selectors
from lycoris_ext.network.sites import Targets
from lycoris_ext.network.skipped import listed
from lycoris_ext.words import count


class NetworkWarning(UserWarning):
    """Something about a new network is probably not what the user wanted."""


def notices(
    targets: Targets, config: NetworkConfig, adapted: Collection[str], skipped: Mapping[str, str]
) -> Iterator[str]:
    """Yield what to know about the choice of layers, one sentence each.

    Args:
        targets: the models by name.
        config: of the network.
        adapted: names of the models that have adapted layers.
        skipped: what ``skipped_layers`` found in the models.
    """
    plain = [target for target in targets if target not in ("unet", *TEXT_ENCODERS)]
    for target in plain:
        yield from _preset_of_another_model(target, targets[target], config)
    for target, model in targets.items():
        if target not in adapted:
            yield from _without_adapters(target, model, config)
    asked = [
        name
        for name in skipped
        if name.partition(".")[0] in plain and not fits_any(config.exclude, name)
    ]
    if asked:
        verb = "gets" if len(asked) == 1 else "get"
        yield f"{count(len(asked), 'layer')} {verb} no adapter: {listed(skipped, asked)}"


def gradients(targets: Targets) -> Iterator[str]:
    """Yield a sentence if parameters of the models would collect gradients in training."""
    learning = {
        target: count(found, "parameter")
        for target, model in targets.items()
        if (found := sum(parameter.requires_grad for parameter in model.parameters()))
    }
    if learning:
        names = ", ".join(f"{found} of {target}" for target, found in learning.items())
        yield (
            f"the base model is not frozen: in training, {names} would collect gradients, which "
            "takes time and memory; call requires_grad_(False) on the model, or pass freeze=True"
        )


def _preset_of_another_model(target: str, model: nn.Module, config: NetworkConfig) -> Iterator[str]:
    preset = PRESETS.get(config.preset)
    if preset is None or config.preset == "full" or preset.classes is not None:
        return
    if target == DENOISER and config.preset == "unet-only":
        return
    specs = [spec for spec in map(spec_of, model.modules()) if spec is not None and spec.has_op]
    less = not preset.spatial and any(spec.is_spatial for spec in specs)
    but = ", apart from convolutions larger than 1x1" if less else ""
    yield (
        f'preset "{config.preset}" names layers of Stable Diffusion\'s models: of {target!r} it '
        f'selects the same as "full"{but}; exclude leaves out layers by their names'
    )


def _without_adapters(target: str, model: nn.Module, config: NetworkConfig) -> Iterator[str]:
    preset = read_preset(config)
    if left_out_by(target, config) or not any(selectors(target, preset)):
        return
    if not covered_modules(target, model, preset):
        yield (
            f"no layer of {target} gets an adapter: it has none of the classes and layers that "
            f'preset "{config.preset}" names; include adds layers by their names'
        )
