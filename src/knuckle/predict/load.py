"""From a name to a Predictor: shipped models, run folders, weight files, exported files and MMPose checkpoints."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from knuckle.devices import torch_device
from knuckle.predict.detector import Detector, OnnxDetector, shipped_detector
from knuckle.predict.predictor import Predictor
from knuckle.predict.shipped import ONNX, SAFETENSORS, is_shipped, shipped_file

if TYPE_CHECKING:
    from knuckle.methods.base import Method
    from knuckle.methods.weights import ModelSpec
    from knuckle.metrics.conformal import Calibration
    from knuckle.predict.graph_engine import GraphModel

Preset = Literal["freihand", "rhd"]

EngineName = Literal["onnxruntime", "openvino", "torch"]
"""What can run a model."""

RUN_WEIGHTS: Final = ("best.safetensors", "last.safetensors")
"""What a run folder is searched for, in this order."""

MMPOSE_SUFFIXES: Final = (".pth", ".pt")

_GRAPHS: Final[dict[str, EngineName]] = {".onnx": "onnxruntime", ".xml": "openvino"}
"""Suffixes of exported files, and what runs them; capital letters count as small ones."""

_LOADABLE = (
    "'light' or 'light_rendered', a run folder of knuckle train, a .safetensors, .onnx or .xml file of "
    "knuckle, or an MMPose .pth file"
)
_TRAINED = "'light' or 'light_rendered', a run folder of knuckle train, a .safetensors file or an MMPose .pth file"


def load(
    name: str | PathLike[str] = "light",
    *,
    flip_test: bool = False,
    preset: Preset | None = None,
    device: str | None = None,
    batch_size: int = 32,
    engine: EngineName | None = None,
    threads: int | None = None,
    detector: Detector | str | PathLike[str] | None = None,
) -> Predictor:
    """A model, ready to predict.

    Args:
        name: a model that comes with knuckle, "light" or "light_rendered"; a run folder of `knuckle
            train` (its best weights, else its last), a .safetensors file saved by knuckle, an .onnx or OpenVINO .xml
            file of `knuckle export`, or a .pth checkpoint of MMPose's FreiHAND or RHD heatmap models. Nothing in these
            files is executed. The text "light" alone is the shipped model whatever lies in the working directory;
            "./light" is yours.
        flip_test: average over each crop and its mirror image: twice the time, a little more exact.
        preset: which of MMPose's two training set-ups a .pth file comes from: "freihand" or "rhd".
            Default: what the file says (1.x), else its name, else "freihand".
        device: "cpu", "cuda", "cuda:1"... Default: the first GPU where there is one, else the CPU.
        batch_size: crops a forward pass.
        engine: what runs a shipped model: "torch" takes its weights, to go on with; default "onnxruntime". Every other
            file has one engine, and naming another is an error.
        threads: that an exported file shares a forward pass among on the CPU; default one a core. PyTorch's are set
            for the whole process, by torch.set_num_threads.
        detector: what finds the hands of images without boxes: an object with `detect`
            (`knuckle.predict.detector.Detector`), or an .onnx file of knuckle's. Default: the one that comes with it.

    Raises:
        ValueError: there is nothing of that name that can be loaded, or no such device.
        ImportError: what runs the file is not installed; ONNX files need the base install alone.
    """
    if engine not in (None, *get_args(EngineName)):
        raise ValueError(f"engine is one of {', '.join(get_args(EngineName))}, got {engine!r}.")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}; leave it out for one a core.")
    path, runs = _choose(name, engine)
    if preset is not None and path.suffix.lower() not in MMPOSE_SUFFIXES:
        raise ValueError(f"preset={preset!r} is for MMPose's .pth checkpoints; {path} carries its own settings.")
    if threads is not None and runs == "torch":
        raise ValueError(
            f"threads={threads} is for exported files, and PyTorch runs {path}; set its own by torch.set_num_threads."
        )
    options: dict[str, Any] = {"flip_test": flip_test, "batch_size": batch_size}
    if runs != "torch":
        graph = _load_graph(path, runs, device, threads)
        finder = _detector(detector, threads or 0, graph.engine.has_hand_head)
        return Predictor(graph.engine, graph.rule, calibration=graph.calibration, detector=finder, **options)
    try:
        import torch  # noqa: F401  # the modules below need it and cannot say so in a sentence
    except ModuleNotFoundError as error:
        raise ImportError(f"running {path} needs torch: pip install 'knuckle[train]'.") from error
    where = torch_device(device)
    model = read_model(path, preset)
    finder = _detector(detector, 0, model.method.hand_head is not None)
    return Predictor(
        *(model.method, model.spec.rule), calibration=model.calibration, device=where, detector=finder, **options
    )


def _detector(given: Detector | str | PathLike[str] | None, threads: int, is_judged: bool) -> Detector:
    """What finds hands for a network that has a hand head to judge them, or has none."""
    if given is None:
        return shipped_detector(threads, proposing=is_judged)
    if isinstance(given, str | PathLike):
        return OnnxDetector(given, threads=threads, proposing=is_judged)
    if not isinstance(given, Detector):
        raise ValueError(f"detector must be an .onnx file or an object with a method detect, got {given!r}.")
    return given


def _choose(name: str | PathLike[str], engine: EngineName | None) -> tuple[Path, EngineName]:
    """The file that is meant, and what runs it."""
    if is_shipped(name):
        if engine == "openvino":
            raise ValueError(f"{name} comes as ONNX: knuckle export {name} --out {name}.xml makes a file for OpenVINO.")
        torch_wanted = engine == "torch"
        return shipped_file(
            str(name), SAFETENSORS if torch_wanted else ONNX
        ), "torch" if torch_wanted else "onnxruntime"
    path = Path(name)
    runs = engine_of(path)
    if runs == "torch":
        path = weights_file(name, _LOADABLE)
    if engine not in (None, runs):
        raise ValueError(f"{path} is run by {runs}, not by {engine}; leave engine out, or give another file.")
    return path, runs


def engine_of(path: Path) -> EngineName:
    """What runs a path: what its suffix says of a file, else PyTorch."""
    return _GRAPHS.get(path.suffix.lower(), "torch") if path.is_file() else "torch"


def _load_graph(path: Path, runs: EngineName, device: str | None, threads: int | None) -> GraphModel:
    if runs == "openvino":
        from knuckle.predict.openvino_engine import load_openvino

        return load_openvino(path, device, threads)
    from knuckle.predict.onnx_engine import load_onnx

    return load_onnx(path, device, threads)


class StoredModel(NamedTuple):
    """All that a file of weights holds."""

    method: Method
    spec: ModelSpec
    notes: dict[str, Any]
    calibration: Calibration | None


def weights_file(name: str | PathLike[str], wanted: str = _TRAINED) -> Path:
    """The file that holds PyTorch's weights of what `load` takes.

    Args:
        name: a shipped model, a run folder or a file.
        wanted: what the caller takes, for the message.

    Raises:
        ValueError: there is none that can be loaded.
    """
    if is_shipped(name):
        return shipped_file(str(name), SAFETENSORS)
    if not fspath(name):
        raise ValueError(f"the name of the model is empty; give {wanted}.")
    path = Path(name)
    if path.is_dir():
        found = [path / name for name in RUN_WEIGHTS if (path / name).is_file()]
        if not found:
            raise ValueError(f"{path} is a folder without {' or '.join(RUN_WEIGHTS)}; give {wanted}.")
        return found[0]
    if not path.exists():
        raise ValueError(f"there is no model {path}; give {wanted}.")
    if path.suffix.lower() in _GRAPHS:
        raise ValueError(f"{path} is an exported file, which holds no weights to go on with; give {wanted}.")
    if path.suffix.lower() not in (".safetensors", *MMPOSE_SUFFIXES):
        raise ValueError(f"{path} is not a model that can be loaded; give {wanted}.")
    return path


def read_model(weights: Path, preset: Preset | None = None) -> StoredModel:
    """What a file of weights holds; MMPose's hold neither notes nor a calibration.

    Raises:
        ValueError: the file is damaged or of another kind.
    """
    if weights.suffix.lower() in MMPOSE_SUFFIXES:
        from knuckle.methods.mmpose import load_mmpose

        imported, spec = load_mmpose(weights, preset)
        return StoredModel(imported, spec, {}, None)
    from knuckle.methods.weights import load_calibration, load_model

    return StoredModel(*load_model(weights), load_calibration(weights))
