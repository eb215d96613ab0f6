"""Backbones: any timm image network, reduced to its last feature map or to a pyramid of them.

Weights come from nowhere (random), from a file on disk, or from timm's hub where that is asked for by
name; nothing is downloaded otherwise. Pixels are normalised with ImageNet's statistics whatever the
backbone; the few that were trained with others adapt in fine-tuning.
"""

from __future__ import annotations

import copy
import difflib
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from knuckle.methods.safe_load import load_state_dict

IMAGENET = "imagenet"
"""The value of `weights` that downloads timm's default ImageNet weights."""

OURS = "backbone.network."
"""What the names of a backbone's tensors begin with in a model that knuckle wrote."""


class Backbone(nn.Module):
    """An image network that returns its feature maps.

    Args:
        network: a network of timm's, built with `features_only` for the maps that are wanted.

    Attributes:
        channels: channels of the last feature map.
        stride: crop pixels a cell of it.
        level_channels: channels of every map, the finest first.
        level_strides: crop pixels a cell of every map.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.level_channels: list[int] = network.feature_info.channels()
        self.level_strides: list[int] = network.feature_info.reduction()
        self.channels = self.level_channels[-1]
        self.stride = self.level_strides[-1]
        self._channels_last = getattr(network, "output_fmt", None) == "NHWC"

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B channels rows columns"]:
        """The last feature map of normalised images."""
        return self.pyramid(images)[-1]

    def pyramid(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Every feature map (B, channels, rows, columns) of normalised images, the finest first."""
        maps: list[Tensor] = self.network(images)
        return tuple(map.permute(0, 3, 1, 2) if self._channels_last else map for map in maps)


def build_backbone(
    name: str, weights: str | None = None, size: int = 256, finest_stride: int | None = None
) -> Backbone:
    """A backbone by its timm name.

    Args:
        name: a timm model name, such as "resnet50" or "mobilenetv3_large_100".
        weights: None for random ones, "imagenet" to download timm's, or the path of a state dict
            (.safetensors, .pth, .pt) with timm's names; torchvision's ResNets have the same. Of a model that
            knuckle wrote, its backbone.
        size: side of the square crop in pixels; networks of one size, such as ViT, are built for it.
        finest_stride: None for the last feature map alone; else for a map of every stride from this one on, each
            twice the one before.

    Raises:
        ValueError: timm has no such model, it gives no feature map of an even stride at this size, or
            the weights cannot be had or do not fit.
    """
    levels = (-1,) if finest_stride is None else _levels(name, size, finest_stride)
    network = _create(name, size, pretrained=weights == IMAGENET, levels=levels)
    if weights is not None and weights != IMAGENET:
        _load_weights(network, name, Path(weights))
    backbone = Backbone(network)
    _check_size(backbone, name, size)
    return backbone


def _levels(name: str, size: int, finest_stride: int) -> tuple[int, ...]:
    """Which of a network's feature maps make a pyramid. ValueError where there is none of doubling strides."""
    with torch.device("meta"):
        strides: list[int] = Backbone(_create(name, size, pretrained=False, levels=None)).level_strides
    levels = [level for level, stride in enumerate(strides) if stride >= finest_stride]
    wanted = [finest_stride * 2**step for step in range(len(levels))]
    if not levels or [strides[level] for level in levels] != wanted:
        raise ValueError(
            f"timm's {name} has feature maps of strides {', '.join(map(str, strides))}, and a pyramid needs "
            f"{finest_stride} and each twice the one before; choose a convolutional network, such as resnet50."
        )
    return tuple(levels)


def _create(name: str, size: int, *, pretrained: bool, levels: tuple[int, ...] | None) -> nn.Module:
    import timm
    from timm.models import get_pretrained_cfg

    # timm reads "hf-hub:..." and "local-dir:..." as places to load from; only its own names are taken.
    if ":" in name or not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models() lists the names."
        raise ValueError(f"timm {timm.__version__} has no backbone named {name!r}; {hint}")
    known = get_pretrained_cfg(name)
    options: dict[str, Any] = {} if levels is None else {"out_indices": levels}
    if known is not None and known.fixed_input_size:
        options["img_size"] = size
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained, features_only=True, **options)
    except Exception as error:
        if pretrained:
            raise ValueError(
                f"the ImageNet weights of {name} could not be had ({_first_line(error)}); check the connection, "
                f"or fetch the file elsewhere and give its path as weights."
            ) from error
        raise ValueError(
            f"timm's {name} cannot serve as a backbone for {size} px crops ({_first_line(error)}); "
            f"choose another, such as resnet50."
        ) from error
    return network


def _check_size(backbone: Backbone, name: str, size: int) -> None:
    """Refuse a size that the network cannot take, and freeze parameters that reach no feature map.

    Runs on a copy without storage, so it costs no arithmetic. HRNet, for one, ends with branches that
    the last map does not see; frozen, they disturb neither the optimiser nor distributed training.
    """
    twin = copy.deepcopy(backbone).to("meta").eval()
    try:
        with torch.enable_grad():
            maps = twin.pyramid(torch.zeros(1, 3, size, size, device="meta"))
            reached = torch.stack([map.sum() for map in maps]).sum()
            gradients = torch.autograd.grad(reached, list(twin.parameters()), allow_unused=True)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(
            f"timm's {name} does not take {size} px crops ({_first_line(error)}); choose another size."
        ) from error
    rows, columns = maps[-1].shape[2:]
    if rows * backbone.stride != size or columns != rows:
        raise ValueError(
            f"timm's {name} has a stride of {backbone.stride} px, which does not divide a crop of {size} px; "
            f"choose a multiple, such as {max(1, round(size / backbone.stride)) * backbone.stride}."
        )
    for parameter, gradient in zip(backbone.parameters(), gradients, strict=True):
        parameter.requires_grad_(gradient is not None)


def _load_weights(network: nn.Module, name: str, path: Path) -> None:
    """Fill the network from a file of the whole classifier. ValueError where a tensor is missing or differs."""
    given = {_flat(key.removeprefix(OURS)): tensor for key, tensor in load_state_dict(path).items()}
    state = {key: given.get(_flat(key.removeprefix("model."))) for key in network.state_dict()}
    missing = [key for key, tensor in state.items() if tensor is None and not key.endswith("num_batches_tracked")]
    if missing:
        raise ValueError(
            f"{path} holds no weights of timm's {name}: {len(missing)} of {len(state)} tensors are missing, "
            f"the first is {missing[0]}."
        )
    fitting = {key: tensor for key, tensor in state.items() if tensor is not None}
    for key, expected in network.state_dict().items():
        if key in fitting and fitting[key].shape != expected.shape:
            raise ValueError(
                f"{path} does not fit timm's {name}: {key} is {tuple(fitting[key].shape)}, "
                f"the network needs {tuple(expected.shape)}."
            )
    network.load_state_dict(fitting, strict=False)


def _flat(key: str) -> str:
    """One spelling for stages.0.x and for stages_0.x, as timm's feature networks rename it."""
    return key.replace(".", "_")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
