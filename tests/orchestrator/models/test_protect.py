"""Champion and challenger: a chain that protects the live model, its sentence, and who gets the alias."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.model_address import read_model
from nmt.orchestrator.experiment.prepared import prepare
from nmt.orchestrator.models.commands import register
from nmt.orchestrator.verbs.plan import plan_chain
from nmt.trainers.export.model_folder import MODEL
from tests.orchestrator._ranker import declare, nmt, train, write_days

CHAMPION = "models:/ranker@champion"


def give_alias(file: Path, **options: Any) -> None:
    """``nmt register FILE --name ranker --alias champion``."""
    register(
        str(file), name="ranker", alias="champion", **{"although_broken": False, "although_worse": False, **options}
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage and a registry with a champion, which the first day trained."""
    folder = tmp_path_factory.mktemp("protect")
    file = declare(folder, "champion", write_days(folder / "data", 1))
    train(file)
    give_alias(file)
    return folder


def champion(place: Path) -> int:
    """Version that is champion."""
    uri = f"sqlite:///{place}/mlflow.db"
    return int(MlflowClient(uri, registry_uri=uri).get_model_version_by_alias("ranker", "champion").version)


def test_a_challenger_with_shuffled_labels_is_refused(place: Path) -> None:
    bad = write_days(place / "data", 3, shuffled="click")
    file = declare(place, "sabotaged", bad, protect={"model": CHAMPION, "start": False})
    found = train(file)
    assert not found["held"]
    assert found["live"]["worse"][0] == "click"
    assert "Against the live model: click worse on valid and test (loss +" in found["sentence"]
    before = champion(place)
    reason = (
        rf"champion stays with ranker version {before}: the new model is worse than the live one on click \(loss on"
    )
    with pytest.raises(RequestError, match=reason):
        give_alias(file)
    with pytest.raises(RequestError, match=r"not registered: click.* worse than the live model .*--although-worse"):
        register(str(file), name="ranker", alias=None, although_broken=False, although_worse=False)
    assert champion(place) == before

    give_alias(file, although_worse=True)
    assert champion(place) == before + 1
    MlflowClient(f"sqlite:///{place}/mlflow.db").set_registered_model_alias("ranker", "champion", str(before))


def test_one_that_starts_from_the_champion_is_level_at_worst_even_if_its_labels_are_shuffled(place: Path) -> None:
    file = declare(place, "shuffled", write_days(place / "data", 3, shuffled="click"), protect=CHAMPION)
    found = train(file)
    assert found["held"]
    assert [task["standing"]["valid"] for task in found["live"]["tasks"]].count("worse") == 0


def test_one_that_was_not_compared_with_the_champion_does_not_take_its_place(place: Path) -> None:
    file = declare(place, "unaware", write_days(place / "data", 2), training={"max_epochs": 1})
    train(file)
    with pytest.raises(RequestError, match=r"compared with no live model; set protect: models:/ranker@champion"):
        give_alias(file, although_broken=True)


def test_a_challenger_on_all_days_says_so_and_takes_the_alias(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = declare(place, "challenger", write_days(place / "data", 3), protect=CHAMPION)
    said: list[str] = []
    planned = plan_chain(prepare(str(file), [], said.append))
    assert f"the live model {CHAMPION} protects click, buy; training starts from it" in said
    assert [stage.live for stage in planned.stages] == [("click", "buy"), ("click", "buy"), ("buy",)]

    found = train(file)
    assert found["held"]
    assert found["live"]["worse"] == []
    assert {task["standing"]["test"] for task in found["live"]["tasks"]} == {"better"}
    assert found["sentence"].endswith(found["live"]["sentence"])

    give_alias(file)
    new = champion(place)
    assert new > 1
    assert f"models:/ranker/{new}, now champion" in capsys.readouterr().out
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    tags = client.get_model_version("ranker", str(new)).tags
    assert tags["nmt.against_live"] == found["live"]["sentence"]
    metrics = client.get_run(client.get_model_version("ranker", str(new)).run_id).data.metrics
    assert metrics["live/test/loss/click"] < -metrics["live_se/test/loss/click"] < 0

    give_alias(file)  # the alias now names the model of this very chain, which is finished all the same
    assert champion(place) == new
    assert all(stage.finished for stage in plan_chain(prepare(str(file), [], said.append)).stages)
    assert said[-1] == f"{CHAMPION} is the model of this very chain"


@pytest.mark.drill
@pytest.mark.ray
def test_workers_find_the_live_model_in_the_storage(place: Path) -> None:
    file = declare(
        place,
        "workers",
        write_days(place / "data", 2),
        protect="models:/ranker/1",
        training={"max_epochs": 1},
        scaling={"workers": 2, "cpus_per_worker": 0.5},
    )
    found = nmt(place, "run", str(file))
    assert found["held"]
    assert "Against the live model: click " in found["sentence"]


@pytest.mark.parametrize(
    ("protect", "others", "message"),
    [
        (
            "models:/ranker@best",
            {},
            "protect: models:/ranker@best is not at sqlite.*: ranker has versions 1.* and aliases champion \\(version ",
        ),
        ("models:/sorter@champion", {}, "protect: models:/sorter@champion is not at .*: its models are ranker; name"),
        (
            "models:/ranker/1",
            {"tracking": "http://127.0.0.1:1"},
            "protect: models:/ranker/1 is not at http://127.0.0.1:1: .*or the folder of a model, which needs no server",
        ),
        (
            "models:/ranker/1",
            {"tasks": [{"name": "share", "label": "buy", "loss": "binary_cross_entropy"}]},
            "protect: the live model has the tasks click, buy, the file share: none in common; give tasks",
        ),
        (
            "models:/ranker/1",
            {"tasks": [{"name": "buy", "loss": "squared_error"}]},
            "protect: task buy has the loss squared_error in the file and binary_cross_entropy in the live model",
        ),
        (
            {"model": "models:/ranker/1", "start": True},
            {"model": {"name": "shared_bottom", "embedding_dim": 8}},
            "protect: start: true needs a live model of the same network, tasks and columns: its network is shared_bo",
        ),
        ({"model": "models:/ranker/1", "begin": True}, {}, r"protect\.begin: unknown key.*allowed: model, start"),
        ("models:/ranker/1", {"training": {"method": "famo"}}, "protect needs a method that holds tasks"),
        ("nowhere", {}, "protect: .*nowhere is no model of nmt: it has no model.json \\(no such folder\\)"),
    ],
)
def test_bad_input_is_one_line_before_ray_starts(
    place: Path, protect: Any, others: dict[str, Any], message: str
) -> None:
    file = declare(place, "bad", write_days(place / "data", 1), protect=protect, **others)
    with pytest.raises(RequestError, match=message):
        prepare(str(file), [], lambda line: None)


def test_a_model_of_another_version_is_refused(place: Path, tmp_path: Path) -> None:
    model = read_model("models:/ranker/1", f"sqlite:///{place}/mlflow.db")
    model.write(tmp_path / "model")
    content = json.loads((tmp_path / "model" / MODEL).read_text())
    (tmp_path / "model" / MODEL).write_text(json.dumps({**content, "version": 99}))
    file = declare(place, "old", write_days(place / "data", 1), protect=str(tmp_path / "model"))
    message = "protect: .* has version 99, this program reads 1; export the model again, or use the program that wrote"
    with pytest.raises(RequestError, match=message):
        prepare(str(file), [], lambda line: None)
