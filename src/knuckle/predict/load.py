"""From a name on disk to a Predictor: run folders, weight files and MMPose checkpoints."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import torch

    from knuckle.geometry import CropRule
    from knuckle.methods.base import Method
    from knuckle.predict.predictor import Predictor

Preset = Literal["freihand", "rhd"]

SHIPPED: Final = ("light", "accurate")
"""Names kept for models that will come with knuckle."""

RUN_WEIGHTS: Final = ("best.safetensors", "last.safetensors")
"""What a run folder is searched for, in this order."""

MMPOSE_SUFFIXES: Final = (".pth", ".pt")

_LOADABLE = "a run folder of knuckle train, a .safetensors file or an MMPose .pth file"


def load(
    name: str | PathLike[str],
    *,
    flip_test: bool = False,
    preset: Preset | None = None,
    device: str | None = None,
    batch_size: int = 32,
) -> Predictor:
    """A model, ready to predict.

    Args:
        name: a run folder of `knuckle train` (its best weights, else its last), a .safetensors file
            saved by knuckle, or a .pth checkpoint of MMPose's FreiHAND or RHD heatmap models.
            Nothing in these files is executed.
        flip_test: average over each crop and its mirror image: twice the time, a little more exact.
        preset: which of MMPose's two training set-ups a .pth file comes from: "freihand" or "rhd".
            Default: what the file says (1.x), else its name, else "freihand".
        device: "cpu", "cuda", "cuda:1"... Default: the first GPU where there is one, else the CPU.
        batch_size: crops a forward pass.

    Raises:
        ValueError: there is nothing of that name that can be loaded, or no such device.
        ImportError: torch is not installed.
    """
    path = Path(name)
    weights = _weights_file(path)
    if preset is not None and weights.suffix not in MMPOSE_SUFFIXES:
        raise ValueError(f"preset={preset!r} is for MMPose's .pth checkpoints; {path} carries its own settings.")
    try:
        import torch  # noqa: F401  # the modules below need it and cannot say so in a sentence
    except ModuleNotFoundError as error:
        raise ImportError(f"running {path} needs torch: pip install 'knuckle[train]'.") from error
    from knuckle.predict.predictor import Predictor

    where = _device(device)
    method, rule = _read(weights, preset)
    return Predictor(method, rule, flip_test=flip_test, device=where, batch_size=batch_size)


def _weights_file(path: Path) -> Path:
    """The file that holds the weights. ValueError where there is none that can be loaded."""
    if path.is_dir():
        found = [path / name for name in RUN_WEIGHTS if (path / name).is_file()]
        if not found:
            raise ValueError(f"{path} is a folder without {' or '.join(RUN_WEIGHTS)}; give {_LOADABLE}.")
        return found[0]
    if not path.exists():
        if path.name in SHIPPED:
            raise ValueError(
                f"this version comes without weights, so there is no model {str(path)!r}; give {_LOADABLE}."
            )
        raise ValueError(f"there is no model {path}; give {_LOADABLE}.")
    if path.suffix == ".onnx":
        raise ValueError(f"{path}: this version cannot run ONNX files; give {_LOADABLE}.")
    if path.suffix not in (".safetensors", *MMPOSE_SUFFIXES):
        raise ValueError(f"{path} is not a model that can be loaded; give {_LOADABLE}.")
    return path


def _read(weights: Path, preset: Preset | None) -> tuple[Method, CropRule]:
    if weights.suffix in MMPOSE_SUFFIXES:
        from knuckle.methods.mmpose import load_mmpose

        imported, spec = load_mmpose(weights, preset)
        return imported, spec.rule
    from knuckle.methods.weights import load_model

    method, spec, _ = load_model(weights)
    return method, spec.rule


def _device(name: str | None) -> torch.device:
    """The device of that name, or the best there is. ValueError where this machine has none such."""
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"this machine has no device {name!r}; knuckle doctor lists what it has.") from error
    return device
