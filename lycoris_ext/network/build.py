"""From a config, or from a file, to a network."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from lycoris_ext.algorithms import Plan, algorithm, detect
from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.formats import AdapterState, open_adapter
from lycoris_ext.functional import FrozenLayer
from lycoris_ext.modules import AdapterLayer
from lycoris_ext.network.checks import check_path, check_plans
from lycoris_ext.network.config import NetworkConfig
from lycoris_ext.network.network import Network
from lycoris_ext.network.selection import LayerChoice, choose_layers
from lycoris_ext.network.sites import Site, Targets, all_sites, stored_by_key


def build_network(targets: Targets, config: NetworkConfig, seed: int = 0) -> Network:
    """A fresh network, injected nowhere; its update is zero.

    Each layer starts from the seed and its own name, so that it does not depend on which other
    layers are adapted.

    Args:
        targets: models by name: "unet", "text_encoder", "diffusion_model" for a denoiser that is no
            U-Net of Stable Diffusion, anything else for a plain module.

    Raises:
        ConfigError: the config selects nothing, a pattern fits no layer, or options contradict
            each other or the layers.
    """
    planned = [(choice, _plan(choice)) for choice in choose_layers(targets, config)]
    check_plans(planned)
    layers, sites, rates = {}, {}, {}
    for choice, plan in planned:
        site, own = choice.site, choice.options
        generator = torch.Generator().manual_seed(seed ^ zlib.crc32(site.key.encode()))
        weight = site.weight
        device = weight.device if weight.is_meta else torch.device("cpu")
        origin = plan.origin(_readable(site, plan))
        with _named(choice):
            tensors = plan.initial(generator, own.use_scalar, device, weight.detach(), origin)
        bypass = own.bypass_mode and not site.spec.is_norm  # which has one way alone
        layer = AdapterLayer(plan, tensors, own.dropouts, own.use_scalar, origin, bypass)
        check_path(choice, layer)
        layers[site.key], sites[site.key] = layer.to(weight.device), site
        rates[site.key] = choice.rate
    return Network(layers, sites, rates, tuple(targets))


def _plan(choice: LayerChoice) -> Plan:
    spec, own, alpha = choice.site.spec, choice.options, choice.alpha
    if own.rs_lora:
        alpha *= choice.rank**0.5  # so that every reader's alpha / rank is alpha / sqrt(rank)
    with _named(choice):
        if spec.is_norm and not own.algorithm.of_norms:  # train_norm, beside another algorithm
            return algorithm("norm").plan(spec, choice.rank, alpha)
        if own.algorithm.of_norms and not spec.is_norm:
            raise ConfigError(
                f'algo = "{own.algo}" is for normalisations, and the layer is none',
                where="algo",
                fix="choose another algorithm for this layer",
            )
        return own.algorithm.plan(spec, choice.rank, alpha, own.algorithm_options)


@contextmanager
def _named(choice: LayerChoice) -> Iterator[None]:
    """Let an error tell the layer, and who asked for the option."""
    try:
        yield
    except ConfigError as error:
        option = "rank" if error.where == "network_dim" else error.where
        name = choice.site.name
        where = f"{name}, {choice.option(option)}" if option else name
        raise ConfigError(error.what, where=where, fix=error.fix) from error


def load_network(
    source: AdapterState | Path | str,
    targets: Targets,
    multiplier: float = 1.0,
    keeps_origin: bool = True,
) -> Network:
    """The network that a file describes, over these models; injected nowhere.

    Args:
        keeps_origin: find now, in the models' weights, where relative updates start; otherwise
            every use finds it in the weight of that moment, for models whose weights are not their
            own now.

    Raises:
        FormatError: layers that the models do not have (all of them are named), keys that no
            algorithm stores, shapes that contradict each other or the model.
    """
    state = source if isinstance(source, AdapterState) else open_adapter(source)
    if not state.tensors:
        raise FormatError("the file holds no tensors", fix="choose a trained adapter")
    known = all_sites(targets)
    stored = stored_by_key(state.layers(), known, all_of_them=False)
    layers = {}
    for key, tensors in stored.items():
        plan = detect(tensors, key, known[key].spec)
        fresh = {name: torch.empty(shape) for name, shape in plan.shapes().items()}
        weight = _readable(known[key], plan)
        layer = AdapterLayer(plan, fresh, origin=plan.origin(weight) if keeps_origin else None)
        layer.load_stored(tensors, key)
        layers[key] = layer.to(known[key].weight.device).requires_grad_(False)
    network = Network(layers, {key: known[key] for key in layers}, models=tuple(targets))
    network.multiplier = multiplier
    return network.eval()


def _readable(site: Site, plan: Plan) -> Tensor:
    """The weight, as the module holds it unless the plan reads its numbers.

    Raises:
        ShapeError: the plan needs them, and it is packed.
    """
    base = FrozenLayer.of(site.module, site.spec)
    return (base.weight if plan.needs_base_weight else base.stored).detach()
