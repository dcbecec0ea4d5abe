"""No More Tuning: multi-task training by priority.

``from nmt import Multipliers`` needs only torch, and works in any training loop. The other names are the verbs of the
command ``nmt``, for notebooks and schedulers::

    result = nmt.run("experiment.yaml", set={"training.max_epochs": 5})
    predictions = nmt.load(result).predict(frame)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nmt.orchestrator.api.callbacks import Callback as Callback
    from nmt.orchestrator.api.chain import plan as plan
    from nmt.orchestrator.api.chain import refresh as refresh
    from nmt.orchestrator.api.chain import run as run
    from nmt.orchestrator.api.group import compare as compare
    from nmt.orchestrator.api.group import grid as grid
    from nmt.orchestrator.api.group import sweep as sweep
    from nmt.orchestrator.api.model import evaluate as evaluate
    from nmt.orchestrator.api.model import export as export
    from nmt.orchestrator.api.model import load as load
    from nmt.orchestrator.api.model import predict as predict
    from nmt.orchestrator.api.model import register as register
    from nmt.orchestrator.errors import RequestError as RequestError
    from nmt.orchestrator.errors import RunError as RunError
    from nmt.orchestrator.experiment.sections import Experiment as Experiment
    from nmt.trainers.export.predictor import Predictor as Predictor
    from nmt.trainers.multipliers import Multipliers as Multipliers

PLACES = {
    "Multipliers": "nmt.trainers.multipliers",
    "Predictor": "nmt.trainers.export.predictor",
    "Experiment": "nmt.orchestrator.experiment.sections",
    "Callback": "nmt.orchestrator.api.callbacks",
    "RequestError": "nmt.orchestrator.errors",
    "RunError": "nmt.orchestrator.errors",
    "plan": "nmt.orchestrator.api.chain",
    "run": "nmt.orchestrator.api.chain",
    "refresh": "nmt.orchestrator.api.chain",
    "sweep": "nmt.orchestrator.api.group",
    "grid": "nmt.orchestrator.api.group",
    "compare": "nmt.orchestrator.api.group",
    "load": "nmt.orchestrator.api.model",
    "predict": "nmt.orchestrator.api.model",
    "evaluate": "nmt.orchestrator.api.model",
    "export": "nmt.orchestrator.api.model",
    "register": "nmt.orchestrator.api.model",
}
"""Public name → its module, which is imported when the name is first used."""

__all__ = [
    "Callback",
    "Experiment",
    "Multipliers",
    "Predictor",
    "RequestError",
    "RunError",
    "compare",
    "evaluate",
    "export",
    "grid",
    "load",
    "plan",
    "predict",
    "refresh",
    "register",
    "run",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *PLACES})
