"""Requirements that a cluster's image is compared with, and pins that are installed on request."""

from __future__ import annotations

import dataclasses
import json
from importlib.metadata import version
from pathlib import Path

import pytest

from nmt.orchestrator.cli.job_entrypoint import check_image
from nmt.orchestrator.submit.requirements import REQUIREMENTS, compare, local_requirements

HERE = local_requirements()


def test_declared_packages_with_ranges_and_versions() -> None:
    assert HERE.ranges["ray"] == "<3,>=2.60"
    assert HERE.here["ray"] == version("ray")
    assert "+" not in HERE.here["torch"]
    assert {"torch", "mlflow", "pyarrow", "typer"} <= set(HERE.ranges)


def test_pins_have_all_dependencies_but_ray() -> None:
    pins = dict(pin.split("==") for pin in HERE.pins)
    assert pins["torchmetrics"] == version("torchmetrics")
    assert pins["alembic"] == version("alembic"), "what MLflow needs"
    assert not {"ray", "pytest", "ruff", "mypy"} & set(pins)


def test_packages_that_own_modules_import_are_required() -> None:
    also = local_requirements(["yaml", "sklearn", "no_such_module"])
    assert {"scikit-learn", *HERE.ranges} <= set(also.ranges)


def test_this_machine_has_no_mismatch() -> None:
    assert compare(HERE) == ()


def test_versions_in_range_are_reported_and_others_are_fatal() -> None:
    other = dataclasses.replace(
        HERE,
        ranges={"torch": ">=2.6", "mlflow": ">=99", "nowhere-at-all": "<2"},
        here={"torch": "2.6.0", "mlflow": "99.1", "nowhere-at-all": "1.0"},
    )
    found = {mismatch.name: mismatch for mismatch in compare(other)}
    assert {name: mismatch.is_fatal for name, mismatch in found.items()} == {
        "torch": False,
        "mlflow": True,
        "nowhere-at-all": True,
    }
    assert str(found["nowhere-at-all"]) == "nowhere-at-all is missing (<2 is needed, 1.0 is on the submitting machine)"


def test_the_job_checks_the_image_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / REQUIREMENTS).write_text(json.dumps(HERE.to_dict()))
    said: list[str] = []
    assert check_image(said.append)
    assert said == []
    lacking = {"ranges": {**HERE.ranges, "nowhere-at-all": ">=1"}, "here": {**HERE.here, "nowhere-at-all": "1.0"}}
    (tmp_path / REQUIREMENTS).write_text(json.dumps(lacking))
    assert not check_image(said.append)
    assert said[0].startswith("error: on the cluster nowhere-at-all is missing")
    assert "--install" in said[1]
