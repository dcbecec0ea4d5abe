from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from nmt.trainers.spec.chain_spec import ChainSpec, Ingest, ModelSpec, Rates
from nmt.trainers.spec.task import Task
from tests.trainers._problems import binary, paper

LIKE, FINISH, SHARE = binary("like", 0.01), binary("finish", 0.02), binary("share", 0.03)
SPEC = ChainSpec(
    levels=((LIKE,), (FINISH,), (SHARE,)),
    model=ModelSpec("scorer", {"units": [8, 4], "embedding_dim": 2}),
    training=paper().settings,
    batch_size=64,
    data_fingerprint="abc",
)
ALL = [True, True, True]


def changed(**changes: Any) -> list[bool]:
    """Which stages' keys change with fields of the spec, or of its training."""
    training = {name: value for name, value in changes.items() if hasattr(SPEC.training, name)}
    execution = {name: value for name, value in changes.items() if hasattr(SPEC.execution, name)}
    rest = {name: value for name, value in changes.items() if name not in {*training, *execution}}
    other = dataclasses.replace(
        SPEC,
        training=dataclasses.replace(SPEC.training, **training),
        execution=dataclasses.replace(SPEC.execution, **execution),
        **rest,
    )
    return [a != b for a, b in zip(SPEC.stage_keys(), other.stage_keys(), strict=True)]


def with_tolerances(*tolerances: float) -> dict[str, Any]:
    tasks = (dataclasses.replace(task, tolerance=t) for task, t in zip(SPEC.tasks, tolerances, strict=True))
    return {"levels": tuple((task,) for task in tasks)}


def test_keys_differ_by_stage_and_are_stable() -> None:
    keys = SPEC.stage_keys()
    assert len(set(keys)) == 3
    assert keys == SPEC.stage_keys()
    assert changed() == [False] * 3


@pytest.mark.parametrize(
    "changes",
    [
        {"eta_theta": 0.01},
        {"optimizer": "sgd"},
        {"max_epochs": 3},
        {"patience": 2},
        {"min_delta": 0.1},
        {"backtracks": 1},
        {"decay": 0.5},
        {"evaluations_per_epoch": 2},
        {"clip_norm": 1.0},
        {"l2_embedding": 1e-6},
        {"seed": 1},
        {"batch_size": 32},
        {"data_fingerprint": "abd"},
        {"ingest": "stream"},
        {"model": ModelSpec("scorer", {"units": [8, 5], "embedding_dim": 2})},
        {"model": ModelSpec("ple", {"units": [8, 4], "embedding_dim": 2})},
    ],
    ids=str,
)
def test_what_determines_every_stage(changes: dict[str, Any]) -> None:
    assert changed(**changes) == ALL


@pytest.mark.parametrize(
    "changes",
    [
        {"eta_lambda": 0.1},
        {"initial_multiplier": 0.0},
        {"relative": True},
        {"violations": "held_out"},
        {"violations": "paired"},
        {"measure_every": 2},
        {"measured_share": 0.5},
        {"retreats": 0},
        {"constrained_patience": 1},
        {"constrained_backtracks": 1},
        {"accept_standard_errors": 0.0},
        {"accept_on": "metric"},
    ],
    ids=str,
)
def test_what_concerns_multipliers_leaves_the_first_stage(changes: dict[str, Any]) -> None:
    assert changed(**changes) == [False, True, True]


@pytest.mark.parametrize(
    "execution",
    [{"record_every": 10}, {"checkpoint_every": 9}, {"certificate_examples": 0}, {"compile": True}],
    ids=str,
)
def test_how_stages_run_and_what_is_recorded_is_no_part(execution: dict[str, Any]) -> None:
    assert changed(**execution) == [False] * 3


def test_workers_and_places_are_no_part() -> None:
    """What is no field of the spec cannot enter a key."""
    assert {field.name for field in dataclasses.fields(ChainSpec)} == {
        "levels",
        "model",
        "training",
        "batch_size",
        "data_fingerprint",
        "ingest",
        "execution",
        "rates",
        "rounds",
        "live",
        "previous",
        "code",
    }
    assert not {name for name in vars(SPEC.training) if "worker" in name or "path" in name}


