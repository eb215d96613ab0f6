"""Weights in half the bytes: a network rounded to float16 once, and files that store without loss what that left.

Matrices and kernels are rounded to the numbers of float16 (IEEE 754 binary16: 11 significant bits), and are computed
with as float32 as before. Vectors, such as biases and the statistics of batch norms, are few and stay as they are. A
tensor that float16 holds exactly takes half the room in a file and reads back bit for bit, so rounding happens once
and every file made afterwards holds the same network.
"""

from __future__ import annotations

import copy
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from knuckle.methods.base import Method

FEWEST: Final = 1024
"""Numbers below which a tensor is not worth another type."""

LARGEST: Final = float(torch.finfo(torch.float16).max)


def rounded(method: Method) -> Method:
    """A copy of the network whose matrices and kernels hold numbers of float16 alone, in float32.

    Raises:
        ValueError: a weight is larger than float16 can hold; names its tensor.
    """
    found = copy.deepcopy(method)
    with torch.no_grad():
        for name, tensor in found.state_dict().items():
            if tensor.dtype == torch.float32 and tensor.ndim >= 2 and tensor.numel() >= FEWEST:
                largest = float(tensor.abs().max())
                if not largest <= LARGEST:
                    raise ValueError(f"{name} holds {largest:g}, and float16 ends at {LARGEST:g}; train it again.")
                tensor.copy_(tensor.half())
    return found


def compact(tensor: Tensor) -> Tensor:
    """The tensor as float16 where that loses nothing and is worth it, else as it is."""
    if tensor.dtype != torch.float32 or tensor.numel() < FEWEST:
        return tensor
    half = tensor.half()
    return half if torch.equal(half.float(), tensor) else tensor


def compact_array(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """As `compact`."""
    return compact(torch.from_numpy(array.copy())).numpy() if array.dtype == np.float32 else array
