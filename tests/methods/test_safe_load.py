"""Checkpoints that others wrote: what loads, what is refused, and that nothing runs."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from knuckle.methods.safe_load import load_checkpoint, load_state_dict


class Bomb:
    """A pickle of it touches a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_calls_functions_is_refused_and_does_not_run(tmp_path: Path, zipped: bool) -> None:
    marker, path = tmp_path / "ran", tmp_path / "bomb.pth"
    torch.save({"state_dict": {}, "extra": Bomb(marker)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"asks for \S+, which could run code"):
        load_checkpoint(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "or the bomb was a dud"


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(0,), (21, 3), ()])
@pytest.mark.parametrize("zipped", [True, False])
def test_number_arrays_are_stepped_over(tmp_path: Path, dtype: str, shape: tuple[int, ...], zipped: bool) -> None:
    array = np.ones(shape, dtype=dtype)
    weight = torch.arange(3.0)
    content = {"meta": {"array": array, "number": array.sum()}, "weight": weight}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert torch.equal(loaded["weight"], weight)
    assert not isinstance(loaded["meta"]["array"], np.ndarray)


def test_a_file_cannot_make_objects_out_of_bytes(tmp_path: Path) -> None:
    """numpy.ndarray((1,), "O8", buffer) would be an array of pointers that the file chose."""
    torch.save({"array": 0}, tmp_path / "a.pth")
    hostile = b"\x80\x02}q\x00X\x05\x00\x00\x00arraycnumpy\nndarray\n(K\x01\x85X\x02\x00\x00\x00O8c_codecs\nencode\n"
    hostile += b"X\x08\x00\x00\x00ABCDEFGHX\x06\x00\x00\x00latin1\x86RtRs."
    with zipfile.ZipFile(tmp_path / "a.pth") as old, zipfile.ZipFile(tmp_path / "hostile.pth", "w") as new:
        for name in old.namelist():
            new.writestr(name, hostile if name.endswith("data.pkl") else old.read(name))
    assert not isinstance(load_checkpoint(tmp_path / "hostile.pth")["array"], np.ndarray)


def test_an_array_of_objects_cannot_smuggle_a_call(tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "objects.pth"
    torch.save({"array": np.array([Bomb(marker)], dtype=object)}, path)
    with pytest.raises(ValueError, match="could run code"):
        load_checkpoint(path)
    assert not marker.exists()


def test_what_is_admitted_is_forgotten_again(tmp_path: Path) -> None:
    torch.save({"array": np.ones(3)}, tmp_path / "a.pth")
    load_checkpoint(tmp_path / "a.pth")
    with pytest.raises(Exception, match="numpy"):
        torch.load(tmp_path / "a.pth", weights_only=True)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_files(tmp_path: Path, keep: float, suffix: str) -> None:
    path = tmp_path / f"cut{suffix}"
    tensors = {"weight": torch.randn(64, 64)}
    if suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ValueError, match="truncated or no") as caught:
        load_state_dict(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"<html>404</html>", b"version https://git-lfs.github.com/spec/v1\n", b"\x80\x02."]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_foreign_files(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"foreign{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="truncated or no"):
        load_state_dict(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_missing_file(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ValueError, match="is no file"):
        load_state_dict(tmp_path / f"missing{suffix}")


@pytest.mark.parametrize("checkpoint", [{"epoch": 3}, [torch.ones(3)], 7, {"state_dict": {}}])
def test_a_file_without_named_tensors(tmp_path: Path, checkpoint: object) -> None:
    torch.save(checkpoint, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="holds no state_dict"):
        load_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_where_training_programs_keep_the_tensors(tmp_path: Path, wrapper: str | None) -> None:
    tensors = {"conv1.weight": torch.arange(3.0)}
    torch.save(tensors if wrapper is None else {wrapper: tensors, "ema_state_dict": {}}, tmp_path / "a.pth")
    loaded = load_state_dict(tmp_path / "a.pth")
    assert list(loaded) == ["conv1.weight"]
    assert torch.equal(loaded["conv1.weight"], tensors["conv1.weight"])
