"""Reads an experiment file: YAML in, one validated object out; every mistake is reported by its key."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.sections import Compare, Data, Experiment, Grid, Protect, Scaling, Sweep, Tune
from nmt.orchestrator.experiment.yaml_reader import Document, Place, read_yaml
from nmt.trainers.registry import did_you_mean
from nmt.trainers.spec.execution import Execution
from nmt.trainers.spec.task import Task
from nmt.trainers.spec.training import Training

NOWHERE = 0
"""Line of what is not from the file."""


def load(path: str, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment file.

    Relative paths in it start at the current folder, as everywhere on a command line. They are made absolute, since
    Ray's workers run in other folders.

    Args:
        path: The YAML file.
        overrides: ``key.key=value`` assignments; values are YAML.

    Raises:
        RequestError: There is no such file, it is not YAML, or not an experiment; the message names every invalid key.
    """
    document = read(path)
    lines = dict(document.lines)
    for override in overrides:
        assign(document.content, override)
        key = tuple(override.partition("=")[0].strip().split("."))
        lines = {place: line for place, line in lines.items() if place[: len(key)] != key} | {key: NOWHERE}
    return validate(document.content, path, lines)


def read(path: str) -> Document:
    """Read an experiment file; its content is a ``dict``.

    Raises:
        RequestError: There is no such file, or it is not YAML with keys.
    """
    file = Path(path)
    if not file.is_file():
        near = ", ".join(str(p) for p in sorted(file.parent.glob("*.y*ml"))[:8]) if file.parent.is_dir() else ""
        raise RequestError(f"no such experiment file: {path}" + (f"; there is {near}" if near else ""))
    try:
        document = read_yaml(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not valid YAML: {error}; save it as UTF-8") from error
    except ValueError as error:
        raise RequestError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(document.content, dict):
        found = type(document.content).__name__
        raise RequestError(f"{path} holds a {found}, expected keys such as name, data, tasks, model")
    return document


def validate(content: Mapping[str, Any], name: str, lines: Mapping[Place, int] | None = None) -> Experiment:
    """Return the experiment that a file declares, with absolute paths.

    Args:
        content: The file's content.
        name: Name of the content in messages.
        lines: Place of a value → its line in the file, for messages.

    Raises:
        RequestError: It is not an experiment; the message names every invalid key, and its line.
    """
    try:
        experiment = Experiment.model_validate(content)
    except ValidationError as error:
        problems = "\n".join(f"  {line}" for line in _problems(error, lines or {}))
        raise RequestError(f"{name} is not a valid experiment:\n{problems}") from error
    return experiment.model_copy(
        update={
            "storage": _absolute(experiment.storage),
            "tracking": _absolute_sqlite(experiment.tracking),
            "protect": _absolute_model(experiment.protect),
            "data": experiment.data.model_copy(
                update={
                    "path": _absolute(experiment.data.path) if experiment.data.path else None,
                    "cache": _absolute(experiment.data.cache or f"{experiment.storage.rstrip('/')}/data"),
                }
            ),
        }
    )


def assign(content: dict[str, Any], override: str) -> None:
    """Set a key of a file's content by ``key.key=value``; the value is YAML.

    Raises:
        RequestError: It is not an assignment, or its key does not exist.
    """
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise RequestError(f"--set takes key=value, such as training.eta_lambda=0.1; found {override!r}")
    try:
        value = read_yaml(text).content
    except ValueError as error:
        raise RequestError(f"--set {override!r}: the value is not valid YAML: {error}") from error
    put(content, path.strip(), value, f"--set {override!r}")


def put(content: dict[str, Any], path: str, value: Any, name: str) -> None:
    """Set a key of a file's content.

    Args:
        content: The content.
        path: Its key, with dots.
        value: The value.
        name: Name of the assignment in messages.

    Raises:
        RequestError: The key does not exist.
    """
    keys = path.split(".")
    place: Any = content
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        here = ".".join(keys[: depth + 1])
        if isinstance(place, list):
            if not key.isdigit() or int(key) >= len(place):
                raise RequestError(f"{name}: {here} is not one of the {len(place)} entries 0 to {len(place) - 1}")
            index: Any = int(key)
        elif isinstance(place, dict):
            index = key
        else:
            raise RequestError(f"{name}: {'.'.join(keys[:depth])} is a value and has no key {key!r}")
        if last:
            place[index] = value
        else:
            place = place.setdefault(index, {}) if isinstance(place, dict) else place[index]


_UNION_MEMBERS = ("Task", "tuple[", "constrained-int", "function-after[", "Elastic")
"""How pydantic names the members of our unions in the location of an error; users did not write these."""

_OTHER_MEMBER = {
    ("tuple_type", "tasks"),
    ("dataclass_type", "tasks"),
    ("model_type", "scaling"),
    ("int_type", "scaling"),
}


def _problems(error: ValidationError, of_file: Mapping[Place, int]) -> list[str]:
    found: dict[str, None] = {}
    for problem in error.errors():
        # A union (task or level, number or range) reports an error for each member; one of them is always noise.
        location = [str(part) for part in problem["loc"] if not str(part).startswith(_UNION_MEMBERS)]
        where = _line(tuple(location), of_file) + ".".join(location)
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            allowed = _allowed(location[:-1])
            found[f"{where}: unknown key{did_you_mean(location[-1], allowed)}; allowed: {', '.join(allowed)}"] = None
        elif problem["type"] in ("missing", "missing_argument"):
            found[f"{where}: missing"] = None
        elif (problem["type"], location[0]) not in _OTHER_MEMBER:
            message = problem["msg"].removeprefix("Value error, ")
            value = problem["input"]
            shown = "" if isinstance(value, dict) or repr(value) in message else f" (found {value!r})"
            found[f"{where or 'experiment'}: {message}{shown}"] = None
    return list(found) or [f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()]


def _line(place: Place, of_file: Mapping[Place, int]) -> str:
    """Write ``line 12: `` for a value, or for the section that lacks it; empty for what is not from a file."""
    for depth in range(len(place), 0, -1):
        if place[:depth] in of_file:
            line = of_file[place[:depth]]
            return "" if line == NOWHERE else f"line {line}: "
    return ""


def _allowed(location: list[str]) -> list[str]:
    sections: dict[str, Any] = {
        "data": Data, "sweep": Sweep, "grid": Grid, "compare": Compare, "tune": Tune, "scaling": Scaling,
        "training": Training, "execution": Execution, "tasks": Task, "protect": Protect,
    }  # fmt: skip
    owner = sections.get(location[0], Experiment) if location else Experiment
    if dataclasses.is_dataclass(owner):
        return [field.name for field in dataclasses.fields(owner)]
    return list(owner.model_fields)


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())


def _absolute_model(protect: Protect | None) -> Protect | None:
    if protect is None or protect.model.startswith(("models:/", "runs:/")):
        return protect
    return protect.model_copy(update={"model": str(Path(protect.model).expanduser().absolute())})


def _absolute_sqlite(uri: str) -> str:
    prefix = "sqlite:///"
    return f"{prefix}{Path(uri.removeprefix(prefix)).absolute()}" if uri.startswith(prefix) else uri
