"""A user's own code is part of what a stage's key hashes: all of it that a component may reach, and nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from nmt.orchestrator.experiment.own_code import code_of, places_of
from nmt.orchestrator.experiment.prepared import PreparedExperiment, prepare
from nmt.orchestrator.models.finished import finished_model
from nmt.orchestrator.models.mlflow_model import arguments_of, without_warnings
from nmt.orchestrator.verbs.plan import plan_chain, plan_table
from nmt.trainers.export.predictor import Predictor
from tests.orchestrator._ranker import declare, run_here, write_days

FILES = {
    "own_kit/__init__.py": "SIZE = 1\n",
    "own_kit/nets.py": "from . import layers\nfrom .sizes import *\nimport own_helper\n\nclass Net:\n    pass\n",
    "own_kit/layers.py": "import math\n\nWIDTH = 4\n",
    "own_kit/sizes.py": "DEPTH = 2\n",
    "own_kit/unused.py": "NEVER = 1\n",
    "own_helper.py": "def run():\n    import own_deeper.inner\n",
    "own_deeper/__init__.py": "",
    "own_deeper/inner.py": "VALUE = 3\n",
    "own_deeper/beside.py": "VALUE = 4\n",
    "own_other.py": "X = 1\n",
}
NAME = "own_kit.nets:Net"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path, FILES)
    before = {*sys.modules}
    yield tmp_path
    for name in {*sys.modules} - before:
        if name.startswith("own_"):
            del sys.modules[name]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("name", "matters"),
    [
        ("own_kit/__init__.py", True),
        ("own_kit/nets.py", True),
        ("own_kit/layers.py", True),  # from . import
        ("own_kit/sizes.py", True),  # from .sizes import *
        ("own_helper.py", True),  # beside the package
        ("own_deeper/__init__.py", True),
        ("own_deeper/inner.py", True),  # imported inside a function of what is imported
        ("own_deeper/beside.py", False),
        ("own_kit/unused.py", False),
        ("own_other.py", False),
    ],
)
def test_what_a_component_can_reach(place: Path, name: str, matters: bool) -> None:
    before = code_of([NAME])
    (place / name).write_text(FILES[name] + "CHANGED = 5\n")
    assert (code_of([NAME]) != before) is matters
    (place / name).write_bytes(FILES[name].replace("\n", "\r\n").encode())  # another machine's line ends
    assert code_of([NAME]) == before


def test_where_it_lies_does_not_matter(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    write(other, FILES)
    program = f"from nmt.orchestrator.experiment.own_code import code_of; print(code_of([{NAME!r}]))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, '.'); {program}"],
        cwd=other,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(code_of([NAME]))


def test_installed_packages_count_by_version_and_the_project_not_at_all(place: Path) -> None:
    from importlib.metadata import version

    assert code_of(["torchmetrics.classification:BinaryAUROC"]) == {
        "torchmetrics.classification:BinaryAUROC": f"torchmetrics=={version('torchmetrics')}"
    }
    assert code_of(["auc", "nmt.trainers.metrics.auc:AUC", "own_nowhere:Net", "own_other:X"]).keys() == {"own_other:X"}
    assert [found.name for found in places_of(NAME)] == ["own_deeper", "own_helper.py", "own_kit"]
    assert places_of("shared_bottom") == places_of("torchmetrics:Metric") == []


def test_what_is_not_python_is_hashed_all_the_same(place: Path) -> None:
    (place / "own_helper.py").write_text("def broken(:\n")
    one = code_of([NAME])
    (place / "own_helper.py").write_text("def broken(::\n")
    assert code_of([NAME]) != one


OWN = {
    "own_net.py": """
from nmt.trainers.models.shared_bottom import SharedBottom
from own_scale import SCALE

class Net(SharedBottom):
    def forward(self, batch):
        return {name: SCALE * output for name, output in super().forward(batch).items()}
""",
    "own_scale.py": "SCALE = 1.0\n",
    "own_loss.py": """
from nmt.trainers.losses.binary_cross_entropy import binary_cross_entropy

def loss(output, label, batch):
    return binary_cross_entropy(output, label, batch)
""",
    "own_metric.py": "from nmt.trainers.metrics.auc import AUC\n\nclass Metric(AUC):\n    pass\n",
    "own_source.py": """
from nmt.experiments.data import table
from own_rows import COLUMNS

