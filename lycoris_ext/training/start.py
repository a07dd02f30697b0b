"""What a run starts from besides the base model: adapters to go on with, adapters merged before."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from lycoris_ext.algorithms import detect
from lycoris_ext.errors import ConfigError, FormatError
from lycoris_ext.formats import AdapterState, load_adapter
from lycoris_ext.formats.adapter_file import data_hash
from lycoris_ext.network import Network, NetworkConfig, build_network, load_network
from lycoris_ext.network.selection import layer_rates


@dataclass(frozen=True)
class StartConfig:
    """Adapters that a run starts from.

    Args:
        network_weights: an adapter file to go on from: training begins with its weights.
        dim_from_weights: build the network as network_weights is, with its layers, ranks and
            alphas, whatever algo, network_dim and the like say.
        base_weights: adapter files merged into the base before training; what is trained then
            comes on top of them, and does not contain them.
        base_weights_multiplier: their strengths in the same order; 1 where none is given.
    """

    network_weights: str | None = None
    dim_from_weights: bool = False
    base_weights: tuple[str, ...] = ()
    base_weights_multiplier: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.dim_from_weights and not self.network_weights:
            raise ConfigError(
                "dim_from_weights is true, but network_weights is not set",
                where="dim_from_weights",
                fix="set network_weights to an adapter file, or remove dim_from_weights",
            )
        if len(self.base_weights_multiplier) > len(self.base_weights):
            raise ConfigError(
                f"{len(self.base_weights_multiplier)} strengths are given for "
                f"{len(self.base_weights)} files in base_weights",
                where="base_weights_multiplier",
                fix="give one number for each file",
            )
        if not all(math.isfinite(strength) for strength in self.base_weights_multiplier):
            raise ConfigError(
                f"base_weights_multiplier is {self.base_weights_multiplier}",
                where="base_weights_multiplier",
                fix="use finite numbers",
            )

    @property
    def strengths(self) -> tuple[float, ...]:
        """One strength for each file of base_weights."""
        missing = len(self.base_weights) - len(self.base_weights_multiplier)
        return (*self.base_weights_multiplier, *(1.0,) * missing)


@dataclass(frozen=True)
class StartWeights:
    """The files that a StartConfig names, read.

    Args:
        config: the options.
        network: content of network_weights.
        base: content of each of base_weights.
        fingerprint: hash over all of it; empty where there is nothing.
    """

    config: StartConfig
    network: AdapterState | None
    base: tuple[AdapterState, ...]
    fingerprint: str

    def merge_into(self, targets: Mapping[str, nn.Module]) -> list[str]:
        """Merge base_weights into the base for good.

        Returns:
            A line for the user about each file.

        Raises:
            FormatError: a file is for another model.
        """
        lines = []
        for path, state, strength in zip(
            self.config.base_weights, self.base, self.config.strengths, strict=True
        ):
            load_network(state, targets).merge(strength, keep=False)
            dtype = next(next(iter(targets.values())).parameters()).dtype
            lines.append(
                f"merged {Path(path).name} at strength {strength:g} into the base"
                + ("" if dtype == torch.float32 else f", rounded to {dtype}")
            )
        return lines

    def build_network(
        self, targets: Mapping[str, nn.Module], config: NetworkConfig, seed: int
    ) -> Network:
        """The network as training starts with it.

        Raises:
            ConfigError: the config selects nothing.
            FormatError: network_weights is for another model, or of other sizes than the config's.
        """
        if self.network is None:
            return build_network(targets, config, seed=seed)
        if self.config.dim_from_weights:
            network = load_network(self.network, targets)
            for layer in network.layers.values():
                layer.dropouts = config.dropouts
            network.rates = layer_rates(network.sites, config)
            return network
        network = build_network(targets, config, seed=seed)
        try:
            _check_sizes(network, self.network)
            network.load_adapter_state(self.network)
        except FormatError as error:
            raise FormatError(
                error.what,
                where=f"network_weights {self.config.network_weights}"
                + (f", {error.where}" if error.where else ""),
                fix="set dim_from_weights = true to build the network as the file is, or choose "
                "algo, dims, alphas and preset as the file has them",
            ) from error
        return network


def read_start_weights(config: StartConfig) -> StartWeights:
    """Read the adapters that a run starts from, before anything else is done.

    Raises:
        DataError: a file is not there.
        FormatError: a file is damaged.
    """
    return StartWeights(
        config,
        load_adapter(config.network_weights) if config.network_weights else None,
        tuple(load_adapter(path) for path in config.base_weights),
        start_fingerprint(config),
    )


def start_fingerprint(config: StartConfig) -> str:
    """Hash over the files that a run starts from; empty where there are none.

    Raises:
        As ``read_start_weights``.
    """
    parts = []
    if config.network_weights:
        parts.append(f"network {data_hash(config.network_weights)}")
    for path, strength in zip(config.base_weights, config.strengths, strict=True):
        parts.append(f"base {data_hash(path)} {strength!r}")
    text = "\n".join(parts).encode("utf-8")
    return hashlib.blake2b(text, digest_size=16).hexdigest() if parts else ""


def config_of(network: Network, config: NetworkConfig) -> NetworkConfig:
    """The options that describe a network that was built from a file; its commonest sizes count."""
    plans = {True: Counter[tuple[int, float]](), False: Counter[tuple[int, float]]()}
    for layer in network.layers.values():
        plans[layer.plan.layer.is_spatial][layer.plan.rank, layer.plan.alpha] += 1
    linear, spatial = plans[False].most_common(1), plans[True].most_common(1)
    (rank, alpha), _ = (linear or spatial)[0]
    plan = next(iter(network.layers.values())).plan
    name = plan.algorithm.name
    return replace(
        config,
        algo="locon" if name == "lora" and spatial else name,
        network_dim=rank,
        network_alpha=alpha,
        conv_dim=spatial[0][0][0] if spatial else 0,
        conv_alpha=spatial[0][0][1] if spatial else None,
        use_tucker=any(layer.plan.uses_core for layer in network.layers.values()),
        rs_lora=False,
    )


def _check_sizes(network: Network, state: AdapterState) -> None:
    """Refuse weights whose rank or alpha differ: with another alpha they mean another update."""
    stored = state.layers()
    for key, layer in network.layers.items():
        if key in stored:
            found, own = detect(stored[key], key, layer.plan.layer), layer.plan
            # A file in fp16 holds its alphas rounded.
            same_alpha = math.isclose(found.alpha, own.alpha, rel_tol=1e-3)
            for name, theirs, ours in (
                ("algorithm", found.algorithm.name, own.algorithm.name),
                ("rank", found.rank, own.rank),
                ("alpha", own.alpha if same_alpha else found.alpha, own.alpha),
            ):
                if theirs != ours:
                    raise FormatError(f"has {name} {theirs}, the config asks for {ours}", where=key)
