"""Whether a model keeps the protected tasks, by NMT's rule against NMT's optima."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from nmt.orchestrator.trials.cost import Cost
from nmt.orchestrator.trials.guarantee import Rule, Standing, guarantee
from nmt.orchestrator.trials.held_out import HeldOut
from nmt.orchestrator.trials.trial import Trial, TrialResult
from tests.orchestrator._trials import Samples, Shelf, binary, spec_of

LEVELS = ((binary("a"),), (binary("b", tolerance=0.1),), (binary("c"),))
RULE = Rule(LEVELS, standard_errors=1.0, accept_on="loss")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(str(tmp_path))


def flat(value: float) -> list[float]:
    return [value] * 100


def wavy(value: float, swing: float) -> list[float]:
    """Against :func:`flat` a standard error of swing / √99."""
    return [value + swing, value - swing] * 50


def chain(shelf: Shelf, last: dict[str, Samples] | None = None) -> TrialResult:
    """NMT's chain: a joint start, a* = 0.5 after stage 1, b* = 0.6 after stage 2, which left a at 0.52."""
    records = (
        shelf.stage("s0", {"a": flat(0.7), "b": flat(0.7), "c": flat(0.7)}, number=0, level=()),
        shelf.stage("s1", {"a": flat(0.5)}, stage=1, number=1, level=["a"]),
        shelf.stage("s2", {"a": flat(0.52), "b": flat(0.6)}, stage=2, number=2, level=["b"], protected=["a"]),
        shelf.stage(
            "s3",
            last or {"a": flat(0.5), "b": flat(0.65), "c": flat(0.1)},
            stage=3,
            number=3,
            level=["c"],
            protected=["a", "b"],
        ),
    )
    return TrialResult(Trial("chain", "sweep", spec_of(*LEVELS), "nmt"), records, Cost(), "finished")


def judge(shelf: Shelf, samples: dict[str, Samples], standard_errors: float = 1.0) -> Standing:
    """Judge a grid's model against the chain."""
    grid = shelf.result("grid", samples, source="grid")
    return guarantee(grid, chain(shelf), replace(RULE, standard_errors=standard_errors), HeldOut(shelf.stages))


def test_the_chain_holds_its_own_guarantee(shelf: Shelf) -> None:
    reference = chain(shelf)
    standing = guarantee(reference, reference, RULE, HeldOut(shelf.stages))
    assert standing.status == "held"
    assert [(verdict.task, verdict.split) for verdict in standing.verdicts] == [
        *(("a", "valid"), ("b", "valid"), ("a", "test"), ("b", "test"))
    ]
    b = standing.verdicts[1]
    assert (b.split, b.standard_error) == ("valid", pytest.approx(0.0, abs=1e-7))
    assert (b.optimum, b.value) == (pytest.approx(0.6), pytest.approx(0.65))
    assert (b.difference, b.allowed) == (pytest.approx(0.05), pytest.approx(0.1))
    assert standing.worst_task == "b"


def test_each_task_is_held_to_the_stage_that_solved_it(shelf: Shelf) -> None:
    """0.51 is better than a after stage 2, and worse than a's optimum of stage 1."""
    standing = judge(shelf, {"a": flat(0.51), "b": flat(0.6), "c": flat(0.0)})
    assert standing.status == "broken"
    assert standing.worst_task == "a"
    assert [verdict.held for verdict in standing.verdicts if verdict.split == "valid"] == [False, True]


@pytest.mark.parametrize(
    ("b", "status"),
    [(0.699, "held"), (0.701, "broken"), (0.3, "held")],
)
def test_the_tolerance(shelf: Shelf, b: float, status: str) -> None:
    assert judge(shelf, {"a": flat(0.5), "b": flat(b), "c": flat(0.0)}).status == status


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
    assert judge(shelf, samples, standard_errors).status == status


def test_the_last_level_is_not_judged(shelf: Shelf) -> None:
    assert judge(shelf, {"a": flat(0.5), "b": flat(0.6), "c": flat(99.0)}).status == "held"


def test_a_nan_loss_breaks_the_guarantee(shelf: Shelf) -> None:
    assert judge(shelf, {"a": flat(math.nan), "b": flat(0.6), "c": flat(0.0)}).status == "broken"


def test_a_model_without_a_protected_task_is_not_judged(shelf: Shelf) -> None:
    assert judge(shelf, {"b": flat(0.6), "c": flat(0.0)}) == Standing("unknown", ())
    assert judge(shelf, {"b": flat(0.6), "c": flat(0.0)}).worst_task is None


def test_a_model_without_the_last_task_is_judged(shelf: Shelf) -> None:
    assert judge(shelf, {"a": flat(0.5), "b": flat(0.6)}).status == "held"


def test_an_unfinished_trial_is_unknown(shelf: Shelf) -> None:
    held_out = HeldOut(shelf.stages)
    reference = chain(shelf)
    grid = shelf.result("grid", {"a": flat(0.5), "b": flat(0.6), "c": flat(0.0)}, source="grid")
    for result, against in (
        (replace(grid, status="stopped"), reference),
        (grid, replace(reference, status="failed")),
        (grid, replace(reference, records=reference.records[:3])),
    ):
        assert guarantee(result, against, RULE, held_out).status == "unknown"


def test_a_stage_without_samples_is_unknown(shelf: Shelf) -> None:
    reference = chain(shelf)
    (Path(shelf.storage) / "stages" / "s1" / "references.pt").unlink()
    assert guarantee(reference, reference, RULE, HeldOut(shelf.stages)).status == "unknown"


def test_a_single_level_protects_nothing(shelf: Shelf) -> None:
    result = shelf.result("one", {"a": flat(0.5)})
    assert guarantee(result, result, replace(RULE, levels=LEVELS[:1]), HeldOut(shelf.stages)) == Standing("held", ())