def prepare(path, cache):
    return table.prepare(path, cache, categorical=COLUMNS, numeric=["price"], labels={"click": 2, "buy": 2})
""",
    "own_rows.py": 'COLUMNS = ["user"]\n',
}


def own_experiment(place: Path, **others: Any) -> PreparedExperiment:
    write(place, {name: text for name, text in OWN.items() if not (place / name).exists()})
    data = write_days(place / "days", 1)
    content: dict[str, Any] = {
        "data": {"source": "own_source:prepare", "path": data, "batch_size": 64},
        "tasks": [
            {"name": "click", "loss": "binary_cross_entropy"},
            {"name": "buy", "loss": "own_loss:loss", "metric": "own_metric:Metric"},
        ],
        "model": {"name": "own_net:Net", "embedding_dim": 4, "bottom_units": [8], "tower_units": [4]},
        **others,
    }
    return prepare(str(declare(place, "own", data, **content)), [], lambda line: None)


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("own_net.py", "return {name: SCALE", "return {name: 2 * SCALE", "own_net:Net"),
        ("own_scale.py", "1.0", "2.0", "own_net:Net"),
        ("own_loss.py", "return binary", "return 1 * binary", "own_loss:loss"),
        ("own_metric.py", "pass", "other = 1", "own_metric:Metric"),
    ],
)
def test_a_stage_is_not_reused_with_other_code(place: Path, file: str, old: str, new: str, changed: str) -> None:
    before = own_experiment(place)
    run_here(before)
    assert all(stage.finished for stage in plan_chain(before).stages)
    assert plan_chain(before).changed_code == ()

    (place / file).write_text(OWN[file].replace(old, new))
    after = own_experiment(place)
    planned = plan_chain(after)
    assert not any(stage.finished for stage in planned.stages)
    assert planned.changed_code == (changed,)
    assert f"code of {changed} changed" in [str(part) for part in plan_table(planned).renderables]  # type: ignore[attr-defined]
    alone = replace(after.spec, levels=after.spec.levels[:1])
    same = replace(before.spec, levels=before.spec.levels[:1])
    # A model of click alone does not depend on buy's loss and metric.
    assert (alone.stage_keys() == same.stage_keys()) is (changed in ("own_loss:loss", "own_metric:Metric"))

    (place / file).write_text(OWN[file])
    assert all(stage.finished for stage in plan_chain(own_experiment(place)).stages)


def test_a_source_prepares_anew_with_other_code_and_the_same_data_are_the_same(place: Path) -> None:
    before = own_experiment(place)
    (place / "own_rows.py").write_text('COLUMNS = ["user"]  # users\n')
    after = own_experiment(place)
    assert after.folder != before.folder
    assert after.spec.stage_keys() == before.spec.stage_keys()


def test_a_network_of_the_users_own_travels_with_its_mlflow_model(place: Path, tmp_path_factory: Any) -> None:
    with without_warnings():  # MLflow warns of type hints of its own
        import mlflow.pyfunc

    prepared = own_experiment(place)
    run_here(prepared)
    model = finished_model(prepared)
    rows = pq.read_table(place / "days" / "days1.parquet").slice(0, 3).to_pandas()[["user", "price"]]
    folder = tmp_path_factory.mktemp("served")
    with arguments_of(model) as arguments, without_warnings():
        mlflow.pyfunc.save_model(str(folder / "model"), **arguments)
    rows.to_parquet(folder / "rows.parquet")
    program = (
        "import mlflow, pandas; print(mlflow.pyfunc.load_model('model').predict(pandas.read_parquet('rows.parquet'))"
        ".to_dict('list'))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = Predictor(model).predict(rows)
    for name, values in ast.literal_eval(done.stdout).items():
        assert values == pytest.approx(expected[name].tolist())


def test_a_fresh_start_trains_again_what_is_finished_and_nothing_twice(place: Path) -> None:
    prepared = own_experiment(place).started_afresh()
    run_here(prepared)
    keys = prepared.spec.stage_keys()
    assert prepared.fresh is not None
    prepared.fresh.forget(keys[1:])
    assert [stage.finished for stage in plan_chain(prepared).stages] == [True, False, False]
    again = run_here(prepared)
    assert (again.cost.stages, again.cost.stages_reused) == (2, 1)
    prepared.fresh.forget(keys[1:])  # this command has trained them
    assert all(stage.finished for stage in plan_chain(prepared).stages)
