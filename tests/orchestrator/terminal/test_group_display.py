"""Progress of a sweep on a terminal and in a log, from the events of its trials."""

from __future__ import annotations

import io

from rich.console import Console

from nmt.orchestrator.cluster.tuning.runner import Ending
from nmt.orchestrator.terminal.group_bars import GroupBars
from nmt.orchestrator.terminal.output import TextOutput
from nmt.orchestrator.trials.cost import Cost
from nmt.orchestrator.trials.forecast import Forecast
from nmt.orchestrator.trials.sweep_plan import plan_sweep
from nmt.orchestrator.trials.trial import TrialResult
from nmt.orchestrator.verbs.sweep import run_sweep
from nmt.trainers.records import Row
from nmt.trainers.reporter import CheckpointFailed, Event, Progress, StageAwaited, StageFinished, StageStarted
from tests.orchestrator import _group
from tests.orchestrator._records import record, verdict
from tests.orchestrator._tracked import Project

STAGE = ("amount",)
OBJECTIVE = {"amount": 1.0, "like": 0.3}
STARTED = StageStarted(2, 2, "key2", STAGE, OBJECTIVE, ("pay",), 240)


def finished(reused: bool = False) -> StageFinished:
    judged = [verdict("pay", 0.0003, 0.0011)]
    stage = record(2, STAGE, ["pay"], number=2, objective=OBJECTIVE, verdicts=judged, multipliers={"pay": 1.5})
    return StageFinished(stage, reused)


def lines(project: Project, *events: Event) -> list[str]:
    """What a log has of the second of four trials that ends after these events."""
    stream = io.StringIO()
    output = TextOutput(Console(file=stream, get_time=lambda: 0.0))
    trials = dict(enumerate(plan_sweep(_group.prepared(project)).trials))
    with output.trials("sweep", Forecast(trials=4, stages=12)) as display:
        display.add(trials)
        for event in events:
            display.show(1, event)
        display.end(1, TrialResult(trials[1], (), Cost(), "failed", "CUDA error"))
    start = f"{trials[1].label}: "
    assert all(start in line for line in stream.getvalue().splitlines())
    return [line.replace(start, "") for line in stream.getvalue().splitlines()]


def test_people_read_of_results_and_interruptions(project: Project) -> None:
    resumed = StageStarted(2, 2, "key2", STAGE, OBJECTIVE, ("pay",), 240, resumed_step=60)
    failure = CheckpointFailed(2, 90, "No space left on device")
    awaited, progress = StageAwaited(2, 2, "key2", STAGE), Progress(2, 5, ())
    assert lines(project, awaited, STARTED, progress, STARTED, resumed, failure, finished()) == [
        "[0/4] stage 2/3 amount: started again, at most 240 steps, protects pay",
        "[0/4] stage 2/3 amount: goes on from step 60, at most 240 steps, protects pay",
        "[0/4] stage 2/3 amount: checkpoint at step 90 failed, training goes on: No space left on device",
        "[0/4] stage 2/3 amount: done after step 100 (plateau); accepted step 60; loss 0.500 valid; "
        "pay +0.0003 ≤ 0.0011; λ pay 1.50; 0:02",
        "[1/4] failed: CUDA error",
    ]
    assert lines(project, finished(reused=True)) == ["[1/4] failed: CUDA error"]


def test_a_sweep_counts_its_trials(project: Project) -> None:
    stream = io.StringIO()
    prepared = _group.prepared(project)
    runner = _group.Runner(project.storage, {1: (2, Ending("diverged", "the loss of task amount is nan"))})
    run_sweep(prepared, plan_sweep(prepared), runner.as_runner, TextOutput(Console(file=stream)))
    ends = [line.partition("] ") for line in stream.getvalue().splitlines() if "stage " not in line]
    assert [start for start, _, _ in ends] == ["[1/4", "[2/4", "[3/4", "[4/4"]
    assert sorted(end.partition(": ")[2] for _, _, end in ends) == [
        "diverged: the loss of task amount is nan",
        "finished, 2 stages trained, 2 reused",
        "finished, 2 stages trained, 2 reused",
        "finished, 4 stages trained, 0 reused",
    ]


def test_bars_of_the_group_and_of_the_trials_under_way(project: Project) -> None:
    now = 0.0
    console = Console(file=io.StringIO(), width=100, height=24, force_terminal=True, get_time=lambda: now)
    bars = GroupBars("sweep 2×2", Forecast(trials=4, stages=12), console)
    trials = dict(enumerate(plan_sweep(_group.prepared(project)).trials))
    bars.add(trials)
    bars.show(0, StageFinished(record(0, (), number=0, objective=dict.fromkeys(_group.TASKS, 1 / 3)), reused=False))
    bars.show(0, StageFinished(record(1, ["pay"], number=1), reused=False))
    bars.show(0, STARTED)
    bars.show(0, Progress(2, 60, (Row(60, {"amount": 0.75}, {}, {}),)))
    bars.show(1, StageAwaited(1, 1, "key1", ("pay",)))
    bars.show(2, StageAwaited(0, 0, "key0", ()))
    now = 10.0
    plain = Console(file=io.StringIO(), width=100, height=24)
    with plain.capture() as capture:
        plain.print(bars.table())
    whole, running, waiting, joint = capture.get().splitlines()
    assert whole.startswith("sweep 2×2 0/4 trials ")
    assert whole.rstrip().endswith("2/12 stages, 0 reused  0:10  ≤ 0:50")
    assert running.split()[: len(trials[0].label.split())] == trials[0].label.split()
    assert "2/3 amount" in running
    assert running.rstrip().endswith("60/240  loss 0.750")
    assert "1/3 pay" in waiting
    assert "0/3 joint" in joint
    assert waiting.rstrip().endswith("waits for another trial")
