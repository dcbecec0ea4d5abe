"""The candidates of a stage: evaluated models, and the best feasible one among them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nmt.trainers.evaluation.evaluation import evaluate
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.records import Candidate, Verdict
from nmt.trainers.spec.stage_spec import StageSpec
from nmt.trainers.stage.protection import Protection


class Candidates:
    """Evaluated candidates of a stage, and the parameters of the best feasible one.

    Args:
        learner: The model, its data and its losses.
        spec: The stage.
        protection: What the stage must not break.
    """

    def __init__(self, learner: Learner, spec: StageSpec, protection: Protection) -> None:
        self._learner = learner
        self._model = learner.model
        self._spec = spec
        self._protection = protection
        self._state: dict[str, Tensor] = {}
        self._step = 0
        self._excess = math.inf
        self.best = math.inf
        self.all: list[Candidate] = []

    @property
    def trained(self) -> Candidate:
        """The last candidate that is the trained model itself."""
        return next(candidate for candidate in reversed(self.all) if candidate.share == 1)

    def try_out(self, step: int) -> Iterator[Candidate]:
        """Evaluate the trained model, and points on the way to it if it is better but not feasible."""
        trained = self.evaluate(step)
        yield trained
        if trained.feasible or self._excess > 0 or not self._objective(trained.losses) < self.best:
            return
        here = {name: value.clone() for name, value in self._model.state_dict().items()}
        start = self._state
        for number in range(1, self._spec.settings.retreats + 1):
            share = 0.5**number
            self._model.load_state_dict({name: _between(start[name], here[name], share) for name in here})
            candidate = self.evaluate(step, share)
            yield candidate
            if candidate.feasible:
                break
        self._model.load_state_dict(here)

    def evaluate(self, step: int, share: float = 1.0) -> Candidate:
        """Evaluate the model as it stands; keep its parameters when it is the best feasible candidate.

        The starting point (step 0) is the parent's accepted θ*, which kept every earlier limit: always feasible. Only
        a chain that protects a live model and does not start from it may begin beyond its limits; the candidate that
        exceeds them least then stands in for the best feasible one.
        """
        by_metric = self._spec.settings.accept_on == "metric" and bool(self._spec.protected)
        evaluation = evaluate(self._learner, "valid", keep_outputs=by_metric)
        verdicts = self._protection.judge(self._spec, evaluation, with_metrics=by_metric)
        excess = self._excess_of(verdicts) if step > 0 or self._protection.live else 0.0
        feasible = excess == 0
        objective = self._objective(evaluation.losses)
        better = objective < self.best if self._excess == 0 else feasible or excess < self._excess
        accepted = step == 0 or (better and (feasible or self._excess > 0))
        if accepted:
            self._excess = excess
            self.best = objective if feasible and math.isfinite(objective) else math.inf
            self._step = step
            self._state = {name: value.clone() for name, value in self._model.state_dict().items()}
        candidate = Candidate(step, evaluation.losses, evaluation.metrics, verdicts, feasible, accepted, share)
        self.all.append(candidate)
        return candidate

    def _excess_of(self, verdicts: Sequence[Verdict]) -> float:
        """How far verdicts are beyond their limits, summed in shares of the references; 0 if all are kept."""
        broken = [verdict.deciding for verdict in verdicts if not verdict.kept]
        shares = [(found.worse - found.allowed) / max(abs(found.reference), 1e-12) for found in broken]
        return sum(share if math.isfinite(share) else math.inf for share in shares)

    def _objective(self, losses: Mapping[str, float]) -> float:
        return sum(
            weight * losses[task.name] for task, weight in zip(self._spec.objective, self._spec.weights, strict=True)
        )

    def state_dict(self) -> dict[str, Any]:
        """The best feasible candidate's parameters, and all candidates as text."""
        return {
            "state": {name: value.clone() for name, value in self._state.items()},
            "step": self._step,
            "best": self.best,
            "excess": self._excess,
            "all": [candidate.to_json() for candidate in self.all],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state, of the same stage."""
        here = self._model.state_dict()
        self._state = {name: value.to(here[name].device) for name, value in state["state"].items()}
        self._step = state["step"]
        self.best = state["best"]
        self._excess = state["excess"]
        self.all = [Candidate.from_json(text) for text in state["all"]]

    def restore(self) -> int:
        """Put the best feasible candidate's parameters back into the model; returns its step."""
        self._model.load_state_dict(self._state)
        return self._step


def _between(start: Tensor, end: Tensor, share: float) -> Tensor:
    return torch.lerp(start, end, share) if end.is_floating_point() else end
