"""The same experiment day after day: what it goes on from, what it costs, and that no day is trained twice."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from mlflow import MlflowClient

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.file import load
from nmt.orchestrator.models.commands import register
from nmt.orchestrator.models.finished import finished_model
from nmt.orchestrator.refresh import refresh as module
from nmt.orchestrator.refresh.days import Day, Days
from nmt.orchestrator.refresh.refresh import Refreshed, refresh_experiment
from nmt.orchestrator.terminal.current_output import current_output
from nmt.trainers.export.predictor import Predictor
from tests.orchestrator._ranker import declare, nmt, run_here, train, write_days


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Chains are trained here, without Ray; the last key of each call."""
    made: list[str] = []

    def run(prepared: Any, *others: Any, **options: Any) -> Any:
        made.append(prepared.spec.stage_keys()[-1])
        return run_here(prepared)

    monkeypatch.setattr(module, "run_experiment", run)
    return made


def refresh(file: Path, *overrides: str, **options: Any) -> Refreshed:
    return refresh_experiment(load(str(file), list(overrides)), current_output(), **options)


def days_of(place: Path, number: int) -> str:
    return f"data.path={place}/data/days{number}.parquet"


@pytest.fixture
def place(tmp_path: Path, database: Path) -> Path:
    shutil.copy(database, tmp_path / "mlflow.db")
    for number in (1, 2, 3):
        write_days(tmp_path / "data", number)
    declare(tmp_path, "ranker", str(tmp_path / "data" / "days1.parquet"))
    return tmp_path


def test_three_days(place: Path, calls: list[str]) -> None:
    file = place / "ranker.yaml"
    days = [refresh(file, days_of(place, number)) for number in (1, 2, 3)]
    assert [done.day.previous_day for done in days] == [0, 1, 2]
    assert [done.day.new_tokens for done in days] == [{}, {"user": 20}, {"user": 20}]
    assert all(done.trained and done.day.samples > 0 and done.day.stages == 3 for done in days)
    assert len(set(calls)) == 3

    models = [finished_model(done.chain.prepared) for done in days]
    tokens = [model.encoder.categorical["user"].tokens.to_pylist() for model in models]
    assert tokens[2][:50] == tokens[1]
    assert tokens[1][:30] == tokens[0]  # every id stays what it was
    strangers = pa.table({"user": ["u35", "u45", "nobody"], "price": [1.0, 1.0, 1.0]})
    first, _, last = [Predictor(model).predict(strangers.to_pandas())["click"].tolist() for model in models]
    assert len(set(first)) == 1  # whoever the first day did not see, it took for the same stranger
    assert len(set(last)) == 3  # two of them have been seen since

    for done, number in zip(days, (1, 2, 3), strict=True):
        again = refresh(file, days_of(place, number))
        assert not again.trained
        assert again.chain.cost.samples == 0
        assert again.day == done.day
        assert "nothing to do" in again.sentence
        assert finished_model(again.chain.prepared).origin == finished_model(done.chain.prepared).origin
    assert len(calls) == 3


def test_multipliers_and_parameters_go_on_from_where_they_were(place: Path) -> None:
    file = place / "ranker.yaml"
    first = refresh(file).day
    assert set(first.multipliers) == {"joint", "click", "buy"}
    second = refresh(file, days_of(place, 2)).chain
    last = second.prepared.spec.stages[-1]
    assert last.multipliers == first.multipliers["buy"]
    assert second.records[0].candidates[0].step == 0
    # Where training starts, the losses are those of the day before on today's rows, not those of a random network.
    alone = run_here(replace_name(second, "fresh")).records
    task = "click"
    assert second.records[0].candidates[0].losses[task] < alone[0].candidates[0].losses[task]


def replace_name(outcome: Any, name: str) -> Any:
    """The same data and settings without the day before."""
    from dataclasses import replace

    prepared = outcome.prepared
    experiment = prepared.experiment.model_copy(update={"name": name})
    return replace(prepared, experiment=experiment, spec=replace(prepared.spec, previous=None))


def test_other_settings_on_the_same_data_do_not_go_on_from_these_data(place: Path, calls: list[str]) -> None:
    file = place / "ranker.yaml"
    refresh(file)
    two = days_of(place, 2)
    assert refresh(file, two).day.previous_day == 1
    other = refresh(file, two, "training.max_epochs=1")
    assert (other.day.number, other.day.previous_day, other.trained) == (3, 1, True)
    assert refresh(file, days_of(place, 3), "training.max_epochs=1").day.previous_day == 3
    assert len(calls) == 4


def test_an_interrupted_day_goes_on_and_is_one_day(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, two = place / "ranker.yaml", days_of(place, 2)
    refresh(file)

    def interrupt(prepared: Any, *others: Any, **options: Any) -> Any:
        run_here(prepared, stages=2)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "run_experiment", interrupt)
        with pytest.raises(KeyboardInterrupt):
            refresh(file, two)
    assert len(Days(str(place / "runs"), "ranker").read()) == 1
    done = refresh(file, two)
    assert (done.day.number, done.day.previous_day) == (2, 1)
    assert (done.chain.cost.stages, done.chain.cost.stages_reused) == (1, 2)


