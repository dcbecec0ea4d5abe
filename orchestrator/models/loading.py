"""A model at an address, ready to predict."""

from __future__ import annotations

from nmt.orchestrator.errors import RequestError, first_line
from nmt.orchestrator.experiment.model_address import read_model
from nmt.trainers.export.predictor import Predictor


def load_predictor(address: str, tracking: str | None = None, device: str = "cpu") -> Predictor:
    """Return the model at an address (:func:`~nmt.orchestrator.experiment.model_address.read_model`), ready.

    Raises:
        RequestError: There is no such model, it is damaged, or the device is not there.
    """
    model = read_model(address, tracking)
    try:
        return Predictor(model, device)
    except ValueError as error:
        raise RequestError(str(error)) from error
    except RuntimeError as error:
        raise RequestError(f"device {device}: {first_line(error)}") from error
