"""predict_hands and run: the same crops and answers as Predictor, rows kept, bad rows told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from knuckle.geometry import Alignment, Crop, CropRule
from knuckle.hands import UNKNOWN, UNLABELED, VISIBLE, Hands
from knuckle.methods.base import Decoded
from knuckle.methods.hand_head import HandHead
from knuckle.methods.heatmap import Heatmap
from knuckle.metrics.conformal import fit
from knuckle.predict import Predictor
from knuckle.predict.inference import predict_hands
from knuckle.predict.points import CropPoints, calibrated, to_image
from knuckle.predict.torch_engine import run
from tests.predict.centroid import Centroid, light_at, save_rgb

RULE = CropRule(size=64, padding=1.5)


def lights(folder: Path, count: int) -> tuple[Hands, np.ndarray]:
    """Photos of one light each with a box around it, and where the lights are."""
    rng = np.random.default_rng(1)
    at = rng.uniform((50, 40), (100, 80), (count, 2))
    for number, xy in enumerate(at):
        save_rgb(str(folder / f"{number}.png"), light_at((xy[0], xy[1])))
    box = np.concatenate([at - rng.uniform(15, 25, (count, 2)), at + rng.uniform(15, 25, (count, 2))], axis=1)
    hands = Hands(
        image=[f"{number}.png" for number in range(count)],
        xy=np.zeros((count, 21, 2)),
        visibility=np.full((count, 21), 1),
        box=box,
        side=np.arange(count) % 2,
        group=np.arange(count) + 100,
        size=np.tile((160, 120), (count, 1)),
        root=folder,
    )
    return hands, at


@pytest.mark.parametrize("alignment", ["center", "corner"])
@pytest.mark.parametrize("flip_test", [False, True])
@pytest.mark.parametrize("whole_image", [False, True])
def test_a_row_and_its_photo_get_the_same_answer(
    tmp_path: Path, alignment: Alignment, flip_test: bool, whole_image: bool
) -> None:
    hands, _ = lights(tmp_path, 3)
    for path in hands.paths():
        save_rgb(
            str(path),
            np.random.default_rng(len(path.name) + ord(path.name[0])).integers(0, 256, (120, 160, 3), np.uint8),
        )
    torch.manual_seed(0)
    method = Heatmap("test_resnet", 64, alignment=alignment)
    rule = CropRule(size=64, padding=1.25, frame_padding=0.8, whole_image=whole_image, alignment=alignment)
    from_rows, _ = predict_hands(method, rule, hands, flip_test=flip_test)
    boxes = "full" if whole_image else [box[None] for box in hands.box]
    from_photos = Predictor(method, rule, flip_test=flip_test).predict(hands.paths(), boxes)
    np.testing.assert_array_equal(from_photos.xy, from_rows.xy)
    assert len(np.unique(from_rows.xy.reshape(3, -1), axis=0)) == 3, "the network must tell the photos apart"


def test_rows_keep_what_they_were_given(tmp_path: Path) -> None:
    hands, at = lights(tmp_path, 5)
    reports: list[int] = []
    found, messages = predict_hands(Centroid(), RULE, hands, batch_size=2, progress=reports.append)
    np.testing.assert_allclose(found.xy[:, 0], at, atol=0.1)
    assert (found.visibility == VISIBLE).all()
    assert found.covariance is not None
    for column in ("image", "box", "side", "gesture", "group", "size"):
        np.testing.assert_array_equal(getattr(found, column), getattr(hands, column))
    assert messages == []
    assert reports == [2, 4, 5]


def test_chosen_rows_come_in_their_order(tmp_path: Path) -> None:
    hands, at = lights(tmp_path, 5)
    found, _ = predict_hands(Centroid(sigma=False), RULE, hands, rows=np.array([4, 1]), batch_size=1)
    assert found.image.tolist() == ["4.png", "1.png"]
    np.testing.assert_allclose(found.xy[:, 0], at[[4, 1]], atol=0.1)
    assert found.covariance is None


def test_a_bad_row_stops_or_is_told(tmp_path: Path) -> None:
    hands, at = lights(tmp_path, 3)
    (tmp_path / "1.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"1\.png"):
        predict_hands(Centroid(), RULE, hands)
    found, messages = predict_hands(Centroid(), RULE, hands, on_bad="skip")
    assert found.labeled.all(axis=1).tolist() == [True, False, True]
    np.testing.assert_allclose(found.xy[[0, 2], 0], at[[0, 2]], atol=0.1)
    assert len(messages) == 1
    assert "1.png" in messages[0]


def test_the_training_mode_comes_back(tmp_path: Path) -> None:
    hands, _ = lights(tmp_path, 1)
    method = Centroid()
    for training in (True, False):
        method.train(training)
        predict_hands(method, RULE, hands)
        assert method.training is training


class Broken(Centroid):
    """A network that has diverged."""

    def decode(self, outputs: dict[str, torch.Tensor]) -> Decoded:
        return Decoded(torch.full_like(outputs["xy"], torch.nan), None)


def test_a_network_without_a_finite_answer_labels_nothing(tmp_path: Path) -> None:
    hands, _ = lights(tmp_path, 1)
    found, _ = predict_hands(Broken(), RULE, hands)
    assert (found.visibility == UNLABELED).all()


def test_the_flip_test_averages_both_sides_of_the_crop() -> None:
    class Leaning(Centroid):
        """Errs by 4 pixels to the right, whatever it sees."""

        def outputs_of(self, features: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
            return {"xy": super().outputs_of(features)["xy"] + torch.tensor([4.0, 0.0])}

    images = torch.from_numpy(light_at((20, 30), (64, 64))).permute(2, 0, 1)[None]
    leaning = run(Leaning(), images, False).xy_crop[0, 0]
    straight = run(Leaning(), images, True).xy_crop[0, 0]
    np.testing.assert_allclose(leaning.numpy(), (24, 30), atol=0.05)
    np.testing.assert_allclose(straight.numpy(), (20, 30), atol=0.05)


def test_to_image_agrees_with_the_crops_own_mapping() -> None:
    rng = np.random.default_rng(3)
    crops = [
        Crop.around(
            rng.uniform((0, 0, 50, 50), (40, 40, 90, 90)), 64, rotation=rng.uniform(-90, 90), mirror=bool(i % 2)
        )
        for i in range(4)
    ]
    xy, root = rng.uniform(0, 64, (4, 21, 2)), rng.normal(0, 3, (4, 21, 2, 2))
    in_crop = root @ np.swapaxes(root, -1, -2)
    found, covariance = to_image(CropPoints(xy, in_crop), np.array([crop.image_to_crop for crop in crops]))
    assert covariance is not None
    for row, crop in enumerate(crops):
        np.testing.assert_allclose(found[row], crop.to_image(xy[row]), rtol=1e-6)
        np.testing.assert_allclose(covariance[row], crop.covariance_to_image(in_crop[row]), rtol=1e-5, atol=1e-5)


def test_the_flip_test_leaves_no_correlation() -> None:
    """In the mirror image it has the other sign."""
    images = torch.from_numpy(light_at((20, 30), (64, 64))).permute(2, 0, 1)[None]
    for flip_test, correlated in ((False, 1.5), (True, 0.0)):
        covariance = run(Centroid(), images, flip_test).covariance_crop
        assert covariance is not None
        assert covariance[0, 7].tolist() == [[4.0, correlated], [correlated, 9.0]]


def test_joints_that_were_never_taught_have_no_position(tmp_path: Path) -> None:
    hands, _ = lights(tmp_path, 2)
    method = Centroid(64)
    method.get_buffer("taught")[[3, 20]] = False
    for flip_test in (False, True):
        found, _ = predict_hands(method, CropRule(size=64), hands, flip_test=flip_test)
        assert not found.labeled[:, [3, 20]].any()
        assert found.labeled.sum() == 2 * 19
        assert found.covariance is not None
        assert np.isnan(found.covariance[:, 3]).all()
        photo = Predictor(method, CropRule(size=64), flip_test=flip_test).predict(hands.paths()[0], hands.box[:1])
        np.testing.assert_array_equal(photo.xy[0], found.xy[0])


def test_a_calibrated_row_and_its_photo_get_the_same_confidence(tmp_path: Path) -> None:
    hands, _ = lights(tmp_path, 4)
    for sigma in (True, False):
        method = Centroid(sigma=sigma)
        raw, _ = predict_hands(method, RULE, hands)
        near = raw.replace(xy=raw.xy + np.linspace(0, 2, 21)[:, None] * np.arange(1, 5)[:, None, None])
        calibration = fit(raw, near)
        assert calibration.source == ("covariance" if sigma else "box")
        found = calibrated(raw, calibration)
        assert found == calibration.apply(raw)
        assert calibrated(raw, None) is raw
        assert found.confidence is not None
        assert found.covariance is not None
        predictor = Predictor(method, RULE, calibration=calibration, batch_size=3)
        photos = predictor.predict([*hands.paths(), hands.paths()[0]], [*(box[None] for box in hands.box), []])
        np.testing.assert_array_equal(photos.confidence, found.confidence)
        np.testing.assert_array_equal(photos.covariance, found.covariance)
        nothing = predictor.predict(hands.paths()[0], [])
        assert len(nothing) == 0


def test_a_hand_head_fills_the_columns_of_the_hand_and_replaces_the_labels_side(tmp_path: Path) -> None:
    photos, _ = lights(tmp_path, 3)
    network = Centroid()
    head = HandHead(3, 1)
    head.get_buffer("bias").copy_(torch.tensor([2.0, -1.0]))
    network.hand_head = head
    labelled = photos.replace(side=np.zeros(len(photos)))
    plain, _ = predict_hands(Centroid(), RULE, labelled)
    assert (plain.score, plain.side_probability) == (None, None)
    np.testing.assert_array_equal(plain.side, labelled.side)
    found, _ = predict_hands(network, RULE, labelled)
    assert found.score is not None
    assert found.side_probability is not None
    np.testing.assert_allclose(found.score, 1 / (1 + np.exp(-2)), rtol=1e-6)
    np.testing.assert_allclose(found.side_probability, 1 / (1 + np.exp(-1)), rtol=1e-6)
    np.testing.assert_array_equal(found.side, np.ones(len(photos)))
    # The flip test leaves the score and cancels a side that does not depend on the picture.
    undecided, _ = predict_hands(network, RULE, labelled, flip_test=True)
    assert undecided.score is not None
    np.testing.assert_allclose(undecided.score, found.score)
    np.testing.assert_array_equal(undecided.side, np.full(len(photos), UNKNOWN))
    assert undecided.side_probability is not None
    assert np.isnan(undecided.side_probability).all()
