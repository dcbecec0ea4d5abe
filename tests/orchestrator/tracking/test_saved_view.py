"""The saved view "NMT against grid", and the description that explains it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from nmt.orchestrator.tracking import experiment_note, saved_view
from nmt.orchestrator.tracking.store import TrackingStore
from nmt.orchestrator.trials.cost import Cost
from nmt.trainers.spec.task import Task
from tests.orchestrator._tracked import unreliable, use

TASKS = (
    Task("like", "binary_cross_entropy"),
    Task("watch time", "squared_error", metric="my.metrics:within_a_minute"),
    Task("gefällt", "pairwise_logistic"),
)


@pytest.fixture
def store(tmp_path: Path, database: Path) -> TrackingStore:
    """An empty experiment."""
    shutil.copy(database, tmp_path / "mlflow.db")
    return TrackingStore(f"sqlite:///{tmp_path}/mlflow.db", "ranking")


def state() -> dict[str, Any]:
    """Return the state in the tag, read as MLflow reads it."""
    found = saved_view.read_state(saved_view.view_tag(TASKS, 0)[1])
    assert found is not None
    return dict(found)


def test_the_tag_is_what_mlflow_looks_for() -> None:
    key, value = saved_view.view_tag(TASKS, 1234)
    envelope = json.loads(value)
    assert key == "mlflow.sharedViewState.nmt-against-grid"
    assert envelope["state"].startswith("deflate;")
    assert {**envelope, "state": ""} == {"name": "NMT against grid", "createdAt": 1234, "updatedAt": 1234, "state": ""}
    assert saved_view.read_state(value) == saved_view.view_state(TASKS)


@pytest.mark.parametrize(
    "value", ["", "null", "[]", "{}", '{"state": 1}', '{"state": "deflate;AAAA"}', '{"state": "x"}']
)
def test_a_value_that_is_no_view_is_ignored(value: str) -> None:
    assert saved_view.read_state(value) is None


def test_every_task_has_its_curves_over_the_samples_spent() -> None:
    lines = [card for card in state()["compareRunCharts"] if card["type"] == "LINE"]
    names = ["like", "watch time", "gefällt"]
    assert [card["metricKey"] for card in lines] == [f"{of}/{name}" for of in ("best", "winner") for name in names]
    for card in lines:
        assert card["selectedMetricKeys"] == [card["metricKey"]]
        assert (card["xAxisKey"], card["selectedXAxisMetricKey"]) == ("metric", "cost/samples")
        assert not card["useGlobalXaxisKey"]  # or the axis would be the page's: steps


def test_every_cost_has_a_bar_and_a_column() -> None:
    bars = {card["metricKey"]: card for card in state()["compareRunCharts"] if card["type"] == "BAR"}
    assert set(bars) == set(Cost().metrics())
    assert {f"metrics.`{metric}`" for metric in Cost().metrics()} < set(state()["selectedColumns"])
    folded = [section["uuid"] for section in state()["compareRunSections"] if not section["display"]]
    in_sight = [metric for metric, card in bars.items() if card["metricSectionId"] not in folded]
    assert in_sight == ["cost/trials", "cost/stages", "cost/samples", "cost/worker_seconds"]


def test_charts_have_distinct_ids_and_a_section() -> None:
    cards, sections = state()["compareRunCharts"], state()["compareRunSections"]
    uuids = [entry["uuid"] for entry in (*cards, *sections)]
    assert len(uuids) == len(set(uuids))
    assert {card["metricSectionId"] for card in cards} == {section["uuid"] for section in sections}


def test_the_table_begins_with_kind_and_method() -> None:
    columns = state()["selectedColumns"]
    assert columns[:3] == ["tags.`nmt.kind`", "params.`method`", "metrics.`winner/like`"]
    assert state()["columnOrder"] == ["attributes.`Run Name`", *columns]
    assert list(state()["columnWidths"]) == state()["columnOrder"]


def test_a_long_list_of_tasks_shows_the_first_and_fits_into_a_tag() -> None:
    tasks = [Task(f"{number:02d} {'long name ' * 10}", "binary_cross_entropy") for number in range(40)]
    shown = saved_view.view_state(tasks)["compareRunCharts"]
    assert [card["metricKey"][:7] for card in shown[:6]] == [f"best/{number:02d}" for number in range(6)]
    assert len(shown) == 2 * saved_view.TASKS_SHOWN + len(Cost().metrics())
    assert len(saved_view.view_tag(tasks, 0)[1]) < 20_000


def test_the_filter_selects_sweeps_and_grids_in_the_order_of_their_cost(store: TrackingStore) -> None:
    """MLflow's own search takes filter and order as the page sends them."""
    kinds = {"grid": 9.0, "chain": 4.0, "sweep": 5.0, "stage": 1.0, "weights": 2.0, "comparison": 0.0}
    client = MlflowClient(store.uri)
    for kind, samples in kinds.items():
        run = client.create_run(store.experiment_id, tags={"nmt.kind": kind}).info.run_id
        for name in ("cost/trials", "cost/samples"):
            client.log_metric(run, name, samples)
    client.create_run(store.experiment_id, tags={"nmt.kind": "grid"})  # no trial has ended yet
    client.create_run(store.experiment_id)  # not one of ours
    order = f"{state()['orderByKey']} {'ASC' if state()['orderByAsc'] else 'DESC'}"
    found = client.search_runs([store.experiment_id], filter_string=state()["searchFilter"], order_by=[order])
    assert [run.data.tags["nmt.kind"] for run in found] == ["sweep", "grid"]


