"""What a fault cost, in comparison with the undisturbed run."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from tests.drill.content import content_of, differences, log_differences
from tests.drill.counted_model import TrainingProcess
from tests.drill.faults.fault import Fault
from tests.drill.site import TASKS
from tests.drill.trial import Trial
from tests.drill.undisturbed import Undisturbed


@dataclass(frozen=True)
class Outcome:
    """What a fault cost.

    Attributes:
        fault: What happened.
        lost_steps: Training steps that were made twice.
        recovery_seconds: From the fault to the first step of a new process; ``None`` when none was needed.
        equal: Whether records and θ* are those of the undisturbed run.
        trained_twice: Stages that were trained to their end more than once.
        once: Whether MLflow has everything exactly once.
        notes: What else is worth telling.
        problems: What is wrong.
        skipped: Why it was not tried.
    """

    fault: str
    lost_steps: int | None = None
    recovery_seconds: float | None = None
    equal: bool = False
    trained_twice: int | None = None
    once: bool = False
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    skipped: str | None = None


def examine(trial: Trial, fault: Fault, at: float, expected: Undisturbed) -> Outcome:
    """Compare a trial whose runs are over with the undisturbed one.

    Args:
        trial: The trial.
        fault: What happened.
        at: When, in seconds since 1970.
        expected: The undisturbed run.
    """
    content = content_of(trial)
    differing, log_differing = differences(content, expected.content), log_differences(content, expected.content)
    stages = _StageLog.of(trial)
    lost = _lost_steps(trial, stages, expected)
    recovery = _recovery_seconds(trial, at, expected) if fault.restarts else None
    problems = [*trial.problems, *differing, *log_differing]
    most = 2 * fault.times * trial.site.size.checkpoint_every if fault.restarts else 0
    if not 0 <= lost <= most:
        problems.append(f"{lost} steps were lost, expected 0 to {most}")
    if fault.restarts and recovery is None:
        problems.append("no new process took a step")
    problems += stages.repeated
    if left := [str(path) for path in trial.storage.glob("checkpoints/*/*")]:
        problems.append(f"checkpoints of finished stages were left: {', '.join(left[:3])}")
    return Outcome(
        fault.what,
        lost_steps=lost,
        recovery_seconds=None if recovery is None else round(recovery, 1),
        equal=not differing,
        trained_twice=sum(number > 1 for number in stages.ended.values()),
        once=not log_differing,
        notes=tuple(trial.notes),
        problems=tuple(problems),
    )


@dataclass(frozen=True)
class _StageLog:
    """What the commands of a trial said of its stages.

    Attributes:
        begun: Stage → times that it was started.
        ended: Stage → times that it was trained to its end.
        resumed: Times that a stage went on from a checkpoint.
    """

    begun: Counter[str]
    ended: Counter[str]
    resumed: int

    @classmethod
    def of(cls, trial: Trial) -> _StageLog:
        """Read what was said."""
        said = "".join(command.said for command in trial.commands)
        return cls(
            begun=Counter(re.findall(r"(?m)^stage (\d+)/.*: started", said)),
            ended=Counter(re.findall(r"(?m)^stage (\d+)/.*: done after step", said)),
            resumed=len(re.findall(r"(?m)^stage .*: goes on from step", said)),
        )

    @property
    def repeated(self) -> list[str]:
        """Stages that were trained, or begun, more than once."""
        return [
            f"stage {stage} was {what} {number} times"
            for what, counted in (("trained", self.ended), ("begun", self.begun))
            for stage, number in counted.items()
            if number > 1
        ]


def _first_workers(trial: Trial) -> list[TrainingProcess]:
    return [process for process in trial.processes() if process.rank == 0]


def _lost_steps(trial: Trial, stages: _StageLog, expected: Undisturbed) -> int:
    """Passes of the first worker beyond the undisturbed ones, without those before the first step of a new start."""
    passes = sum(len(process.times) for process in _first_workers(trial))
    again = stages.begun.total() + stages.resumed - len(TASKS)
    return passes - expected.passes - again * expected.warm_up


def _recovery_seconds(trial: Trial, at: float, expected: Undisturbed) -> float | None:
    """From the fault to the first step of a new process; ``None`` when there was none."""
    started = [process.times for process in _first_workers(trial) if len(process.times) > expected.warm_up]
    steps = (times[expected.warm_up] for times in started)
    return min((when - at for when in steps if when > at), default=None)
