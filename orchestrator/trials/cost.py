"""Cost: what was really spent, and what memoisation saved."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from nmt.trainers.records import StageRecord


@dataclass(frozen=True)
class Cost:
    """Cost of a stage, a chain or anything above; costs add up.

    Attributes:
        trials: Chains (for a grid: weightings) run.
        stages: Stages trained.
        stages_reused: Stages found under their key.
        steps: Optimisation steps taken.
        samples: Training examples that those steps saw, over all workers; does not depend on the machine.
        samples_reused: Training examples that the reused stages took when they were trained.
        worker_seconds: Seconds of all workers, over trained stages.
        wall_seconds: Seconds from start to end.
    """

    trials: int = 0
    stages: int = 0
    stages_reused: int = 0
    steps: int = 0
    samples: int = 0
    samples_reused: int = 0
    worker_seconds: float = 0.0
    wall_seconds: float = 0.0

    @classmethod
    def of_stage(cls, record: StageRecord, reused: bool) -> Cost:
        """Return the cost of one stage; a reused one is counted and costs nothing."""
        if reused:
            return cls(stages_reused=1, samples_reused=record.samples)
        return cls(
            stages=1,
            steps=record.steps,
            samples=record.samples,
            worker_seconds=record.wall_seconds * record.workers,
            wall_seconds=record.wall_seconds,
        )

    def __add__(self, other: Cost) -> Cost:
        return Cost(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def metrics(self) -> dict[str, float]:
        """Return MLflow metrics ``cost/…``."""
        return {f"cost/{name}": float(value) for name, value in asdict(self).items()}
