"""Studies: the experiments of the paper, declared in ``experiments/paper``."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import nmt.experiments
from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.file import assign, validate
from nmt.orchestrator.experiment.sections import Experiment
from nmt.orchestrator.experiment.yaml_reader import read_yaml

FOLDER = Path(nmt.experiments.__path__[0]) / "paper"

Content = dict[str, Any]

ALL = "all"
"""Key of a preset that applies to every row."""


def _one_row() -> dict[str, Content]:
    return {"": {}}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSet(_Part):
    """A data set for a study.

    Attributes:
        title: Its name in all output.
        paper: Whether it is the paper's own; otherwise it stands in for that.
        needs: Where to get the data, if the user has to provide them.
        experiment: ``data``, ``tasks``, ``model`` and ``training`` of the experiment file.
    """

    title: str
    paper: bool = False
    needs: str | None = None
    experiment: Content


class Arm(_Part):
    """One way to train.

    Attributes:
        set: Dotted keys of the experiment file and their values.
        tasks: Order of the tasks, by position in the data set's list; that of the list when absent.
        stages: Number of stages to run, all when absent; the tasks of the other stages are still evaluated.
        weights: Loss weights in the arm's order of the tasks.
    """

    set: Content = Field(default_factory=dict)
    tasks: tuple[int, ...] | None = None
    stages: int | None = None
    weights: tuple[float, ...] | None = None


class Study(_Part):
    """The trials of a table or figure of the paper.

    Attributes:
        title: Title in the paper.
        figure: Figure beside the table: ``front``, ``trajectories`` or none.
        data_sets: Data sets by name; the first one is the paper's.
        default: Name of the data set that needs no file.
        rows: Name of a row → its keys of the experiment file.
        arms: Name of an arm → how it trains.
        reference: Arm with which the others are compared, seed by seed.
        average: Whether to show the mean over tasks too.
        presets: Name → row, or ``all`` → keys of the experiment file that make the study smaller.
        printed: The paper's numbers: row → arm → task → text.
        agreement: The paper's finding, in a sentence.
    """

    title: str
    figure: str | None = None
    data_sets: dict[str, DataSet]
    default: str
    rows: dict[str, Content] = Field(default_factory=_one_row)
    arms: dict[str, Arm]
    reference: str
    average: bool = False
    presets: dict[str, dict[str, Content]] = Field(default_factory=dict)
    printed: dict[str, dict[str, dict[str, str]]] = Field(default_factory=dict)
    agreement: Annotated[str, Field(min_length=1)]


def names() -> list[str]:
    """Return the names of all studies."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_study(name: str) -> Study:
    """Read a study.

    Raises:
        RequestError: There is no study of this name.
        ValueError: The file does not declare a study.
    """
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise RequestError(f"there is nothing called {name!r} to reproduce; choose one of {', '.join(names())}")
    try:
        return Study.model_validate(read_yaml(path.read_text()).content)
    except ValidationError as error:
        raise ValueError(f"{path} is not a study: {error}") from error


def content_of(
    study: Study, data_set: str, preset: str | None, place: str | None, common: Content, overrides: Sequence[str] = ()
) -> Content:
    """Return the content of the experiment file on which all trials of a study are based.

    Args:
        study: The study.
        data_set: Name of the data set.
        preset: Name of the preset, if any.
        place: Path of the data.
        common: Further keys, such as storage and tracking.
        overrides: ``key=value`` assignments.

    Raises:
        RequestError: The data set or preset is unknown, or the data have to be provided and are not.
    """
    if data_set not in study.data_sets:
        raise RequestError(f"--source {data_set!r}: this study runs on {', '.join(study.data_sets)}")
    if preset is not None and preset not in study.presets:
        raise RequestError(f"--preset {preset!r}: this study has {', '.join(study.presets) or 'none'}")
    data = study.data_sets[data_set]
    if data.needs is not None and place is None:
        raise RequestError(f"{data.title} comes with no package: {data.needs}; give its path with --data PATH")
    content = copy.deepcopy(data.experiment)
    if place is not None:
        content.setdefault("data", {})["path"] = place
    content = with_keys(with_keys(content, study.presets.get(preset or "", {}).get(ALL, {})), common)
    for override in overrides:
        assign(content, override)
    return content


def with_keys(content: Content, keys: Mapping[str, Any]) -> Content:
    """Return a copy with dotted keys set."""
    content = copy.deepcopy(content)
    for key, value in keys.items():
        *path, last = key.split(".")
        place = content
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return content


def experiment_of(study: Study, content: Content, preset: str | None, row: str, arm: Arm, seed: int) -> Experiment:
    """Return the experiment of one trial.

    Args:
        study: The study.
        content: Content of :func:`content_of`.
        preset: Name of the preset, if any.
        row: Name of the row.
        arm: How it is trained.
        seed: Its seed.

    Raises:
        RequestError: The experiment is not valid.
    """
    keys = {**study.rows[row], **study.presets.get(preset or "", {}).get(row, {}), **arm.set, "training.seed": seed}
    content = with_keys(content, keys)
    tasks: Sequence[Any] = content["tasks"]
    if arm.tasks is not None:
        content["tasks"] = [tasks[place] for place in arm.tasks]
    if arm.weights is not None:
        content["training"] = content.get("training", {}) | {"method": "weighted_sum", "weights": list(arm.weights)}
    return validate(content, "the study")
