"""Where a training shows its figures while it runs: `fit(..., tracker=...)`."""

from pyrovae.training.trackers.services import MLflow, TensorBoard, WandB
from pyrovae.training.trackers.tracker import Tracker

__all__ = ["MLflow", "TensorBoard", "Tracker", "WandB"]
