"""Build a new network from a config, or load one from an adapter file."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from lycoris_ext.algorithms import Plan, algorithm, detect
from lycoris_ext.errors import ConfigError, Faults, FormatError
from lycoris_ext.formats import AdapterState, open_adapter
from lycoris_ext.formats.doubts import NO_EFFECT, changed, doubtful_values
from lycoris_ext.functional import FrozenLayer
from lycoris_ext.modules import AdapterLayer
from lycoris_ext.network.arguments import check_targets, check_type
from lycoris_ext.network.checks import check_path, check_plans
from lycoris_ext.network.config import NetworkConfig
from lycoris_ext.network.network import Network
from lycoris_ext.network.notices import NetworkWarning, gradients, notices
from lycoris_ext.network.selection import SelectedLayer, select_layers
from lycoris_ext.network.sites import Site, Targets, all_sites, stored_by_key
from lycoris_ext.network.skipped import skipped_layers


def build_network(
    targets: Targets,
    config: NetworkConfig,
    seed: int = 0,
    freeze: bool = False,
    warn: bool = True,
) -> Network:
    """Build a new network whose update is zero; it is not injected yet.

    The initial values of a layer follow from the seed and the layer's name alone, so they do not
    depend on which other layers are adapted.

    Args:
        targets: models by name: "unet", "text_encoder", "diffusion_model" for a denoiser that is no
            U-Net of Stable Diffusion, anything else for a plain module.
        config: algorithm, sizes and choice of layers.
        seed: of the initial values.
        freeze: let no parameter of the models learn. Otherwise nothing about the models is changed.
        warn: give a ``NetworkWarning`` if parameters of the models would collect gradients, and for
            each of the network's ``notices``.

    Raises:
        ConfigError: the config selects nothing, a pattern fits no layer, or options contradict
            each other or the layers; or an argument is not what it should be.
    """
    check_targets(targets)
    check_type(
        config, NetworkConfig, "config", "write build_network({...}, NetworkConfig(algo=...))"
    )
    planned = plan_layers(targets, config)
    layers, sites, rates = {}, {}, {}
    for selected, plan in planned:
        site, options = selected.site, selected.options
        generator = torch.Generator().manual_seed(seed ^ zlib.crc32(site.key.encode()))
        weight = site.weight
        device = weight.device if weight.is_meta else torch.device("cpu")
        readable = _readable(site, plan)
        origin = plan.origin(readable)
        with _errors_name(selected):
            tensors = plan.initial(generator, options.use_scalar, device, readable, origin)
        bypass = options.bypass_mode and not site.spec.is_norm  # norms are computed in one way only
        layer = AdapterLayer(plan, tensors, options.dropouts, options.use_scalar, origin, bypass)
        check_path(selected, layer)
        layers[site.key], sites[site.key] = layer.to(weight.device), site
        rates[site.key] = selected.rate
    network = Network(layers, sites, rates, tuple(targets))
    _describe(network, targets)
    network.notices = tuple(notices(targets, config, network.targets, network.skipped))
    if freeze:
        for model in targets.values():
            model.requires_grad_(False)
    for notice in (*gradients(targets), *network.notices) if warn else ():
        warnings.warn(notice, NetworkWarning, stacklevel=2)
    return network


def plan_layers(targets: Targets, config: NetworkConfig) -> list[tuple[SelectedLayer, Plan]]:
    """Choose the layers that a config adapts and plan their adapters, without making a tensor.

    Raises:
        ConfigError: as ``build_network``.
    """
    planned = _planned(select_layers(targets, config))
    check_plans(planned)
    return planned


def _describe(network: Network, targets: Targets) -> None:
    """Tell a network what its summary says about the models."""
    network.skipped = skipped_layers(targets, {site.name for site in network.sites.values()})
    network.base_numbers = sum(
        parameter.numel() for model in targets.values() for parameter in model.parameters()
    )


def _planned(selected: Iterable[SelectedLayer]) -> list[tuple[SelectedLayer, Plan]]:
    """Plan every layer.

    Raises:
        ConfigError: an option does not suit some layers; of each such option the first layer.
    """
    planned: list[tuple[SelectedLayer, Plan]] = []
    wrong: dict[str, ConfigError] = {}
    for layer in selected:
        try:
            planned.append((layer, _plan(layer)))
        except ConfigError as error:
            wrong.setdefault(str(error.where).rpartition(", ")[2], error)
    Faults(wrong.values()).raise_all()
    return planned


def _plan(selected: SelectedLayer) -> Plan:
    spec, options, alpha = selected.site.spec, selected.options, selected.alpha
    if options.rs_lora:
        alpha *= selected.rank**0.5  # so that every reader's alpha / rank is alpha / sqrt(rank)
    with _errors_name(selected):
        if spec.is_norm and not options.algorithm.of_norms:  # train_norm with another algorithm
            return algorithm("norm").plan(spec, selected.rank, alpha)
        if options.algorithm.of_norms and not spec.is_norm:
            raise ConfigError(
                f'algo = "{options.algo}" is for normalisations, and the layer is none',
                where="algo",
                fix="choose another algorithm for this layer",
            )
        return options.algorithm.plan(spec, selected.rank, alpha, options.algorithm_options)


@contextmanager
def _errors_name(selected: SelectedLayer) -> Iterator[None]:
    """Add to a ConfigError raised inside the ``with`` the layer, and where its option was set."""
    try:
        yield
    except ConfigError as error:
        option = "rank" if error.where == "network_dim" else error.where
        name = selected.site.name
        where = f"{name}, {selected.option(option)}" if option else name
        raise ConfigError(error.what, where=where, fix=error.fix) from error


def load_network(
    source: AdapterState | Path | str,
    targets: Targets,
    multiplier: float = 1.0,
    keeps_origin: bool = True,
) -> Network:
    """Load the adapter of a file as a frozen network in eval mode; it is not injected yet.

    Args:
        source: the file, or its content.
        targets: models by name: "unet", "text_encoder", ...; the file may leave layers of them out.
        multiplier: strength of the adapter.
        keeps_origin: for algorithms whose update is a difference from initial values that follow
            from the frozen weight (T-LoRA): compute these values from the models' weights now and
            keep them. False computes them at every use; choose it if the models' weights are
            replaced at the moment, for instance by a host that loads them later.

    What is strange about the file, such as tensors that do not fit its stored hash, is in the
    network's ``notices``. If this function reads the file, each is a ``NetworkWarning``, but for
    that of an adapter that is still zero.

    Raises:
        FormatError: the file has no layers, has layers that the models lack (all are named) or keys
            that no algorithm stores, or its shapes contradict each other or the model.
    """
    check_targets(targets)
    check_type(source, AdapterState | Path | str, "source", "write load_network(file, {...})")
    state = source if isinstance(source, AdapterState) else open_adapter(source)
    if not state.tensors:
        raise FormatError(
            "the file holds no tensors", where=state.source or None, fix="choose a trained adapter"
        )
    with state.named_in_errors():
        network = _load_network(state, targets, multiplier, keeps_origin)
    if state is not source:
        network.notices = (*changed(state.hash_check()), *network.notices)
        for notice in network.notices:
            if notice == NO_EFFECT:
                continue
            warnings.warn(f"{state.source}: {notice}", NetworkWarning, stacklevel=2)
    return network


def _load_network(
    state: AdapterState, targets: Targets, multiplier: float, keeps_origin: bool
) -> Network:
    known = all_sites(targets)
    stored = stored_by_key(state.layers(), known, all_of_them=False)
    if not stored:
        raise FormatError(
            "the file holds textual inversions and no layer of an adapter",
            fix="choose a trained adapter",
        )
    layers = {}
    for key, tensors in stored.items():
        plan = detect(tensors, key, known[key].spec)
        shapes = plan.shapes()
        origin = plan.origin(_readable(known[key], plan)) if keeps_origin else None
        blank = {factor.key: factor.blank(shapes[factor.key]) for factor in plan.factors()}
        layer = AdapterLayer(plan, blank, origin=origin)
        layer.load_stored(tensors, key)
        layers[key] = layer.to(known[key].weight.device).requires_grad_(False)
    network = Network(layers, {key: known[key] for key in layers}, models=tuple(targets))
    network.multiplier = multiplier
    _describe(network, targets)
    plans = {key: layer.plan for key, layer in layers.items()}
    network.notices = doubtful_values(plans, stored)
    network.embeddings = {key: t.clone() for key, t in state.embeddings().items()}
    return network.eval()


def _readable(site: Site, plan: Plan) -> Tensor:
    """Return a layer's weight; as the module holds it if the plan does not read its numbers.

    Raises:
        ShapeError: the weight is quantised, and the plan's formula reads its values.
    """
    base = FrozenLayer.of(site.module, site.spec)
    return (base.weight if plan.needs_base_weight else base.stored).detach()
