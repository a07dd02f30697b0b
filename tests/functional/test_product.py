"""Matrix products are exact, whichever library computes them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lycoris_ext.functional import product

# (m, k, n): below and above the size from which another library is asked
SIZES = [(3, 5, 4), (160, 130, 110)]
every_size = pytest.mark.parametrize(("m", "k", "n"), SIZES)


@pytest.fixture(autouse=True, params=[True, False], ids=["Intel", "another processor"])
def by_intel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Choose the library as on an Intel processor, and as on another."""
    monkeypatch.setattr(product, "_INTEL", request.param)
    return bool(request.param)


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-4)


def random(*shape: int) -> Tensor:
    """Return float32 numbers whose last two axes lie in transposed order in memory."""
    return torch.randn(*shape[:-2], shape[-1], shape[-2]).transpose(-1, -2)


@every_size
@pytest.mark.parametrize("batch", [1, 2])
def test_products_are_those_of_float64(m: int, k: int, n: int, batch: int) -> None:
    matrix, planes, base = random(m, k), random(batch, k, n), torch.randn(batch, m, n)
    exact = torch.matmul(matrix.double(), planes.double())
    close(product.mm(matrix, planes[0]), exact[0])
    close(product.addmm(base[0], matrix, planes[0]), base[0].double() + exact[0])
    close(product.mix(matrix, planes), exact)
    assert product.mix(matrix, planes).is_contiguous()
    before = base.clone()
    close(product.add_mixed(base, matrix, planes), base.double() + exact)
    assert torch.equal(base, before)
    other = random(batch, m, n)
    close(
        product.outer(planes, other),
        (planes.double() @ other.double().transpose(1, 2)).sum(0),
    )


@every_size
@pytest.mark.parametrize("trained", ["x", "weight", "bias"])
def test_a_linear_passes_a_gradient_to_whichever_input_is_trained(
    m: int, k: int, n: int, trained: str
) -> None:
    inputs = {"x": torch.randn(2, n, k), "weight": torch.randn(m, k), "bias": torch.randn(m)}
    inputs[trained].requires_grad_()
    out = product.linear(**inputs)
    close(out, torch.nn.functional.linear(*(tensor.double() for tensor in inputs.values())))
    assert out.requires_grad
    with torch.no_grad():
        close(product.linear(**inputs), out.double())


@every_size
@pytest.mark.parametrize("bias", [None, "has one"])
def test_a_frozen_linear_passes_the_exact_gradient_to_its_input(
    m: int, k: int, n: int, bias: str | None
) -> None:
    x, weight = torch.randn(2, n, k, requires_grad=True), torch.randn(m, k)
    added = None if bias is None else torch.randn(m)
    out = product.linear(x, weight, added)
    exact = torch.nn.functional.linear(
        x.double(), weight.double(), None if added is None else added.double()
    )
    close(out, exact)
    (found,) = torch.autograd.grad(out.square().sum(), x)
    (wanted,) = torch.autograd.grad(exact.square().sum(), x)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-2)
    out.relu_()  # nobody else's memory
    with torch.no_grad():
        close(product.linear(x, weight, added), exact)


def test_products_of_expanded_rows_are_left_to_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The gradient of a mean has such rows, and the other library takes 1000 times as long."""
    asked = []
    monkeypatch.setattr(product, "_LINEAR", lambda *tensors: asked.append(tensors))
    gradient, matrix = torch.randn(1, 130).expand(160, 130), torch.randn(130, 110)
    close(product.mm(gradient, matrix), gradient.double() @ matrix.double())
    close(product.mm(matrix.T, gradient.T), matrix.T.double() @ gradient.T.double())
    assert not asked


def test_products_have_the_dtype_of_autocast_or_of_their_inputs() -> None:
    left, right = torch.randn(160, 130), torch.randn(130, 110)
    with torch.autocast("cpu", torch.bfloat16):
        assert product.mm(left, right).dtype == torch.bfloat16
    assert product.mm(left.double(), right.double()).dtype == torch.float64


def test_on_intel_a_product_goes_to_onednn_only_if_its_weight_is_read_as_it_lies(
    by_intel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, weight = torch.randn(130, 160), torch.randn(110, 160)
    if not product.onednn_knows(x, weight):
        pytest.skip("this torch or this processor has no product by oneDNN")
    taken: list[Tensor] = []
    real = product._LINEAR

    def counted(*arguments: object) -> Tensor:
        out: Tensor = real(*arguments)
        taken.append(out)
        return out

    monkeypatch.setattr(product, "_LINEAR", counted)
    grad = product.linear(x, weight)
    assert len(taken) == 1
    product.mm(grad, weight)
    assert len(taken) == (1 if by_intel else 2)
