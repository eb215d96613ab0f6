"""The import of MMPose's checkpoints, against MMPose's model and test pipeline stated again."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from knuckle.geometry import Crop, CropRule
from knuckle.methods import Heatmap, merge
from knuckle.methods.mmpose import RULES, load_mmpose
from knuckle.methods.weights import load_model, save_model
from knuckle.skeleton import FROM_RHD
from tests.methods import mmpose_restated as restated

FRAME = (0.0, 0.0, 224.0, 224.0)
IMAGES = [restated.textured_image(224, seed) for seed in range(3)]


@pytest.fixture(scope="module")
def network() -> restated.TopDown:
    return restated.random_network(18, 224)


@pytest.fixture(scope="module")
def checkpoint(network: restated.TopDown, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mmpose") / "res18_freihand_224x224-0a1b2c3d_20200914.pth"
    torch.save(restated.checkpoint_0x(network), path)
    return path


def predict(method: Heatmap, rule: CropRule, crop: Crop, image_bgr: NDArray[np.uint8]) -> NDArray[np.float64]:
    pixels = np.ascontiguousarray(rule.cut(image_bgr[..., ::-1], crop).transpose(2, 0, 1))
    images = torch.from_numpy(pixels)[None]
    with torch.no_grad():
        outputs = merge(method(images), method.unmirror(method(images.flip(-1))))
    return np.asarray(crop.to_image(method.decode(outputs).xy_crop[0].numpy()), dtype=np.float64)


def distances(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(left - right, axis=-1))


@pytest.fixture(scope="module")
def ours(checkpoint: Path) -> NDArray[np.float64]:
    """Our keypoints (images, 21, 2) of the whole frames, from the checkpoint."""
    method, spec = load_mmpose(checkpoint)
    return np.stack([predict(method, spec.rule, spec.rule.around_frame((224, 224)), image) for image in IMAGES])


def test_the_coordinates_are_mmposes(network: restated.TopDown, ours: NDArray[np.float64]) -> None:
    pipeline = restated.Pipeline(network, 224, 0.8)
    theirs = np.stack([pipeline.predict(image, FRAME) for image in IMAGES])
    assert distances(ours, theirs).max() < 0.01
    assert theirs.std(axis=(0, 1)).min() > 20, "peaks all over the crop, or the comparison says little"


@pytest.mark.parametrize("wrong", [{"rgb": False}, {"flip_shift": False}, {"padding": 1.0}, {"quarter": False}])
def test_every_step_matters(network: restated.TopDown, ours: NDArray[np.float64], wrong: dict[str, Any]) -> None:
    pipeline = restated.Pipeline(network, **{"size": 224, "padding": 0.8, **wrong})
    theirs = np.stack([pipeline.predict(image, FRAME) for image in IMAGES])
    assert (distances(ours, theirs) > 0.1).mean() > 0.5


@pytest.mark.parametrize("numpy_module", ["numpy.core", "numpy._core"])
def test_1x_files_with_numpy_arrays_in_their_metadata(
    network: restated.TopDown, checkpoint: Path, tmp_path: Path, numpy_module: str
) -> None:
    path = tmp_path / "epoch_100.pth"
    torch.save(restated.checkpoint_1x(network), path)
    assert _rename_numpy(path, numpy_module) > 0
    with pytest.raises(Exception, match="numpy"):
        torch.load(path, weights_only=True)
    old, _ = load_mmpose(checkpoint)
    new, _ = load_mmpose(path, preset="freihand")
    assert _same_weights(old, new)


def test_a_bare_state_dict_and_the_old_file_layout_load(
    network: restated.TopDown, checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "freihand_bare.pth"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)
    assert _same_weights(load_mmpose(path)[0], load_mmpose(checkpoint)[0])


def test_rhd_models_take_tight_boxes_and_speak_freihands_order(tmp_path: Path) -> None:
    network = restated.random_network(18, 256, seed=1)
    path = tmp_path / "res18_rhd2d_256x256.pth"
    torch.save(restated.checkpoint_0x(network), path)
    method, spec = load_mmpose(path)
    tight = np.array([90.0, 60.0, 190.0, 180.0])
    middle, half = (tight[:2] + tight[2:]) / 2, (tight[2:] - tight[:2]) / 2
    annotated = (*(middle - 1.2 * half), *(middle + 1.2 * half))
    image = restated.textured_image(320, seed=9)
    theirs = restated.Pipeline(network, 256, 1.25).predict(image, annotated)
    ours = predict(method, spec.rule, spec.rule.around_box(tight), image)
    assert distances(ours, theirs[list(FROM_RHD)]).max() < 0.01
    assert distances(ours, theirs).max() > 1


def test_resnet_50_has_the_published_tensors(tmp_path: Path) -> None:
    network = restated.TopDown(50)
    assert len(network.state_dict()) == 338
    path = tmp_path / "res50_freihand_224x224.pth"
    torch.save(restated.checkpoint_0x(network), path)
    method, spec = load_mmpose(path)
    assert spec.backbone == "resnet50"
    assert len(method.state_dict()) == 338 + 1, "and the joints it was taught"
    assert sum(parameter.numel() for parameter in method.parameters()) == 34_000_725
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = network.eval()(image)
        found = method.final(method.deconvolutions(method.backbone(image)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_an_import_survives_saving_as_our_own(checkpoint: Path, tmp_path: Path) -> None:
    method, spec = load_mmpose(checkpoint)
    save_model(tmp_path / "model.safetensors", method, spec, {})
    loaded, loaded_spec, _ = load_model(tmp_path / "model.safetensors")
    assert loaded_spec == spec
    assert loaded_spec.rule == CropRule(size=224, padding=1.7, frame_padding=0.8, whole_image=True, alignment="corner")
    assert isinstance(loaded, Heatmap)
    assert _same_weights(loaded, method)


@pytest.mark.parametrize(
    ("name", "dataset", "expected"),
    [
        ("res50.pth", None, "freihand"),
        ("res50_rhd2d.pth", None, "rhd"),
        ("res50.pth", "rhd2d", "rhd"),
        ("res50_rhd2d.pth", "freihand", "freihand"),
        ("res50_freihand.pth", 7, "freihand"),
    ],
)
def test_without_a_preset_the_file_tells(
    checkpoint: Path, tmp_path: Path, name: str, dataset: object, expected: str
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["meta"] = {"dataset_meta": {"dataset_name": dataset}} if dataset else {}
    torch.save(content, tmp_path / name)
    assert load_mmpose(tmp_path / name)[1].rule == RULES[expected]


def test_a_name_of_two_datasets_needs_the_preset(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "freihand_and_rhd.pth").symlink_to(checkpoint)
    with pytest.raises(ValueError, match="give the preset, one of freihand, rhd"):
        load_mmpose(tmp_path / "freihand_and_rhd.pth")


State = dict[str, Any]


def _drop(pattern: str) -> Callable[[State], State]:
    return lambda state: {name: tensor for name, tensor in state.items() if pattern not in name}


def _put(name: str, *shape: int) -> Callable[[State], State]:
    return lambda state: {**state, name: torch.zeros(shape)}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_drop("deconv_layers.6.weight"), "incomplete: it has no head.deconv_layers.6.weight"),
        (_drop("layer4.1"), "truncated or its backbone is no plain ResNet"),
        (_drop("backbone.conv1"), "truncated or its backbone is no plain ResNet"),
        (_put("keypoint_head.fc.weight", 42, 512), "is a DeepPose regression model"),
        (_put("head.loss_module.flow_model.loc", 2), "is an RLE regression model"),
        (_put("keypoint_head.loss.flow_model.loc", 2), "is an RLE regression model"),
        (_put("head.cls_x.weight", 512, 256), "is a SimCC or RTMPose model"),
        (_put("backbone.stage4.0.branches.0.0.conv1.weight", 18, 18, 3, 3), "is an HRNet"),
        (_put("keypoint_head.final_layer.0.weight", 256, 256, 3, 3), "has extra convolutions in its head"),
        (_put("backbone.layer1.0.se.fc.weight", 4, 4), "it also has backbone.layer1.0.se.fc.weight"),
        (_put("keypoint_head.final_layer.weight", 17, 256, 1, 1), "finds 17 keypoints"),
        (_put("backbone.layer1.0.conv1.weight", 32, 64, 3, 3), "layer1.0.conv1.weight is \\(32, 64, 3, 3\\)"),
        (lambda state: {"fc.weight": torch.zeros(3, 3)}, "is no MMPose checkpoint"),
        (lambda state: {"epoch": 3}, "holds no state_dict"),
    ],
)
def test_other_networks_get_their_own_sentence(
    network: restated.TopDown, tmp_path: Path, change: Callable[[State], State], sentence: str
) -> None:
    path = tmp_path / "freihand.pth"
    # Views of one number are written as one number: the names and shapes of a whole model in little space.
    state = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in network.state_dict().items()}
    torch.save({"meta": {}, "state_dict": change(state)}, path)
    with pytest.raises(ValueError, match=sentence) as caught:
        load_mmpose(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_preset_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="preset must be one of freihand, rhd"):
        load_mmpose(checkpoint, preset="coco")  # type: ignore[arg-type]


def _same_weights(left: Heatmap, right: Heatmap) -> bool:
    states = left.state_dict(), right.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


def _rename_numpy(path: Path, module: str) -> int:
    """Rewrite the pickle inside the file as the other age of numpy would have written it; counts the names."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    count = 0
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            if name.endswith("data.pkl"):
                content = content.replace(b"cnumpy._core.", b"c" + module.encode() + b".")
                count = content.count(b"c" + module.encode() + b".multiarray\n_reconstruct\n")
            archive.writestr(name, content)
    return count
