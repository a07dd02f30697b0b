"""The sentences that say whether an adapter fits a host and its model."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from lycoris_ext.formats import load_adapter
from lycoris_ext.formats.families import FAMILIES
from lycoris_ext.functional import LayerSpec, spec_of
from lycoris_ext.grids.fit import HostTraits, check_fit

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
