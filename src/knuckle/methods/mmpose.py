"""MMPose's hand checkpoints as a `Heatmap`: 0.x and 1.x files of a heatmap ResNet.

A checkpoint is {meta, state_dict}. Its backbone has torchvision's names, which are timm's; its head is
`deconv_layers` 0 to 8 and `final_layer`, under `keypoint_head.` in 0.x and `head.` in 1.x. Which crops
the network was trained on follows from its dataset, the preset.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from torch import Tensor

from knuckle.geometry import CropRule
from knuckle.methods.heatmap import Heatmap
from knuckle.methods.safe_load import load_checkpoint, named_tensors
from knuckle.methods.weights import ModelSpec
from knuckle.skeleton import FROM_RHD, NUM_JOINTS

Preset = Literal["freihand", "rhd"]

RULES: Final[Mapping[str, CropRule]] = {
    # Trained on whole 224 px frames at padding 0.8: a window of 179.2 px around hands whose tight boxes
    # measure about 105 px. 1.7 times the tight box cuts a lone hand at the same scale.
    "freihand": CropRule(size=224, padding=1.7, frame_padding=0.8, whole_image=True, alignment="corner"),
    # MMPose's RHD boxes are the tight extent x 1.2, and it pads them by 1.25.
    "rhd": CropRule(size=256, padding=1.5, alignment="corner"),
}

# Blocks in layer1 to layer4 and whether a block has three convolutions (He et al., 2016, table 1).
_RESNETS: Final[Mapping[tuple[tuple[int, ...], bool], str]] = {
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}

# What the tensors' names tell about files of other kinds.
_OTHERS: Final[tuple[tuple[str, str], ...]] = (
    (r"^head\.(loss_module|loss)\.flow_model\.", "an RLE regression model"),
    (r"^head\.fc\.", "a DeepPose regression model"),
    (r"^head\.(cls_x|mlp_head_x)\.", "a SimCC or RTMPose model"),
    (r"^backbone\.stage4\.", "an HRNet"),
)


def load_mmpose(path: Path, preset: Preset | None = None) -> tuple[Heatmap, ModelSpec]:
    """The network of an MMPose checkpoint, in evaluation mode and speaking FreiHAND's joint order, and its spec.

    With crops cut by the spec's rule and the flip test on, it gives MMPose's coordinates.

    Args:
        path: a .pth file; nothing in it is executed.
        preset: the dataset it was trained on. None takes what the file says of its dataset (1.x
            does), else what the file's name says, else "freihand".

    Raises:
        ValueError: the name speaks of two datasets, or the file is damaged or holds another kind of network.
    """
    if preset is not None and preset not in RULES:
        raise ValueError(f"preset must be one of {', '.join(RULES)}, got {preset!r}.")
    checkpoint = load_checkpoint(path)
    chosen = preset or _preset(path, checkpoint)
    state = _names_of_1x(named_tensors(path, checkpoint))
    _refuse_other_networks(path, state)
    spec = ModelSpec(Heatmap.name, _resnet(path, state), RULES[chosen], {"sigma": 2.0, "decoder": "quarter"})
    method = Heatmap(spec.backbone, spec.rule.size, alignment=spec.rule.alignment, **spec.options)
    own = method.state_dict()
    taught = own.pop("taught")  # all joints; MMPose's files have no such thing
    method.load_state_dict({"taught": taught, **_translated(path, state, own)})
    if chosen == "rhd":
        _reorder(method, FROM_RHD)
    return method.eval(), spec


def _preset(path: Path, checkpoint: Any) -> str:
    for text in (_dataset_name(checkpoint), path.name):
        found = [name for name in RULES if name in text.lower()]
        if len(found) > 1:
            raise ValueError(f"{path} speaks of two datasets; give the preset, one of {', '.join(RULES)}.")
        if found:
            return found[0]
    return "freihand"


def _dataset_name(checkpoint: Any) -> str:
    """What a 1.x file says in meta.dataset_meta.dataset_name; empty where it says nothing."""
    for key in ("meta", "dataset_meta", "dataset_name"):
        checkpoint = checkpoint.get(key, "") if isinstance(checkpoint, Mapping) else ""
    return checkpoint if isinstance(checkpoint, str) else ""


def _names_of_1x(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        re.sub(r"^keypoint_head\.", "head.", name): tensor
        for name, tensor in state.items()
        if not name.startswith("data_preprocessor.")
    }


def _refuse_other_networks(path: Path, state: Mapping[str, Tensor]) -> None:
    for pattern, kind in _OTHERS:
        if any(re.match(pattern, name) for name in state):
            raise ValueError(f"{path} is {kind}; only MMPose's heatmap ResNets can be imported.")
    if not any(name.startswith(("backbone.", "head.")) for name in state):
        raise ValueError(f"{path} is no MMPose checkpoint: it has neither a backbone nor a keypoint head.")
    if any(name.startswith("head.final_layer.0.") for name in state):
        raise ValueError(f"{path} has extra convolutions in its head; only the plain heatmap head can be imported.")


def _resnet(path: Path, state: Mapping[str, Tensor]) -> str:
    """The ResNet's name in timm, from its blocks."""
    blocks = {
        (int(match[1]), int(match[2])) for name in state if (match := re.match(r"backbone\.layer(\d+)\.(\d+)\.", name))
    }
    counts = tuple(sum(layer == number for layer, _ in blocks) for number in (1, 2, 3, 4))
    name = _RESNETS.get((counts, "backbone.layer1.0.conv3.weight" in state))
    if name is None or "backbone.conv1.weight" not in state:
        raise ValueError(
            f"{path} is truncated or its backbone is no plain ResNet of 18, 34, 50, 101 or 152 layers; "
            f"only those can be imported."
        )
    return name


def _translated(path: Path, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """MMPose's tensors under the names of `Heatmap`, checked one by one."""
    translated: dict[str, Tensor] = {}
    for name, tensor in expected.items():
        theirs = _their_name(name)
        if theirs not in state:
            raise ValueError(f"{path} is incomplete: it has no {theirs}; fetch it again.")
        given = state[theirs]
        if name.startswith("final.") and len(given) != NUM_JOINTS:
            raise ValueError(f"{path} finds {len(given)} keypoints; only hands of {NUM_JOINTS} can be imported.")
        if given.shape != tensor.shape:
            raise ValueError(
                f"{path} is no plain heatmap ResNet: {theirs} is {tuple(given.shape)} instead of {tuple(tensor.shape)}."
            )
        translated[name] = given
    unknown = sorted(state.keys() - {_their_name(name) for name in expected})
    if unknown:
        raise ValueError(f"{path} is no plain heatmap ResNet: it also has {unknown[0]}.")
    return translated


def _their_name(name: str) -> str:
    """MMPose's name of a tensor of `Heatmap`."""
    for ours, theirs in (
        ("backbone.network.", "backbone."),
        ("deconvolutions.", "head.deconv_layers."),
        ("final.", "head.final_layer."),
    ):
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise AssertionError(name)


def _reorder(method: Heatmap, rows: tuple[int, ...]) -> None:
    """Let map i be what map `rows[i]` was."""
    state: dict[str, Any] = method.final.state_dict()
    method.final.load_state_dict({name: tensor[list(rows)] for name, tensor in state.items()})
