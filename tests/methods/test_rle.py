"""The RLE method: both forms of its likelihood, what they say of the error, masking, mirroring, learning."""

from __future__ import annotations

import copy
import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from knuckle.geometry import Alignment, CropRule
from knuckle.methods import METHODS, RLE, Targets, merge, rle
from knuckle.methods.base import Outputs
from knuckle.methods.flow import RealNVP
from knuckle.methods.rle import log_mass, negative_log_likelihood
from knuckle.methods.weights import ModelSpec, build
from tests.methods.gauss import residual_quadrature
from tests.methods.lessons import (
    SIZE,
    TINY,
    before_and_after_saving,
    check_that_gradients_reach_every_parameter,
    check_that_nothing_is_learnt_without_labels,
    drawn_crops,
    learn,
    under_autocast,
)

FORMS = ("published", "clean")
RESIDUALS = ("laplace", "gaussian")


@functools.cache
def built(**options: Any) -> RLE:
    torch.manual_seed(0)
    return RLE(TINY, SIZE, **options)


def tiny(**options: Any) -> RLE:
    """A small model in training mode; a copy, as building one takes longer."""
    return copy.deepcopy(built(**options))


def bent_flow(spread: float = 0.22) -> RealNVP:
    """A flow far from the identity."""
    torch.manual_seed(1)
    flow = RealNVP()
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=spread)
    return flow


def standard_flow() -> RealNVP:
    """A flow whose density is N(0, I)."""
    flow = RealNVP()
    for parameter in flow.parameters():
        nn.init.zeros_(parameter)
    return flow


def some_outputs(count: int = 3, joints: int = 21) -> Outputs:
    xy_crop = torch.rand(count, joints, 2) * SIZE
    return {"xy_crop": xy_crop.requires_grad_(), "sigma": (torch.rand_like(xy_crop) * 0.3 + 0.01).requires_grad_()}


def some_targets(count: int = 3, joints: int = 21) -> Targets:
    return Targets(torch.rand(count, joints, 2) * (SIZE - 1), torch.ones(count, joints, dtype=torch.bool))


# The likelihood


@pytest.mark.parametrize("residual", RESIDUALS)
def test_the_published_form_axis_by_axis(residual: str) -> None:
    """For "laplace" what the authors' code computes, for "gaussian" what MMPose's does."""
    flow = bent_flow()
    error, sigma = torch.randn(2, 3, 2), torch.rand(2, 3, 2) + 0.1
    log_density: Tensor = flow.log_prob(error / sigma)
    flow_term = sigma.log() - log_density.unsqueeze(-1)
    if residual == "laplace":
        residual_term = (sigma / (1 / math.sqrt(2 * math.pi))).log() + error.abs() / (math.sqrt(2) * sigma)
    else:
        residual_term = (sigma * math.sqrt(2 * math.pi)).log() + 0.5 * (error / sigma) ** 2
    expected = (flow_term + residual_term).sum(dim=-1)
    torch.testing.assert_close(negative_log_likelihood(error, sigma, flow, "published", residual), expected)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_the_clean_form_is_a_density_of_the_error(residual: str) -> None:
    """It integrates to 1 over the error for any sigma."""
    flow = bent_flow(0.15)
    axis = torch.linspace(-2, 2, 250)
    grid = torch.cartesian_prod(axis, axis)[None]
    sigma = torch.tensor([0.15, 0.3]).expand_as(grid)
    with torch.no_grad():
        mass = (-negative_log_likelihood(grid, sigma, flow, "clean", residual)).exp().sum() * (axis[1] - axis[0]) ** 2
    assert mass.item() == pytest.approx(1, abs=3e-3)


