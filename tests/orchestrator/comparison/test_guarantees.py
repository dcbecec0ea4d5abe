"""The chosen models' protected tasks, in loss and in metric, on valid and on test."""

from __future__ import annotations

from dataclasses import replace

from nmt.orchestrator.comparison.guarantees import (
    MOST_PROTECTED,
    guarantee_lines,
    guarantees_columns,
    guarantees_markdown,
)
from nmt.orchestrator.comparison.results import Comparison
from nmt.trainers.records import Verdict
from tests.orchestrator._comparison import comparison, verdicts_on


def with_verdicts(found: Comparison, verdicts: tuple[Verdict, ...]) -> Comparison:
    """The comparison whose chosen models all have these verdicts."""
    rows = tuple(
        row if row.chosen is None else replace(row, chosen=replace(row.chosen, verdicts=verdicts)) for row in found.rows
    )
    return replace(found, rows=rows)


def test_a_line_has_both_currencies_on_both_splits() -> None:
    mine, grid = guarantee_lines(comparison())[:2]
    assert (mine.mine, mine.task, mine.metric, mine.status) == (True, "pay", "auc", "held")
    assert mine.loss == {"valid": ("+0.0010 ±0.0020", True), "test": ("+0.0010 ±0.0020", True)}
    assert mine.value == {"valid": ("-0.0010 ±0.0030", True), "test": ("-0.0010 ±0.0030", True)}
    assert (grid.mine, grid.status) == (False, "broken")
    assert grid.loss["valid"] == ("+0.0050 ±0.0020", False)


def test_the_status_follows_what_decides() -> None:
    by_metric = tuple(replace(found, accept_on="metric") for found in verdicts_on("pay", "broken"))
    assert {line.status for line in guarantee_lines(with_verdicts(comparison(), by_metric))} == {"held"}
    assert {line.status for line in guarantee_lines(with_verdicts(comparison(), verdicts_on("pay", "broken")))} == {
        "broken"
    }


def test_of_many_tasks_those_closest_to_their_limits_are_shown_by_priority() -> None:
    found = tuple(
        replace(one, task=f"t{index}", difference=0.0001 * index, value=0.5 + 0.0001 * index)
        for index in range(10)
        for one in verdicts_on("t", "held")
    )
    lines = [line.task for line in guarantee_lines(with_verdicts(comparison(), found)) if line.mine]
    assert lines == ["t7", "t8", "t9"]
    assert len(lines) == MOST_PROTECTED


def test_every_deviation_is_a_row_for_mlflow() -> None:
    columns = guarantees_columns(comparison())
    assert {len(values) for values in columns.values()} == {5 * 2 * 2}
    first = {name: values[0] for name, values in columns.items()}
    assert first == {
        "method": "NMT, 3 × 3 learning rates",
        "task": "pay",
        "split": "valid",
        "quantity": "loss",
        "difference": 0.001,
        "standard error": 0.002,
        "allowed": 0.002,
        "held": True,
        "decides": True,
    }
    assert set(columns["quantity"]) == {"loss", "auc"}


def test_without_protected_tasks_there_is_no_table() -> None:
    assert guarantees_markdown(comparison(["only"]), str) != ""
    assert guarantees_markdown(with_verdicts(comparison(["only"]), ()), str) == ""


def test_a_task_without_a_metric_has_a_dash() -> None:
    bare = tuple(replace(found, metric=None) for found in verdicts_on("pay", "held"))
    line = guarantee_lines(with_verdicts(comparison(), bare))[0]
    assert line.metric == ""
    assert [text for text, _ in line.value.values()] == ["–", "–"]
