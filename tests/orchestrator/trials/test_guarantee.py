"""Whether a model keeps the important tasks, judged by NMT's rule against NMT's optima."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.trials.cost import Cost
from orchestrator.trials.guarantee import Standing, guarantee
from orchestrator.trials.held_out import HeldOut
from orchestrator.trials.trial import Trial, TrialResult
from tests.orchestrator._trials import Samples, Shelf, binary, spec_of

LEVELS = ((binary("a"),), (binary("b", tolerance=0.1),), (binary("c"),))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(str(tmp_path))


def flat(value: float) -> list[float]:
    return [value] * 100


def wavy(value: float, swing: float) -> list[float]:
    """Against :func:`flat` a standard error of swing / √99."""
    return [value + swing, value - swing] * 50


def chain(shelf: Shelf, last: dict[str, Samples] | None = None) -> TrialResult:
    """NMT's: a* = 0.5 after stage 1, b* = 0.6 after stage 2 (which left a at 0.52)."""
    records = (
        shelf.stage("s1", {"a": flat(0.5)}, level=["a"]),
        shelf.stage("s2", {"a": flat(0.52), "b": flat(0.6)}, stage=1, level=["b"], protected=["a"]),
        shelf.stage(
            "s3",
            last or {"a": flat(0.5), "b": flat(0.65), "c": flat(0.1)},
            stage=2,
            level=["c"],
            protected=["a", "b"],
        ),
    )
    return TrialResult(Trial("chain", "sweep", spec_of(*LEVELS), "nmt"), records, Cost(), "finished")


def judged(shelf: Shelf, samples: dict[str, Samples], standard_errors: float = 1.0) -> Standing:
    """A grid's model against the chain."""
    grid = shelf.result("grid", samples, source="grid")
    return guarantee(grid, chain(shelf), LEVELS, standard_errors, HeldOut(shelf.stages))


def test_held_by_the_chain_itself(shelf: Shelf) -> None:
    reference = chain(shelf)
    standing = guarantee(reference, reference, LEVELS, 1.0, HeldOut(shelf.stages))
    assert standing.status == "held"
    assert [verdict.task for verdict in standing.verdicts] == ["a", "b"]
    b = standing.verdicts[1]
    assert (b.split, b.standard_error) == ("valid", pytest.approx(0.0, abs=1e-7))
    assert (b.optimum, b.value) == (pytest.approx(0.6), pytest.approx(0.65))
    assert (b.difference, b.allowed) == (pytest.approx(0.05), pytest.approx(0.1))
    assert standing.worst_task == "b"


def test_each_task_is_held_to_the_stage_that_solved_it(shelf: Shelf) -> None:
    """0.51 is better than stage 2 left a, and worse than a's optimum of stage 1."""
    standing = judged(shelf, {"a": flat(0.51), "b": flat(0.6), "c": flat(0.0)})
    assert standing.status == "broken"
    assert standing.worst_task == "a"
    assert [verdict.held for verdict in standing.verdicts] == [False, True]


@pytest.mark.parametrize(
    ("b", "status"),
    [(0.699, "held"), (0.701, "broken"), (0.3, "held")],
)
def test_the_tolerance(shelf: Shelf, b: float, status: str) -> None:
    assert judged(shelf, {"a": flat(0.5), "b": flat(b), "c": flat(0.0)}).status == status


@pytest.mark.parametrize(
    ("standard_errors", "worse", "status"),
    [
        (0.0, 0.001, "broken"),
        (1.0, 0.0100, "held"),  # SE = 0.1 / √99 = 0.01005
        (1.0, 0.0102, "broken"),
        (2.0, 0.0200, "held"),
        (2.0, 0.0202, "broken"),
        (0.0, 0.0, "held"),
    ],
)
def test_the_standard_errors(shelf: Shelf, standard_errors: float, worse: float, status: str) -> None:
    samples: dict[str, Samples] = {"a": wavy(0.5 + worse, 0.1), "b": flat(0.6), "c": flat(0.0)}
    assert judged(shelf, samples, standard_errors).status == status


def test_what_the_last_level_loses_is_no_matter(shelf: Shelf) -> None:
    assert judged(shelf, {"a": flat(0.5), "b": flat(0.6), "c": flat(99.0)}).status == "held"


def test_a_loss_that_is_no_number_is_not_held(shelf: Shelf) -> None:
    assert judged(shelf, {"a": flat(math.nan), "b": flat(0.6), "c": flat(0.0)}).status == "broken"


def test_a_model_without_a_protected_task_is_not_judged(shelf: Shelf) -> None:
    assert judged(shelf, {"b": flat(0.6), "c": flat(0.0)}) == Standing("unknown", ())
    assert judged(shelf, {"b": flat(0.6), "c": flat(0.0)}).worst_task is None


def test_a_model_without_the_last_task_is(shelf: Shelf) -> None:
    assert judged(shelf, {"a": flat(0.5), "b": flat(0.6)}).status == "held"


def test_what_did_not_finish_says_nothing(shelf: Shelf) -> None:
    held_out = HeldOut(shelf.stages)
    reference = chain(shelf)
    grid = shelf.result("grid", {"a": flat(0.5), "b": flat(0.6), "c": flat(0.0)}, source="grid")
    for result, against in (
        (replace(grid, status="stopped"), reference),
        (grid, replace(reference, status="failed")),
        (grid, replace(reference, records=reference.records[:2])),
    ):
        assert guarantee(result, against, LEVELS, 1.0, held_out).status == "unknown"


def test_a_stage_whose_samples_are_gone_says_nothing(shelf: Shelf) -> None:
    reference = chain(shelf)
    (Path(shelf.storage) / "stages" / "s1" / "references.pt").unlink()
    assert guarantee(reference, reference, LEVELS, 1.0, HeldOut(shelf.stages)).status == "unknown"


def test_one_level_has_nothing_to_hold(shelf: Shelf) -> None:
    result = shelf.result("one", {"a": flat(0.5)})
    assert guarantee(result, result, LEVELS[:1], 1.0, HeldOut(shelf.stages)) == Standing("held", ())
