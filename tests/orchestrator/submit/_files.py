"""A user's files, and an experiment that needs none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nmt.orchestrator.experiment.sections import Experiment
from nmt.orchestrator.submit.requirements import Requirements

NONE = Requirements({}, {}, ("torch==2.13.0",))


def experiment(**sections: Any) -> Experiment:
    content = {
        "name": "tiny",
        "data": {"path": "/shared/data"},
        "tasks": [{"name": "like", "loss": "binary_cross_entropy"}],
        "model": {"name": "shared_bottom"},
        "storage": "/shared/runs",
    }
    return Experiment.model_validate({**content, **sections})


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
