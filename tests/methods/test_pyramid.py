"""The pyramid method: learning, masking, decoding, mirroring, and which backbones it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from knuckle.geometry import Alignment, CropRule
from knuckle.methods import METHODS, Pyramid, Targets
from knuckle.methods.codec import crop_to_heatmap, gaussian_heatmaps
from knuckle.methods.weights import ModelSpec
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

ALL = torch.ones(2, 21, dtype=torch.bool)


@pytest.fixture(scope="module")
def method() -> Pyramid:
    torch.manual_seed(0)
    return Pyramid(TINY, SIZE, width=16)


def logits_of(xy_crop: Tensor, sigma: float, alignment: Alignment = "center") -> Tensor:
    """What the perfect network says: the logarithm of the target."""
    cells = crop_to_heatmap(xy_crop, 4, alignment)
    maps, _ = gaussian_heatmaps(cells, torch.ones(xy_crop.shape[:2], dtype=torch.bool), (16, 16), sigma)
    return maps.clamp(min=1e-30).log()


def test_it_overfits_eight_crops() -> None:
    torch.manual_seed(0)
    model = Pyramid(TINY, SIZE, num_joints=3, sigma=1.0, width=32)
    learnt = learn(model, *drawn_crops(8, 3), steps=40, rate=1e-2)
    assert learnt.last < learnt.first / 10
    assert learnt.error.max() < 3


def test_gradients_reach_every_parameter(method: Pyramid) -> None:
    check_that_gradients_reach_every_parameter(method)


def test_nothing_is_learnt_without_labels(method: Pyramid) -> None:
    check_that_nothing_is_learnt_without_labels(method)


def test_joints_outside_the_crop_change_nothing(method: Pyramid) -> None:
    maps = torch.randn(2, 21, 16, 16, requires_grad=True)
    xy_crop = torch.rand(2, 21, 2) * (SIZE - 1)
    xy_crop[1, 5] = torch.tensor([-40.0, 1e20])
    loss = method.loss({"heatmaps": maps}, Targets(xy_crop, ALL))["loss"]
    (gradient,) = torch.autograd.grad(loss, maps)
    assert loss.isfinite()
    assert not gradient[1, 5].any()
    assert gradient[0, 5].any()


@pytest.mark.parametrize("alignment", ["center", "corner"])
def test_the_loss_is_the_divergence_from_a_normalised_gaussian(alignment: Alignment) -> None:
    """By torch's own distributions, the mean over all hands and joints, and zero for the target itself."""
    model = Pyramid(TINY, SIZE, alignment=alignment, sigma=1.3, width=16)
    xy_crop = torch.rand(2, 21, 2) * (SIZE - 5)
    labeled = ALL.clone()
    labeled[0, :4] = False
    logits = torch.randn(2, 21, 16, 16)
    target = torch.distributions.Categorical(logits=logits_of(xy_crop, 1.3, alignment).flatten(-2))
    given = torch.distributions.Categorical(logits=logits.flatten(-2))
    by_hand = (torch.distributions.kl_divergence(target, given) * labeled).sum() / labeled.numel()
    torch.testing.assert_close(model.loss({"heatmaps": logits}, Targets(xy_crop, labeled))["loss"], by_hand)
    perfect = {"heatmaps": logits_of(xy_crop, 1.3, alignment)}
    assert model.loss(perfect, Targets(xy_crop, labeled))["loss"].abs() < 1e-5


@pytest.mark.parametrize("decoder", ["median", "dark"])
@pytest.mark.parametrize("alignment", ["center", "corner"])
def test_perfect_maps_decode_to_the_truth(alignment: Alignment, decoder: str) -> None:
    model = METHODS["pyramid"](TINY, SIZE, alignment=alignment, decoder=decoder, sigma=1.5, width=16)
    xy_crop = torch.rand(3, 21, 2) * (SIZE - 48) + 24
    found, covariance_crop = model.decode({"heatmaps": logits_of(xy_crop, 1.5, alignment)})
    assert (found - xy_crop).abs().max() < (0.15 if decoder == "median" else 0.02)
    assert covariance_crop is not None
    assert covariance_crop.diagonal(dim1=-2, dim2=-1).max() < 0.5, "it is the target's own Gaussian that is taken off"


