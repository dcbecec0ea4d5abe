"""The shipped experiment, small: the wheel's tables, the builder, Ray, MLflow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Command

FILE = Path(__file__).parents[2] / "experiments" / "complete_journey.yaml"


@pytest.mark.ray
@pytest.mark.slow
def test_the_shipped_experiment_runs(nmt: Command) -> None:
    small = ("--set", "data.options.visits=600", "--set", "training.max_epochs=1", "--set", "training.retreats=2")
    done = nmt("run", str(FILE), "--json", *small)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["held"] is True
    assert [task["task"] for task in document["tasks"]] == ["pay", "amount", "relevance"]
    assert document["cost"]["stages"] == 3
    assert "preparing data from experiments.data.complete_journey" in done.stderr
    assert "stage 3/3 relevance: done" in done.stderr
    assert "\x1b[" not in done.stderr  # no terminal, no escapes


def test_the_plan_of_the_shipped_experiment_trains_nothing(nmt: Command, tmp_path: Path) -> None:
    done = nmt("plan", str(FILE), "--json", "--set", "data.options.visits=600")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert [stage["protected"] for stage in plan["stages"]] == [[], ["pay"], ["pay", "amount"]]
    assert plan["grid_trials"] == 5**3
    assert plan["grid_max_samples"] == 125 * plan["stages"][0]["max_samples"]
    assert plan["max_samples"] == 3 * 5 * plan["examples"]["train"]
    assert not (tmp_path / "nmt-runs" / "stages").exists()
    assert not (tmp_path / "mlflow.db").exists()
