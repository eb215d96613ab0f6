"""The device that a name means to PyTorch on this machine, and what it computes well in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def torch_device(name: torch.device | str | None) -> torch.device:
    """The device of that name, such as "cpu" or "cuda:1"; None takes a GPU where there is one, else the CPU.

    Raises:
        ValueError: this machine has no such device.
    """
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"this machine has no device {str(name)!r}; knuckle doctor lists what it has.") from error
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; a CPU without them takes ten times as long in it."""
    import torch

    if device.type != "cpu":
        return True
    return torch.backends.mkldnn.is_available() and bool(  # type: ignore[no-untyped-call]
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
