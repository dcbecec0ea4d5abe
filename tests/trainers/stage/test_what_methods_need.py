"""What a method needs of a loss is checked at the first evaluation, before any step, and said in those words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nmt.trainers.faults import NumericalError, TrainingError
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.spec.task import Task
from tests.trainers._problems import Recorder
from tests.trainers.live._days import TASKS, Day, day, rows, spec_of, train


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Day:
    return day(tmp_path_factory.mktemp("days") / "one", rows(20))


def spec(one: Day, by: float, method: str) -> ChainSpec:
    task = Task("click", "tests.trainers._own_losses:shifted", options={"by": by})
    return replace(spec_of(one, method=method), levels=((task,), TASKS[1:]))


def test_famo_needs_positive_losses(one: Day, tmp_path: Path) -> None:
    reporter = Recorder()
    with pytest.raises(
        TrainingError, match=r"at the start: method nmt\+famo balances the logarithms .*'click' has"
    ) as error:
        train(spec(one, -5.0, "nmt+famo"), one, tmp_path, reporter)
    assert not isinstance(error.value, NumericalError)  # another learning rate would not mend it
    assert not list(tmp_path.glob("stages/*"))


@pytest.mark.parametrize(("by", "method"), [(-5.0, "nmt"), (5.0, "nmt+famo")])
def test_others_do_not(one: Day, tmp_path: Path, by: float, method: str) -> None:
    records, _ = train(spec(one, by, method), one, tmp_path)
    assert len(records) == 3
