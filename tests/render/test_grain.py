"""Noise from a table: normal, without memory, and the same from the same generator."""

from __future__ import annotations

import numpy as np
from scipy import stats

from knuckle.render.grain import normal_noise


def _generator(index: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64((5, index)))


def test_noise_is_normal() -> None:
    noise = normal_noise(_generator(0), (300, 400)).astype(np.float64)
    assert abs(noise.mean()) < 4 / np.sqrt(noise.size)
    assert abs(noise.std() - 1) < 0.01
    assert stats.kstest(noise[::7].ravel(), "norm").pvalue > 0.001


def test_neighbours_and_pictures_know_nothing_of_each_other() -> None:
    first, second = (normal_noise(_generator(index), (256, 256)) for index in (1, 2))
    pairs = [(first[:, 1:], first[:, :-1]), (first[1:], first[:-1]), (first[64:], first[:-64]), (first, second)]
    for a, b in pairs:
        assert abs(float((a * b).mean())) < 5 / 256


def test_noise_follows_from_the_generator_at_any_size() -> None:
    for shape in ((3,), (16384,), (16385,), (200, 100, 3)):
        noise = normal_noise(_generator(3), shape)
        assert noise.shape == shape
        np.testing.assert_array_equal(noise, normal_noise(_generator(3), shape))
