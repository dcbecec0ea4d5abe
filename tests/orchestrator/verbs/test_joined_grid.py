"""A grid on a running Ray cluster: a part of it, the whole of it, and its comparison with a sweep."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.orchestrator._commands import NOWHERE, STAGE, Project, Start

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TWO = {"eta_theta": [0.003], "eta_lambda": [1.0, 10.0]}


class TestGrid:
    """Two weights for each of three tasks, equal weights, and a single-task model for each task."""

    @pytest.fixture(scope="class")
    @classmethod
    def one(cls, start: Start) -> Project:
        return start("grid", sweep=TWO, grid={"points": 2})

    @pytest.fixture(scope="class")
    @classmethod
    def limited(cls, one: Project, address: str) -> tuple[dict[str, Any], dict[str, Any]]:
        planned = one.planned("--set", "grid.limit=3")["grid"]
        return planned, one.document("grid", "--limit", "3", address=address)

    def test_a_limited_grid_is_extrapolated(self, one: Project, limited: tuple[dict[str, Any], dict[str, Any]]) -> None:
        planned, document = limited
        for name in ("trials", "stages", "stages_reused", "samples", "samples_reused"):
            assert document["cost"][name] == planned[name] == document["planned"][name], name
        assert document["cost"]["trials"] == 3 + 4
        assert document["extrapolated"] == {"trials": 8, "samples": 8 * STAGE, "trained": 3}
        (grid,) = one.runs("grid")
        assert grid.data.tags["nmt.extrapolated"] == "true"
        assert grid.data.tags["nmt.extrapolated_samples"] == str(8 * STAGE)
        assert grid.info.run_name == "grid 3 of 8"
        table = one.here("grid", "--limit", "3", json=False, address=NOWHERE).stdout
        assert "extrapolated from 3 of them" in " ".join(table.split())
        assert f"{8 * STAGE:,}" in table

    @pytest.mark.drill
    def test_the_whole_grid(self, one: Project, limited: tuple[dict[str, Any], dict[str, Any]], address: str) -> None:
        before, _ = limited
        planned = one.planned()["grid"]
        document = one.document("grid", address=address)
        for name in ("trials", "stages", "stages_reused", "samples", "samples_reused"):
            assert document["cost"][name] == planned[name] == document["planned"][name], name
        assert document["cost"]["trials"] == 8 + 4
        assert document["cost"]["stages"] + before["stages"] == 8 + 3  # equal weights are one of the eight
        assert document["extrapolated"] is None
        assert one.trained == dict.fromkeys(one.stages, 1)
        (equal,) = (trial for trial in document["trials"] if trial["label"] == "equal weights")
        assert equal["cost"]["stages"] == 0
        assert sum(trial["stage_keys"] == equal["stage_keys"] for trial in document["trials"]) == 2

    def test_beside_a_sweep_and_another_method(
        self, one: Project, limited: tuple[dict[str, Any], dict[str, Any]], address: str
    ) -> None:
        done = one.nmt("compare", "--limit", "3", "--methods", "famo", json=False, address=address)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        (page,) = (line.removeprefix("page: ") for line in done.stdout.splitlines() if line.startswith("page: "))
        assert Path(page).is_file()
        assert list((Path(page).parent / "figures").iterdir())
        (comparison,) = one.runs("comparison")
        artifacts = {artifact.path for artifact in one.client.list_artifacts(comparison.info.run_id)}
        assert {"comparison.html", "comparison_table.json", "guarantees_table.json", "figures"} <= artifacts
        shown = json.loads(comparison.data.tags["mlflow.loggedArtifacts"])  # what the page of runs shows as tables
        assert {table["path"]: table["type"] for table in shown} == {
            "comparison_table.json": "table",
            "guarantees_table.json": "table",
        }
        assert "famo" in done.stdout
        assert comparison.info.run_id in done.stdout
        assert math.isfinite(comparison.data.metrics["cost/samples"])
