"""The hand head: pooling is exact and mirrors, the fit is the minimum, every method has a map for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from knuckle.methods import METHODS
from knuckle.methods.hand_head import HandHead, SideLesson, fit_logistic, pool, unmirror_logits

SMALL: dict[str, dict[str, Any]] = {"cpm": {"stages": 2, "width": 8, "feature_width": 8, "first_width": 8}}


def features(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(3, 5, rows, columns, generator=torch.Generator().manual_seed(0))


def test_cells_are_means_and_maxima_follow() -> None:
    maps = features(4, 6)
    pooled = pool(maps, 2)
    torch.testing.assert_close(pooled[:, :20], F.adaptive_avg_pool2d(maps, 2).flatten(1))
    torch.testing.assert_close(pooled[:, 20:], maps.amax(dim=(-2, -1)))


def test_cells_that_share_a_feature_take_their_part_of_it() -> None:
    maps = torch.zeros(1, 1, 1, 3)
    maps[..., 0, :] = torch.tensor([1.0, 10.0, 100.0])
    # Two cells of 1.5 features each: (1 + 10 / 2) / 1.5 and (10 / 2 + 100) / 1.5, the same in both rows.
    torch.testing.assert_close(pool(maps, 2), torch.tensor([[4.0, 70.0, 4.0, 70.0, 100.0]]))


@pytest.mark.parametrize("size", [4, 7])
def test_a_mirrored_map_has_the_cells_of_the_other_side(size: int) -> None:
    maps = features(size, size)
    here, there = (pool(each, 2)[:, :20].view(3, 5, 2, 2) for each in (maps, maps.flip(-1)))
    torch.testing.assert_close(there, here.flip(-1))


def test_the_score_keeps_and_the_side_turns_in_the_mirror() -> None:
    assert unmirror_logits(torch.tensor([[2.0, 3.0]])).tolist() == [[2.0, -3.0]]


def test_the_logits_are_those_of_weight_and_bias() -> None:
    head = HandHead(5, 2)
    head.get_buffer("weight")[0, 3] = 2.0
    head.get_buffer("bias")[1] = -1.5
    logits = head(features(4, 4))
    torch.testing.assert_close(logits[:, 0], 2 * pool(features(4, 4), 2)[:, 3])
    assert logits[:, 1].tolist() == [-1.5] * 3
    assert not list(head.parameters()), "training must not touch it"


def test_the_side_lesson_is_the_weighted_cross_entropy_of_known_sides() -> None:
    lesson = SideLesson(5, 0.25)
    maps = features(4, 4).requires_grad_()
    loss = lesson(maps, torch.tensor([1.0, torch.nan, 0.0]))
    logits = lesson.layer(pool(maps, 2))[:, 0]
    expected = -(logits[0].sigmoid().log() + (1 - logits[2].sigmoid()).log()) / 3
    torch.testing.assert_close(loss, 0.25 * expected)
    loss.backward()
    assert maps.grad is not None
    assert maps.grad[1].eq(0).all()
    assert maps.grad[[0, 2]].ne(0).any()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_goes_through_its_feature_map(name: str) -> None:
    torch.manual_seed(0)
    method = METHODS[name]("test_resnet", 64, **SMALL.get(name, {})).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        maps = method.features_of(images)
        assert all(map.ndim == 4 and map.shape[2] == map.shape[3] for map in maps)
        given, expected = method.outputs_of(maps), method(images)
        assert given.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(given[key], value)
        assert HandHead(maps[-1].shape[1], 2)(maps[-1]).shape == (2, 2)


def sample(rows: int = 300) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3)) * (1, 50, 0.01) + (0, 7, 3)
    logit = 0.3 + x[:, 0] - 0.02 * (x[:, 1] - 7)
    return x, (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(float)


def test_without_a_penalty_it_is_maximum_likelihood() -> None:
    from statsmodels.api import Logit, add_constant

    x, answer = sample()
    factors, constant = fit_logistic(x, answer, np.ones(len(x)), 1e-12)
    expected = Logit(answer, add_constant(x)).fit(disp=0).params
    np.testing.assert_allclose([constant, *factors], expected, rtol=0.02, atol=1e-3)


def test_a_penalty_has_the_slope_of_the_loss_at_the_minimum() -> None:
    x, answer = sample()
    penalty = 0.2
    factors, constant = fit_logistic(x, answer, np.ones(len(x)), penalty)
    residual = 1 / (1 + np.exp(-(constant + x @ factors))) - answer
    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    np.testing.assert_allclose(standard.T @ residual / len(x), -penalty * factors * x.std(axis=0), atol=1e-4)
    assert abs(residual.mean()) < 1e-4, "the constant bears no penalty"


def test_weights_count_rows_and_constant_features_say_nothing() -> None:
    x, answer = sample()
    x = np.concatenate([x, np.full((len(x), 1), 4.0)], axis=1)
    weight = np.where(np.arange(len(x)) < 100, 3.0, 1.0)
    factors, constant = fit_logistic(x, answer, weight, 0.1)
    repeated = np.repeat(np.arange(len(x)), weight.astype(int))
    again, other = fit_logistic(x[repeated], answer[repeated], np.ones(len(repeated)), 0.1)
    np.testing.assert_allclose(factors, again, rtol=1e-3, atol=1e-6)
    assert constant == pytest.approx(other, rel=1e-3)
    assert factors[3] == 0
