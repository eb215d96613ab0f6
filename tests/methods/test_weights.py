"""Models as files: there and back bit for bit, and every way a file can be wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from knuckle.geometry import CropRule
from knuckle.methods import Method
from knuckle.methods.hand_head import HandHead
from knuckle.methods.weights import FILE_VERSION, ModelSpec, build, load_calibration, load_model, save_model
from knuckle.metrics import Calibration
from knuckle.metrics.conformal import fit
from tests.metrics.stated import stated

SPEC = ModelSpec(
    "heatmap",
    "mobilenetv3_small_050",
    CropRule(size=64, padding=1.7, frame_padding=0.8, alignment="corner"),
    {"sigma": 1.5, "decoder": "dark", "width": 16},
)
NOTES = {"epoch": 3, "validation": {"epe": 2.5}, "words": "ä"}


@pytest.fixture(scope="module")
def method() -> Method:
    torch.manual_seed(0)
    return build(SPEC)


@pytest.fixture
def path(method: Method, tmp_path: Path) -> Path:
    save_model(tmp_path / "new" / "model.safetensors", method, SPEC, NOTES)
    return tmp_path / "new" / "model.safetensors"


def header_of(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        header: dict[str, Any] = json.loads(file.metadata()["knuckle"])
    return header


def rewrite(path: Path, tensors: dict[str, torch.Tensor] | None = None, **header: Any) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    old = json.loads(metadata["knuckle"])
    metadata["knuckle"] = json.dumps({**old, **header})
    save_file(load_file(path) if tensors is None else tensors, path, metadata=metadata)


def test_there_and_back(method: Method, path: Path) -> None:
    loaded, spec, notes = load_model(path)
    assert (spec, notes) == (SPEC, NOTES)
    assert not loaded.training
    for name, tensor in method.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    method.eval()
    with torch.no_grad():
        assert torch.equal(loaded(images)["heatmaps"], method(images)["heatmaps"])


def test_channels_last_weights_are_saved_as_any_other(method: Method, path: Path, tmp_path: Path) -> None:
    other = build(SPEC).to(memory_format=torch.channels_last)
    other.load_state_dict(method.state_dict())
    save_model(tmp_path / "other.safetensors", other, SPEC, NOTES)
    assert (tmp_path / "other.safetensors").read_bytes() == path.read_bytes()


def test_nothing_but_the_model_is_left_in_the_folder(method: Method, path: Path) -> None:
    save_model(path, method, SPEC, {})
    assert [entry.name for entry in path.parent.iterdir()] == ["model.safetensors"]
    assert load_model(path)[2] == {}


def test_a_write_that_fails_leaves_the_old_file(method: Method, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ValueError, match=r"cannot be written to .* \(No space left on device\)"):
        save_model(path, method, SPEC, {})
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


def test_a_folder_that_is_a_file(method: Method, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot be written"):
        save_model(tmp_path / "file" / "model.safetensors", method, SPEC, {})


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.999])
def test_truncated_files(path: Path, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ValueError, match="truncated or no safetensors file"):
        load_model(path)


def test_files_of_other_programs(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="of another program"):
        load_model(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="is no file"):
        load_model(tmp_path / "missing.safetensors")


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ({"version": FILE_VERSION + 1}, "has layout 3, this knuckle reads up to 2; update knuckle"),
        ({"version": "new"}, "describes no model"),
        ({"method": "telepathy"}, "no method named 'telepathy'; choose one of heatmap"),
        ({"rule": {"size": 64, "colour": 3}}, "describes no model"),
        ({"rule": 3}, "describes no model"),
        ({"rule": {"size": 10**9}}, "describes no model"),
        ({"version": float("inf")}, "describes no model"),
        ({"options": {"width": 10**6}}, "option width is 1000000, its tensors' longest side"),
        ({"options": {"width": -1}}, "width must be positive"),
        (
            {"options": {"width": "wide"}},
            "the option width of the method 'heatmap' should be a whole number, got 'wide'",
        ),
        ({"options": None}, "describes no model"),
        ({"options": {"width": f"{10**6}"}}, "option width is 1000000, its tensors' longest side"),
        ({"options": {"stages": 3}}, "the method 'heatmap' has no option 'stages'"),
        ({"options": {"num_joints": 5}}, "num_joints is not an option"),
        ({"backbone": "resnet5O"}, "no backbone named"),
        ({"backbone": "resnet10t"}, "does not fit the network it describes: .* and [0-9]+ more"),
    ],
)
def test_wrong_descriptions(path: Path, header: dict[str, Any], sentence: str) -> None:
    rewrite(path, **header)
    with pytest.raises(ValueError, match=sentence) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_wrong_tensors(path: Path) -> None:
    tensors = load_file(path)
    final = tensors.pop("final.weight")
    rewrite(path, tensors)
    with pytest.raises(ValueError, match=r"describes: final.weight is missing\."):
        load_model(path)
    rewrite(path, {**tensors, "final.weight": final[:3].clone(), "extra": torch.zeros(1)})
    with pytest.raises(
        ValueError, match=r"extra is unknown, final.weight is \(3, 16, 1, 1\) instead of \(21, 16, 1, 1\)\."
    ):
        load_model(path)


def test_numbers_of_another_kind(path: Path) -> None:
    tensors = load_file(path)
    rewrite(path, {**tensors, "final.weight": tensors["final.weight"].to(torch.int32)})
    with pytest.raises(ValueError, match=r"final.weight holds torch.int32 instead of torch.float32"):
        load_model(path)


def test_a_header_that_promises_more_than_the_file_holds(tmp_path: Path) -> None:
    """The format: eight bytes with the length of the header, the header as JSON, the numbers."""
    for name, header in (
        ("long", (2**62).to_bytes(8, "little") + b"{}"),
        ("vast", b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}'),
        ("deep", b"[" * 100_000),
        ("typed", b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}'),
    ):
        content = header if name == "long" else len(header).to_bytes(8, "little") + header + b"0000"
        (tmp_path / f"{name}.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match="truncated or no safetensors file") as refusal:
            load_model(tmp_path / f"{name}.safetensors")
        assert "\n" not in str(refusal.value)


def test_build_takes_backbone_weights_from_a_file(method: Method, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no file"):
        build(SPEC, weights=str(tmp_path / "missing.pth"))
    with pytest.raises(ValueError, match="no method named"):
        build(replace(SPEC, method="none"))


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return fit(*stated(30))


def test_a_calibration_goes_with_the_model(method: Method, path: Path, calibration: Calibration) -> None:
    assert load_calibration(path) is None
    plain = path.read_bytes()
    save_model(path, method, SPEC, NOTES, calibration)
    assert load_calibration(path) == calibration
    assert load_model(path)[1:] == (SPEC, NOTES)
    save_model(path, method, SPEC, NOTES)
    assert path.read_bytes() == plain, "a model without one is written as before there were any"


def test_a_damaged_calibration(method: Method, path: Path, calibration: Calibration) -> None:
    save_model(path, method, SPEC, NOTES, calibration)
    rewrite(path, calibration={**calibration.to_dict(), "scale": [1.0]})
    with pytest.raises(ValueError, match=r"model\.safetensors: .* 21 scales .* Calibrate the model again\."):
        load_calibration(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="truncated"):
        load_calibration(path)
    with pytest.raises(ValueError, match="is no file"):
        load_calibration(path.with_name("missing.safetensors"))


@pytest.fixture
def with_head() -> Method:
    torch.manual_seed(1)
    method = build(SPEC).eval()
    head = HandHead(method.features_of(torch.zeros(1, 3, 64, 64))[-1].shape[1], 2)
    for buffer in head.buffers():
        buffer.normal_()
    method.hand_head = head
    return method


def test_a_hand_head_goes_with_the_model(with_head: Method, path: Path) -> None:
    plain = path.read_bytes()
    assert load_model(path)[0].hand_head is None
    save_model(path, with_head, SPEC, NOTES)
    loaded, spec, notes = load_model(path)
    assert (spec, notes) == (SPEC, NOTES)
    assert loaded.hand_head is not None
    assert with_head.hand_head is not None
    maps = loaded.features_of(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))[-1]
    assert torch.equal(loaded.hand_head(maps), with_head.hand_head(maps))
    assert header_of(path)["version"] == 2, "older versions do not know of it and must say so"
    loaded.hand_head = None
    save_model(path, loaded, SPEC, NOTES)
    assert header_of(path)["version"] == 1
    assert len(path.read_bytes()) == len(plain)


@pytest.mark.parametrize("stored", [{"channels": 10**9, "grid": 2}, {"channels": 8}, {"channels": "x", "grid": 2}, 3])
def test_a_damaged_hand_head(with_head: Method, path: Path, stored: Any) -> None:
    save_model(path, with_head, SPEC, NOTES)
    rewrite(path, hand_head=stored)
    with pytest.raises(ValueError, match="describes no model that can be built"):
        load_model(path)


def test_a_hand_head_without_its_weights(with_head: Method, path: Path) -> None:
    save_model(path, with_head, SPEC, NOTES)
    rewrite(path, {name: tensor for name, tensor in load_file(path).items() if name != "hand_head.bias"})
    with pytest.raises(ValueError, match=r"hand_head\.bias is missing"):
        load_model(path)
