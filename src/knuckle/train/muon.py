"""The optimizer Muon: the update of every kernel is made orthogonal, and Adam moves the rest.

timm and torch have Muons too, but compute in bfloat16 whatever the machine. On a CPU without instructions for it, that
made a whole step of training take seven times as long (8.0 s instead of 1.1 for `light`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor

MOMENTUM: Final = 0.95
BETAS: Final = (0.9, 0.95)
"""Of Adam."""
EPSILON: Final = 1e-7
COEFFICIENTS: Final = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
"""a, b, c of each step of `orthogonal`; chosen by Cesista, Jiacheng and Jordan (2025), "Squeezing 1-2% efficiency gains
out of Muon", so that five steps bring singular values from 0.001 to 1 near to 1."""
LEAST_SIDE: Final = 4
RMS_OF_ADAM: Final = 0.2


class Muon(torch.optim.Optimizer):
    """Muon (Jordan, 2024) with Nesterov momentum for kernels, and Adam with decoupled weight decay for all else.

    A kernel is a matrix with a row an output channel. Its orthogonal update is scaled to the size of Adam's, so that
    the learning rates of both compare (Liu and others, 2025, "Muon is Scalable for LLM Training", equation 4).
    Depthwise kernels and those with fewer than `LEAST_SIDE` rows or columns have no directions to speak of, and
    follow Adam.

    Args:
        params: parameters, or groups of them with their own `weight_decay`, as torch's optimizers take them.
        lr: the learning rate.
        weight_decay: of groups that say none.
    """

    def __init__(self, params: Iterable[dict[str, Any]], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                update = self._muon(parameter) if is_kernel(parameter) else self._adam(parameter)
                parameter.add_(update, alpha=-group["lr"])
        return loss

    def _muon(self, parameter: Tensor) -> Tensor:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        matrix = gradient.lerp(momentum, MOMENTUM).flatten(1)
        update: Tensor = RMS_OF_ADAM * max(matrix.shape) ** 0.5 * orthogonal(matrix)
        return update.view_as(parameter)

    def _adam(self, parameter: Tensor) -> Tensor:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        mean: Tensor = state["mean"].lerp_(gradient, 1 - BETAS[0])
        square: Tensor = state["square"].lerp_(gradient.square(), 1 - BETAS[1])
        first, second = (1 - beta ** float(state["step"]) for beta in BETAS)
        update: Tensor = (mean / first) / ((square / second).sqrt() + EPSILON)
        return update


def is_kernel(parameter: Tensor) -> bool:
    """Whether a parameter is a matrix, or a convolution's kernel that is one with its rows laid flat."""
    if parameter.ndim < 2 or parameter.shape[1] == 1:
        return False
    return min(parameter.shape[0], parameter[0].numel()) >= LEAST_SIDE


def orthogonal(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """About U V^T of a matrix U S V^T, by the Newton-Schulz iteration of Muon: matrix products alone.

    Singular values end between 0.7 and 1.2 instead of at 1, which is as good to learn with. Each step multiplies from
    the left with a polynomial of X X^T, so that all of them together are one square matrix, found with products of
    square matrices: for kernels, which are wider than tall, less than half the arithmetic of stepping with X itself.
    X X^T squares the singular values, which bfloat16 is too coarse for: float32 or better.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.mT if tall else matrix
    x = x / x.norm().clamp_min(EPSILON)
    gram = x @ x.mT
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    whole: Tensor = identity
    for a, b, c in COEFFICIENTS:
        before = whole @ gram @ whole
        whole = torch.addmm(a * identity + b * before, before, before, alpha=c) @ whole
    x = whole @ x
    return x.mT if tall else x
