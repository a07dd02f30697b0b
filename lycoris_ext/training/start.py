"""The adapter files that a run starts from: one to train further, and some to merge beforehand."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lycoris_ext.algorithms import detect
from lycoris_ext.errors import ConfigError, Faults, FormatError, LycorisExtError
from lycoris_ext.formats import AdapterState
from lycoris_ext.formats.adapter_file import AdapterFile, read_adapter_file
from lycoris_ext.formats.doubts import doubts
from lycoris_ext.formats.summary import plans_of
from lycoris_ext.network import Network, NetworkConfig, build_network, load_network
from lycoris_ext.network.build import plan_layers
from lycoris_ext.network.selection import layer_rates, left_out_by
from lycoris_ext.training.base_model import BaseModel
from lycoris_ext.training.config import TrainConfig
from lycoris_ext.training.start_config import StartConfig
from lycoris_ext.words import count


@dataclass(frozen=True)
class StartWeights:
    """The content of the files that a StartConfig names.

    Args:
        config: the options with the files' names.
        network: content of network_weights, the adapter to train further; None if unset.
        base: content of each file of base_weights, which are merged into the base model.
        fingerprint: hash of all these files and strengths; "" if there are none.
        notes: what is strange about the files, one sentence each.
    """

    config: StartConfig
    network: AdapterState | None
    base: tuple[AdapterState, ...]
    fingerprint: str
    notes: tuple[str, ...] = ()

    def merge_into(self, base: BaseModel[Any]) -> Iterator[str]:
        """Merge the adapters of base_weights into the base model.

        Yields:
            A line for the user after each file.

        Raises:
            FormatError: a file is for another model.
        """
        for path, state, strength in zip(
            self.config.base_weights, self.base, self.config.strengths, strict=True
        ):
            base.merge(state, strength)
            dtype = next(next(iter(base.targets().values())).parameters()).dtype
            yield f"merged {Path(path).name} at strength {strength:g} into the base" + (
                "" if dtype == torch.float32 else f", rounded to {dtype}"
            )

    def check_layers(self, targets: Mapping[str, nn.Module], config: TrainConfig) -> None:
        """Refuse a config that adapts no layer or fits them badly, before anything is encoded.

        Raises:
            ConfigError: the config selects no layer, a pattern fits none, or options contradict it.
        """
        if not self.config.dim_from_weights:
            plan_layers(targets, config.effective_network)

    def build_network(self, targets: Mapping[str, nn.Module], config: TrainConfig) -> Network:
        """Build the network to train: a new one, or one with the weights of network_weights.

        Args:
            targets: models by name: "unet", "text_encoder", ...
            config: of the run.

        Raises:
            ConfigError: the config selects no layer, scale_weight_norms is set for an algorithm
                whose norm cannot be limited, or network_weights has layers of a model that is not
                to be trained.
            FormatError: network_weights is for another model, or has other sizes than the config.
        """
        network = self._network(targets, config.effective_network, config.run.seed)
        self._check_targets(network, config.network)
        if config.run.scale_weight_norms is not None:
            network.check_norms_have_limits()  # an error now rather than after the first step
        return network

    def describe(self, network: Network, config: TrainConfig) -> TrainConfig:
        """Return the config, with dim_from_weights with the network's algorithm and sizes in it.

        Without dim_from_weights the config is returned unchanged.
        """
        if not self.config.dim_from_weights:
            return config
        return replace(config, network=config_of(network, config.network))

    def _check_targets(self, network: Network, config: NetworkConfig) -> None:
        """Refuse layers of a model that is not to be trained, rather than train or drop them."""
        options = Counter(left_out_by(site.target, config) for site in network.sites.values())
        for option, layers in options.items():
            if option is not None:
                raise ConfigError(
                    f"the file has {count(layers, 'layer')} of a model that {option} = true leaves "
                    "out",
                    where=f"network_weights {self.config.network_weights}",
                    fix=f"set {option} = false; text_encoder_lr = 0 or unet_lr = 0 keeps that "
                    "model's layers as they are in the file",
                )

    def _network(
        self, targets: Mapping[str, nn.Module], config: NetworkConfig, seed: int
    ) -> Network:
        if self.network is None:
            return build_network(targets, config, seed=seed, warn=False)
        if self.config.dim_from_weights:
            network = load_network(self.network, targets)
            network.notices = ()  # ``notes`` has them
            for layer in network.layers.values():
                layer.dropouts = config.dropouts
            network.rates = layer_rates(network.sites, config)
            return network
        network = build_network(targets, config, seed=seed, warn=False)
        try:
            _check_sizes(network, self.network)
            network.load_adapter_state(self.network)
        except FormatError as error:
            load_network(self.network, targets)  # of another model: an error without this advice
            raise FormatError(
                error.what,
                where=f"network_weights {self.config.network_weights}"
                + (f", {error.where}" if error.where else ""),
                fix="set dim_from_weights = true to build the network as the file is, or choose "
                "algo, dims, alphas and preset as the file has them",
            ) from error
        return network


def read_start_weights(config: StartConfig) -> StartWeights:
    """Read the adapter files that a run starts from; called first, so that faults show early.

    Raises:
        DataError: a file is missing.
        FormatError: a file is damaged, no adapter, or of an algorithm that is not known here; the
            base model has not been read then.
    """
    network, base = _read(config)
    trained = None if network is None else network.state()
    merged = tuple(file.state() for file in base)
    named = [("network_weights", trained)] if trained else []
    named += [("base_weights", state) for state in merged]
    notes = tuple(
        f"{option}, {Path(state.source).name}: {said}"
        for option, state in named
        for said in doubts(state, plans_of(state))
    )
    return StartWeights(config, trained, merged, _fingerprint(config, network, base), notes)


def _read(config: StartConfig) -> tuple[AdapterFile | None, list[AdapterFile]]:
    """Read network_weights (None if unset) and each file of base_weights."""
    named = [("network_weights", config.network_weights)] if config.network_weights else []
    named += [("base_weights", path) for path in config.base_weights]
    faults, files = Faults(), []
    for option, path in named:
        with faults:
            files.append(_read_one(option, path))
    faults.raise_all()
    return (files[0], files[1:]) if config.network_weights else (None, files)


def _read_one(option: str, path: str) -> AdapterFile:
    """Read an adapter file that an option names, and make sure that its layers can be read."""
    try:
        file = read_adapter_file(path)
        plans_of(file.state())
    except LycorisExtError as error:
        raise error.within(option) from error
    return file


def _fingerprint(
    config: StartConfig, network: AdapterFile | None, base: Sequence[AdapterFile]
) -> str:
    parts = [] if network is None else [f"network {network.data_hash()}"]
    for file, strength in zip(base, config.strengths, strict=True):
        parts.append(f"base {file.data_hash()} {strength!r}")
    text = "\n".join(parts).encode("utf-8")
    return hashlib.blake2b(text, digest_size=16).hexdigest() if parts else ""


def config_of(network: Network, config: NetworkConfig) -> NetworkConfig:
    """Return ``config`` with the algorithm and sizes of a network that was built from a file.

    If layers differ in rank or alpha, the most common values are taken.
    """
    plans = {True: Counter[tuple[int, float]](), False: Counter[tuple[int, float]]()}
    for layer in network.layers.values():
        plans[layer.plan.layer.is_spatial][layer.plan.rank, layer.plan.alpha] += 1
    linear, spatial = plans[False].most_common(1), plans[True].most_common(1)
    (rank, alpha), _ = (linear or spatial)[0]
    plan = next(iter(network.layers.values())).plan
    name = plan.algorithm.name
    found: dict[str, Any] = {
        "algo": "locon" if name == "lora" and spatial else name,
        "network_dim": rank,
        "network_alpha": alpha,
        "conv_dim": spatial[0][0][0] if spatial else 0,
        "conv_alpha": spatial[0][0][1] if spatial else None,
        "use_tucker": any(layer.plan.uses_core for layer in network.layers.values()),
        "rs_lora": False,
    }
    return replace(config, **found)


def _check_sizes(network: Network, state: AdapterState) -> None:
    """Refuse a file with another algorithm, rank or alpha; alpha changes what its weights mean."""
    stored = state.layers()
    for key, layer in network.layers.items():
        if key in stored:
            found, asked = detect(stored[key], key, layer.plan.layer), layer.plan
            # In an fp16 file alphas are rounded, too.
            same_alpha = math.isclose(found.alpha, asked.alpha, rel_tol=1e-3)
            for name, theirs, ours in (
                ("algorithm", found.algorithm.name, asked.algorithm.name),
                ("rank", found.rank, asked.rank),
                ("alpha", asked.alpha if same_alpha else found.alpha, asked.alpha),
            ):
                if theirs != ours:
                    raise FormatError(f"has {name} {theirs}, the config asks for {ours}", where=key)
