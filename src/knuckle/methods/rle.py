"""The RLE method: coordinates and sigmas straight from pooled features, trained by a flow's likelihood.

After "Human Pose Regression with Residual Log-Likelihood Estimation" (RLE; Li et al., ICCV 2021). With the error in
sigmas eps = (mu_g - mu) / sigma, the density of eps is s Q(eps) G(eps): a simple distribution Q times what a
normalising flow G learns beside it, and s makes it integrate to 1. The paper's loss (section 3) is its likelihood,

    -log Q(eps) - log G(eps) - log s + log sigma_x + log sigma_y,    1 / s = integral of Q G

The authors' code, which gave the published results, computes another:

    -2 log G(eps) + 2 (log sigma_x + log sigma_y) + (|eps_x| + |eps_y|) / sqrt(2) + log(2 pi)

The flow's term counts once for each axis, log sigma twice, Q is a Laplace exponent with the constant of a normal
distribution, and s is left out. The flow's share is then twice the full likelihood of a density G of eps, and the rest
a pull towards eps = 0 that the flow never sees. So there G alone is the density of eps, and in the paper's loss s Q G.

Letters in shapes: n points.
"""

from __future__ import annotations

import copy
import math
from typing import ClassVar, Final, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from knuckle.geometry import Alignment
from knuckle.methods.backbones import build_backbone
from knuckle.methods.base import Decoded, Features, Outputs, Targets
from knuckle.methods.density import DRAWS, Density, FlowMethod, scaled_covariance
from knuckle.methods.flow import RealNVP, moments
from knuckle.skeleton import NUM_JOINTS

FORMS: Final = ("published", "clean")
RESIDUALS: Final = ("laplace", "gaussian")
DECODERS: Final = ("mu", "mean")

LATTICE: Final = (1597, 987)
"""Number of points and step of a Fibonacci lattice, for the integral of Q G in every step."""

FINER_LATTICE: Final = (6765, 4181)
"""The same for a model's moments, which are brought up to date often."""

FINEST_LATTICE: Final = (46368, 28657)
"""The same for its regions."""

MASS: Final = {"laplace": 4.0, "gaussian": 2 * math.pi}
"""Integrals of exp(-|x| - |y|) and exp(-(x^2 + y^2) / 2)."""


