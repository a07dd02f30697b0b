"""Tucker cores in files for layers without a kernel, and empty magnitudes of DoRA."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lycoris_ext.algorithms import detect
from lycoris_ext.errors import FormatError
from lycoris_ext.formats import AdapterState
from lycoris_ext.functional import spec_of
from lycoris_ext.network import load_network

OUT, IN, RANK = 8, 6, 3
CORES = {
    "lora": {
        "lora_up.weight": (OUT, RANK, 1, 1),
        "lora_mid.weight": (RANK, RANK, 1, 1),
        "lora_down.weight": (RANK, IN, 1, 1),
    },
    "loha": {
        **{f"hada_w{n}_a": (RANK, OUT) for n in (1, 2)},
        **{f"hada_t{n}": (RANK, RANK, 1, 1) for n in (1, 2)},
        **{f"hada_w{n}_b": (RANK, IN) for n in (1, 2)},
    },
    "lokr": {
        "lokr_w1": (2, 2),
        "lokr_w2_a": (RANK, OUT // 2),
        "lokr_t2": (RANK, RANK, 1, 1),
        "lokr_w2_b": (RANK, IN // 2),
    },
}


@pytest.mark.parametrize("algo", CORES)
def test_a_core_of_a_1x1_convolution_does_in_a_linear_what_it_does_there(algo: str) -> None:
    generator = torch.Generator().manual_seed(0)
    stored: dict[str, Tensor] = {
        f"x.{key}": torch.randn(shape, generator=generator) for key, shape in CORES[algo].items()
    }
    linear, conv = nn.Linear(IN, OUT), nn.Conv2d(IN, OUT, 1)
    x = torch.randn(5, IN, generator=generator)
    with torch.no_grad():
        conv.weight.copy_(linear.weight[:, :, None, None])
        assert conv.bias is not None
        conv.bias.copy_(linear.bias)
    answers = []
    for layer, given in ((linear, x), (conv, x[:, :, None, None])):
        model = nn.ModuleDict({"x": layer})
        network = load_network(
            AdapterState({f"lycoris_{key}": tensor for key, tensor in stored.items()}, {}),
            {"model": model},
        )
        before = layer(given)
        with network.injected():
            answers.append(layer(given).flatten(1))
            assert not torch.allclose(answers[-1], before.flatten(1), atol=1e-2)
            norm = network.norms()
        weight = layer.weight.detach().clone()
        network.merge()
        assert torch.allclose((layer.weight - weight).norm(), norm[0], rtol=1e-4)
    assert torch.allclose(*answers, rtol=1e-4, atol=1e-5)


def test_magnitudes_without_a_number_are_refused() -> None:
    tensors = {
        "lora_up.weight": torch.ones(OUT, 2),
        "lora_down.weight": torch.ones(2, IN),
        "dora_scale": torch.ones(1, 0, 1, 1),
    }
    for layer in (None, spec_of(nn.Linear(IN, OUT))):
        with pytest.raises(FormatError, match=r"dora_scale has shape \(1, 0, 1, 1\), expected"):
            detect(tensors, "x", layer)
