"""The sequential method: stages of heatmaps, each with its own likelihood.

After "MLE-Loss Driven Robust Hand Pose Estimation", section III: one backbone feeds all stages, every stage
sees the heatmaps of the one before, and each is trained by maximum likelihood, with a predicted sigma for
every keypoint and a normalising flow for the shape of the errors. docs/sequential.md has the equations,
and says what the paper leaves open.

Letters in shapes beside those of `knuckle.methods.base`: T stages, or the last n of them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import ClassVar, Final, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from knuckle.geometry import Alignment
from knuckle.methods.backbones import build_backbone
from knuckle.methods.base import Decoded, Features, Outputs, Targets
from knuckle.methods.codec import heatmap_to_crop, soft_argmax
from knuckle.methods.density import DRAWS, Density, FlowMethod, scaled_covariance
from knuckle.methods.flow import RealNVP, moments
from knuckle.methods.heatmap import decode_heatmaps, flip_heatmaps, heatmap_losses
from knuckle.skeleton import NUM_JOINTS

UPSCALING: Final = 8
"""Heatmap cells a feature cell along each axis: three deconvolutions of stride 2."""

LOSSES: Final = ("mle", "heatmap", "integral")
HANDOVERS: Final = ("logits", "likelihood")
DECODERS: Final = ("mu", "mean")
RESIDUALS: Final = ("none", "laplace", "gaussian")
SIGMA_ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "exp": torch.exp,
}


SIGMA_FLOOR: Final = 1e-3
"""Crop sides."""

TARGET_SIGMA: Final = 2.0
"""Of the Gaussians that the heatmap loss asks for, in cells."""


class SequentialStages(FlowMethod):
    """A backbone with a chain of heatmap stages, trained by maximum likelihood.

    The paper's model is the default: `SequentialStages("resnet50", 256, weights="imagenet")`. Arguments that
    the paper leaves open are marked with (open).

    Args:
        backbone: a timm model name.
        size: side of the square crop in pixels.
        alignment: where heatmap cells lie in the crop; "center" or MMPose's "corner". (open: the paper's Eq. 1
            may count cells from 0 or from 1)
        stages: T, the number of stages.
        loss: "mle"; or "heatmap" (squared error to Gaussian maps) or "integral" (L1 on coordinates), the paper's
            comparison, whose stages have neither variance head nor flow.
        width: channels of the 1 x 1 convolutions.
        deconvolution_width: channels between the deconvolutions; None for `width`. (open)
        variance_width: units of the variance head's hidden layer; None for `width`. (open)
        handover: what a stage sees of the maps before it, averaged over feature cells: the "logits", or the
            "likelihood", their softmax times the number of cells (1 everywhere for a flat map). (open)
        sigma_activation: what makes sigma positive: "sigmoid", "softplus" or "exp". (open)
        sigma_floor: added to sigma, in crop sides. (open)
        decoder: which point of the predicted density is the keypoint: "mu", the soft-argmax, as in the paper; or
            "mean", its expectation, which differs where the flow's density is not centred.
        residual: "none"; or "laplace" or "gaussian", RLE's residual form of the likelihood as MMPose has it, which
            the paper does not print. (open)
        target_sigma: standard deviation in cells of the Gaussians of the "heatmap" loss.
        weights: of the backbone; see `build_backbone`.
        num_joints: K.

    Attributes:
        stride: crop pixels a heatmap cell.
        flow_mean: (T, 2) buffer, the mean of each flow's density, in sigmas; see `measure_flow`.
        flow_covariance: (T, 2, 2) buffer, its covariance.

    Raises:
        ValueError: an unknown or impossible option, or a backbone that cannot be had.
    """

    name: ClassVar[str] = "sequential"

    def __init__(
        self,
        backbone: str = "resnet50",
        size: int = 256,
        *,
        alignment: Alignment = "center",
        stages: int = 5,
        loss: Literal["mle", "heatmap", "integral"] = "mle",
        width: int = 256,
        deconvolution_width: int | None = None,
        variance_width: int | None = None,
        handover: Literal["logits", "likelihood"] = "logits",
        sigma_activation: Literal["sigmoid", "softplus", "exp"] = "sigmoid",
        sigma_floor: float = SIGMA_FLOOR,
        residual: Literal["none", "laplace", "gaussian"] = "none",
        decoder: Literal["mu", "mean"] = "mu",
        target_sigma: float = TARGET_SIGMA,
        weights: str | None = None,
        num_joints: int = NUM_JOINTS,
    ) -> None:
        super().__init__(size, alignment)
        _check_choice("loss", loss, LOSSES)
        _check_choice("handover", handover, HANDOVERS)
        _check_choice("sigma_activation", sigma_activation, tuple(SIGMA_ACTIVATIONS))
        _check_choice("residual", residual, RESIDUALS)
        _check_choice("decoder", decoder, DECODERS)
        _check_positive(
            stages=stages,
            width=width,
            deconvolution_width=deconvolution_width,
            variance_width=variance_width,
            sigma_floor=sigma_floor,
            target_sigma=target_sigma,
        )
        _check_unused(
            loss,
            "mle",
            residual=residual != "none",
            decoder=decoder != "mu",
            variance_width=variance_width is not None,
            sigma_activation=sigma_activation != "sigmoid",
            sigma_floor=sigma_floor != SIGMA_FLOOR,
        )
        _check_unused(loss, "heatmap", target_sigma=target_sigma != TARGET_SIGMA)
        if loss == "heatmap" and handover == "likelihood":
            raise ValueError("maps of the heatmap loss are no log-probabilities; hand over their logits.")
        self.loss_kind = loss
        self.handover = handover
        self.sigma_activation = SIGMA_ACTIVATIONS[sigma_activation]
        self.sigma_floor = sigma_floor
        self.residual = residual
        self.decoder = decoder
        self.target_sigma = target_sigma
        self.backbone = build_backbone(backbone, weights, size)
        self.stride = self.backbone.stride / UPSCALING
        self.stages = nn.ModuleList(
            Stage(
                self.backbone.channels,
                num_joints,
                width,
                deconvolution_width or width,
                (variance_width or width) if loss == "mle" else None,
                receives=number > 0,
            )
            for number in range(stages)
        )
        self.flows = nn.ModuleList(RealNVP() for _ in range(stages if loss == "mle" else 0))
        self.register_buffer("flow_mean", torch.zeros(stages, 2), persistent=False)
        self.register_buffer("flow_covariance", torch.eye(2).repeat(stages, 1, 1), persistent=False)
        self.measure_flow()

    def features_of(self, images: Tensor) -> Features:
        """The backbone's last feature map of crops (B, 3, S, S), which all stages share."""
        return (self.backbone(self.normalize(images)),)

    def outputs_of(self, features: Features) -> Outputs:
        """What the loss and the decoding need of n stages.

        All stages in training mode. In evaluation mode the last alone; the earlier ones give the maps that
        they hand over and nothing else.

        Returns:
            With the losses "mle" and "integral": "xy_crop" (B, n, K, 2) in crop pixels, and "sigma"
            (B, n, K, 2) in crop sides; with "integral" it is the spread of the heatmap.
            With the loss "heatmap": "heatmaps" (B, n, K, S / stride, S / stride).
        """
        return self._run(features[-1], first=0 if self.training else len(self.stages) - 1)

    def forward_stages(self, images: Tensor) -> Outputs:
        """As `forward`, with all stages in either mode; `decode_stages` reads every one."""
        return self._run(self.features_of(images)[-1], first=0)

    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """The sum over the stages that `outputs` holds, and each under "stage_1", "stage_2", ...

        A stage's loss is the sum over labelled keypoints inside the crop, divided by B K; others change
        neither loss nor gradient. A softmax cannot place a keypoint outside the crop.
        """
        if self.loss_kind == "heatmap":
            losses = heatmap_losses(outputs["heatmaps"], targets, self.stride, self.alignment, self.target_sigma)
        else:
            losses = self._coordinate_losses(outputs, targets)
        first = len(self.stages) - len(losses) + 1
        return {"loss": losses.sum()} | {f"stage_{number}": part for number, part in enumerate(losses, first)}

    def decode(self, outputs: Outputs) -> Decoded:
        """The last stage's keypoints: `decoder`'s point, or with the loss "heatmap" the highest cell, moved a quarter.

        covariance_crop is that of the whole predicted density, diag(S sigma) Cov(eps) diag(S sigma) with the flow's
        Cov(eps). With the loss "integral" it holds the variances of the heatmap's softmax along x and y, which no
        loss has tied to the error; with "heatmap" it is what the height of the peak tells, as in the heatmap method.
        """
        return self.decode_stages({name: value[:, -1:] for name, value in outputs.items()})[0]

    def decode_stages(self, outputs: Outputs) -> list[Decoded]:
        """The keypoints of every stage that `outputs` holds, as `decode` gives those of the last."""
        if self.loss_kind == "heatmap":
            return [
                decode_heatmaps(maps, self.stride, self.alignment, self.target_sigma, "quarter")
                for maps in outputs["heatmaps"].unbind(1)
            ]
        xy_crop, sigma_crop = outputs["xy_crop"].float(), outputs["sigma"].float() * self.size
        if self.decoder == "mean":
            xy_crop = xy_crop + self.mean_shift(outputs)
        held = xy_crop.shape[1]
        covariance_crop = scaled_covariance(sigma_crop, self.get_buffer("flow_covariance")[-held:].unsqueeze(1))
        return [Decoded(*stage) for stage in zip(xy_crop.unbind(1), covariance_crop.unbind(1), strict=True)]

    def mean_shift(self, outputs: Outputs) -> Float[Tensor, "B n K 2"]:
        """How far the mean of each stage's density lies from its mu: sigma E[eps], in crop pixels.

        The density is that of mu + sigma eps. Nothing in the loss centres eps, so the network and the flow
        may share a displacement between them.
        """
        sigma = outputs["sigma"].float()
        return sigma * self.size * self.get_buffer("flow_mean")[-sigma.shape[1] :].unsqueeze(1)

    def unmirror(self, outputs: Outputs) -> Outputs:
        """Points x to S - 1 - x; maps flipped, with MMPose's shift of one cell in corner alignment.

        A flow does not know of the mirror. So that decoding gives the mirrored point for the decoder "mean" too, mu is
        moved there by twice the shift. The correlation of the decoded covariance stays the flow's; its sign belongs to
        the mirrored crop, and `knuckle.predict.torch_engine.run` sees to that.
        """
        if self.loss_kind == "heatmap":
            return {"heatmaps": flip_heatmaps(outputs["heatmaps"], self.alignment)}
        x, y = outputs["xy_crop"].unbind(-1)
        if self.decoder == "mean":
            x = x + 2 * self.mean_shift(outputs)[..., 0]
        return {"xy_crop": torch.stack([self.size - 1 - x, y], dim=-1), "sigma": outputs["sigma"]}

    @torch.no_grad()
    def measure_flow(self) -> None:
        """Bring `flow_mean` and `flow_covariance` up to date with the flows.

        The flow is the density of eps with a residual too: that is what its part of the loss makes it, and the
        residual only pulls mu and sigma.
        """
        for number, flow in enumerate(self.flows):
            assert isinstance(flow, RealNVP)
            eps, weight = copy.deepcopy(flow).cpu().double().quadrature()
            mean, covariance = moments(eps, weight)
            self.get_buffer("flow_mean")[number] = mean
            self.get_buffer("flow_covariance")[number] = covariance

    def density(self) -> Density | None:
        """The last flow's, with a residual too; None without flows."""
        if len(self.flows) == 0:
            return None
        flow = copy.deepcopy(self.flows[-1]).cpu().double()
        assert isinstance(flow, RealNVP)
        eps = flow.sample(DRAWS, torch.Generator().manual_seed(0))
        mean, covariance = (self.get_buffer(name)[-1].cpu().double() for name in ("flow_mean", "flow_covariance"))
        point = mean if self.decoder == "mean" else torch.zeros_like(mean)
        return Density(flow.log_prob, eps, eps.new_full((DRAWS,), 1 / DRAWS), point, mean, covariance)

    def _run(self, features: Tensor, first: int) -> Outputs:
        """The outputs of the stages from number `first` on."""
        handed: Tensor | None = None
        found: list[Outputs] = []
        for number, stage in enumerate(self.stages):
            assert isinstance(stage, Stage)
            joined = stage.join(features, handed)
            maps = stage.heatmap_head(joined)
            if number >= first:
                found.append(self._read(stage, joined, maps))
            if number + 1 < len(self.stages):
                handed = self._hand_over(maps)
        return {name: torch.stack([outputs[name] for outputs in found], dim=1) for name in found[0]}

    def _hand_over(self, maps: Float[Tensor, "B K h w"]) -> Float[Tensor, "B K rows columns"]:
        """The maps as the next stage sees them, one value a feature cell."""
        if self.handover == "likelihood":
            # Probabilities would be far below batch normalisation's epsilon.
            maps = maps.flatten(-2).softmax(dim=-1).view_as(maps) * (maps.shape[-2] * maps.shape[-1])
        return F.avg_pool2d(maps, UPSCALING)

    def _read(self, stage: Stage, joined: Tensor, maps: Float[Tensor, "B K h w"]) -> Outputs:
        """One stage's outputs; coordinates and sigma in float32, under autocast too."""
        if self.loss_kind == "heatmap":
            return {"heatmaps": maps}
        mean, spread = soft_argmax(maps)
        xy_crop = heatmap_to_crop(mean, self.stride, self.alignment)
        if stage.variance_head is None:
            return {"xy_crop": xy_crop, "sigma": spread * (self.stride / self.size)}
        raw = stage.variance_head(joined).to(mean.dtype).view_as(mean)
        return {"xy_crop": xy_crop, "sigma": self.sigma_floor + self.sigma_activation(raw)}

    def _coordinate_losses(self, outputs: Outputs, targets: Targets) -> Float[Tensor, " n"]:
        xy_crop, sigma = outputs["xy_crop"], outputs["sigma"]
        placeable = targets.placeable(self.size)
        # Masked before the flow: infinity times a weight of 0 would be no number.
        error = (targets.xy_crop.unsqueeze(1) - xy_crop) / self.size
        error = torch.where(placeable[:, None, :, None], error, torch.zeros_like(error))
        if self.loss_kind == "integral":
            terms = error.abs().sum(dim=-1)
        else:
            flows = [flow for flow in self.flows if isinstance(flow, RealNVP)][-xy_crop.shape[1] :]
            terms = torch.stack(
                [
                    negative_log_likelihood(error[:, number], sigma[:, number], flow, self.residual)
                    for number, flow in enumerate(flows)
                ],
                dim=1,
            )
        return (terms * placeable.unsqueeze(1)).mean(dim=(0, 2))