def test_a_day_whose_stages_were_deleted_is_trained_again_from_where_it_started(place: Path, calls: list[str]) -> None:
    file, two = place / "ranker.yaml", days_of(place, 2)
    refresh(file)
    first = refresh(file, two).day
    refresh(file, days_of(place, 3))
    (stage,) = (path for path in (place / "runs").rglob(f"{first.stage_key}*") if path.is_dir())
    shutil.rmtree(stage)
    again = refresh(file, two)
    assert again.trained
    assert (again.day.number, again.day.previous_day, again.day.stage_key) == (2, 1, first.stage_key)
    assert calls[-1] == calls[1]
    assert refresh(file, days_of(place, 3)).trained is False


def test_a_day_protects_the_champion_of_its_time(place: Path, calls: list[str]) -> None:
    file = place / "ranker.yaml"

    def run_day(number: int) -> Refreshed:
        return refresh(file, days_of(place, number), name="ranker", alias="champion")

    one, two = run_day(1), run_day(2)
    assert one.day.live is None
    assert two.day.live is not None
    assert not two.day.live.start  # training starts from the day before, which need not be the champion
    assert two.chain.records[-1].against_live
    assert [done.registered.version for done in (one, two) if done.registered] == ["1", "2"]
    assert two.to_dict()["registered"]["live"]["worse"] == []
    # The alias has moved to this very model; the day is finished all the same.
    again = run_day(2)
    assert not again.trained
    assert again.registered is not None
    assert again.registered.version == "2"
    assert len(calls) == 2


def test_a_day_that_is_worse_than_the_champion_is_trained_and_does_not_take_its_place(place: Path) -> None:
    file = place / "ranker.yaml"
    refresh(file, name="ranker", alias="champion")
    bad = write_days(place / "data", 2, shuffled="click")
    # From random parameters: what starts from the champion keeps its limits.
    sabotaged = declare(place, "other", bad, protect={"model": "models:/ranker@champion", "start": False})
    with pytest.raises(RequestError, match="champion stays with ranker version 1: the new model is worse"):
        refresh(sabotaged, name="ranker", alias="champion")
    (day,) = Days(str(place / "runs"), "other").read()
    assert day.live is not None
    with pytest.raises(RequestError, match="the alias champion is one of a registered model; give its name too"):
        refresh(sabotaged, alias="champion")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.embedding_dim=8", r"cannot go on from day 1: its network is shared_bottom .*undo the change, or give "),
        ("data.options.numeric=[]", r"cannot go on from day 1: its columns are user, price, today's user; undo"),
        ("data.options.log1p=[price]", r"cannot go on from day 1: columns price have a logarithm in one of the two"),
        ("tasks=[{name: click, loss: binary_cross_entropy}]", r"cannot go on from day 1: its tasks are click \("),
    ],
)
def test_what_cannot_go_on_is_refused_before_training(
    place: Path, calls: list[str], override: str, message: str
) -> None:
    file = place / "ranker.yaml"
    refresh(file)
    with pytest.raises(RequestError, match=message):
        refresh(file, days_of(place, 2), override)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "delete the file to train that day again"),
        ('{"version": 9}', "it has version 9, this program reads 1; delete the file"),
        ('{"version": 1, "number": 1}', "it is damaged"),
        ("[]", "it is damaged"),
    ],
)
def test_a_damaged_day_is_named(place: Path, content: str, message: str) -> None:
    file = place / "ranker.yaml"
    refresh(file)
    (path,) = (place / "runs" / "refresh").rglob("*.json")
    path.write_text(content)
    with pytest.raises(RequestError, match=f"{path}.*{message}"):
        refresh(file)


@pytest.mark.parametrize("name", ["..", "a/b", "../../x", "ü" * 200])
def test_days_lie_below_the_storage_whatever_the_experiment_is_called(tmp_path: Path, name: str) -> None:
    day = Day(1, "d", "k", "s", None, 0, None, "m", {}, {}, {}, 1, 1, 1.0, 1.0)
    days = Days(str(tmp_path / "runs"), name)
    days.write(day)
    assert days.read() == [day]
    assert [path.parent.parent for path in tmp_path.rglob("*.json")] == [tmp_path / "runs" / "refresh"]


def test_a_finished_chain_of_nmt_run_is_the_first_day(place: Path, calls: list[str]) -> None:
    file = place / "ranker.yaml"
    train(file)
    register(str(file), name="ranker", alias=None, although_broken=False, although_worse=False)
    done = refresh(file)
    assert done.chain.cost.stages_reused == 3
    assert done.day.samples == sum(record.samples for record in done.chain.records)


@pytest.mark.ray
def test_the_command(place: Path) -> None:
    refresh(place / "ranker.yaml", name="ranker", alias="champion")
    words = ["refresh", "ranker.yaml", "--set", days_of(place, 2)]
    found = nmt(place, *words, "--name", "ranker", "--alias", "champion")
    assert found["trained"]
    assert found["day"]["new_tokens"] == {"user": 20}
    assert found["day"]["previous_day"] == 1
    assert found["registered"]["version"] == "2"
    uri = f"sqlite:///{place}/mlflow.db"
    assert MlflowClient(uri, registry_uri=uri).get_model_version_by_alias("ranker", "champion").version == 2
