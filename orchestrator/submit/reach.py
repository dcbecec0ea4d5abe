"""Checks that a cluster can reach an experiment's storage, data and tracking store."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from nmt.orchestrator.credentials import without_credentials
from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.data_source import cache_folder
from nmt.orchestrator.experiment.sections import Experiment


def check_reach(experiment: Experiment, content: Mapping[str, Any], is_here: bool) -> None:
    """Refuse an experiment whose storage, data or tracking address means something else on the cluster than here.

    Args:
        experiment: The experiment, with absolute paths.
        content: Content of the file with overrides: paths as the user wrote them.
        is_here: Whether every node of the cluster is this machine.

    Raises:
        RequestError: With every problem found, one line each.
    """
    problems = [
        *_credentials("tracking", experiment.tracking, _OF_TRACKING),
        *_credentials("storage", experiment.storage, _OF_FILES),
        *(_credentials("data.path", experiment.data.path, _OF_FILES) if experiment.data.path else ()),
        *(_credentials("data.cache", experiment.data.cache, _OF_FILES) if experiment.data.cache else ()),
    ]
    if experiment.data.source is not None and experiment.data.cache is not None:
        try:
            cache_folder(experiment.data)
        except ValueError as error:
            problems.append(str(error))
    if not is_here:
        problems += _elsewhere(experiment, content)
    if problems:
        raise RequestError("\n".join(problems))


_OF_TRACKING = (
    "leave it out and set it in the cluster's own environment: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD "
    "or MLFLOW_TRACKING_TOKEN for a server, PGPASSWORD for a database"
)
_OF_FILES = (
    "leave it out and set it in the cluster's own environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
)


def _credentials(key: str, address: str, instead: str) -> list[str]:
    shown = without_credentials(address)
    return [f"{key}: {shown} holds a credential, which everybody with access to the cluster could read; {instead}"] * (
        shown != address
    )


def _elsewhere(experiment: Experiment, content: Mapping[str, Any]) -> list[str]:
    problems = []
    data = content.get("data")
    written = {
        "storage": content.get("storage", "./nmt-runs"),
        "data.path": data.get("path") if isinstance(data, Mapping) else None,
        "data.cache": data.get("cache") if isinstance(data, Mapping) else None,
    }
    for key, place in written.items():
        if isinstance(place, str) and "://" not in place and not place.startswith("/"):
            problems.append(
                f"{key}: {place} is relative to a folder of this machine, and the cluster runs elsewhere; give an "
                "absolute path that all its nodes see, or a URI such as s3://bucket/folder"
            )
    tracking = urlsplit(experiment.tracking)
    instead = "give an MLflow server that the cluster reaches (--set tracking=http://HOST:5000), or a database such as postgresql://HOST/mlflow"
    if tracking.scheme == "sqlite":
        problems.append(
            f"tracking: {experiment.tracking} is a file on this machine, and the cluster runs elsewhere; {instead}"
        )
    elif tracking.scheme.startswith("http") and _is_loopback(tracking.hostname or ""):
        problems.append(
            f"tracking: on the cluster {experiment.tracking} is not this machine but the node itself; {instead}"
        )
    return problems


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