class Stage(nn.Module):
    """One stage: the features, and the previous maps, to heatmaps and to the raw numbers behind sigma.

    Args:
        channels: of the backbone's features.
        num_joints: K.
        width: channels of the 1 x 1 convolutions.
        deconvolution_width: channels between the deconvolutions.
        variance_width: units of the variance head's hidden layer; None for no such head.
        receives: whether there is a stage before this one.
    """

    def __init__(
        self,
        channels: int,
        num_joints: int,
        width: int,
        deconvolution_width: int,
        variance_width: int | None,
        *,
        receives: bool,
    ) -> None:
        super().__init__()
        self.reduce = _convolution(channels, width)
        self.receive = _convolution(num_joints, width) if receives else None
        joined = 2 * width if receives else width
        self.heatmap_head = _heatmap_head(joined, deconvolution_width, num_joints)
        self.variance_head = None if variance_width is None else _variance_head(joined, variance_width, num_joints)

    def join(
        self, features: Float[Tensor, "B channels rows columns"], handed: Float[Tensor, "B K rows columns"] | None
    ) -> Float[Tensor, "B joined rows columns"]:
        """What both heads see: the reduced features beside the reduced maps of the stage before."""
        reduced: Tensor = self.reduce(features)
        if self.receive is None or handed is None:
            return reduced
        return torch.cat([reduced, self.receive(handed)], dim=1)


