"""What a stage must not break."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from nmt.trainers.evaluation.acceptance import References, judge, judge_metrics
from nmt.trainers.evaluation.evaluation import Evaluation
from nmt.trainers.records import Optimum, Verdict
from nmt.trainers.spec.stage_spec import StageSpec


@dataclass(frozen=True)
class Protection:
    """What a stage must not break.

    Attributes:
        optima: Optima of the stage's protected tasks, in their order.
        references: Split → task → this worker's samples at the task's θ*.
        outputs: Split → task → outputs at the task's θ* on all rows of a held-out split; on the first worker alone.
        live: Whether limits of a live model are among them, which a stage's starting point may exceed.
    """

    optima: tuple[Optimum, ...] = ()
    references: Mapping[str, References] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    live: bool = False

    def judge(self, spec: StageSpec, evaluation: Evaluation, with_metrics: bool) -> tuple[Verdict, ...]:
        """Judge a candidate of a stage; every worker calls this.

        Args:
            spec: The stage.
            evaluation: The candidate's evaluation, with its outputs if metrics are wanted.
            with_metrics: Whether to compare metrics too.
        """
        errors, accept_on = spec.settings.accept_standard_errors, spec.settings.accept_on
        verdicts = judge(evaluation, self.references.get(evaluation.split, {}), spec.protected, errors, accept_on)
        if not with_metrics:
            return verdicts
        return judge_metrics(verdicts, evaluation, self.outputs.get(evaluation.split, {}), spec.protected, errors)
