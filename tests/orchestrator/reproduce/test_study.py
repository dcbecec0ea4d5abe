"""The declarations of the paper's studies: every trial is a valid experiment."""

from __future__ import annotations

from typing import Any

import pytest

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.reproduce.command import title_of
from nmt.orchestrator.reproduce.study import Arm, Study, content_of, experiment_of, load_study, names, with_keys

KEYS = {"storage": "/nowhere/runs", "tracking": "sqlite:////nowhere/mlflow.db", "name": "study"}


def contents(study: Study) -> list[tuple[str | None, dict[str, Any]]]:
    return [
        (preset, content_of(study, data, preset, "/nowhere/data", KEYS))
        for data in study.data_sets
        for preset in (None, *study.presets)
    ]


def test_the_paper_has_four_tables_and_two_trained_figures() -> None:
    assert names() == ["figure2", "figure3", "table1", "table2", "table3", "table4"]


@pytest.mark.parametrize("name", names())
def test_every_trial_is_a_valid_experiment(name: str) -> None:
    study = load_study(name)
    assert study.reference in study.arms
    assert study.default in study.data_sets
    assert study.data_sets[study.default].needs is None
    for preset, content in contents(study):
        for row in study.rows:
            for arm in study.arms.values():
                experiment = experiment_of(study, content, preset, row, arm, 3)
                assert experiment.training.seed == 3
                assert len(experiment.levels) == len(content["tasks"])


@pytest.mark.parametrize("name", names())
def test_printed_figures_belong_to_lines_arms_and_tasks(name: str) -> None:
    study = load_study(name)
    tasks = {task["name"] for data in study.data_sets.values() for task in data.experiment["tasks"]} | {"average"}
    for row, arms in study.printed.items():
        assert row in study.rows
        for arm, values in arms.items():
            assert arm in study.arms
            assert set(values) <= tasks


def test_without_a_preset_sizes_are_the_papers() -> None:
    study = load_study("table1")
    content = content_of(study, "tiktok", None, "/nowhere/data", KEYS)
    experiment = experiment_of(study, content, None, "PLE", study.arms["with NMT"], 0)
    assert experiment.model == {"name": "ple"}
    assert experiment.data.batch_size == 4096
    assert (experiment.training.l2_embedding, experiment.training.max_epochs) == (1e-6, 20)
    small = experiment_of(study, content, "small", "PLE", study.arms["with NMT"], 0)
    assert small.model["expert_units"] == [128, 64]


def test_table_3_orders_tasks_by_arm_and_evaluates_all_of_them() -> None:
    study = load_study("table3")
    content = content_of(study, "complete_journey", None, None, KEYS)
    found = {
        name: [task.name for level in experiment_of(study, content, None, "", arm, 0).levels for task in level]
        for name, arm in study.arms.items()
    }
    assert found["pay + relevance"] == ["pay", "relevance", "amount"]
    assert found["pay + amount + relevance"] == ["pay", "amount", "relevance"]
    assert {name: arm.stages for name, arm in study.arms.items()} == {
        "pay": 1,
        "pay + relevance": 2,
        "pay + relevance (weights)": None,
        "pay + amount": 2,
        "pay + amount + relevance": None,
        "all three, joint start": None,
    }
    weighted = experiment_of(study, content, None, "", study.arms["pay + relevance (weights)"], 0)
    assert (weighted.training.method, weighted.training.weights) == ("weighted_sum", (0.5, 0.5, 0.0))


def test_the_title_names_a_stand_in() -> None:
    study = load_study("table1")
    assert title_of(study, "kuairand", "small").endswith(
        "on KuaiRand-Pure, which stands in for the paper's data; preset small"
    )
    assert "stands in" not in title_of(study, "tiktok", None)


@pytest.mark.parametrize(
    ("data", "preset", "place", "message"),
    [
        ("movielens", None, None, "--source 'movielens': this study runs on tiktok, kuairand, complete_journey"),
        ("tiktok", None, None, "TikTok .* comes with no package: .*its owners .*; give its path with --data PATH"),
        ("complete_journey", "tiny", None, "--preset 'tiny': this study has small"),
    ],
)
def test_a_wrong_request_is_refused(data: str, preset: str | None, place: str | None, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        content_of(load_study("table1"), data, preset, place, KEYS)


def test_an_unknown_study_is_refused() -> None:
    with pytest.raises(RequestError, match="nothing called 'table9' to reproduce; choose one of figure2, figure3"):
        load_study("table9")


def test_overrides_reach_every_trial() -> None:
    study = load_study("figure2")
    content = content_of(study, "complete_journey", None, None, KEYS, ["training.max_epochs=1"])
    for arm in study.arms.values():
        assert experiment_of(study, content, None, "Shared-Bottom", arm, 0).training.max_epochs == 1


def test_keys_are_set_on_a_copy() -> None:
    content = {"a": {"b": 1}}
    assert with_keys(content, {"a.c": 2, "d.e": 3}) == {"a": {"b": 1, "c": 2}, "d": {"e": 3}}
    assert content == {"a": {"b": 1}}
    assert Arm().weights is None
