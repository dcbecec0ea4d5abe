"""When a stage ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nmt.trainers.records import Verdict


class Patience:
    """Ends a stage when nothing has got better for a while; never because λ has settled.

    At ε = 0 no finite multiplier exists, and λ grows for ever while the violation shrinks: the best feasible
    objective, and the violations, are what is watched.

    Args:
        evaluations: Evaluations without improvement after which the stage ends; ``None``: never.
        min_delta: Smallest decrease of the objective that counts.
    """

    def __init__(self, evaluations: int | None, min_delta: float) -> None:
        self._evaluations = evaluations
        self._min_delta = min_delta
        self._best = float("inf")
        self._smallest: dict[str, float] = {}
        self._waited = 0

    def update(self, best_feasible: float, verdicts: Sequence[Verdict]) -> bool:
        """Record an evaluation.

        Args:
            best_feasible: Lowest objective among the feasible candidates so far.
            verdicts: The new candidate's verdicts.

        Returns:
            Whether the stage should end.
        """
        progress = best_feasible < self._best - self._min_delta
        if progress:
            self._best = best_feasible
        for verdict in verdicts:
            excess = verdict.deciding.worse - verdict.deciding.allowed
            if excess > 0 and excess < self._smallest.get(verdict.task, float("inf")) - self._min_delta:
                self._smallest[verdict.task] = excess
                progress = True
        self._waited = 0 if progress else self._waited + 1
        return self._evaluations is not None and self._waited >= self._evaluations

    def state_dict(self) -> dict[str, Any]:
        """What has been seen so far, as plain values."""
        return {"best": self._best, "smallest": dict(self._smallest), "waited": self._waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state."""
        self._best, self._smallest, self._waited = state["best"], dict(state["smallest"]), state["waited"]

    def restart(self) -> None:
        """Wait anew, for what is now to be improved upon."""
        self._waited = 0
        self._smallest.clear()
