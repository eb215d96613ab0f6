"""Models by name: where their files come from, which engine runs them, and what a user's own "light" is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import knuckle
from knuckle.cli import main
from knuckle.export import export_onnx
from knuckle.methods.half import rounded
from knuckle.methods.weights import save_model
from knuckle.predict import shipped
from knuckle.predict.load import weights_file
from knuckle.predict.onnx_engine import OnnxEngine
from knuckle.predict.torch_engine import TorchEngine
from tests.export.models import calibration, stored
from tests.predict.centroid import light_at, save_rgb


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of package data with a small "light", and no "accurate"."""
    folder = tmp_path_factory.mktemp("assets")
    full = stored("rle", calibration("covariance"))
    model = full._replace(method=rounded(full.method))
    save_model(folder / "light.safetensors", model.method, model.spec, {}, model.calibration)
    export_onnx(model, folder / "light.onnx")
    return folder


@pytest.fixture
def installed(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as if it were the package's, seen from an empty working directory."""
    monkeypatch.setattr(shipped, "ASSETS", assets)
    monkeypatch.chdir(tmp_path)
    return assets


def test_both_engines_give_the_same_keypoints(installed: Path) -> None:
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (90, 120, 3), dtype=np.uint8) for _ in range(4)]
    boxes = [[[10, 20, 70, 80]], [[30, 5, 110, 60], [3, 3, 50, 40]], [], [[5, 5, 90, 70]]]
    light, again = knuckle.load("light"), knuckle.load("light", engine="torch", device="cpu")
    assert isinstance(light.engine, OnnxEngine)
    assert isinstance(again.engine, TorchEngine)
    one, other = light.predict(photos, boxes), again.predict(photos, boxes)
    assert np.nanmax(np.abs(one.xy - other.xy)) < 0.01
    assert one.confidence is not None
    assert other.confidence is not None
    np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-3)
    assert weights_file("light") == installed / "light.safetensors"


def test_the_bare_text_is_the_shipped_model_and_a_path_is_yours(installed: Path, tmp_path: Path) -> None:
    own = stored("integral", width=8)
    save_model(tmp_path / "light" / "best.safetensors", own.method, own.spec, {})
    assert isinstance(knuckle.load("light").engine, OnnxEngine)
    for path in ("./light", Path("light"), str(tmp_path / "light")):
        engine = knuckle.load(path, device="cpu").engine
        assert isinstance(engine, TorchEngine)
        assert engine.method.name == "integral"


def test_threads_reach_the_session(installed: Path) -> None:
    engine = knuckle.load("light", threads=1).engine
    assert isinstance(engine, OnnxEngine)
    assert engine._session.get_session_options().intra_op_num_threads == 1


def test_refusals(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes((installed / "light.onnx").read_bytes())
    for name, options, sentence in (
        ("accurate", {}, r"comes without the model 'accurate' \(it has light\); .* give \./accurate"),
        ("light", {"engine": "openvino"}, r"knuckle export light --out light\.xml"),
        ("m.onnx", {"engine": "torch"}, r"m\.onnx is run by onnxruntime, not by torch"),
        ("m.onnx", {"threads": 0}, "at least 1"),
        (str(installed / "light.safetensors"), {"threads": 2}, r"torch\.set_num_threads"),
        ("light", {"preset": "rhd"}, "carries its own settings"),
    ):
        with pytest.raises(ValueError, match=sentence) as refusal:
            knuckle.load(name, **options)
        assert "\n" not in str(refusal.value)


def test_a_package_without_models_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shipped, "ASSETS", tmp_path)
    with pytest.raises(ValueError, match=r"comes without the model 'light'; for a file or folder of that name give"):
        knuckle.load("light")


def test_calibrating_never_writes_into_the_package(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(installed.iterdir())
    assert main(["calibrate", "light", "labels.json"]) == 2
    assert "give --out FILE" in capsys.readouterr().err
    assert sorted(installed.iterdir()) == before


LOOK = """
import sys
from pathlib import Path
from knuckle.cli import main
from knuckle.predict import shipped
shipped.ASSETS = Path(sys.argv[1])
code = main(["predict", "one.png", "--boxes", "full", "--out", "x.csv"])
heavy = {"torch", "timm", "torchvision", "scipy", "matplotlib", "pandas", "pyarrow", "safetensors", "openvino", "onnx"}
print(sorted(heavy & set(sys.modules)))
raise SystemExit(code)
"""


def test_predict_takes_light_and_imports_nothing_heavy(installed: Path, tmp_path: Path) -> None:
    save_rgb(str(tmp_path / "one.png"), light_at((40, 30), (80, 60)))
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(installed)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    expected = knuckle.load("light").predict(tmp_path / "one.png", "full")
    np.testing.assert_allclose(knuckle.read(tmp_path / "x.csv").xy, expected.xy, atol=1e-3)
