"""A model over a data set: `evaluate` computes the report, `write_report` makes it a folder."""

from knuckle.evaluate.compare import Compared, holds_predictions, predictions_from_file, predictions_of_model
from knuckle.evaluate.folder import write_report
from knuckle.evaluate.report import Report, evaluate

__all__ = [
    "Compared",
    "Report",
    "evaluate",
    "holds_predictions",
    "predictions_from_file",
    "predictions_of_model",
    "write_report",
]
