"""The sentences that say whether an adapter fits a host and its model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lycoris_ext.formats import AdapterState, load_adapter
from lycoris_ext.formats.embeddings import embedding_key
from lycoris_ext.formats.families import FAMILIES
from lycoris_ext.functional import LayerSpec, spec_of
from lycoris_ext.grids.fit import HostTraits, check_fit
from lycoris_ext.network import NetworkConfig, build_network

HOST = HostTraits("Host 1.0", FAMILIES["sd1"])


@pytest.fixture
def layers() -> dict[str, LayerSpec | None]:
    return {"lycoris_0": spec_of(nn.Linear(12, 10)), "lycoris_1": spec_of(nn.Conv2d(4, 6, 3))}


def test_an_adapter_of_the_hosts_family_whose_layers_fit_works(
    run: Path, layers: dict[str, LayerSpec | None]
) -> None:
    fit = check_fit(load_adapter(run / "tilty-step-200.safetensors"), layers, HOST)
    assert fit.works and str(fit) == "all 2 layers fit"


def test_every_reason_why_an_adapter_does_not_fit_is_listed(
    run: Path, layers: dict[str, LayerSpec | None]
) -> None:
    state = load_adapter(run / "tilty-step-1000.safetensors")
    layers["lycoris_1"] = spec_of(nn.Conv2d(8, 6, 3))
    del layers["lycoris_0"]
    fit = check_fit(state, layers, HostTraits("Host 1.0", FAMILIES["sdxl"], reads_dora=False))
    assert not fit.works
    assert fit.problems == (
        "It was trained on Stable Diffusion 1.x, and the loaded model is Stable Diffusion XL.",
        "Host 1.0 has no place for 1 of its 2 layers, which is left out: lycoris_0.",
        "The model has another shape for 1 of its 2 layers, which is refused: lycoris_1.",
        (
            "Host 1.0 ignores DoRA's lengths without a word: 2 layers come out wrong. "
            "Use AUTOMATIC1111 1.9 or newer, or Forge."
        ),
    )


@pytest.mark.parametrize("algo", ["lora", "loha", "lokr", "full", "glora", "diag-oft", "ia3"])
def test_an_adapter_that_changes_nothing_is_remarked_whatever_its_algorithm(algo: str) -> None:
    model = nn.Sequential(nn.Linear(12, 12), nn.Conv2d(4, 8, 3)).requires_grad_(False)
    network = build_network({"model": model}, NetworkConfig(algo=algo, network_dim=4, conv_dim=4))
    known = {f"lycoris_{n}": spec_of(model[n]) for n in range(2)}
    fresh = check_fit(network.adapter_state(), known, HOST)
    assert fresh.works and fresh.remarks and str(fresh).endswith("of all its layers are zero.")
    nothing = AdapterState({k: t * 0 for k, t in network.adapter_state().tensors.items()}, {})
    assert check_fit(nothing, known, HOST).remarks
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1
    assert check_fit(network.adapter_state(), known, HOST).remarks == ()


def test_a_host_that_leaves_out_bundled_words_is_remarked(
    run: Path, layers: dict[str, LayerSpec | None]
) -> None:
    state = load_adapter(run / "tilty-step-200.safetensors")
    words = {embedding_key("tiltyword"): torch.zeros(1, 768)}
    state = AdapterState({**state.tensors, **words}, state.metadata)
    assert check_fit(state, layers, HOST).remarks == ()
    fit = check_fit(state, layers, HostTraits("Host 1.0", reads_words=False))
    assert fit.works and fit.remarks == (
        "Host 1.0 leaves out the word that is bundled with it: tiltyword.",
    )
