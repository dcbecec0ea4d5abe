"""Cost of trials, predicted before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nmt.orchestrator.trials.trial import Trial
from nmt.trainers.data.schema import Schema
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.spec.settings import Settings
from nmt.trainers.store.stage_store import StageStore


@dataclass(frozen=True)
class Forecast:
    """Predicted cost of a group of trials, in the ledger's terms.

    Attributes:
        trials: Trials.
        stages: Stages to train.
        stages_reused: Stages that trials share or that the storage already has.
        samples: Training examples of the stages to train.
        samples_reused: Training examples that the reused stages take when they are trained.
        exact: Whether ``samples`` is exact: stages have a fixed length (``training.patience: null``). Otherwise it is
            an upper bound.
    """

    trials: int = 0
    stages: int = 0
    stages_reused: int = 0
    samples: int = 0
    samples_reused: int = 0
    exact: bool = True

    def __add__(self, other: Forecast) -> Forecast:
        return Forecast(
            self.trials + other.trials,
            self.stages + other.stages,
            self.stages_reused + other.stages_reused,
            self.samples + other.samples,
            self.samples_reused + other.samples_reused,
            self.exact and other.exact,
        )


def forecast(trials: Sequence[Trial], schema: Schema, store: StageStore) -> Forecast:
    """Predict the cost of trials; their order and how many run at a time do not matter.

    Args:
        trials: The trials.
        schema: Sizes of the data.
        store: Store of the finished stages.
    """
    found: dict[str, int] = {}
    total = Forecast(trials=len(trials))
    for trial in trials:
        for stage, key in enumerate(trial.keys):
            settings = trial.spec.stages[stage].settings
            if key in found:
                total += Forecast(stages_reused=1, samples_reused=found[key], exact=True)
            elif (record := store.read(key)) is not None:
                found[key] = record.samples
                total += Forecast(stages_reused=1, samples_reused=record.samples)
            else:
                found[key] = stage_samples(settings, schema)
                total += Forecast(stages=1, samples=found[key], exact=settings.patience is None)
    return total


def forecast_greedy(spec: ChainSpec, thetas: int, lambdas: int, schema: Schema) -> Forecast:
    """Predict a greedy sweep, which chooses the rates level by level, from nothing: its keys are not known in advance.

    Args:
        spec: The chain.
        thetas: Number of learning rates of the parameters.
        lambdas: Number of learning rates of the multipliers.
        schema: Sizes of the data.
    """
    each = stage_samples(spec.training, schema)
    trials = [thetas * (lambdas if level or spec.live is not None else 1) for level in range(len(spec.levels))]
    before = int(spec.has_joint_start)
    stages = sum(trials) + before * trials[0]
    reused = sum(number * (before + level) for level, number in enumerate(trials) if level)
    return Forecast(
        trials=sum(trials),
        stages=stages,
        stages_reused=reused,
        samples=stages * each,
        samples_reused=reused * each,
        exact=spec.training.patience is None,
    )


def stage_samples(settings: Settings, schema: Schema) -> int:
    """Return the training examples of a stage that uses its whole budget."""
    return settings.max_epochs * schema.examples["train"]
