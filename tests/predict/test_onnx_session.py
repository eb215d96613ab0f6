"""Sessions of onnxruntime: number of threads, and no spinning once a run is over."""

from __future__ import annotations

import pytest

from knuckle.predict.detector import shipped_detector
from knuckle.predict.load import load
from knuckle.predict.onnx_engine import OnnxEngine
from knuckle.predict.onnx_session import NOTHING, session_options


@pytest.mark.parametrize(("threads", "expected"), [(None, 0), (0, 0), (3, 3)])
def test_threads_stop_when_a_run_is_over(threads: int | None, expected: int) -> None:
    options = session_options(threads, NOTHING)
    assert options.intra_op_num_threads == expected
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_network_and_detector_run_so() -> None:
    network, detector = load("light", device="cpu", threads=1).engine, shipped_detector()
    assert isinstance(network, OnnxEngine)
    for session in (network._session, detector._session):
        options = session.get_session_options()
        assert options.get_session_config_entry("session.force_spinning_stop") == "1"
