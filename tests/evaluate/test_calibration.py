"""Calibrating a model whose answers are known: halves stay apart, numbers are those of the metrics, files survive."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from knuckle.evaluate.calibration import calibrate, check, save_calibrated
from knuckle.geometry import CropRule
from knuckle.hands import Hands
from knuckle.methods.weights import ModelSpec, build, load_calibration, load_model, save_model
from knuckle.metrics.calibration import measure
from knuckle.metrics.conformal import fit
from knuckle.predict import Predictor, load
from knuckle.predict.inference import predict_hands
from tests.predict.centroid import Centroid, light_at, save_rgb

RULE = CropRule(size=64)
SPEC = ModelSpec("heatmap", "test_resnet", RULE, {"width": 8})


@pytest.fixture(scope="module")
def hands(tmp_path_factory: pytest.TempPathFactory) -> Hands:
    """48 photos of lights, two a group; each joint's label lies some pixels from the light that a model finds."""
    folder = tmp_path_factory.mktemp("lights")
    rng = np.random.default_rng(0)
    at = rng.uniform((50, 40), (100, 80), (48, 2))
    for row, xy in enumerate(at):
        save_rgb(str(folder / f"{row}.png"), light_at((xy[0], xy[1])))
    spread = np.where(np.arange(21) == 8, 6.0, 2.0)[:, None]
    return Hands(
        image=[f"{row}.png" for row in range(48)],
        xy=at[:, None] + rng.normal(size=(48, 21, 2)) * spread,
        visibility=np.full((48, 21), 2),
        box=np.concatenate([at - 20, at + 20], axis=1),
        group=np.arange(48) // 2,
        root=folder,
    )


def predictor(*, sigma: bool = True, **options: object) -> Predictor:
    return Predictor(Centroid(sigma=sigma), RULE, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("sigma", [True, False])
def test_one_half_fits_and_the_other_measures(hands: Hands, sigma: bool) -> None:
    calibration, measured = calibrate(predictor(sigma=sigma), hands, at_least=24, seed=1)
    assert (calibration.hands, calibration.groups) == (measured.hands, measured.groups) == (24, 12)
    assert calibration.source == ("covariance" if sigma else "box")
    # Found again by the seed's rule, the fitting half is disjoint by group from what was measured.
    from knuckle.data.splits import split_by_group

    halves = split_by_group(hands, {"fit": 0.5, "check": 0.5}, 1)
    assert not set(hands.group[halves["fit"]]) & set(hands.group[halves["check"]])
    raw, _ = predict_hands(Centroid(sigma=sigma), RULE, hands)
    assert calibration == fit(raw[halves["fit"]], hands[halves["fit"]])
    new, truth = raw[halves["check"]], hands[halves["check"]]
    assert measured.after == measure(calibration.apply(new), truth, calibration.limits_array(), seed=1)
    assert (measured.before == measure(new, truth, seed=1)) if sigma else (measured.before is None)
    assert measured.density == ()


def test_calibrating_again_starts_from_the_method_itself(hands: Hands) -> None:
    first, _ = calibrate(predictor(), hands, at_least=1)
    again, _ = calibrate(predictor(calibration=first), hands, at_least=1)
    assert again == first
    own, given = check(predictor(calibration=first), hands), check(predictor(), hands, first)
    assert own.to_dict()["after"] == given.to_dict()["after"]
    turned, _ = calibrate(predictor(flip_test=True), hands, at_least=1)
    assert turned.flip_test
    assert not first.flip_test


def test_too_few_hands_and_nothing_to_check(hands: Hands) -> None:
    with pytest.raises(ValueError, match=r"needs 25 labelled hands .* half of these are 24; .* --at-least 24\."):
        calibrate(predictor(), hands, at_least=25)
    with pytest.raises(ValueError, match="needs 2,000 labelled hands"):
        calibrate(predictor(), hands)
    with pytest.raises(ValueError, match="has no calibration that could be checked"):
        check(predictor(), hands)
    calibration, _ = calibrate(predictor(), hands, at_least=1)
    with pytest.raises(ValueError, match="no labelled hand"):
        check(predictor(), hands.replace(visibility=np.zeros((48, 21))), calibration)


def test_hands_without_labels_or_images_do_not_count(hands: Hands, tmp_path: Path) -> None:
    visibility = np.full((48, 21), 2)
    visibility[:4] = 0
    names = hands.image.astype(object)
    names[47] = "missing.png"
    told = hands.replace(visibility=visibility, image=list(names))
    calibration, measured = calibrate(predictor(), told, at_least=10, on_bad="skip")
    assert calibration.hands + measured.hands == 43
    (sentence,) = measured.skipped
    assert "missing.png" in sentence
    assert json.loads(json.dumps(measured.to_dict(), allow_nan=False))["after"]["conformal"][0]["share"]["estimate"] > 0


def test_the_calibrated_file_is_the_model_with_its_calibration(hands: Hands, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "best.safetensors"
    save_model(weights, build(SPEC), SPEC, {"epoch": 3})
    calibration, _ = calibrate(predictor(sigma=False), hands, at_least=1)
    out = tmp_path / "new" / "sure.safetensors"
    save_calibrated(weights, calibration, out)
    assert load_calibration(out) == calibration
    assert load_calibration(weights) is None
    theirs, spec, notes = load_model(out)
    assert (spec, notes) == (SPEC, {"epoch": 3})
    for name, tensor in load_model(weights)[0].state_dict().items():
        assert torch.equal(theirs.state_dict()[name], tensor)
    assert load(out, device="cpu").predict(hands.paths()[0], hands.box[:1]).confidence is not None
    save_calibrated(out, calibration, weights)
    assert load_calibration(weights) == calibration, "the model itself may be replaced"
    with pytest.raises(ValueError, match="name it so"):
        save_calibrated(weights, calibration, tmp_path / "sure.pth")
