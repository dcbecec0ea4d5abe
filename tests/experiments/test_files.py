"""The experiment files of the project load and fit their data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nmt.experiments.data import adult, kuairand, toxcast
from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment import data_source
from nmt.orchestrator.experiment.file import load
from nmt.orchestrator.experiment.prepared import prepare
from nmt.orchestrator.verbs.plan import plan_chain

FOLDER = Path(__file__).parents[2] / "experiments"
FILES = sorted(FOLDER.glob("*.yaml"))


def molecules(labels: list[str], folder: Path) -> str:
    """Write a small file with ToxCast's columns and these assays, and return its path."""
    rng = np.random.default_rng(0)
    rows = 60
    columns = {
        **{name: [0, 1] * (rows // 2) for name in labels},
        **{name: rng.random(rows) for name in toxcast.DESCRIPTORS},
        toxcast.FINGERPRINT: [rng.bytes(toxcast.BITS // 8) for _ in range(rows)],
        "split": ["train"] * 40 + ["valid"] * 10 + ["test"] * 10,
    }
    pq.write_table(pa.table(columns), folder / "toxcast.parquet")
    return str(folder / "toxcast.parquet")


def rows(categorical: Sequence[str], numeric: Sequence[str], labels: Sequence[str], folder: Path) -> str:
    """Write a small Parquet file with these columns and a split, and return its path."""
    rng = np.random.default_rng(0)
    count = 60
    columns: dict[str, Any] = {
        **{name: rng.integers(0, 3, count).astype(str) for name in categorical},
        **{name: rng.random(count) for name in numeric},
        **{name: [0, 1] * (count // 2) for name in labels},
        "split": ["train"] * 40 + ["valid"] * 10 + ["test"] * 10,
    }
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    return str(folder / "rows.parquet")


def data_for(file: Path, folder: Path) -> list[str]:
    """Return the overrides that give a file small data with the columns that it asks for."""
    experiment = load(str(file))
    labels = [task.label for level in experiment.levels for task in level]
    match file.stem:
        case "complete_journey":
            return ["data.options.visits=200"]
        case "toxcast" | "toxcast_levels":
            path = molecules(labels, folder)
        case "adult":
            path = rows(adult.CATEGORICAL, adult.NUMERIC, adult.LABELS, folder)
        case "kuairand":
            path = rows(kuairand.CATEGORICAL, kuairand.COUNTS, kuairand.LABELS, folder)
        case "diabetes":
            options = experiment.data.options
            path = rows(options["categorical"], options["numeric"], options["labels"], folder)
        case _:
            return []
    return [f"data.path={path}"]


def test_there_are_files() -> None:
    shipped = {"adult", "complete_journey", "conflict", "diabetes", "kuairand", "toxcast", "toxcast_levels"}
    assert {file.stem for file in FILES} == shipped


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_loads_and_fits_its_data(file: Path, tmp_path: Path) -> None:
    overrides = [f"storage={tmp_path / 'runs'}", f"tracking=sqlite:///{tmp_path / 'mlflow.db'}"]
    overrides += data_for(file, tmp_path)
    prepared = prepare(str(file), overrides, lambda _: None)  # with the checks of `nmt run` before Ray
    experiment = prepared.experiment
    settings = experiment.settings
    assert settings.eta_theta in experiment.sweep.eta_theta
    assert settings.eta_lambda in experiment.sweep.eta_lambda
    assert len(experiment.sweep.eta_theta) == len(experiment.sweep.eta_lambda) == 3
    assert experiment.grid.points == 5


@pytest.mark.parametrize(("name", "alpha"), [("complete_journey", 0.0), ("kuairand", 0.3)])
def test_one_score_for_all_tasks_keeps_later_ones_out_of_the_mix(name: str, alpha: float) -> None:
    """The file gives no weight: it follows from the model."""
    file = str(FOLDER / f"{name}.yaml")
    experiment = load(file)
    assert experiment.training.later_weight is None
    assert experiment.settings.later_weight == alpha
    stages = experiment.chain("data").stages
    assert [len(stage.later) > 0 for stage in stages[1:-1]] == [alpha > 0] * (len(stages) - 2)
    assert load(file, ["training.later_weight=0.1"]).settings.later_weight == 0.1


def test_conflict_has_a_task_for_each_label(tmp_path: Path) -> None:
    experiment = load(str(FOLDER / "conflict.yaml"), [f"data.cache={tmp_path}"])
    _, schema = data_source.prepare(experiment.data)
    assert [level[0].name for level in experiment.levels] == list(schema.labels)
    assert experiment.model["bottom_units"][-1] < len(schema.labels)


def test_toxcast_has_64_stages() -> None:
    experiment = load(str(FOLDER / "toxcast.yaml"))
    assert [len(level) for level in experiment.levels] == [1] * 64
    assert all(task.label == f"y_{task.name}" for level in experiment.levels for task in level)


def test_toxcast_in_eight_levels_of_eight_plans_eight_stages(tmp_path: Path) -> None:
    single = load(str(FOLDER / "toxcast.yaml"))
    file = FOLDER / "toxcast_levels.yaml"
    levels = load(str(file)).levels
    assert [len(level) for level in levels] == [8] * 8
    assert [task for level in levels for task in level] == [task for level in single.levels for task in level]
    labels = [task.label for level in levels for task in level]
    overrides = [f"data.path={molecules(labels, tmp_path)}", f"storage={tmp_path / 'runs'}"]
    plan = plan_chain(prepare(str(file), overrides, lambda _: None))
    counts = [(stage.stage, len(stage.level), len(stage.protected)) for stage in plan.stages]
    assert counts == [(0, 0, 0), *((k + 1, 8, 8 * k) for k in range(8))]


def test_toxcast_without_a_path_says_how_to_get_the_file(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"data\.path is null.*https://moleculenet\.org.*set data\.path"):
        prepare(str(FOLDER / "toxcast.yaml"), [f"data.cache={tmp_path}"], lambda _: None)