@pytest.mark.parametrize(
    ("tolerances", "expected"),
    [
        ((0.5, 0.02, 0.03), [False, True, True]),
        ((0.01, 0.5, 0.03), [False, False, True]),
        ((0.01, 0.02, 0.5), [False, False, False]),
    ],
)
def test_a_tolerance_matters_to_the_stages_that_protect_the_task(
    tolerances: tuple[float, ...], expected: list[bool]
) -> None:
    assert changed(**with_tolerances(*tolerances)) == expected


def test_a_stream_has_no_pairs_of_training_examples() -> None:
    def check(ingest: Ingest, **training: Any) -> None:
        dataclasses.replace(SPEC, ingest=ingest, training=paper(**training).settings).check()

    with pytest.raises(ValueError, match=r"violations: paired needs .* data\.ingest is stream.*; set violations: held"):
        check("stream", violations="paired")
    check("memory", violations="paired")
    check("stream", violations="minibatch")
    check("stream", violations="held_out")


def test_order_of_tasks() -> None:
    assert changed(levels=((FINISH,), (LIKE,), (SHARE,))) == ALL
    assert changed(levels=((LIKE,), (SHARE,), (FINISH,))) == [False, True, True]


def test_tasks_of_equal_priority() -> None:
    joint = dataclasses.replace(SPEC, levels=((LIKE, FINISH), (SHARE,)))
    assert len(joint.stage_keys()) == 2
    assert not set(joint.stage_keys()) & set(SPEC.stage_keys())
    assert joint.tasks == SPEC.tasks
    assert joint.stages[1].protected == (LIKE, FINISH)
    assert SPEC.stages[0].protected == ()


def test_what_the_parent_was() -> None:
    """The last stage is the same in all but the way in which its starting point came about."""
    last = binary("follow")
    one = dataclasses.replace(SPEC, levels=((LIKE, FINISH), (SHARE,), (last,)))
    other = dataclasses.replace(SPEC, levels=((LIKE,), (FINISH, SHARE), (last,)))
    assert one.stage_keys()[2] != other.stage_keys()[2]


@pytest.mark.parametrize(
    "task",
    [
        dataclasses.replace(LIKE, label="is_like"),
        dataclasses.replace(LIKE, loss="pairwise_logistic"),
        dataclasses.replace(LIKE, metric="pair_accuracy"),
        dataclasses.replace(LIKE, options={"weight": 2.0}),
        dataclasses.replace(LIKE, name="liked"),
    ],
    ids=str,
)
def test_what_a_task_is(task: Task) -> None:
    assert changed(levels=((task,), (FINISH,), (SHARE,))) == ALL


def test_equal_specs_have_equal_keys() -> None:
    """A whole number in an experiment file is the number that it is, and a list of widths a tuple of widths."""
    other = dataclasses.replace(
        SPEC,
        model=ModelSpec("scorer", {"embedding_dim": 2, "units": (8, 4)}),
        training=dataclasses.replace(SPEC.training, eta_theta=1),
    )
    same = dataclasses.replace(SPEC, training=dataclasses.replace(SPEC.training, eta_theta=1.0))
    assert other.training == same.training
    assert other.stage_keys() == same.stage_keys()


class TestTraining:
    @pytest.mark.parametrize("name", ["eta_theta", "eta_lambda", "clip_norm"])
    @pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
    def test_positive(self, name: str, value: float) -> None:
        with pytest.raises(ValueError, match=f"{name} must be a finite number greater than 0, found {value}"):
            paper(**{name: value})

    @pytest.mark.parametrize(
        "name", ["initial_multiplier", "min_delta", "accept_standard_errors", "l2_embedding", "seed", "backtracks"]
    )
    def test_not_negative(self, name: str) -> None:
        paper(**{name: 0})
        with pytest.raises(ValueError, match=f"{name} must be a finite number at least 0, found -1"):
            paper(**{name: -1})

    @pytest.mark.parametrize(
        "name", ["max_epochs", "patience", "evaluations_per_epoch", "record_every", "measure_every"]
    )
    def test_at_least_one(self, name: str) -> None:
        paper(**{name: 1})
        with pytest.raises(ValueError, match=f"{name} must be a finite number at least 1, found 0"):
            paper(**{name: 0})

    @pytest.mark.parametrize("name", ["constrained_backtracks", "retreats"])
    def test_what_stages_with_protected_tasks_do_is_not_negative(self, name: str) -> None:
        paper(**{name: 0})
        with pytest.raises(ValueError, match=f"{name} must be a finite number at least 0, found -1"):
            paper(**{name: -1})

    def test_patience_of_stages_with_protected_tasks(self) -> None:
        paper(constrained_patience=1)
        with pytest.raises(ValueError, match="constrained_patience must be a finite number at least 1, found 0"):
            paper(constrained_patience=0)

    @pytest.mark.parametrize("share", [0.0, -0.25, 1.01, float("nan")])
    def test_share_of_a_batch_that_is_measured(self, share: float) -> None:
        paper(measured_share=1.0)
        with pytest.raises(ValueError, match="measured_share must be a finite number greater than 0 and at most 1"):
            paper(measured_share=share)

    @pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, 2.0, float("nan")])
    def test_decay(self, decay: float) -> None:
        with pytest.raises(ValueError, match="decay"):
            paper(decay=decay)