class BatchNormOrOne(nn.BatchNorm1d):
    """Batch normalisation of vectors that also takes a training batch of one hand.

    One vector has no variance; it is normalised by the running statistics and leaves them alone.
    """

    def forward(self, x: Float[Tensor, "B units"]) -> Float[Tensor, "B units"]:
        """The normalised vectors."""
        if self.training and len(x) == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        normalized: Tensor = super().forward(x)
        return normalized


def negative_log_likelihood(
    error: Float[Tensor, "B K 2"], sigma: Float[Tensor, "B K 2"], flow: RealNVP, residual: str = "none"
) -> Float[Tensor, "B K"]:
    """-log P(eps) + log sigma_x + log sigma_y with eps = error / sigma (the MLE paper, Eqs. 3 to 5).

    Args:
        error: truth minus prediction.
        sigma: in the unit of `error`.
        flow: its density is P.
        residual: "none"; or the distribution Q of RLE in MMPose's form, "laplace" of scale 1 or "gaussian" of
            standard deviation 1: -log Q(eps) and another log sigma are added, and the flow's term counts once for
            each axis. The Laplace of RLE's authors is another; see `knuckle.methods.rle`.
    """
    eps = error / sigma
    log_sigma = sigma.log().sum(dim=-1)
    log_density: Tensor = flow.log_prob(eps)
    if residual == "none":
        return log_sigma - log_density
    if residual == "laplace":
        own = eps.abs().sum(dim=-1) + 2 * math.log(2)
    else:
        own = 0.5 * eps.square().sum(dim=-1) + math.log(2 * math.pi)
    return 2 * (log_sigma - log_density) + own


