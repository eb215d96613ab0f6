"""The restricted unpickler: arrays of every age come through, nothing else runs."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knuckle.formats.unpickle import read_pickle

CONTENT = {
    0: {"uv_vis": np.arange(126, dtype=np.float64).reshape(42, 3), "K": np.eye(3, dtype=np.float32)},
    7: {"flags": np.array([True, False]), "scalar": np.float32(2.5), "swapped": np.arange(3, dtype=">i4")},
    8: {"columns": np.asfortranarray(np.arange(6).reshape(2, 3)), "text": "a", "none": None, "list": [1, (2.0, b"x")]},
    9: {"empty": np.zeros((0, 3))},
}


def stored(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def assert_same(left: Any, right: Any) -> None:
    assert type(left) is type(right) or isinstance(left, np.ndarray)
    if isinstance(right, dict):
        assert left.keys() == right.keys()
        for key in right:
            assert_same(left[key], right[key])
    elif isinstance(right, np.ndarray):
        assert left.dtype.newbyteorder("=") == right.dtype.newbyteorder("=")
        np.testing.assert_array_equal(left, right)
    else:
        assert left == right


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol(protocol: int, tmp_path: Path) -> None:
    assert_same(read_pickle(stored(tmp_path / "a.pickle", pickle.dumps(CONTENT, protocol))), CONTENT)


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_arrays_of_numpy_before_and_after_its_renaming(module: bytes, tmp_path: Path) -> None:
    data = pickle.dumps(CONTENT, protocol=2)
    assert b"cnumpy._core.multiarray\n" in data or b"cnumpy.core.multiarray\n" in data
    data = data.replace(b"numpy._core.multiarray", module).replace(b"numpy.core.multiarray", module)
    assert_same(read_pickle(stored(tmp_path / "a.pickle", data)), CONTENT)


def test_arrays_of_python_2(tmp_path: Path) -> None:
    """Python 2 writes bytes as short binary strings and dtype codes as such."""
    values = np.arange(4, dtype="<f4").reshape(2, 2)
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85q\x03U\x01bq\x04\x87Rq\x05"
        b"(K\x01K\x02K\x02\x86cnumpy\ndtype\nq\x06U\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        b"K\x00tb\x89U\x10" + values.tobytes() + b"tb."
    )
    np.testing.assert_array_equal(read_pickle(stored(tmp_path / "a.pickle", data)), values)


class Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_wants_to_run_a_program_is_refused(protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    file = stored(tmp_path / "a.pickle", pickle.dumps({0: Call(os.system, f"touch {marker}")}, protocol))
    with pytest.raises(ValueError, match=r"a\.pickle is refused: it asks for posix\.system"):
        read_pickle(file)
    assert not marker.exists()
    pickle.loads(file.read_bytes())  # the marker does appear where nothing is refused
    assert marker.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("eval", Call(eval, "1 + 1")),
        ("open", Call(open, "/dev/null")),
        ("getattr", Call(getattr, "text", "format")),
        ("Path", Path("x")),
        ("an array of dtype 'O8'", np.array([{}, None], dtype=object)),
        ("an array of dtype 'V8'", np.zeros(2, dtype=[("x", "f4"), ("y", "i4")])),
        ("an array of dtype 'M8'", np.zeros(2, dtype="M8[s]")),
        ("the codec 'zlib_codec'", None),
    ],
)
def test_everything_but_plain_arrays_is_refused(name: str, content: Any, tmp_path: Path) -> None:
    if content is None:
        data = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x0a\x00\x00\x00zlib_codec\x86R."
    else:
        data = pickle.dumps(content, protocol=2)
    with pytest.raises(ValueError, match=rf"a\.pickle is refused: it asks for .*{re.escape(name)}"):
        read_pickle(stored(tmp_path / "a.pickle", data))


def test_the_array_type_cannot_be_called(tmp_path: Path) -> None:
    """numpy.ndarray((1,), object, bytes) would follow a pointer of the file's choice."""
    data = b"\x80\x02cnumpy\nndarray\nK\x01\x85X\x01\x00\x00\x00OC\x08aaaaaaaa\x87R."
    with pytest.raises(ValueError, match="truncated or not a pickle"):
        read_pickle(stored(tmp_path / "a.pickle", data))


@pytest.mark.parametrize("shape", ["K\x05\x85", "J\xff\xff\xff\xff\x85", "K\x02K\x02\x86"])
def test_a_shape_that_its_bytes_do_not_fill_is_refused(shape: str, tmp_path: Path) -> None:
    data = pickle.dumps(np.arange(2, dtype="f4"), protocol=2)
    assert data.count(b"K\x01K\x02\x85") == 1
    broken = data.replace(b"K\x01K\x02\x85", b"K\x01" + shape.encode("latin1"))
    with pytest.raises(ValueError, match="an array of shape"):
        read_pickle(stored(tmp_path / "a.pickle", broken))


@pytest.mark.parametrize("data", [b"", b"\x80", b"hello", b"PK\x03\x04", b"(lp0\nI1\n", b"\x80\x02}q\x00b."])
def test_garbage_gets_a_sentence(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.pickle is truncated or not a pickle"):
        read_pickle(stored(tmp_path / "a.pickle", data))


def test_a_truncated_pickle_gets_a_sentence_wherever_it_is_cut(tmp_path: Path) -> None:
    data = pickle.dumps(CONTENT, protocol=2)
    for length in range(0, len(data), 97):
        with pytest.raises(ValueError, match=r"a\.pickle is (truncated or not a pickle|refused)"):
            read_pickle(stored(tmp_path / "a.pickle", data[:length]))


def test_a_missing_pickle_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.pickle cannot be read \(No such file"):
        read_pickle(tmp_path / "none.pickle")
