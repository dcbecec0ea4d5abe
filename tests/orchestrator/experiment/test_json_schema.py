"""``nmt schema``: what an editor is told about an experiment file is what the command accepts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from nmt.orchestrator.cli.app import app
from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.file import validate
from nmt.orchestrator.experiment.json_schema import SECTIONS, described_fields, experiment_schema
from nmt.orchestrator.experiment.sections import Scaling
from nmt.trainers.spec.task import Task

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
FILES = sorted(EXPERIMENTS.glob("*.yaml"))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    done = CliRunner().invoke(app, ["schema"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, part in [("Experiment", schema), *schema["$defs"].items()]:
        for key, field in part["properties"].items():
            yield f"{name}.{key}", field


def test_every_key_has_a_description_without_markup(schema: dict[str, Any]) -> None:
    described = dict(fields(schema))
    assert len(described) > 60
    for name, field in described.items():
        assert len(field["description"]) > 3, name
        assert "``" not in field["description"], name
        assert ":`" not in field["description"], name


def test_every_part_is_a_section(schema: dict[str, Any]) -> None:
    assert set(schema["$defs"]) == {section.__name__ for section in SECTIONS}


def test_a_description_is_the_text_of_the_docstring_in_one_line() -> None:
    assert described_fields(Task)["metric"] == (
        "Registered metric, or `package.module:callable`; chosen by the loss when absent."
    )
    hang = described_fields(Scaling)["hang_timeout_s"]
    assert hang.startswith(
        "Seconds after which a worker that the others wait for counts as hung. Must exceed any pause"
    )
    assert "placement_timeout_s" not in hang


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_the_shipped_experiment_files_are_valid(schema: dict[str, Any], file: Path) -> None:
    jsonschema.validate(yaml.safe_load(file.read_text()), schema)


RIGHT: dict[str, Any] = {
    "name": "x",
    "data": {"path": "prepared"},
    "tasks": [{"name": "like", "loss": "binary_cross_entropy"}],
    "model": {"name": "mmoe"},
}


def test_the_shortest_file_is_valid(schema: dict[str, Any]) -> None:
    jsonschema.validate(RIGHT, schema)
    assert validate(RIGHT, "right").name == "x"


WRONG: list[dict[str, Any]] = [
    {"trainng": {}},
    {"training": {"eta_thta": 1e-3}},
    {"training": {"violations": "heldout"}},
    {"scaling": {"workers": 0}},
    {"tasks": [{"name": "like"}]},
    {"model": {"units": [4]}},
]


@pytest.mark.parametrize("change", WRONG, ids=[str(change) for change in WRONG])
def test_what_the_command_refuses_the_schema_refuses_too(schema: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**RIGHT, **change}, schema)
    with pytest.raises(RequestError):
        validate({**RIGHT, **change}, "wrong")


def test_a_misspelt_loss_is_refused_and_ones_own_is_not(schema: dict[str, Any]) -> None:
    jsonschema.validate({**RIGHT, "tasks": [{"name": "like", "loss": "my_module:loss"}]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**RIGHT, "tasks": [{"name": "like", "loss": "binary_crossentropy"}]}, schema)


def test_sources_of_ones_own_are_allowed() -> None:
    source = experiment_schema(["experiments.data.table"])["$defs"]["Data"]["properties"]["source"]
    for value in ("experiments.data.table", "my_module", "package.module:prepare", None):
        jsonschema.validate(value, {"anyOf": source["anyOf"]})


def test_the_shell_completes_verbs() -> None:
    words = {"_NMT_COMPLETE": "complete_bash", "COMP_WORDS": "nmt sch", "COMP_CWORD": "1"}
    done = CliRunner().invoke(app, [], env=words, prog_name="nmt")
    assert done.stdout.split() == ["schema"]
