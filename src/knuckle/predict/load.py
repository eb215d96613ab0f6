"""From a name on disk to a Predictor: run folders, weight files, ONNX files and MMPose checkpoints."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from knuckle.predict.predictor import Predictor

if TYPE_CHECKING:
    import torch

    from knuckle.methods.base import Method
    from knuckle.methods.weights import ModelSpec
    from knuckle.metrics.conformal import Calibration

Preset = Literal["freihand", "rhd"]

SHIPPED: Final = ("light", "accurate")
"""Names kept for models that will come with knuckle."""

RUN_WEIGHTS: Final = ("best.safetensors", "last.safetensors")
"""What a run folder is searched for, in this order."""

MMPOSE_SUFFIXES: Final = (".pth", ".pt")

_LOADABLE = "a run folder of knuckle train, a .safetensors or .onnx file of knuckle, or an MMPose .pth file"
_TRAINED = "a run folder of knuckle train, a .safetensors file or an MMPose .pth file"


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
            saved by knuckle, an .onnx file of `knuckle export`, or a .pth checkpoint of MMPose's FreiHAND or RHD
            heatmap models. Nothing in these files is executed.
        flip_test: average over each crop and its mirror image: twice the time, a little more exact.
        preset: which of MMPose's two training set-ups a .pth file comes from: "freihand" or "rhd".
            Default: what the file says (1.x), else its name, else "freihand".
        device: "cpu", "cuda", "cuda:1"... Default: the first GPU where there is one, else the CPU.
        batch_size: crops a forward pass.

    Raises:
        ValueError: there is nothing of that name that can be loaded, or no such device.
        ImportError: torch is not installed; ONNX files do without.
    """
    path = Path(name)
    weights = path if is_onnx(path) else weights_file(path, _LOADABLE)
    if preset is not None and weights.suffix not in MMPOSE_SUFFIXES:
        raise ValueError(f"preset={preset!r} is for MMPose's .pth checkpoints; {path} carries its own settings.")
    options: dict[str, Any] = {"flip_test": flip_test, "batch_size": batch_size}
    if is_onnx(weights):
        from knuckle.predict.onnx_engine import load_onnx

        stored = load_onnx(weights, device)
        return Predictor(stored.engine, stored.rule, calibration=stored.calibration, **options)
    try:
        import torch  # noqa: F401  # the modules below need it and cannot say so in a sentence
    except ModuleNotFoundError as error:
        raise ImportError(f"running {path} needs torch: pip install 'knuckle[train]'.") from error
    where = _device(device)
    model = read_model(weights, preset)
    return Predictor(model.method, model.spec.rule, calibration=model.calibration, device=where, **options)


def is_onnx(path: Path) -> bool:
    """Whether a path is that of an ONNX file."""
    return path.suffix == ".onnx" and path.is_file()


class StoredModel(NamedTuple):
    """All that a file of weights holds."""

    method: Method
    spec: ModelSpec
    notes: dict[str, Any]
    calibration: Calibration | None


def weights_file(path: Path, wanted: str = _TRAINED) -> Path:
    """The file that holds PyTorch's weights of what `load` takes.

    Args:
        path: the run folder or file.
        wanted: what the caller takes, for the message.

    Raises:
        ValueError: there is none that can be loaded.
    """
    if path.is_dir():
        found = [path / name for name in RUN_WEIGHTS if (path / name).is_file()]
        if not found:
            raise ValueError(f"{path} is a folder without {' or '.join(RUN_WEIGHTS)}; give {wanted}.")
        return found[0]
    if not path.exists():
        if path.name in SHIPPED:
            raise ValueError(f"this version comes without weights, so there is no model {str(path)!r}; give {wanted}.")
        raise ValueError(f"there is no model {path}; give {wanted}.")
    if path.suffix == ".onnx":
        raise ValueError(f"{path} is an ONNX file, which holds no weights to go on with; give {wanted}.")
    if path.suffix not in (".safetensors", *MMPOSE_SUFFIXES):
        raise ValueError(f"{path} is not a model that can be loaded; give {wanted}.")
    return path


def read_model(weights: Path, preset: Preset | None = None) -> StoredModel:
    """What a file of weights holds; MMPose's hold neither notes nor a calibration.

    Raises:
        ValueError: the file is damaged or of another kind.
    """
    if weights.suffix in MMPOSE_SUFFIXES:
        from knuckle.methods.mmpose import load_mmpose

        imported, spec = load_mmpose(weights, preset)
        return StoredModel(imported, spec, {}, None)
    from knuckle.methods.weights import load_calibration, load_model

    return StoredModel(*load_model(weights), load_calibration(weights))


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