class RLE(FlowMethod):
    """A backbone, the average of its features, and one fully connected layer to x, y and their sigmas.

    Args:
        backbone: a timm model name.
        size: side of the square crop in pixels.
        alignment: where the middle of the crop lies, which is where mu is at first; see `knuckle.geometry`.
        form: "published" for the loss of the authors' code, "clean" for the paper's.
        residual: Q; see `negative_log_likelihood`.
        decoder: which point of the predicted density is the keypoint: "mu" as published, or "mean", its expectation.
        sigma_floor: added to sigma, in crop sides.
        weights: of the backbone; see `build_backbone`.
        num_joints: K.

    Attributes:
        flow_mean: (2,) buffer, the mean of the density of eps; see `measure_flow`.
        flow_covariance: (2, 2) buffer, its covariance.

    Raises:
        ValueError: an unknown option, a floor that is not positive, or a backbone that cannot be had.
    """

    name: ClassVar[str] = "rle"

    def __init__(
        self,
        backbone: str = "resnet50",
        size: int = 256,
        *,
        alignment: Alignment = "center",
        form: Literal["published", "clean"] = "published",
        residual: Literal["laplace", "gaussian"] = "laplace",
        decoder: Literal["mu", "mean"] = "mu",
        sigma_floor: float = 1e-3,
        weights: str | None = None,
        num_joints: int = NUM_JOINTS,
    ) -> None:
        super().__init__(size, alignment)
        for option, given, known in (
            ("form", form, FORMS),
            ("residual", residual, RESIDUALS),
            ("decoder", decoder, DECODERS),
        ):
            if given not in known:
                raise ValueError(f"{option} must be one of {', '.join(known)}, got {given!r}.")
        if not sigma_floor > 0:
            raise ValueError(f"sigma_floor must be positive, got {sigma_floor}.")
        self.form = form
        self.residual = residual
        self.decoder = decoder
        self.sigma_floor = sigma_floor
        self.backbone = build_backbone(backbone, weights, size)
        self.final = nn.Linear(self.backbone.channels, 4 * num_joints)
        nn.init.normal_(self.final.weight, std=0.01)
        nn.init.zeros_(self.final.bias)
        self.flow = RealNVP()
        self.register_buffer("flow_mean", torch.zeros(2), persistent=False)
        self.register_buffer("flow_covariance", torch.eye(2), persistent=False)
        self.measure_flow()

    def features_of(self, images: Tensor) -> Features:
        """The backbone's last feature map of crops (B, 3, S, S)."""
        return (self.backbone(self.normalize(images)),)

    def outputs_of(self, features: Features) -> Outputs:
        """The "xy_crop" (B, K, 2) in crop pixels and "sigma" (B, K, 2) in crop sides.

        The last layer computes in float32 under autocast too: bfloat16 would round coordinates to whole pixels.
        """
        with torch.autocast(features[-1].device.type, enabled=False):
            wide = features[-1].to(torch.promote_types(features[-1].dtype, torch.float32))
            position, raw_sigma = self.final(wide.mean(dim=(-2, -1))).unflatten(-1, (-1, 4)).split(2, dim=-1)
        middle = (self.size - (self.alignment == "center")) / 2
        return {"xy_crop": middle + self.size * position, "sigma": self.sigma_floor + raw_sigma.sigmoid()}

    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """The negative log-likelihood, summed over labelled keypoints and divided by B K.

        Keypoints outside the crop take part: a regression can name any place.
        """
        error = (targets.xy_crop - outputs["xy_crop"]) / self.size
        # Masked before the flow: infinity times a weight of 0 would be no number.
        error = error.masked_fill(~targets.labeled.unsqueeze(-1), 0)
        terms = negative_log_likelihood(error, outputs["sigma"], self.flow, self.form, self.residual)
        return {"loss": (terms * targets.labeled).mean()}

    def decode(self, outputs: Outputs) -> Decoded:
        """`decoder`'s point, and the covariance of the whole density, diag(S sigma) Cov(eps) diag(S sigma)."""
        xy_crop, sigma_crop = outputs["xy_crop"], outputs["sigma"] * self.size
        if self.decoder == "mean":
            xy_crop = xy_crop + self.mean_shift(outputs)
        return Decoded(xy_crop, scaled_covariance(sigma_crop, self.get_buffer("flow_covariance")))

    def mean_shift(self, outputs: Outputs) -> Float[Tensor, "B K 2"]:
        """How far the mean of the predicted density lies from mu: sigma E[eps], in crop pixels."""
        return outputs["sigma"] * self.size * self.get_buffer("flow_mean")

    def unmirror(self, outputs: Outputs) -> Outputs:
        """Points x to S - 1 - x, exact in either alignment; sigma stays.

        A flow does not know of the mirror. So that the mean is mirrored with the decoder "mean", mu moves by
        twice the shift. The correlation of the decoded covariance stays the flow's; its sign belongs to the mirrored
        crop, and `knuckle.predict.torch_engine.run` sees to that.
        """
        x, y = outputs["xy_crop"].unbind(-1)
        if self.decoder == "mean":
            x = x + 2 * self.mean_shift(outputs)[..., 0]
        return {"xy_crop": torch.stack([self.size - 1 - x, y], dim=-1), "sigma": outputs["sigma"]}

    @torch.no_grad()
    def measure_flow(self) -> None:
        """Bring `flow_mean` and `flow_covariance` up to date with the flow."""
        flow = copy.deepcopy(self.flow).cpu().double()
        eps, weight = (
            flow.quadrature() if self.form == "published" else _product_points(flow, self.residual, FINER_LATTICE)
        )
        mean, covariance = moments(eps, weight)
        self.get_buffer("flow_mean").copy_(mean)
        self.get_buffer("flow_covariance").copy_(covariance)

    @torch.no_grad()
    def density(self) -> Density:
        """G, or s Q G in the clean form: drawn from Q and from G there, and weighted."""
        flow = copy.deepcopy(self.flow).cpu().double()
        mean, covariance = (self.get_buffer(name).cpu().double() for name in ("flow_mean", "flow_covariance"))
        point = mean if self.decoder == "mean" else torch.zeros_like(mean)
        if self.form == "published":
            eps = flow.sample(DRAWS, torch.Generator().manual_seed(0))
            return Density(flow.log_prob, eps, eps.new_full((DRAWS,), 1 / DRAWS), point, mean, covariance)
        eps, weight = _product_points(flow, self.residual, FINEST_LATTICE)

        def log_prob(points: Tensor) -> Tensor:
            inner: Tensor = flow.log_prob(points)
            return inner - _distance(points, self.residual)

        return Density(log_prob, eps, weight, point, mean, covariance)