def test_the_clean_form_with_normal_q_and_flow_is_a_normal_likelihood() -> None:
    """The product of two standard normal densities is normal with half the variance."""
    error, sigma = torch.randn(4, 5, 2), torch.rand(4, 5, 2) + 0.1
    normal = torch.distributions.Normal(torch.zeros(()), sigma / math.sqrt(2))
    expected = -normal.log_prob(error).sum(dim=-1)  # type: ignore[no-untyped-call]
    found = negative_log_likelihood(error, sigma, standard_flow(), "clean", "gaussian")
    torch.testing.assert_close(found, expected, rtol=0, atol=0.01)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_the_mass_of_a_product(residual: str) -> None:
    """Of a normal density in closed form, of a bent flow on a fine grid; wherever the lattice has been moved to."""
    tail = 0.5 * math.erfc(math.sqrt(0.5))
    closed = math.log((2 * math.exp(0.5) * tail) ** 2 if residual == "laplace" else 0.5)
    axis = torch.linspace(-12, 12, 601)
    grid = torch.cartesian_prod(axis, axis)
    log_q = -(grid.abs() if residual == "laplace" else 0.5 * grid.square()).sum(dim=-1)
    bent = bent_flow()
    with torch.no_grad():
        dense = ((bent.log_prob(grid) + log_q).logsumexp(0) + 2 * (axis[1] - axis[0]).log()).item()
        for flow, expected in ((standard_flow(), closed), (bent, dense)):
            found = [log_mass(flow, residual, torch.rand(2)).item() for _ in range(5)]
            assert found == pytest.approx([expected] * 5, abs=2e-3)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_the_mass_of_a_narrow_flow(residual: str) -> None:
    """As narrow as a flow becomes, normal, and between the nodes of any fixed grid; in closed form."""
    flow = standard_flow()
    for name, parameter in flow.named_parameters():
        if "log_scales" in name and name.endswith("4.bias"):
            nn.init.constant_(parameter, -9.0)
    width = math.exp(-3)
    assert flow.sample(5000).std().item() == pytest.approx(width, rel=0.05)
    of_axis = math.exp(width**2 / 2) * math.erfc(width / math.sqrt(2))
    expected = 2 * math.log(of_axis) if residual == "laplace" else -math.log(1 + width**2)
    assert log_mass(flow, residual, torch.rand(2)).item() == pytest.approx(expected, abs=2e-3)


def test_no_flow_learns_to_leave_the_likelihood() -> None:
    """A grid of its own over the density says the same as the loss, and neither falls below the errors' entropy."""
    torch.manual_seed(0)
    errors = 0.01 * torch.randn(1, 200, 2)
    flow, log_sigma = RealNVP(), torch.full((2,), math.log(0.03), requires_grad=True)
    optimizer = torch.optim.Adam([*flow.parameters(), log_sigma], lr=2e-3)
    axis = torch.linspace(-10, 10, 401)
    grid = torch.cartesian_prod(axis, axis)
    for _ in range(100):
        optimizer.zero_grad()
        loss = negative_log_likelihood(errors, log_sigma.exp().expand_as(errors), flow, "clean", "gaussian").mean()
        torch.autograd.backward(loss)
        optimizer.step()
    with torch.no_grad():
        sigma = log_sigma.exp().expand_as(errors)
        stated = negative_log_likelihood(errors, sigma, flow, "clean", "gaussian").mean()
        mass = (flow.log_prob(grid) - 0.5 * grid.square().sum(-1)).logsumexp(0) + 2 * (axis[1] - axis[0]).log()
        eps = errors / sigma
        true = (0.5 * eps.square().sum(-1) - flow.log_prob(eps) + sigma.log().sum(-1)).mean() + mass
    assert stated.item() == pytest.approx(true.item(), abs=0.02)
    assert true.item() > 2 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.01)) - 0.3  # 200 errors, fitted


