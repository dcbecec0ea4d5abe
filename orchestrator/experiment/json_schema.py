"""The JSON Schema of an experiment file, with which editors complete and check it.

Descriptions come from the docstrings of the sections: what a key means is said in one place.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

from nmt.orchestrator.experiment.sections import (
    Compare,
    Data,
    Elastic,
    Experiment,
    Grid,
    Protect,
    Scaling,
    Sweep,
    Tune,
)
from nmt.trainers.registry import LOSSES, METRICS, MODELS
from nmt.trainers.spec.execution import Execution
from nmt.trainers.spec.task import Task
from nmt.trainers.spec.training import Training

DIALECT = "https://json-schema.org/draft/2020-12/schema"

SECTIONS = (Compare, Data, Elastic, Execution, Grid, Protect, Scaling, Sweep, Task, Training, Tune)
"""Classes of the sections; the schema names its parts after them."""

_FIELD = re.compile(r"^    (\w+): (.*)$")
_ROLE = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`")


def experiment_schema(sources: Sequence[str] = ()) -> dict[str, Any]:
    """Return the schema, JSON-ready.

    Args:
        sources: Data sources that an editor offers.
    """
    schema = Experiment.model_json_schema()
    parts = schema["$defs"]
    _describe(schema, Experiment)
    for section in SECTIONS:
        _describe(parts[section.__name__], section)
    schema["title"] = "Experiment of nmt"
    schema["properties"]["model"] |= {
        "properties": {"name": {"description": "Registered model, or your own.", **_one_of(MODELS)}},
        "required": ["name"],
    }
    parts["Task"]["properties"]["loss"] |= _one_of(LOSSES)
    parts["Task"]["properties"]["metric"] |= _one_of(METRICS)
    parts["Data"]["properties"]["source"]["anyOf"].insert(0, {"enum": list(sources)})
    return {"$schema": DIALECT, **schema}


def described_fields(owner: type) -> dict[str, str]:
    """Return what a class's docstring says below ``Attributes``: name → text in one line, without markup."""
    lines = (inspect.getdoc(owner) or "").partition("Attributes:\n")[2].splitlines()
    found: dict[str, list[str]] = {}
    for line in lines:
        if match := _FIELD.match(line):
            name = match[1]
            found[name] = [match[2]]
        elif line.startswith("        ") and found:
            found[name].append(line.strip())
        elif line.strip():
            break  # the next part of the docstring
    return {name: _ROLE.sub(r"\1", " ".join(texts)).replace("``", "`") for name, texts in found.items()}


def _describe(schema: dict[str, Any], owner: type) -> None:
    schema["description"] = (inspect.getdoc(owner) or "").partition("\n")[0]
    texts = described_fields(owner)
    for name, field in schema["properties"].items():
        field["description"] = texts[name]


def _one_of(names: Iterable[str]) -> dict[str, Any]:
    """Registered names; a user's own has a colon, and an empty one means the default."""
    return {"anyOf": [{"enum": sorted(names)}, {"type": "string", "pattern": ":|^$"}]}