def _convolution(channels: int, width: int) -> nn.Sequential:
    """A 1 x 1 convolution with batch norm and ReLU."""
    return nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def _heatmap_head(channels: int, width: int, num_joints: int) -> nn.Sequential:
    """Three transposed convolutions (4 x 4, stride 2), batch norm and ReLU after the first two."""
    shapes = ((channels, width), (width, width), (width, num_joints))
    layers = [nn.ConvTranspose2d(*shape, kernel_size=4, stride=2, padding=1, bias=False) for shape in shapes[:2]]
    last = nn.ConvTranspose2d(*shapes[2], kernel_size=4, stride=2, padding=1)
    for layer in (*layers, last):
        nn.init.normal_(layer.weight, std=0.001)
    assert last.bias is not None
    nn.init.zeros_(last.bias)
    modules: list[nn.Module] = []
    for layer in layers:
        modules += [layer, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*modules, last)


def _variance_head(channels: int, width: int, num_joints: int) -> nn.Sequential:
    """The average over all cells, then two fully connected layers, batch norm and ReLU between them."""
    last = nn.Linear(width, 2 * num_joints)
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.bias)
    hidden = nn.Linear(channels, width, bias=False)
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), hidden, BatchNormOrOne(width), nn.ReLU(inplace=True), last
    )


def _check_choice(option: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ValueError(f"{option} must be one of {', '.join(known)}, got {given!r}.")


def _check_unused(loss: str, owner: str, **given: bool) -> None:
    """See that no option that only one loss reads is set with another."""
    names = [name for name, is_given in given.items() if is_given]
    if loss != owner and names:
        belong, them = ("belongs", "it") if len(names) == 1 else ("belong", "them")
        raise ValueError(
            f"{' and '.join(names)} {belong} to loss {owner!r} alone; leave {them} out with loss {loss!r}."
        )


def _check_positive(**given: float | None) -> None:
    for option, value in given.items():
        if value is not None and not value > 0:
            raise ValueError(f"{option} must be positive, got {value}.")
