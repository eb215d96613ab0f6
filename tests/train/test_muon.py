"""Muon against the polar factor that it approximates, timm's Muon, and torch's AdamW."""

from __future__ import annotations

import math

import pytest
import torch
from timm.optim.muon import Muon as TimmMuon
from torch import nn

from knuckle.train.muon import BETAS, COEFFICIENTS, EPSILON, RMS_OF_ADAM, Muon, is_kernel, orthogonal


def test_orthogonal_does_to_every_singular_value_what_the_polynomials_do() -> None:
    """Down to a ten-thousandth of the largest, and to nothing else of the matrix."""
    generator = torch.Generator().manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(24, 24, dtype=torch.float64, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(90, 24, dtype=torch.float64, generator=generator))
    sizes = torch.logspace(0, -4, 24, dtype=torch.float64)
    expected = sizes / sizes.norm()
    for a, b, c in COEFFICIENTS:
        expected = expected * (a + b * expected**2 + c * expected**4)
    assert float(expected[sizes > 0.01].min()) > 0.7
    matrix = left @ sizes.diag() @ right.mT
    torch.testing.assert_close(
        orthogonal(matrix.float()).double(), left @ expected.diag() @ right.mT, atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("shape", [(8, 8), (8, 72), (96, 16)])
def test_orthogonal_is_near_the_polar_factor(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonal(1e3 * matrix)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    singular = torch.einsum("mi,mn,in->i", left, found, right)
    assert float(singular.min()) > 0.65, "each direction is kept, with about the same size"
    assert float(singular.max()) < 1.25
    torch.testing.assert_close(found, left @ singular.diag() @ right, atol=1e-4, rtol=0)


def test_nothing_becomes_nothing() -> None:
    assert not orthogonal(torch.zeros(4, 5)).any()


@pytest.mark.parametrize(
    ("shape", "is_one"),
    [
        ((8, 4), True),
        ((8, 3, 3, 3), True),
        ((4, 2, 2), True),
        ((8, 1, 3, 3), False),  # depthwise
        ((3, 16), False),
        ((16, 3), False),
        ((16,), False),
    ],
)
def test_what_is_a_kernel(shape: tuple[int, ...], is_one: bool) -> None:
    assert is_kernel(torch.zeros(shape)) is is_one


def test_kernels_move_as_with_timm() -> None:
    ours, theirs = (nn.Parameter(torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(1))) for _ in range(2))
    optimizers = (
        Muon([{"params": [ours]}], lr=0.02, weight_decay=0.1),
        TimmMuon([theirs], lr=0.02, weight_decay=0.1, nesterov=True),
    )
    for step in range(4):
        gradient = torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(10 + step))
        before = ours.detach().clone()
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
        assert float((ours.detach() - before).abs().max()) > 0.005
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)  # timm's products are rounded to bfloat16
    size = (ours.detach() - before * (1 - 0.002)).square().mean().sqrt() / 0.02
    assert float(size) == pytest.approx(RMS_OF_ADAM, rel=0.15)


def test_the_rest_moves_as_with_adamw() -> None:
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2))
    optimizers = (
        Muon([{"params": [ours], "weight_decay": 0.3}], lr=0.02),
        torch.optim.AdamW([theirs], lr=0.02, betas=BETAS, eps=EPSILON, weight_decay=0.3),
    )
    for step in range(5):
        gradient = torch.randn(7, generator=torch.Generator().manual_seed(step))
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)
    assert not math.isclose(float(ours[0].detach()), -1.0)


def test_memory_layout_makes_no_difference() -> None:
    plain = nn.Parameter(torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(1)))
    last = nn.Parameter(plain.detach().clone().contiguous(memory_format=torch.channels_last))
    gradient = torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(2))
    for parameter in (plain, last):
        parameter.grad = gradient.clone()
        Muon([{"params": [parameter]}], lr=0.1).step()
    torch.testing.assert_close(plain, last)


def test_parameters_without_a_gradient_stay() -> None:
    parameter = nn.Parameter(torch.ones(8, 8))
    Muon([{"params": [parameter]}], lr=0.1, weight_decay=0.5).step()
    assert bool((parameter == 1).all())