def test_an_installed_view_is_not_written_again(
    store: TrackingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved_view.install(store, TASKS)
    before = store.experiment_tags()
    client = use(monkeypatch, unreliable(lambda request: ""))
    again = TrackingStore(store.uri, "ranking")
    saved_view.install(again, TASKS)
    assert client.asked["set_experiment_tag"] == 0
    assert again.experiment_tags() == before
    saved_view.install(again, TASKS[:2])
    assert client.asked["set_experiment_tag"] == 2
    after = again.experiment_tags()
    assert saved_view.read_state(after[saved_view.TAG]) == saved_view.view_state(TASKS[:2])
    assert "gefällt" not in after[experiment_note.TAG]


def test_a_broken_view_is_replaced(store: TrackingStore) -> None:
    store.set_experiment_tag(saved_view.TAG, "not a view")
    saved_view.install(store, TASKS)
    assert saved_view.read_state(store.experiment_tags()[saved_view.TAG]) == saved_view.view_state(TASKS)


def test_other_tags_are_kept(store: TrackingStore) -> None:
    before = {**store.experiment_tags(), "mlflow.sharedViewState.mine": "{}"}
    store.set_experiment_tag("mlflow.sharedViewState.mine", "{}")
    saved_view.install(store, TASKS)
    assert set(store.experiment_tags()) == {*before, saved_view.TAG, experiment_note.TAG}
    assert before.items() <= store.experiment_tags().items()


def test_the_note_names_tasks_metrics_and_the_page(store: TrackingStore) -> None:
    saved_view.install(store, TASKS)
    note = store.experiment_tags()[experiment_note.TAG]
    assert "`like` (auc), `watch time` (within_a_minute), `gefällt` (pair_accuracy)." in note
    assert f"[NMT against grid]({saved_view.link(store)})" in note


def test_a_note_of_the_user_is_kept(store: TrackingStore) -> None:
    store.set_experiment_tag(experiment_note.TAG, "Do not touch: baseline for the board.")
    saved_view.install(store, TASKS)
    assert store.experiment_tags()[experiment_note.TAG] == "Do not touch: baseline for the board."
    assert saved_view.TAG in store.experiment_tags()


def test_text_that_a_user_adds_to_our_note_is_kept(store: TrackingStore) -> None:
    saved_view.install(store, TASKS)
    ours = store.experiment_tags()[experiment_note.TAG]
    store.set_experiment_tag(experiment_note.TAG, f"Before.\n{ours}\nAfter.")
    saved_view.install(store, TASKS[:1])
    note = store.experiment_tags()[experiment_note.TAG]
    assert note.startswith("Before.\n<!--")
    assert note.endswith("-->\nAfter.")
    assert "gefällt" not in note
    assert note.count("NMT against grid") == 1


def test_a_note_whose_end_mark_was_deleted_is_the_users(store: TrackingStore) -> None:
    saved_view.install(store, TASKS)
    mine = store.experiment_tags()[experiment_note.TAG].replace(experiment_note.END, "mine")
    store.set_experiment_tag(experiment_note.TAG, mine)
    saved_view.install(store, TASKS)
    assert store.experiment_tags()[experiment_note.TAG] == mine


def test_the_link_is_an_address_for_a_server_and_otherwise_a_fragment_for_nmt_ui(store: TrackingStore) -> None:
    fragment = (
        f"#/experiments/{store.experiment_id}/runs"
        "?viewStateShareKey=nmt-against-grid&compareRunsMode=CHART&workflowType=machine_learning"
    )
    assert saved_view.link(store) == fragment
    store.uri = "https://me:secret@tracking.example/mlflow/"
    assert saved_view.link(store) == f"https://tracking.example/mlflow/{fragment}"
