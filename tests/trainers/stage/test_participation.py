from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.schema import Numeric, Schema
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.losses.task_losses import TaskLosses
from nmt.trainers.stage.participation import participating
from tests.trainers._asserts import assert_identical
from tests.trainers._problems import Normalised, TwoTowers, binary, rows_batch

SCHEMA = Schema(numeric={"x": Numeric(), "y": Numeric()}, labels={"first": 2, "second": 2})
FIRST, SECOND = binary("first"), binary("second")
LOSSES = TaskLosses((FIRST, SECOND))


def batch(rows: int = 5) -> Batch:
    return rows_batch(torch.ones(rows, 2), numeric=torch.randn(rows, 2))


def learner(model: nn.Module) -> Learner:
    no_feed: Any = None
    return Learner(model, no_feed, LOSSES)


def frozen(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


@pytest.mark.parametrize("rows", [5, 0])
def test_what_no_task_of_the_stage_reaches_is_frozen_for_its_time(rows: int) -> None:
    model = TwoTowers(SCHEMA, (FIRST, SECOND))
    gate = {"unread_gate.weight", "unread_gate.bias"}
    with participating(learner(model), batch(rows), (FIRST,)):
        assert frozen(model) == {"towers.second.weight", "towers.second.bias"} | gate
    assert frozen(model) == set()
    with participating(learner(model), batch(rows), (FIRST, SECOND)):
        assert frozen(model) == gate
    assert frozen(model) == set()


def test_labels_that_are_all_missing_freeze_nothing_more() -> None:
    model = TwoTowers(SCHEMA, (FIRST, SECOND))
    unlabelled = rows_batch(torch.full((4, 2), float("nan")), numeric=torch.randn(4, 2))
    with participating(learner(model), unlabelled, (FIRST,)):
        assert not {name for name in frozen(model) if name.startswith(("shared", "towers.first"))}


def test_an_error_thaws_too() -> None:
    model = TwoTowers(SCHEMA, (FIRST, SECOND))
    with pytest.raises(KeyboardInterrupt), participating(learner(model), batch(), (FIRST,)):
        raise KeyboardInterrupt
    assert frozen(model) == set()


def test_what_the_user_froze_stays_frozen() -> None:
    model = TwoTowers(SCHEMA, (FIRST, SECOND))
    model.shared.requires_grad_(False)
    with participating(learner(model), batch(), (FIRST,)):
        assert "shared.weight" in frozen(model)
    assert frozen(model) == {"shared.weight", "shared.bias"}


def test_finding_out_changes_nothing() -> None:
    """No gradient is left behind, and no running statistic is moved."""
    model = Normalised(SCHEMA, (FIRST, SECOND))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with participating(learner(model), batch(), (FIRST,)):
        assert all(parameter.grad is None for parameter in model.parameters())
        assert_identical(model.state_dict(), before)
