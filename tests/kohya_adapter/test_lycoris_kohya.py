"""Arguments give the names, shapes and initial values of lycoris.kohya 3.2.0.post2."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lycoris import kohya
from torch import Tensor, nn

from lycoris_ext.kohya import create_network, create_network_from_weights
from tests.kohya_models import disturb, tiny_models
from tests.oracles.lycoris_kohya import (
    CASES,
    FILE,
    models_of,
    shape_digest,
    small_model,
    statistics,
)

ORACLE: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))


def stored(case: str, text_encoder: Any, unet: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that our file of a case would hold."""
    dim, alpha, arguments = CASES[case]
    network = create_network(1.0, dim, alpha, None, text_encoder, unet, **arguments)
    return {
        f"{key}.{name}": tensor
        for key, layer in network.layers.items()
        for name, tensor in layer.stored().items()
    }


def cases() -> Iterator[Any]:
    """Yield every case on SD1 and those that decide on layers on the others; the rest is slow."""
    for case, families in ORACLE["shapes"].items():
        for family in families:
            quick = family == "sd1" or case.startswith(("preset", "no arguments", "loha 8/4"))
            yield pytest.param(case, family, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(("case", "family"), [*cases()])
def test_layers_keys_and_shapes_are_those_of_lycoris_kohya(case: str, family: str) -> None:
    assert shape_digest(stored(case, *models_of(family))) == ORACLE["shapes"][case][family]


def test_loha_8_4_with_the_default_preset_has_354_layers_on_sd1() -> None:
    found = shape_digest(stored("loha 8/4", *models_of("sd1")))
    assert (found["layers"], found["tensors"], found["numbers"]) == (354, 1770, 15_207_744)


@pytest.mark.parametrize("case", ORACLE["initial"])
def test_initial_values_are_distributed_as_in_lycoris_kohya(case: str) -> None:
    torch.manual_seed(3)
    ours = statistics(stored(case, None, small_model()))
    theirs = ORACLE["initial"][case]
    assert ours.keys() == theirs.keys()
    for key, (shape, mean, deviation, largest) in theirs.items():
        found_shape, found_mean, found_deviation, found_largest = ours[key]
        if case == "dylora":
            found_shape = found_shape[: len(shape)]
        assert found_shape == shape, key
        count = max(1, torch.Size(shape).numel())
        near = 6 * max(deviation, found_deviation) / count**0.5  # six standard errors
        assert found_mean == pytest.approx(mean, rel=1e-3, abs=near), key
        assert found_deviation == pytest.approx(deviation, rel=0.1, abs=near), key
        if count > 1000:
            assert found_largest == pytest.approx(largest, rel=0.35), key


@pytest.mark.parametrize("algo", ["loha", "locon", "lokr"])
def test_files_compute_the_same_here_and_in_lycoris_4_1_3(algo: str, tmp_path: Path) -> None:
    """Of the U-Net alone, because transformers 5 names CLIP's layers otherwise than every file."""
    arguments = {"algo": algo, "preset": "unet-transformer-only"}
    there, here = tiny_models(tmp_path / "there"), tiny_models(tmp_path / "here")
    plain = here.denoise()
    network = kohya.create_network(1.0, 4, 2.0, None, None, there.unet, **arguments)
    network.apply_to(None, there.unet, False, True)
    disturb(network)
    network.eval()
    network.save_weights(str(tmp_path / "theirs.safetensors"), torch.float32, {})
    ours, _ = create_network_from_weights(
        1.0, str(tmp_path / "theirs.safetensors"), None, here.passed, here.unet, None, True
    )
    ours.apply_to(here.passed, here.unet)
    assert not torch.allclose(here.denoise(), plain, rtol=1e-2)
    torch.testing.assert_close(here.denoise(), there.denoise(), rtol=1e-3, atol=1e-5)

    ours.save_weights(tmp_path / "ours.safetensors", None, {})
    back = tiny_models(tmp_path / "back")
    again, _ = kohya.create_network_from_weights(
        1.0, str(tmp_path / "ours.safetensors"), None, None, back.unet
    )
    again.apply_to(None, back.unet, False, True)
    again.eval()
    torch.testing.assert_close(back.denoise(), here.denoise(), rtol=1e-3, atol=1e-5)
