"""Whether a model may take an alias from the one that has it: the live model gives way to none that is worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nmt.orchestrator.errors import RequestError, RunError, first_line
from nmt.orchestrator.experiment.model_address import read_model
from nmt.orchestrator.summary.wording import format_difference
from nmt.trainers.export.model_folder import TrainedModel
from nmt.trainers.live.store import digest_of


def check_alias(tracking: str, name: str, alias: str, model: TrainedModel, live: Mapping[str, Any] | None) -> None:
    """Refuse to move an alias to a model that is worse than the live one, or that was not compared with it.

    Args:
        tracking: Tracking URI; the registry is there too.
        name: Name of the registered model.
        alias: The alias.
        model: The model.
        live: How it stands to the live model that its chain protected, as
            :func:`~nmt.orchestrator.summary.live.live_summary` says; ``None`` where it protected none.

    Raises:
        RequestError: The alias must not move.
        RunError: The registry is away.
    """
    version = version_of(tracking, name, alias)
    stays = f"{alias} stays with {name} version {version}" if version else f"{alias} is given to no version"
    if live is not None and live["worse"]:
        raise RequestError(
            f"{stays}: the new model is worse than the live one on {_reasons(live)}; train it longer, or give "
            "--although-worse"
        )
    if version is None or _stage_key(tracking, name, version) == model.origin["stage_key"]:
        return
    compared = str(model.origin.get("live", ""))
    try:
        now = digest_of(read_model(f"models:/{name}/{version}", tracking))
    except RequestError:
        now = "no model of nmt"
    if now != compared:
        other = "another model" if compared else "no live model"
        raise RequestError(
            f"{stays}: the new model was compared with {other}; set protect: models:/{name}@{alias} in the file and "
            "run it again, or give --although-worse"
        )


def unheld(guarantees: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Return the tasks beyond their limits: of those whose limit is their own optimum, and of the live model's.

    Args:
        guarantees: Of a model, by task.
    """
    broken = [task for task in guarantees if task["guarantee"]["status"] != "held"]
    own = [task["task"] for task in broken if task["guarantee"]["against"] != "live"]
    return own, [task["task"] for task in broken if task["guarantee"]["against"] == "live"]


def _reasons(live: Mapping[str, Any]) -> str:
    found = []
    for task in live["tasks"]:
        if task["task"] in live["worse"]:
            losses = task["deviation"]["loss"].items()
            numbers = [
                f"{split} {format_difference(one['difference'], one['standard_error'])}" for split, one in losses
            ]
            found.append(f"{task['task']} (loss on {', '.join(numbers)})")
    return " and ".join(found)


def version_of(tracking: str, name: str, alias: str) -> str | None:
    """Return the version that has an alias; ``None`` where there is no such model or alias.

    Raises:
        RunError: The registry is away.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        aliases: Mapping[str, str] = MlflowClient(tracking, registry_uri=tracking).get_registered_model(name).aliases
    except (MlflowException, OSError) as error:
        if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise RunError(f"the registry does not answer: {first_line(error)}") from error
    return str(aliases[alias]) if alias in aliases else None


def _stage_key(tracking: str, name: str, version: str) -> str:
    from mlflow import MlflowClient

    tags = MlflowClient(tracking, registry_uri=tracking).get_model_version(name, version).tags
    return str(tags.get("nmt.stage_key", ""))
