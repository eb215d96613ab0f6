"""A fitted hand head on a test-sized rendered set: far better than chance, mirrored as it should, kept in its file."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from knuckle.data.images import read_image
from knuckle.draw import write_image
from knuckle.evaluate.calibration import calibrate, save_calibrated
from knuckle.evaluate.hand_head import fit_hand_head, teach
from knuckle.geometry import CropRule, mirror_boxes, mirror_image
from knuckle.hands import LEFT, RIGHT, UNKNOWN, Hands
from knuckle.methods.weights import ModelSpec, build, save_model
from knuckle.predict import Predictor, load
from knuckle.predict.load import read_model
from knuckle.render import SceneConfig, render
from knuckle.render.poses import PoseMix

SPEC = ModelSpec("heatmap", "test_resnet", CropRule(size=64, padding=1.3), {"width": 8})
PALM = PoseMix(gesture=1.0, interpolation=0.0, synergy=0.0, weights=(1.0,) + (0.0,) * 24)
PLAIN = SceneConfig(
    poses=PALM,
    shape=None,
    viewpoints=None,
    framing=None,
    skin=None,
    sleeves=None,
    jewelry=None,
    lights=None,
    backgrounds=None,
    occluders=None,
    companions=None,
    sensor=None,
)
"""Open palms seen from one side: the thumb tells left from right, even to a network that has learnt nothing."""
COUNT = 96


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Hands:
    """Rendered hands, and a folder of noise beside them."""
    folder = tmp_path_factory.mktemp("rendered")
    images, hands = render(COUNT, 3, 64, config=PLAIN)
    names = [f"hands/{row}.png" for row in range(COUNT)]
    for name, image in zip(names, images, strict=True):
        write_image(folder / name, image)
    rng = np.random.default_rng(0)
    for row in range(24):
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        write_image(folder / "none" / f"{row}.png", coarse.repeat(16, axis=0).repeat(16, axis=1))
    return hands.replace(image=np.array(names), root=folder, size=np.full((COUNT, 2), 64))


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, build(SPEC), SPEC, {})
    return path


def silent(total: int, what: str) -> AbstractContextManager[Any]:
    return nullcontext(lambda done: None)


def root_of(hands: Hands) -> Path:
    assert hands.root is not None
    return hands.root


@pytest.fixture(scope="module")
def taught(rendered: Hands, untrained: Path) -> tuple[Predictor, Hands]:
    """An untrained network with a head on its chance features, and crops that the head has not seen."""
    predictor = load(untrained, device="cpu")
    _, none, skipped = teach(predictor, rendered, root_of(rendered) / "none", progress=silent)
    assert not skipped
    return predictor, none


def test_it_beats_chance_on_hands_that_it_has_not_seen(rendered: Hands, taught: tuple[Predictor, Hands]) -> None:
    predictor, none = taught
    _, measured = calibrate(predictor, rendered, at_least=10, none=none)
    said, refused = measured.recognition, measured.refusal
    assert said is not None
    assert said.right is not None
    assert said.sided == measured.hands == COUNT // 2
    assert said.right.estimate > 0.9
    assert refused is not None
    assert refused.ranked > 0.85
    assert refused.refused.estimate > 0.7
    assert measured.to_dict()["recognition"]["right"]["estimate"] == said.right.estimate


def test_the_mirror_image_is_of_the_other_hand(rendered: Hands, taught: tuple[Predictor, Hands]) -> None:
    network = taught[0]
    predictor = Predictor(network.engine, network.rule, flip_test=True)
    images = [read_image(path) for path in rendered.paths()[:8]]
    boxes = rendered.box[:8]
    here = predictor.predict(images, list(boxes[:, None]))
    there = predictor.predict([mirror_image(image) for image in images], list(mirror_boxes(boxes, 64)[:, None]))
    assert set(here.side.tolist()) == {LEFT, RIGHT}
    np.testing.assert_array_equal(there.side, 1 - here.side)
    assert here.side_probability is not None
    assert there.side_probability is not None
    assert here.score is not None
    assert there.score is not None
    assert (here.side_probability >= 0.5).all()
    np.testing.assert_allclose(there.side_probability, here.side_probability, atol=1e-4)
    np.testing.assert_allclose(there.score, here.score, atol=1e-4)


def test_no_keypoint_moves_and_a_model_without_a_head_says_nothing(
    rendered: Hands, untrained: Path, taught: tuple[Predictor, Hands]
) -> None:
    image, box = read_image(rendered.paths()[0]), rendered.box[:1]
    before, after = load(untrained, device="cpu").predict(image, box), taught[0].predict(image, box)
    assert (before.side.tolist(), before.score, before.side_probability) == ([UNKNOWN], None, None)
    np.testing.assert_array_equal(after.xy, before.xy)


def test_the_file_says_what_the_fitted_model_says(
    rendered: Hands, untrained: Path, taught: tuple[Predictor, Hands], tmp_path: Path
) -> None:
    predictor, _ = taught
    calibration, _ = calibrate(predictor, rendered, at_least=10)
    head = predictor.engine.method.hand_head  # type: ignore[attr-defined]
    save_calibrated(untrained, calibration, tmp_path / "m.safetensors", hand_head=head)
    image, box = read_image(rendered.paths()[0]), rendered.box[:1]
    stored = load(tmp_path / "m.safetensors", device="cpu").predict(image, box)
    assert stored.score is not None
    assert stored.score == predictor.predict(image, box).score
    # Calibrated again, it keeps its head.
    save_calibrated(tmp_path / "m.safetensors", calibration, tmp_path / "n.safetensors")
    kept = read_model(tmp_path / "n.safetensors").method.hand_head
    assert kept is not None
    assert torch.equal(kept.get_buffer("weight"), head.get_buffer("weight"))


def test_the_same_seed_gives_the_same_head(rendered: Hands, untrained: Path) -> None:
    few = rendered[:12]
    none = few.replace(box=few.box / 4, xy=np.full((12, 21, 2), np.nan), visibility=np.zeros((12, 21)))
    method = read_model(untrained).method
    heads = [fit_hand_head(method, SPEC.rule, few, none, seed=seed)[0] for seed in (1, 1, 2)]
    weights = [head.get_buffer("weight") for head in heads]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_what_cannot_be_fitted_gets_a_sentence(rendered: Hands, untrained: Path) -> None:
    method = read_model(untrained).method
    with pytest.raises(ValueError, match="no hand has a labelled side"):
        fit_hand_head(method, SPEC.rule, rendered.replace(side=np.full(COUNT, UNKNOWN)), rendered)
    with pytest.raises(ValueError, match="no crop without a hand"):
        fit_hand_head(method, SPEC.rule, rendered, rendered[:0])
