"""What the test split does not confirm is said in one plain sentence each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nmt.orchestrator.summary.on_test import sentences_on_test
from nmt.trainers.records import Verdict
from tests.orchestrator._records import deviation, verdict


def pair(
    task: str = "like", *, valid: float = 0.0, test: float = 0.0, auc: float | None = 0.0, auc_on_valid: float = 0.0
) -> tuple[Verdict, Verdict]:
    """Verdicts on both splits: differences of loss and AUC, of which 0.01 is allowed."""
    metrics = (None, None) if auc is None else (deviation("auc", auc_on_valid, 0.01), deviation("auc", auc, 0.01))
    return (
        replace(verdict(task, valid, 0.01), metric=metrics[0]),
        replace(verdict(task, test, 0.01, split="test"), metric=metrics[1]),
    )


def said(*verdicts: Verdict) -> str:
    return " ".join(sentences_on_test(verdicts))


def test_nothing_is_said_where_both_splits_held() -> None:
    assert said(*pair()) == ""


def test_a_worse_loss_with_a_kept_metric_is_calibration() -> None:
    assert said(*pair(test=0.02, auc=-0.005)) == (
        "On test the loss of like (+0.0200 ±0.0100) is worse than at its optimum although its auc is not: calibration "
        "moved, see METHOD.md, “Guarantees in the metric”."
    )


def test_a_task_that_is_held_to_the_live_model_is_compared_with_it() -> None:
    own, live = pair("finish", test=0.02), pair("like", test=0.02)
    first, second = sentences_on_test([*own, *live], live=["like"])
    assert "of finish (+0.0200 ±0.0100) is worse than at its optimum" in first
    assert "of like (+0.0200 ±0.0100) is worse than the live model's" in second


def test_a_worse_loss_and_metric_are_named_together() -> None:
    text = said(*pair(test=0.02, auc=-0.02))
    assert text.startswith("On test the loss and the auc of like (+0.0200 ±0.0100) are worse")
    assert "valid promised more" in text


def test_without_a_metric_the_loss_alone_is_named() -> None:
    assert said(*pair(test=0.02, auc=None)).startswith("On test the loss of like")


def test_a_worse_metric_with_a_kept_loss_is_said() -> None:
    assert "the auc of like (-0.0200 ±0.0100) is worse than at its optimum although its loss is not" in said(
        *pair(auc=-0.02)
    )


def test_a_task_that_valid_did_not_keep_is_not_repeated() -> None:
    assert said(*pair(valid=0.02, test=0.02)) == ""


def test_what_decides_says_whether_valid_held() -> None:
    """By metric valid held, though its loss did not: the test split's loss is news."""
    verdicts = [replace(found, accept_on="metric") for found in pair(valid=0.02, test=0.02)]
    assert "calibration moved" in said(*verdicts)


@pytest.mark.parametrize("count", [2, 64])
def test_tasks_of_one_kind_share_a_sentence(count: int) -> None:
    found = [one for index in range(count) for one in pair(f"task{index}", test=0.02)]
    assert said(*found).count("On test") == 1
    assert len(said(*found)) < 400