@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_the_loss(form: str, residual: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, weight = residual_quadrature(residual)
    model = tiny(num_joints=2, form=form, residual=residual).double()
    model.flow = bent_flow().double()
    outputs = {name: value.detach().double() for name, value in some_outputs(2, joints=2).items()}
    targets = Targets(torch.rand(2, 2, 2, dtype=torch.float64) * 60, torch.tensor([[True, True], [False, True]]))
    biases = [bias for name, bias in model.flow.named_parameters() if name.endswith("4.bias")]
    inputs = (outputs["xy_crop"].requires_grad_(), outputs["sigma"].requires_grad_(), *biases)

    # The mass is an estimate whose points move with the flow: its gradient is right in the mean alone.
    monkeypatch.setattr(rle, "log_mass", lambda flow, *_: (flow.log_prob(nodes) + weight.log()).logsumexp(0))

    def loss(xy_crop: Tensor, sigma: Tensor, *_: Tensor) -> Tensor:
        return model.loss({"xy_crop": xy_crop, "sigma": sigma}, targets)["loss"]

    assert len(biases) == 12
    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("form", FORMS)
def test_the_covariance_is_that_of_errors_that_the_flow_has_learnt(form: str) -> None:
    """Errors as wide as sigma in x, half as wide in y, correlated, not centred: decoding finds both moments."""
    torch.manual_seed(0)
    sigma = torch.tensor(0.05)
    distribution = torch.distributions.Laplace(torch.tensor([0.01, 0.0]), torch.tensor([0.035, 0.018]))
    errors = distribution.sample((1, 1000))
    errors[..., 1] += 0.4 * errors[..., 0]
    model = tiny(form=form, decoder="mean")
    optimizer = torch.optim.Adam(model.flow.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=80)
    for _ in range(80):
        optimizer.zero_grad()
        terms = negative_log_likelihood(errors, sigma.expand_as(errors), model.flow, form, model.residual)
        torch.autograd.backward(terms.mean())
        optimizer.step()
        schedule.step()
    model.eval()
    decoded = model.decode({"xy_crop": torch.zeros(1, 1, 2), "sigma": sigma.expand(1, 1, 2)})
    assert decoded.covariance_crop is not None
    covariance = torch.cov(errors[0].T)
    deviation = covariance.diagonal().sqrt()
    scaled = decoded.covariance_crop[0, 0] / SIZE**2 / (deviation[:, None] * deviation)
    torch.testing.assert_close(scaled, torch.corrcoef(errors[0].T), rtol=0, atol=0.2)
    assert ((decoded.xy_crop[0, 0] / SIZE - errors[0].mean(dim=0)).abs() / errors[0].std(dim=0)).max() < 0.1


# Masking


@pytest.mark.parametrize("form", FORMS)
def test_unlabeled_joints_change_nothing_and_joints_outside_do(form: str) -> None:
    model = tiny(form=form)
    model.flow = bent_flow()
    outputs, targets = some_outputs(), some_targets()
    targets.labeled[0, 3] = False

    def losses(xy: Tensor) -> tuple[float, tuple[Tensor, ...]]:
        torch.manual_seed(0)
        loss = model.loss(outputs, Targets(xy, targets.labeled))["loss"]
        return loss.item(), torch.autograd.grad(loss, [outputs["xy_crop"], outputs["sigma"], *model.flow.parameters()])

    loss, gradients = losses(targets.xy_crop)
    moved = targets.xy_crop.clone()
    moved[0, 3] = torch.tensor([3e38, -3e38])
    again, gradients_again = losses(moved)
    assert again == loss
    assert math.isfinite(loss)
    assert all(torch.equal(*pair) for pair in zip(gradients, gradients_again, strict=True))
    for gradient in gradients[:2]:
        assert not gradient[0, 3].any()
        assert gradient[0, 4].any()
    moved[1, 5] = torch.tensor([-9.0, 10.0])
    outside, gradients = losses(moved)
    assert outside != loss
    assert gradients[0][1, 5].any()


def test_the_loss_is_a_mean_over_all_keypoints() -> None:
    model, outputs, targets = tiny(), some_outputs(), some_targets()
    error = (targets.xy_crop - outputs["xy_crop"]) / SIZE
    terms = negative_log_likelihood(error, outputs["sigma"], model.flow, "published", "laplace")
    targets.labeled[0, 3:] = False
    by_hand = terms[targets.labeled].sum() / (3 * 21)
    torch.testing.assert_close(model.loss(outputs, targets)["loss"], by_hand)


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_without_labels_has_loss_zero_and_zero_gradients(form: str) -> None:
    check_that_nothing_is_learnt_without_labels(tiny(form=form))


# The network


@pytest.mark.parametrize("form", FORMS)
def test_gradients_reach_every_parameter(form: str) -> None:
    model = tiny(form=form)
    model.flow = bent_flow()
    check_that_gradients_reach_every_parameter(model)


@settings(max_examples=20)
@given(
    xy=st.tuples(st.floats(-SIZE, 2 * SIZE, width=32), st.floats(-SIZE, 2 * SIZE, width=32)),
    alignment=st.sampled_from(["center", "corner"]),
)
def test_the_last_layer_can_name_any_point(xy: tuple[float, float], alignment: Alignment) -> None:
    """In crop sides around the middle: the centre of a crop of S pixels, or MMPose's pixel S / 2."""
    model = built(num_joints=1, alignment=alignment).eval()
    middle = SIZE / 2 if alignment == "corner" else (SIZE - 1) / 2
    with torch.no_grad():
        model.final.weight.zero_()
        model.final.bias.copy_(torch.tensor([(xy[0] - middle) / SIZE, (xy[1] - middle) / SIZE, 0.0, 30.0]))
        decoded = model.decode(model(torch.zeros(1, 3, SIZE, SIZE)))
    torch.testing.assert_close(decoded.xy_crop[0, 0], torch.tensor(xy), rtol=0, atol=1e-4)
    assert decoded.covariance_crop is not None
    sigma = torch.diag(torch.tensor([0.501, 1.001]) * SIZE)
    torch.testing.assert_close(decoded.covariance_crop[0, 0], sigma @ model.get_buffer("flow_covariance") @ sigma)


def test_sigma_has_a_floor() -> None:
    model = tiny(sigma_floor=0.01)
    model.final.bias.data.fill_(-200.0)
    sigma = model(drawn_crops(2, 21)[0])["sigma"]
    torch.testing.assert_close(sigma, torch.full_like(sigma, 0.01))


def test_evaluation_does_not_run_the_flow() -> None:
    model = tiny().eval()
    model.flow = None  # type: ignore[assignment]
    with torch.no_grad():
        decoded = model.decode(model(drawn_crops(2, 21)[0]))
    assert decoded.xy_crop.shape == (2, 21, 2)


@pytest.mark.parametrize(("backbone", "size"), [("resnet10t", 64), ("resnet10t", 96), ("vit_tiny_patch16_224", 64)])
def test_other_backbones_and_sizes(backbone: str, size: int) -> None:
    model = METHODS["rle"](backbone=backbone, size=size).eval()
    with torch.no_grad():
        outputs = model(torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8))
    assert outputs["xy_crop"].shape == outputs["sigma"].shape == (2, 21, 2)


