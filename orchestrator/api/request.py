"""What the functions take for an experiment: a file, its content, or typed sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.file import put, read, validate
from nmt.orchestrator.experiment.prepared import PreparedExperiment, prepare_experiment
from nmt.orchestrator.experiment.sections import Experiment
from nmt.orchestrator.terminal.current_output import current_output
from nmt.orchestrator.verbs.run import ChainOutcome

Request = str | Path | Mapping[str, Any] | Experiment
"""An experiment file, its content as a mapping, or an :class:`Experiment`."""


def to_experiment(request: Request, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """Return the experiment that a caller means. What they gave is not changed.

    Args:
        request: The experiment.
        overrides: Dotted key → value, such as ``{"training.eta_theta": 1e-3}``.

    Raises:
        RequestError: It is not an experiment; the message names every invalid key.
    """
    match request:
        case str() | Path():
            content, name = read(str(request)).content, str(request)
        case Experiment():
            content, name = request.model_dump(mode="json"), "the experiment"
        case Mapping():
            content, name = _plain(request), "the experiment"
        case _:
            raise RequestError(
                f"the experiment is a {type(request).__name__}; give the path of its file, its content as a dict, or "
                "an nmt.Experiment"
            )
    for key, value in (overrides or {}).items():
        put(content, key, _plain(value), f"set {key!r}")
    return validate(content, name)


def to_prepared(
    request: Request | ChainOutcome,
    overrides: Mapping[str, Any] | None = None,
    check: Callable[[Experiment], None] | None = None,
    fresh: bool = False,
) -> PreparedExperiment:
    """Return the experiment that a caller means, with its data prepared and checked.

    Args:
        request: The experiment, or what ``nmt.run`` returned for it.
        overrides: Dotted key → value.
        check: An early check, called before the data is prepared.
        fresh: Whether to train again what the storage has.

    Raises:
        RequestError: The experiment, its data or the request is invalid.
    """
    if isinstance(request, ChainOutcome):
        if overrides:
            raise RequestError("set changes an experiment, and this one has been run; give the experiment instead")
        return request.prepared
    prepared = prepare_experiment(to_experiment(request, overrides), current_output().say, check)
    current_output().about(experiment=prepared.experiment.name)
    return prepared.started_afresh() if fresh else prepared


def _plain(value: Any) -> Any:
    """Copy a value, with mappings as dicts, sequences as lists and paths as text, as a file would give them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
