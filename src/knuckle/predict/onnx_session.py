"""How onnxruntime runs graphs here: its threads do not wait for one another's.

A thread of onnxruntime that has no work left spins for a while in case more comes. Detector and network each have
threads of their own and take turns, so that those of the one would spin on the cores that the other needs: on two cores
that doubled the time of both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import onnxruntime

ERRORS_ALONE: Final = 3
NOTHING: Final = 4
"""What onnxruntime may write to stderr; what is wrong with a file is raised, too."""


def session_options(threads: int | None, severity: int) -> onnxruntime.SessionOptions:
    """Options of a session.

    Args:
        threads: that share one forward pass on the CPU; None or 0 takes one a core.
        severity: what may be written to stderr, `ERRORS_ALONE` or `NOTHING`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = severity
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options