@pytest.mark.parametrize("form", FORMS)
def test_under_autocast_outputs_and_loss_are_float32_and_finite(form: str) -> None:
    outputs, _, _ = under_autocast(tiny(form=form))
    assert outputs["xy_crop"].dtype == outputs["sigma"].dtype == torch.float32
    distance = outputs["xy_crop"] - (SIZE - 1) / 2
    assert (distance != distance.bfloat16()).any(), "coordinates are rounded"


# Mirroring, saving, learning


@pytest.mark.parametrize("alignment", ["center", "corner"])
@pytest.mark.parametrize("decoder", ["mu", "mean"])
def test_unmirroring_mirrors_what_is_decoded(decoder: str, alignment: Alignment) -> None:
    model = tiny(decoder=decoder, alignment=alignment)
    model.flow = bent_flow()
    model.eval()
    outputs = {name: value.detach() for name, value in some_outputs().items()}
    assert (model.mean_shift(outputs).abs() > 0.1).any(), "this flow is not centred"
    there = model.unmirror(outputs)
    decoded, mirrored = model.decode(outputs), model.decode(there)
    torch.testing.assert_close(mirrored.xy_crop[..., 0], SIZE - 1 - decoded.xy_crop[..., 0])
    assert torch.equal(mirrored.xy_crop[..., 1], decoded.xy_crop[..., 1])
    assert torch.equal(mirrored.covariance_crop, decoded.covariance_crop)  # type: ignore[arg-type]
    torch.testing.assert_close(model.decode(merge(outputs, outputs)).xy_crop, decoded.xy_crop)


@pytest.mark.parametrize("form", FORMS)
def test_a_saved_model_predicts_the_same(form: str, tmp_path: Path) -> None:
    spec = ModelSpec("rle", TINY, CropRule(size=SIZE), {"form": form, "decoder": "mean"})
    model = build(spec)
    assert isinstance(model, RLE)
    model.flow.load_state_dict(bent_flow().state_dict())
    ours, theirs = before_and_after_saving(model, spec, tmp_path)
    assert torch.equal(ours.xy_crop, theirs.xy_crop)
    assert torch.equal(ours.covariance_crop, theirs.covariance_crop)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMS)
def test_it_overfits_eight_crops(form: str) -> None:
    model = tiny(form=form, num_joints=3)
    learnt = learn(model, *drawn_crops(8, 3), steps=40, rate=1e-3)
    assert learnt.last < learnt.first - 2
    assert learnt.error.mean() < 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"form": "paper"}, "form must be one of published, clean"),
        ({"residual": "none"}, "residual must be one of laplace, gaussian"),
        ({"decoder": "mode"}, "decoder must be one of mu, mean"),
        ({"sigma_floor": 0.0}, "sigma_floor must be positive"),
    ],
)
def test_wrong_options(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        METHODS["rle"](TINY, SIZE, **options)
