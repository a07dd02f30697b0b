"""The tests check the shapes that annotations declare in every call (``tests.shapes``)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from lycoris_ext.functional import Dense, Gated, LayerSpec, LowRank, khatri_rao, weight_norms
from tests.shapes import check_class

LAYER = LayerSpec(out_features=4, in_features=6)


def test_a_function_called_with_wrong_shapes_is_an_error():
    with pytest.raises(TypeCheckError, match="parameter 'second'"):
        khatri_rao.rows(torch.ones(2, 5), torch.ones(3, 1))  # torch would broadcast in silence


def test_the_shapes_of_a_decorated_function_are_checked():
    with pytest.raises(TypeCheckError, match="parameter 'weight'"):
        weight_norms(torch.ones(4), on_input=False)


def test_an_update_whose_ranks_differ_cannot_be_made():
    with pytest.raises(TypeCheckError, match="parameter 'down'"):
        LowRank(LAYER, 1.0, up=torch.ones(4, 2), down=torch.ones(3, 6))


def test_an_update_of_another_layer_cannot_be_made():
    with pytest.raises(TypeCheckError, match="parameter 'up'"):
        Gated(LAYER, 1.0, up=torch.ones(5, 2), down=torch.ones(2, 6), gates=torch.ones(1, 2))


def test_a_method_is_held_to_the_shape_that_its_base_declares():
    @dataclass(frozen=True)
    class Transposed(Dense):
        def dense(self) -> Tensor:
            return self.weight.T

    assert check_class(Transposed) == 2  # how it is made, and what it returns
    with pytest.raises(TypeCheckError, match="return"):
        Transposed(LAYER, 1.0, torch.ones(4, 6)).dense()


def test_a_checked_function_still_compiles():
    compiled = torch.compile(khatri_rao.rows, backend="eager", fullgraph=True)
    assert compiled(torch.ones(2, 5), torch.ones(3, 5)).shape == (6, 5)
