"""The outcome of a fault, compared with the undisturbed run."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from nmt.experiments.benchmarks.steps.call_log import Calls
from tests.drill.content import differences, log_differences, read_content
from tests.drill.faults.fault import Fault
from tests.drill.site import TASKS
from tests.drill.trial import Trial
from tests.drill.undisturbed import Undisturbed


@dataclass(frozen=True)
class Outcome:
    """The outcome of a fault.

    Attributes:
        fault: Description of the fault.
        lost_steps: Steps that were taken twice.
        recovery_seconds: Time from the fault to the first step of a new process; ``None`` if none was needed.
        equal: Whether records and θ* equal those of the undisturbed run.
        trained_twice: Number of stages that were trained to their end more than once.
        once: Whether MLflow has everything exactly once.
        notes: Observations.
        problems: Everything that is wrong.
        skipped: Reason why the fault was not caused.
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
    """Compare a trial with the undisturbed run, after its runs have ended.

    Args:
        trial: The trial.
        fault: Its fault.
        at: Time of the fault, in seconds since 1970.
        expected: The undisturbed run.
    """
    content = read_content(trial)
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
    """The stages in the logs of a trial's commands.

    Attributes:
        begun: Stage → number of times that it started from scratch.
        ended: Stage → number of times that it was trained to its end.
        resumed: Number of times that a stage resumed from a checkpoint.
    """

    begun: Counter[str]
    ended: Counter[str]
    resumed: int

    @classmethod
    def of(cls, trial: Trial) -> _StageLog:
        """Read the logs."""
        said = "".join(command.said for command in trial.commands)
        return cls(
            begun=Counter(re.findall(r"(?m)^stage (\d+)/.*: started", said)),
            ended=Counter(re.findall(r"(?m)^stage (\d+)/.*: done after step", said)),
            resumed=len(re.findall(r"(?m)^stage .*: goes on from step", said)),
        )

    @property
    def repeated(self) -> list[str]:
        """Stages that were trained, or started from scratch, more than once."""
        return [
            f"stage {stage} was {what} {number} times"
            for what, counted in (("trained", self.ended), ("started", self.begun))
            for stage, number in counted.items()
            if number > 1
        ]


def _first_workers(trial: Trial) -> list[Calls]:
    return [process for process in trial.processes() if process.rank == 0]


def _lost_steps(trial: Trial, stages: _StageLog, expected: Undisturbed) -> int:
    """Count the passes of the first worker beyond the undisturbed run, without the warm-up of further starts."""
    passes = sum(len(process.times) for process in _first_workers(trial))
    restarts = stages.begun.total() + stages.resumed - len(TASKS)
    return passes - expected.passes - restarts * expected.warm_up


def _recovery_seconds(trial: Trial, at: float, expected: Undisturbed) -> float | None:
    """Return the time from the fault to the first step of a new process; ``None`` without one."""
    started = [process.times for process in _first_workers(trial) if len(process.times) > expected.warm_up]
    steps = (times[expected.warm_up] for times in started)
    return min((when - at for when in steps if when > at), default=None)
