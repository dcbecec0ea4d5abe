"""What the functions of ``nmt`` take for an experiment, and what they refuse. Nothing is trained."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import nmt
from nmt.orchestrator.api.request import to_experiment
from nmt.orchestrator.experiment.file import load

RATE = {"training.eta_theta": 0.01}


def content_of(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(file.read_text())
    return content


def test_a_path_a_dict_and_an_experiment_are_the_same(experiment_file: Path) -> None:
    expected = load(str(experiment_file))
    content = content_of(experiment_file)
    assert to_experiment(str(experiment_file)) == expected
    assert to_experiment(experiment_file) == expected
    assert to_experiment(content) == expected
    assert to_experiment(nmt.Experiment.model_validate(content)) == expected


def test_overrides_do_what_set_does_on_the_command_line(experiment_file: Path) -> None:
    expected = load(str(experiment_file), ["training.eta_theta=0.01"])
    content = content_of(experiment_file)
    for request in (experiment_file, content, nmt.Experiment.model_validate(content)):
        assert to_experiment(request, RATE) == expected
    names = to_experiment(content, {"tasks.1.tolerance": 0.5, "sweep.eta_lambda": (0.1, 0.2)})
    assert names.levels[1][0].tolerance == 0.5
    assert names.sweep.eta_lambda == (0.1, 0.2)


def test_what_the_caller_gave_is_not_changed(experiment_file: Path) -> None:
    content = content_of(experiment_file)
    before = copy.deepcopy(content)
    to_experiment(content, RATE)
    assert content == before


def test_paths_and_tuples_in_a_dict_are_as_in_a_file(experiment_file: Path) -> None:
    content = content_of(experiment_file)
    given = {**content, "storage": Path(content["storage"]), "tasks": tuple(content["tasks"])}
    assert to_experiment(given) == to_experiment(content)


@pytest.mark.parametrize(
    ("request_", "overrides", "message"),
    [
        (5, None, "the experiment is a int; give the path of its file"),
        ("nowhere.yaml", None, "no such experiment file: nowhere.yaml"),
        ({"name": "x"}, None, "data: missing"),
        (None, {"training.eta_thta": 1.0}, "did you mean 'eta_theta'?"),
        (None, {"tasks.7.tolerance": 1.0}, "set 'tasks.7.tolerance': tasks.7 is not one of the 3 entries"),
    ],
)
def test_mistakes_are_refused_in_words(
    experiment_file: Path, request_: Any, overrides: dict[str, Any] | None, message: str
) -> None:
    with pytest.raises(nmt.RequestError) as refused:
        nmt.plan(request_ or experiment_file, set=overrides)
    assert message in str(refused.value)


def test_plan_gives_what_the_command_prints(experiment_file: Path) -> None:
    planned = nmt.plan(experiment_file, set={"training.max_epochs": 3})
    assert planned.max_samples == planned.to_dict()["max_samples"] == 4 * 3 * 1500
    assert [stage.level for stage in planned.stages] == [(), ("pay",), ("amount",), ("relevance",)]


@pytest.mark.parametrize("model", [7, "nowhere", Path("nowhere")])
def test_a_model_that_is_not_there_is_refused(model: Any, tmp_path: Path) -> None:
    with pytest.raises(nmt.RequestError):
        nmt.load(model)


def test_every_public_name_is_there_and_no_other() -> None:
    for name in nmt.__all__:
        assert getattr(nmt, name) is not None
    assert set(nmt.__all__) == set(nmt.PLACES)
    assert set(nmt.__all__) <= set(dir(nmt))
    with pytest.raises(AttributeError, match="has no attribute 'rum'"):
        _ = nmt.rum


@pytest.mark.parametrize(
    ("names", "heavy"),
    [
        ("dir(nmt), nmt.Multipliers, nmt.RequestError", ("ray", "mlflow", "pandas", "pyarrow")),
        ("nmt.load, nmt.predict, nmt.evaluate, nmt.run", ("ray", "mlflow")),
    ],
)
def test_a_name_loads_no_more_than_it_needs(names: str, heavy: tuple[str, ...]) -> None:
    program = f"import sys, nmt\n{names}\nprint([name for name in {heavy} if name in sys.modules])\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
