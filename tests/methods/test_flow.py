"""The flow: a density that integrates to 1, an exact inverse, exact determinants, and its moments."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from knuckle.methods.flow import RealNVP

PUBLISHED_PARAMETERS = 53_784


def bent(seed: int = 0, couplings: int = 6, width: int = 16, spread: float = 0.3) -> RealNVP:
    """A flow far from the identity, in float64."""
    torch.manual_seed(seed)
    flow = RealNVP(couplings, width).double()
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=spread)
    return flow


def points(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, generator=generator, dtype=torch.float64) * 2


def covariance(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    mean = weight @ x
    return mean, ((x - mean) * weight[:, None]).T @ (x - mean)


def test_the_published_size() -> None:
    assert sum(parameter.numel() for parameter in RealNVP().parameters()) == PUBLISHED_PARAMETERS
    flow = RealNVP(couplings=4, width=8)
    assert len(flow.shifts) == len(flow.log_scales) == 4


@pytest.mark.parametrize("seed", range(2))
def test_the_density_integrates_to_one(seed: int) -> None:
    flow = bent(seed, spread=0.25)
    reached = flow.quadrature()[0]
    low, high = reached.min(dim=0).values - 1, reached.max(dim=0).values + 1
    x, y = (torch.linspace(low[i].item(), high[i].item(), 300, dtype=torch.float64) for i in range(2))
    with torch.no_grad():
        mass = flow.log_prob(torch.cartesian_prod(x, y)).exp().sum() * (x[1] - x[0]) * (y[1] - y[0])
    assert mass.item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("couplings", [1, 2, 6, 7])
def test_inverse_undoes_forward(couplings: int) -> None:
    flow = bent(couplings, couplings).float()
    z = points(50).float()
    x, grown = flow(z)
    again, shrunk = flow.inverse(x)
    assert (again - z).abs().max() < 1e-5
    torch.testing.assert_close(grown, -shrunk, atol=1e-5, rtol=1e-5)
    assert (x - z).abs().max() > 0.1


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_log_determinants_are_those_of_the_jacobian(direction: str) -> None:
    flow = bent(1)
    run = getattr(flow, direction)
    where = points(10).unbind()
    claimed = [run(point)[1] for point in where]
    for point, log_determinant in zip(where, claimed, strict=True):
        point.requires_grad_()
        jacobian = torch.stack([torch.autograd.grad(run(point)[0][axis], point)[0] for axis in range(2)])
        assert log_determinant.item() == pytest.approx(torch.linalg.slogdet(jacobian).logabsdet.item(), abs=1e-9)
    assert torch.stack(claimed).std() > 0.01


def test_without_networks_it_is_the_standard_normal() -> None:
    flow = RealNVP().double()
    for parameter in flow.parameters():
        nn.init.zeros_(parameter)
    x = points(20)
    expected = scipy.stats.multivariate_normal(mean=np.zeros(2)).logpdf(x.numpy())
    np.testing.assert_allclose(flow.log_prob(x).detach(), expected, atol=1e-12)


def test_a_new_flow_is_nearly_the_identity() -> None:
    z = points(20).float()
    x, log_determinant = RealNVP()(z)
    assert (x - z).abs().max() < 1e-3
    assert log_determinant.abs().max() < 1e-3


def test_gradients_are_right_and_flow_everywhere() -> None:
    flow = bent(2, width=4)
    x = points(6).requires_grad_()
    assert torch.autograd.gradcheck(flow.log_prob, (x,))
    torch.autograd.backward(flow.log_prob(x).sum())
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_points_may_have_any_shape_in_front() -> None:
    flow = bent(3)
    x = points(24)
    assert torch.equal(flow.log_prob(x.view(2, 3, 4, 2)), flow.log_prob(x).view(2, 3, 4))
    assert flow.log_prob(x[:0]).shape == (0,)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_computes_in_float32_under_autocast(dtype: torch.dtype) -> None:
    flow, x = bent(4).float(), points(20).float()
    with torch.autocast("cpu", dtype=dtype):
        density, (moved, log_determinant) = flow.log_prob(x), flow(x)
        rounded = flow.log_prob(x.to(dtype))
    assert density.dtype == moved.dtype == log_determinant.dtype == rounded.dtype == torch.float32
    assert torch.equal(density, flow.log_prob(x))
    assert torch.equal(moved, flow(x)[0])


def test_samples_have_the_density() -> None:
    """By the quadrature's moments, and by the entropy: the mean of -log p over the samples."""
    flow = bent(5, spread=0.25).float()
    sample = flow.sample(40_000, torch.Generator().manual_seed(0))
    assert torch.equal(sample, flow.sample(40_000, torch.Generator().manual_seed(0)))
    x, weight = flow.quadrature()
    assert weight.sum().item() == pytest.approx(1, abs=1e-5)
    mean, spread = covariance(x, weight)
    by_sample, spread_by_sample = sample.mean(dim=0), sample.T.cov()
    scale = spread.diagonal().sqrt()
    assert ((by_sample - mean).abs() < 5 * scale / math.sqrt(40_000)).all()
    torch.testing.assert_close(spread_by_sample, spread, rtol=0.05, atol=0.05 * scale.prod().item())
    with torch.no_grad():
        entropy, by_quadrature = -flow.log_prob(sample).mean(), -(weight * flow.log_prob(x)).sum()
    assert entropy.item() == pytest.approx(by_quadrature.item(), abs=0.03)


def test_it_learns_a_density() -> None:
    """Two clusters: the likelihood ends far above that of the best single Gaussian."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 2, generator=generator) * 0.3 + torch.tensor([[1.5, -1.0]]) * torch.tensor(
        [[-1.0], [1.0]] * 200
    )
    torch.manual_seed(0)
    flow = RealNVP(width=16)
    optimizer = torch.optim.Adam(flow.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = -flow.log_prob(x).mean()
        torch.autograd.backward(loss)
        optimizer.step()
    gaussian = scipy.stats.multivariate_normal(x.mean(dim=0).numpy(), x.T.cov().numpy())
    assert loss.item() < -gaussian.logpdf(x.numpy()).mean() - 0.3