def negative_log_likelihood(
    error: Float[Tensor, "B K 2"], sigma: Float[Tensor, "B K 2"], flow: RealNVP, form: str, residual: str
) -> Float[Tensor, "B K"]:
    """The loss of each keypoint; the equations are at the top of this file.

    Args:
        error: truth minus prediction.
        sigma: in the unit of `error`.
        flow: G.
        form: "clean" or "published".
        residual: Q. In the clean form "laplace" with scale 1 or "gaussian" with standard deviation 1; in the
            published form "laplace" is the authors' and "gaussian" MMPose's.

    The clean form estimates s from points that PyTorch's own generator moves: the same seed, the same number.
    """
    eps = error / sigma
    log_sigma = sigma.log().sum(dim=-1)
    log_density: Tensor = flow.log_prob(eps)
    if form == "clean":
        log_s = -log_mass(flow, residual, torch.rand(2, device=eps.device))
        return _distance(eps, residual) - log_density - log_s + log_sigma
    width = math.sqrt(2) if residual == "laplace" else 1.0
    return 2 * (log_sigma - log_density) + _distance(eps / width, residual) + math.log(2 * math.pi)


def log_mass(flow: RealNVP, residual: str, shift: Float[Tensor, " 2"]) -> Float[Tensor, ""]:
    """The logarithm of the integral of Q G, where Q is exp(-|x| - |y|) or exp(-(x^2 + y^2) / 2).

    Half of the points where it is looked at are G's own, wherever the flow has moved it, and all move by `shift`, which
    is to be drawn anew for every step: between points that stay the flow learns to hide its density, and the likelihood
    grows without end.

    Args:
        flow: G.
        residual: which Q, "laplace" or "gaussian".
        shift: evenly drawn from the unit square, on the flow's device.
    """
    eps, log_weight = _mixture_points(flow, residual, LATTICE, shift)
    total: Tensor = (flow.log_prob(eps) + log_weight).logsumexp(dim=0)
    return total - math.log(len(eps))


def _product_points(
    flow: RealNVP, residual: str, lattice: tuple[int, int]
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]:
    """Points and weights, of sum 1, whose weighted sums are expectations under s Q G."""
    eps, log_weight = _mixture_points(flow, residual, lattice, torch.full((2,), 0.5, dtype=torch.float64))
    return eps, (flow.log_prob(eps) + log_weight).softmax(dim=0)


@torch.no_grad()
def _mixture_points(
    flow: RealNVP, residual: str, lattice: tuple[int, int], shift: Float[Tensor, " 2"]
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]:
    """Points whose mean of f times exp(weight) is the integral of f Q, for f like G; weights as logarithms.

    Half of them follow Q and half G, with the weights of the balance heuristic (Veach and Guibas, 1995): wherever Q G
    is, one of both has points. They are images of a lattice that fills the unit square evenly.
    """
    number, step = lattice
    row = torch.arange(number, device=shift.device)  # whole numbers: not every device has float64
    even = torch.stack([row, row * step % number], dim=-1).to(shift.dtype) / number
    even = (even + shift).frac().clamp(1e-6, 1 - 1e-6)  # nothing at infinity
    side = (2 * even - 1).to(flow.get_buffer("moved").dtype)
    of_q = -side.sign() * (1 - side.abs()).log() if residual == "laplace" else math.sqrt(2) * side.erfinv()
    of_g: Tensor = flow(math.sqrt(2) * side.erfinv())[0]
    eps = torch.cat([of_q, of_g])
    log_q = -_distance(eps, residual)
    log_mixture = torch.logaddexp(log_q - math.log(MASS[residual]), flow.log_prob(eps)) - math.log(2)
    return eps, log_q - log_mixture


def _distance(eps: Float[Tensor, "*n 2"], residual: str) -> Float[Tensor, "*n"]:
    """-log Q(eps) up to a constant, which s cancels."""
    return (eps.abs() if residual == "laplace" else 0.5 * eps.square()).sum(dim=-1)