class TestTask:
    def test_defaults(self) -> None:
        task = Task("like", "binary_cross_entropy")
        assert (task.label, task.metric) == ("like", "auc")
        assert Task("pay", "pairwise_logistic").metric == "pair_accuracy"
        assert Task("pay", "mine.losses:own").metric == ""
        assert Task("like", "binary_cross_entropy", label="is_like", metric="pair_accuracy").label == "is_like"

    @pytest.mark.parametrize("name", ["", "a/b", "a[0]"])
    def test_name(self, name: str) -> None:
        with pytest.raises(ValueError, match="a task's name must be non-empty and without"):
            Task(name, "binary_cross_entropy")

    @pytest.mark.parametrize("tolerance", [-0.1, float("nan"), float("inf")])
    def test_tolerance(self, tolerance: float) -> None:
        with pytest.raises(ValueError, match=f"tolerance must be a finite number of at least 0, found {tolerance}"):
            Task("like", "binary_cross_entropy", tolerance=tolerance)


# --- learning rates of each stage -------------------------------------------------------------------------------------


def with_rates(*rates: tuple[float, float]) -> ChainSpec:
    return dataclasses.replace(SPEC, rates=tuple(Rates(*pair) for pair in rates))


def test_rates_that_are_the_trainings_change_no_key() -> None:
    theta, lam = SPEC.training.eta_theta, SPEC.training.eta_lambda
    assert with_rates(*[(theta, lam)] * 3).stage_keys() == SPEC.stage_keys()
    other = dataclasses.replace(SPEC, training=paper(eta_theta=0.5, eta_lambda=7.0).settings)
    assert with_rates(*[(0.5, 7.0)] * 3).stage_keys() == other.stage_keys()


def test_a_stage_is_trained_with_its_rates() -> None:
    spec = with_rates((0.1, 1.0), (0.2, 2.0), (0.3, 3.0))
    found = [(stage.settings.eta_theta, stage.settings.eta_lambda) for stage in spec.stages]
    assert found == [(0.1, 1.0), (0.2, 2.0), (0.3, 3.0)]
    rest = dataclasses.replace(
        spec.stages[1].settings, eta_theta=SPEC.training.eta_theta, eta_lambda=SPEC.training.eta_lambda
    )
    assert rest == SPEC.training
    assert SPEC.stages[2].settings is SPEC.training


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (((0.1, 1.0), (0.2, 2.0), (0.3, 3.5)), 2),
        (((0.1, 1.0), (0.2, 2.5), (0.3, 3.0)), 1),
        (((0.1, 9.0), (0.2, 2.0), (0.3, 3.0)), 3),  # the first stage protects nothing: its η_λ is no part of any key
        (((0.4, 1.0), (0.2, 2.0), (0.3, 3.0)), 0),
    ],
)
def test_the_same_first_rates_are_the_same_first_stages(other: tuple[tuple[float, float], ...], same: int) -> None:
    one = with_rates((0.1, 1.0), (0.2, 2.0), (0.3, 3.0)).stage_keys()
    assert [a == b for a, b in zip(one, with_rates(*other).stage_keys(), strict=True)] == [
        stage < same for stage in range(3)
    ]


@pytest.mark.parametrize("number", [0, 2, 4])
def test_rates_are_one_per_stage(number: int) -> None:
    with pytest.raises(ValueError, match=f"rates must be one per level: found {number} for 3 levels"):
        with_rates(*[(0.1, 1.0)] * number)


def test_rates_are_checked_as_those_of_the_training() -> None:
    with pytest.raises(ValueError, match="eta_theta must be a finite number greater than 0, found 0"):
        with_rates((0.0, 1.0), (0.1, 1.0), (0.1, 1.0)).stage_keys()
