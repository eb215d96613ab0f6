"""Backbones: families, layouts, sizes, and weights from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from knuckle.geometry import CropRule
from knuckle.methods import METHODS
from knuckle.methods.backbones import build_backbone
from knuckle.methods.weights import ModelSpec, save_model


@pytest.mark.parametrize(
    ("name", "size", "channels", "stride"),
    [
        ("resnet18", 64, 512, 32),
        ("mobilenetv3_small_100", 64, 576, 32),
        ("convnext_atto", 64, 320, 32),
        ("mambaout_femto", 64, 288, 32),  # its features are (B, h, w, C)
        ("vit_tiny_patch16_224", 64, 192, 16),  # of one size, its features are tokens
        ("swin_tiny_patch4_window7_224", 64, 768, 32),  # both
    ],
)
def test_every_family_gives_a_feature_map(name: str, size: int, channels: int, stride: int) -> None:
    backbone = build_backbone(name, size=size).eval()
    assert (backbone.channels, backbone.stride) == (channels, stride)
    with torch.no_grad():
        features = backbone(torch.randn(2, 3, size, size))
    assert features.shape == (2, channels, size // stride, size // stride)


def test_a_channels_last_map_is_permuted_not_reshaped() -> None:
    backbone = build_backbone("mambaout_femto", size=64).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        raw = backbone.network(images)[-1]
        torch.testing.assert_close(backbone(images)[0, :, 1, 0], raw[0, 1, 0])


def test_branches_that_do_not_reach_the_map_are_frozen() -> None:
    backbone = build_backbone("hrnet_w18_small", size=64)
    images = torch.randn(2, 3, 64, 64)
    backbone(images).square().sum().backward()
    trained = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    reached = {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert trained == reached
    assert len(trained) < len(list(backbone.parameters()))


@pytest.mark.parametrize("name", ["resnet18", "cs3darknet_focus_s", "mambaout_femto"])
def test_a_pyramid_has_a_map_of_every_stride(name: str) -> None:
    backbone = build_backbone(name, size=64, finest_stride=4).eval()
    assert backbone.level_strides == [4, 8, 16, 32]
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps = backbone.pyramid(images)
        torch.testing.assert_close(backbone(images), maps[-1])
    expected = [
        (2, channels, 64 // stride, 64 // stride)
        for channels, stride in zip(backbone.level_channels, (4, 8, 16, 32), strict=True)
    ]
    assert [tuple(map.shape) for map in maps] == expected


def test_every_map_of_a_pyramid_teaches() -> None:
    """HRNet's finer branches reach no coarse map, so they are frozen for the last one alone."""
    backbone = build_backbone("hrnet_w18_small", size=64, finest_stride=4)
    maps = backbone.pyramid(torch.randn(2, 3, 64, 64))
    torch.autograd.backward([map.square().sum() for map in maps])
    trained = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    alone = sum(parameter.requires_grad for parameter in build_backbone("hrnet_w18_small", size=64).parameters())
    assert len(trained) > alone


def test_a_network_without_maps_of_doubling_strides_makes_no_pyramid() -> None:
    with pytest.raises(
        ValueError, match=r"feature maps of strides 16.*choose a convolutional network, such as resnet50"
    ):
        build_backbone("vit_tiny_patch16_224", size=64, finest_stride=4)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("resnet5O", "no backbone named 'resnet5O'; did you mean resnet50"),
        ("mobilenet_v3_large", "did you mean .*mobilenetv3_large"),
        ("", "timm.list_models"),
        ("hf-hub:timm/resnet18", "no backbone named"),
    ],
)
def test_unknown_names_name_near_ones(name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build_backbone(name)


def test_sizes_that_the_stride_does_not_divide() -> None:
    with pytest.raises(
        ValueError, match=r"stride of 32 px, which does not divide a crop of 90 px; choose a multiple, such as 96\."
    ):
        build_backbone("resnet18", size=90)
    with pytest.raises(ValueError, match="such as 252"):
        build_backbone("eva02_tiny_patch14_224", size=256)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "mobilenetv3_small_100"])
def test_weights_from_a_file_of_the_whole_classifier(tmp_path: Path, name: str, suffix: str) -> None:
    torch.manual_seed(1)
    classifier: Any = timm.create_model(name).eval()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(classifier.state_dict(), path)
    else:
        save_file(classifier.state_dict(), path)
    backbone = build_backbone(name, str(path), size=64).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = classifier.forward_intermediates(images, intermediates_only=True)[-1]
        torch.testing.assert_close(backbone(images), expected)


def test_weights_from_a_model_of_our_own(tmp_path: Path) -> None:
    """Whatever its head, and whatever maps either network gives."""
    torch.manual_seed(0)
    model = METHODS["heatmap"]("resnet18", 64, width=8)
    save_model(tmp_path / "best.safetensors", model, ModelSpec("heatmap", "resnet18", CropRule(size=64)), {})
    backbone = build_backbone("resnet18", str(tmp_path / "best.safetensors"), 64, finest_stride=4)
    for key, tensor in model.get_submodule("backbone").state_dict().items():
        torch.testing.assert_close(backbone.state_dict()[key], tensor)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    tensors = timm.create_model("resnet18").state_dict()
    path = tmp_path / "weights.pth"
    torch.save(tensors, path)
    with pytest.raises(ValueError, match=r"holds no weights of timm's resnet50: .* are missing, the first is"):
        build_backbone("resnet50", str(path), size=64)
    torch.save({**tensors, "conv1.weight": torch.zeros(64, 1, 7, 7)}, path)
    with pytest.raises(ValueError, match=r"conv1.weight is \(64, 1, 7, 7\), the network needs \(64, 3, 7, 7\)"):
        build_backbone("resnet18", str(path), size=64)
    with pytest.raises(ValueError, match="is no file"):
        build_backbone("resnet18", str(tmp_path / "missing.pth"), size=64)


def test_nothing_is_downloaded_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(*arguments: object, **options: object) -> None:
        asked.append(arguments)
        raise OSError("no route to host\nand more")

    monkeypatch.setattr("timm.models._builder.load_pretrained", refuse)
    build_backbone("resnet18", size=64)
    assert not asked
    with pytest.raises(ValueError, match=r"ImageNet weights of resnet18 could not be had \(no route to host\)"):
        build_backbone("resnet18", "imagenet", size=64)
    assert asked