def test_two_likely_places_are_an_answer_at_one_and_a_covariance_between_them() -> None:
    """At 0.7 and 0.3, 24 pixels apart: the median stays at the first, the second moment is 0.3 times 24 squared."""
    places = torch.tensor([[20.0, 30.0], [44.0, 30.0]])
    maps = logits_of(places[None], 0.4).exp()
    maps = maps / maps.sum((-2, -1), keepdim=True)
    mixed = (0.7 * maps[:, :1] + 0.3 * maps[:, 1:]).clamp(min=1e-12).log()
    model = Pyramid(TINY, SIZE, sigma=0.4, width=16, num_joints=1)
    found, covariance_crop = model.decode({"heatmaps": mixed})
    assert (found[0, 0] - places[0]).norm() < 2
    assert covariance_crop is not None
    assert covariance_crop[0, 0, 0, 0] == pytest.approx(0.3 * 24**2, rel=0.15)
    assert covariance_crop[0, 0, 1, 1] < 10
    assert covariance_crop[0, 0, 0, 1].abs() < 5


def test_covariances_are_positive_and_lean_with_the_distribution() -> None:
    model = Pyramid(TINY, SIZE, width=16)
    maps = 4 * torch.randn(4, 21, 16, 16)
    steps = torch.arange(16.0)
    maps[0, 0] = -((steps - steps[:, None]) ** 2)  # along the diagonal, where x and y grow together
    covariance_crop = model.decode({"heatmaps": maps}).covariance_crop
    assert covariance_crop is not None
    assert torch.linalg.eigvalsh(covariance_crop).min() > 0
    assert covariance_crop[0, 0, 0, 1] > 0.5 * covariance_crop[0, 0, 0, 0]


def test_mirrored_maps_come_back_exactly(method: Pyramid) -> None:
    xy_crop = torch.rand(2, 21, 2) * (SIZE - 1)
    mirrored = torch.stack([SIZE - 1 - xy_crop[..., 0], xy_crop[..., 1]], dim=-1)
    back = method.unmirror({"heatmaps": logits_of(mirrored, 1.5)})["heatmaps"]
    torch.testing.assert_close(back.exp(), logits_of(xy_crop, 1.5).exp())


def test_under_autocast_loss_and_decoding_are_float32(method: Pyramid) -> None:
    outputs, _, _ = under_autocast(method)
    assert outputs["heatmaps"].dtype == torch.bfloat16


def test_a_saved_model_says_the_same(method: Pyramid, tmp_path: Path) -> None:
    spec = ModelSpec("pyramid", TINY, CropRule(size=SIZE), {"width": 16})
    before, after = before_and_after_saving(method, spec, tmp_path)
    torch.testing.assert_close(after.xy_crop, before.xy_crop)


@pytest.mark.parametrize("level", range(4))
def test_the_map_of_every_stride_reaches_the_answer(level: int) -> None:
    """Blanking one alone moves the logits by a good part of what they are."""
    model = Pyramid(TINY, SIZE, width=16).train()
    images, _ = drawn_crops(2, 21)
    with torch.no_grad():
        features = model.features_of(images)
        assert [map.shape[-1] for map in features] == [16, 8, 4, 2]
        blanked = tuple(torch.zeros_like(map) if place == level else map for place, map in enumerate(features))
        whole, without = (model.outputs_of(maps)["heatmaps"] for maps in (features, blanked))
    assert (whole - without).std() > 0.05 * whole.std()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"decoder": "quarter"}, "decoder must be one of median, dark, got 'quarter'"),
        ({"sigma": 0.0}, "sigma must be positive"),
        ({"width": 0}, "width must be positive"),
        ({"backbone": "vit_tiny_patch16_224"}, "feature maps of strides 16, 16.*choose a convolutional network"),
    ],
)
def test_wrong_options(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        METHODS["pyramid"](**{"backbone": TINY, "size": SIZE} | options)
