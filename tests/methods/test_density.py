"""The regions of flows' densities: known ones for a normal density, the promised share for any other."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from knuckle.methods import METHODS
from knuckle.methods.density import DRAWS, Density, highest_density_limits, scaled_covariance
from knuckle.methods.flow import RealNVP
from knuckle.methods.rle import RLE
from knuckle.methods.sequential import SequentialStages
from tests.methods.gauss import residual_quadrature

LEVELS = (0.5, 0.8, 0.9, 0.95)


def rle(form: str, residual: str = "laplace", decoder: str = "mu") -> RLE:
    """A small model whose flow is far from the identity."""
    model = METHODS["rle"]("test_resnet", 64, form=form, residual=residual, decoder=decoder)
    assert isinstance(model, RLE)
    torch.manual_seed(1)
    for parameter in model.flow.parameters():
        torch.nn.init.normal_(parameter, std=0.22)
    return model.eval()


def stages(**options: Any) -> SequentialStages:
    model = METHODS["sequential"]("test_resnet", 64, stages=2, width=8, **options)
    assert isinstance(model, SequentialStages)
    return model


def test_a_normal_density_has_circles() -> None:
    flow = RealNVP().double()
    for parameter in flow.parameters():
        torch.nn.init.zeros_(parameter)
    eps = flow.sample(DRAWS, torch.Generator().manual_seed(3))
    density = Density(flow.log_prob, eps, torch.full((DRAWS,), 1 / DRAWS), torch.zeros(2), torch.zeros(2), torch.eye(2))
    radius = (-2 * (highest_density_limits(density, LEVELS) + math.log(2 * math.pi))).sqrt()
    expected = torch.tensor([math.sqrt(-2 * math.log(1 - level)) for level in LEVELS])
    torch.testing.assert_close(radius.float(), expected, rtol=0.02, atol=0)


def test_the_published_form_holds_the_share_of_new_draws() -> None:
    model = rle("published")
    density = model.density()
    with torch.no_grad():
        new = density.log_prob(model.flow.sample(40_000, torch.Generator().manual_seed(9)).double())
    for level, limit in zip(LEVELS, highest_density_limits(density, LEVELS), strict=True):
        assert (new >= limit).double().mean().item() == pytest.approx(level, abs=0.01)


@pytest.mark.parametrize("residual", ["laplace", "gaussian"])
def test_the_clean_form_holds_the_share_of_s_q_g(residual: str) -> None:
    """Against Gauss' quadrature of Q G, which shares nothing with the points of the method."""
    model = rle("clean", residual)
    density = model.density()
    nodes, weight = residual_quadrature(residual)
    with torch.no_grad():
        log_prob = density.log_prob(nodes)
        inner = model.flow.double().log_prob(nodes)
    mass = (inner + weight.log()).softmax(dim=0)
    for level, limit in zip(LEVELS, highest_density_limits(density, LEVELS), strict=True):
        # The nodes are few: a region's border cuts between them.
        assert mass[log_prob >= limit].sum().item() == pytest.approx(level, abs=0.05)
    assert density.weight.sum().item() == pytest.approx(1)
    mean = density.weight @ density.eps
    torch.testing.assert_close(density.mean.float(), model.get_buffer("flow_mean"))
    torch.testing.assert_close(mean, density.mean, atol=0.03, rtol=0)


@pytest.mark.parametrize("form", ["published", "clean"])
def test_the_point_is_what_the_decoder_reads(form: str) -> None:
    assert rle(form).density().point.tolist() == [0.0, 0.0]
    model = rle(form, decoder="mean")
    density = model.density()
    torch.testing.assert_close(density.point.float(), model.get_buffer("flow_mean"))
    torch.testing.assert_close(density.covariance.float(), model.get_buffer("flow_covariance"))


def test_stages_without_likelihood_have_no_density() -> None:
    assert stages(loss="heatmap").density() is None
    model = stages(decoder="mean")
    torch.manual_seed(2)
    for parameter in list(model.flows)[-1].parameters():
        torch.nn.init.normal_(parameter, std=0.22)
    density = model.eval().density()
    assert density is not None
    drawn_mean = density.eps.mean(dim=0)
    torch.testing.assert_close(drawn_mean, density.point, atol=0.03, rtol=0.03)
    assert drawn_mean.abs().max() > 0.05, "the last flow, not the first"


def test_covariances_scale_with_sigma() -> None:
    sigma: Tensor = torch.tensor([[2.0, 3.0], [1.0, 0.5]])
    covariance = torch.tensor([[1.0, 0.4], [0.4, 2.0]])
    found = scaled_covariance(sigma, covariance)
    expected = torch.stack([torch.diag(own) @ covariance @ torch.diag(own) for own in sigma])
    torch.testing.assert_close(found, expected)
