"""The two functions that sd-scripts calls to make a network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from logging import getLogger
from pathlib import Path

import torch
from torch import Tensor, nn

from kohya_adapter.arguments import Arguments, read_arguments, without_spaces
from kohya_adapter.file_arguments import arguments_measured, arguments_told
from kohya_adapter.gui_words import in_gui_words
from kohya_adapter.layer_arguments import Chosen, choose_layers
from kohya_adapter.network import KohyaNetwork
from kohya_adapter.targets import (
    TextEncoders,
    family_of_unet,
    has_t5,
    name_models,
    name_targets,
)
from kohya_adapter.unread import without_unread
from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.formats import AdapterState, load_adapter
from lycoris_ext.formats.doubts import changed
from lycoris_ext.network import (
    LayerOverride,
    NetworkConfig,
    build_network,
    is_preset_file,
    load_network,
)
from lycoris_ext.network.block_arguments import block_overrides
from lycoris_ext.network.selection import fits_any, layer_rates, select_layers
from lycoris_ext.network.sites import Site, Targets, all_sites
from lycoris_ext.training.notes import network_notes

#: SDXL's first and last layers. LyCORIS' presets call them by diffusers' names and so do not adapt
#: them in sd-scripts, whose SDXL U-Net has ldm's names.
_SDXL_ENDS = r"^unet\.(time_embed|input_blocks\.0\.0|out)(\.|$)"
_LLM_ADAPTER = r"^unet\.llm_adapter\."

logger = getLogger(__name__)


def create_network(
    multiplier: float,
    network_dim: int | None,
    network_alpha: float | None,
    /,  # so that network_args with one of these names arrives, and is refused in words
    vae: nn.Module | None,
    text_encoder: TextEncoders,
    unet: nn.Module,
    neuron_dropout: float | None = None,
    **kwargs: object,
) -> KohyaNetwork:
    """Make a new network for training; it changes nothing before ``apply_to`` injects it.

    Its random numbers come from torch's seed, which sd-scripts has set to ``--seed``.

    Args:
        multiplier: the network's strength.
        network_dim, network_alpha: rank and alpha of Linear layers and 1x1 convolutions.
        vae: not used.
        text_encoder, unet: the models to be adapted.
        neuron_dropout: ``--network_dropout``.
        kwargs: ``--network_args``, as texts; docs/hosts/kohya.md lists them.

    Raises:
        ConfigError: an argument is unknown, out of range or does not suit the model.
    """
    kwargs = without_spaces(kwargs)
    with in_gui_words():
        arguments = read_arguments(network_dim, network_alpha, neuron_dropout, kwargs)
        targets = name_targets(text_encoder, unet, arguments.train_t5xxl)
        config = _for_this_model(arguments, targets)
        selected = select_layers(targets, config)
        config, unread = without_unread(config, selected)
        chosen = [choice.site for choice in selected]
        conv = config.dims(spatial=True) if kwargs.get("conv_dim") else None
        layers = _layers(arguments, targets, chosen)
        overrides = (*_block_overrides(arguments, targets, chosen, conv), *layers.overrides)
        include = (*config.include, *layers.include)
        config = replace(config, overrides=overrides, include=include)
        # sd-scripts freezes the models after this; notices are logged below.
        network = build_network(targets, config, seed=torch.initial_seed(), warn=False)
    network.multiplier = multiplier
    arguments = replace(arguments, notes=(*arguments.notes, *unread))
    models = name_models(text_encoder, unet)
    return _logged(KohyaNetwork(network, models, arguments, arguments.as_texts()), arguments)


def create_network_from_weights(
    multiplier: float,
    file: str | Path | None,
    vae: nn.Module | None,
    text_encoder: TextEncoders,
    unet: nn.Module,
    weights_sd: Mapping[str, Tensor] | None = None,
    for_inference: bool = False,
    **kwargs: object,
) -> tuple[KohyaNetwork, Mapping[str, Tensor]]:
    """Make a network from an adapter file, with the file's weights in it.

    Args:
        multiplier: the network's strength.
        file: path of the adapter; not read if ``weights_sd`` is given.
        vae: not used.
        text_encoder, unet: the models to be adapted; the file's layers for a text encoder that is
            None are left out.
        weights_sd: the file's tensors by key.
        for_inference: False if the network will be trained further.
        kwargs: ``--network_args``; algorithm and ranks are those of the file, whatever these say.

    Returns:
        The network, and tensors for its ``load_state_dict`` and ``merge_to``.

    Raises:
        ConfigError: neither ``file`` nor ``weights_sd`` is given, or an argument is unknown.
        FormatError: the file is damaged, has no layer, or does not fit the models.
    """
    if weights_sd is None:
        if file is None:
            raise ConfigError(
                "no file is given to begin with",
                where="network_weights",
                fix="set --network_weights, or leave --dim_from_weights out",
            )
        state = load_adapter(file)
    else:
        state = AdapterState(dict(weights_sd))
    with_t5 = has_t5(state.layers())
    targets = name_targets(text_encoder, unet, with_t5)
    arguments = replace(
        read_arguments(None, None, None, without_spaces(kwargs)), train_t5xxl=with_t5
    )
    network = load_network(state.only(targets), targets, multiplier)
    if not network.layers:
        raise FormatError(
            "the file holds textual inversions and no layer",
            where="network_weights" if file is None else str(file),
            fix="choose an adapter with layers, or load the file as embeddings",
        )
    if not for_inference:
        network.requires_grad_(True).train()
        sites = [*network.sites.values()]
        overrides = _block_overrides(arguments, targets, sites, None)
        overrides += _layers(arguments, targets, sites).overrides
        network.rates = layer_rates(network.sites, replace(arguments.config, overrides=overrides))
        for layer in network.layers.values():
            layer.dropouts = arguments.config.dropouts
    models = name_models(text_encoder, unet)
    # The file decides these, whatever the arguments say.
    known = arguments_told(state.metadata) | arguments_measured(network)
    for said in (*changed(state.hash_check()), *network.notices):
        logger.warning(f"lycoris_ext: {f'{file}: ' if file else ''}{said}")
    network.notices = ()  # they are said
    created = _logged(KohyaNetwork(network, models, arguments, {}, known), arguments)
    return created, (created.state_dict() if weights_sd is None else weights_sd)


def _for_this_model(arguments: Arguments, targets: Targets) -> NetworkConfig:
    """Return the network's options with the layers excluded that are not adapted in this family.

    Raises:
        ConfigError: the algorithm does not work with models of this family.
    """
    config, unet = arguments.config, targets.get("unet")
    family = family_of_unet(unet)
    if config.algorithm.takes_timesteps and not family.blocks:
        raise ConfigError(
            f"{config.algo} needs the timesteps of Stable Diffusion 1.x, 2.x or XL, and this "
            f"model is {family.title}",
            where="network_args, algo",
            fix="choose another algorithm, such as loha",
        )
    exclude = list(config.exclude)
    if hasattr(unet, "input_blocks") and not is_preset_file(config.preset):
        exclude += _ends(targets, config)
    if hasattr(unet, "llm_adapter") and not arguments.train_llm_adapter:
        exclude.append(_LLM_ADAPTER)
    return replace(config, exclude=tuple(exclude))


def _ends(targets: Targets, config: NetworkConfig) -> list[str]:
    """Return a pattern for SDXL's first and last layers, except those that ``include`` names.

    The list is empty if there are none.
    """
    names = [
        site.name
        for site in all_sites(targets).values()
        if config.trains(site.spec.is_norm)
        and re.search(_SDXL_ENDS, site.name)
        and not fits_any(config.include, site.name)
    ]
    return [f"^(?:{'|'.join(map(re.escape, names))})$"] if names else []


def _block_overrides(
    arguments: Arguments,
    targets: Targets,
    sites: Iterable[Site],
    conv: tuple[int, float] | None,
) -> tuple[LayerOverride, ...]:
    paths = [site.path for site in sites if site.target == "unet"]
    family = family_of_unet(targets.get("unet"))
    ranks = (arguments.config.dims(spatial=False)[0], arguments.config.dims(spatial=True)[0])
    return block_overrides(arguments.blocks, family, paths, ranks, conv)


def _layers(arguments: Arguments, targets: Targets, selected: Sequence[Site]) -> Chosen:
    """Return what sd-scripts' arguments about single layers of this family ask for."""
    alpha = None if arguments.alpha_is_rank else arguments.config.network_alpha
    known = all_sites(targets).values()
    family = family_of_unet(targets.get("unet"))
    return choose_layers(arguments.layers, family, selected, known, alpha)


def _logged(network: KohyaNetwork, arguments: Arguments) -> KohyaNetwork:
    """Log what the network adapts, and return it."""
    counts = Counter(site.target for site in network.sites.values())
    kinds = Counter(layer.plan.algorithm.name for layer in network.layers.values())
    logger.info(f"lycoris_ext: layers {dict(counts)}, algorithms {dict(kinds)}")
    for line in (*network_notes(network), *arguments.notes):
        logger.info(line)
    for key, layer in network.layers.items() if arguments.verbose else ():
        logger.info(f"{key:60} rank {layer.plan.rank}, alpha {layer.plan.alpha:g}")
    return network
