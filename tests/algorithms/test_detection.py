"""Files whose shapes are each possible, but together do not fit the layer, are refused."""

from __future__ import annotations

import pytest
import torch

from lycoris_ext.algorithms import detect
from lycoris_ext.errors import FormatError
from lycoris_ext.functional import LayerSpec


@pytest.mark.parametrize(
    ("layer", "told"),
    [(LayerSpec(24, 12), "20 x 12, this one is 24 x 12"), (LayerSpec(20, 6), "20 x 12, this one")],
)
def test_a_lokr_file_whose_factors_do_not_fill_the_layer_is_refused(
    layer: LayerSpec, told: str
) -> None:
    tensors = {"lokr_w1": torch.zeros(4, 3), "lokr_w2": torch.zeros(5, 4)}
    assert detect(tensors, "proj", LayerSpec(20, 12)).algorithm.name == "lokr"
    with pytest.raises(FormatError) as caught:
        detect(tensors, "proj", layer)
    assert caught.value.where == "proj" and told in str(caught.value)


def test_a_lokr_file_with_another_kernel_than_the_layer_is_refused() -> None:
    layer = LayerSpec(20, 12, (3, 3), (1, 1), (1, 1), (1, 1))
    for second in ((5, 4, 3, 3), (5, 4, 1, 1)):
        tensors = {"lokr_w1": torch.zeros(4, 3), "lokr_w2": torch.zeros(second)}
        if second[2:] == (3, 3):
            assert detect(tensors, "conv", layer).algorithm.name == "lokr"
        else:
            with pytest.raises(FormatError, match="the layer needs"):
                detect(tensors, "conv", layer)
