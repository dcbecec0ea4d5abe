"""Is the first task kept, and how far are the others from the best weights that keep it?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nmt.trainers.registry import METRICS, resolve

Seeds = Sequence[Mapping[str, Any]]
"""Results of the arms of one experiment, one mapping of arm → result per seed."""


@dataclass(frozen=True)
class Paired:
    """A difference paired by seed.

    Attributes:
        mean: Mean over the seeds.
        error: Standard error of the mean; NaN for one seed.
    """

    mean: float
    error: float

    @classmethod
    def of(cls, differences: Sequence[float]) -> Paired:
        """Summarise one difference per seed."""
        error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else math.nan
        return cls(statistics.mean(differences), error)

    def __str__(self) -> str:
        return f"{self.mean:+.4f} ± {self.error:.4f}"


@dataclass(frozen=True)
class Tasks:
    """Tasks of an experiment.

    Attributes:
        first: Tasks of the first level.
        others: All other tasks.
        signs: Task → 1 where a higher metric is better, −1 otherwise.
    """

    first: tuple[str, ...]
    others: tuple[str, ...]
    signs: Mapping[str, float]


def sign_of(metric: str) -> float:
    """Return 1 for a metric of which more is better, −1 otherwise."""
    return -1.0 if getattr(resolve("metric", metric, METRICS), "higher_is_better", True) is False else 1.0


def first_value(arm: Mapping[str, Any], tasks: Tasks, split: str = "test") -> float:
    """Return the mean metric of the first level, signed so that more is better."""
    return float(statistics.mean(tasks.signs[task] * arm[split][task] for task in tasks.first))


def other_value(arm: Mapping[str, Any], tasks: Tasks, split: str = "test") -> float:
    """Return the mean metric of all other tasks, signed so that more is better."""
    return float(statistics.mean(tasks.signs[task] * arm[split][task] for task in tasks.others))


def alone_value(arms: Mapping[str, Any], tasks: Tasks, split: str = "test") -> float:
    """Return the mean metric of single-task models of the first level."""
    return float(statistics.mean(tasks.signs[task] * arms[f"{task} alone"][split][task] for task in tasks.first))


def differences(seeds: Seeds, one: Callable[[Any], float], other: Callable[[Any], float]) -> Paired:
    """Summarise the difference of two numbers of the same seed."""
    return Paired.of([one(arms) - other(arms) for arms in seeds])


def best_weights(seeds: Seeds, tasks: Tasks) -> str | None:
    """Choose the fixed weights with the best other tasks among those that keep the first level; on ``valid`` alone.

    Weights keep the first level if its metric is not below the single-task models' by more than one standard error of
    the paired difference over the seeds.
    """
    kept = {}
    for name, arm in seeds[0].items():
        if arm["kind"] != "weights":
            continue

        def value(arms: Any, name: str = name) -> float:
            return first_value(arms[name], tasks, "valid")

        found = differences(seeds, value, lambda arms: alone_value(arms, tasks, "valid"))
        if found.mean >= -(found.error if math.isfinite(found.error) else 0.0):
            kept[name] = statistics.mean(other_value(arms[name], tasks, "valid") for arms in seeds)
    return max(kept, key=lambda name: kept[name]) if kept else None


def summary_row(experiment: str, seeds: Seeds, tasks: Tasks) -> list[str]:
    """Return the experiment's row in the table of :func:`summary_heads`."""
    best = best_weights(seeds, tasks)
    row = [experiment, f"{len(tasks.first) + len(tasks.others)}", f"{len(seeds)}"]
    row.append(f"{statistics.mean(alone_value(arms, tasks) for arms in seeds):.4f}")
    for kind in ("joint", "paper"):
        if kind not in seeds[0]:
            row += ["–", "–"]
            continue

        def first(arms: Any, kind: str = kind) -> float:
            return first_value(arms[kind], tasks)

        def others(arms: Any, kind: str = kind) -> float:
            return other_value(arms[kind], tasks)

        row.append(str(differences(seeds, first, lambda arms: alone_value(arms, tasks))))
        if best is None:
            row.append("none keeps it")
        else:
            row.append(str(differences(seeds, others, lambda arms: other_value(arms[best], tasks))))
    row.append(best or "–")
    row.append(f"{_samples(seeds, 'joint')} / {_samples(seeds, 'weights')}")
    return row


def summary_heads() -> list[str]:
    """Return the heads of the summary."""
    return [
        "experiment", "tasks", "seeds", "first task alone",
        "joint: first against alone", "joint: others against the best weights",
        "paper: first against alone", "paper: others against the best weights",
        "best weights that keep it", "samples: chain / 7 weights",
    ]  # fmt: skip


def detail_rows(seeds: Seeds, tasks: Tasks) -> list[list[str]]:
    """Return a row per arm: test metrics, the paired difference to the single-task models, guarantees and samples."""
    rows = []
    for name, arm in seeds[0].items():
        if arm["kind"] == "single" and not any(name == f"{task} alone" for task in tasks.first):
            continue
        values = [statistics.mean(arms[name]["test"].get(task, math.nan) for arms in seeds) for task in tasks.first]
        others = [
            statistics.mean(arms[name]["test"].get(task, math.nan) for arms in seeds) for task in tasks.others[:4]
        ]
        row = [f"weights {name}" if arm["kind"] == "weights" else name]
        row.append(" ".join(f"{value:.4f}" for value in values[:2]))
        row.append(" ".join(f"{value:.4f}" for value in others))
        whole = all(task in arm["test"] for task in (*tasks.first, *tasks.others))
        if not whole:
            rows.append([*row, "–", "–", "–", _samples(seeds, name)])
            continue

        def first(arms: Any, name: str = name) -> float:
            return first_value(arms[name], tasks)

        row.append(f"{statistics.mean(other_value(arms[name], tasks) for arms in seeds):.4f}")
        row.append(str(differences(seeds, first, lambda arms: alone_value(arms, tasks))))
        held = [arms[name]["held"] for arms in seeds if arms[name]["verdicts"]]
        broken = [any(not v["held"] for v in arms[name]["verdicts"] if v["split"] == "test") for arms in seeds]
        row.append(f"{sum(held)} of {len(held)}, {len(held) - sum(broken)} on test" if held else "–")
        rows.append([*row, _samples(seeds, name)])
    return rows


def detail_heads() -> list[str]:
    """Return the heads of :func:`detail_rows`."""
    return ["arm", "first", "others", "mean of others", "first against alone", "loss guarantees held", "samples"]


def variant_rows(seeds: Seeds, tasks: Tasks) -> list[list[str]]:
    """Return a row per variant: the paired difference to the default chain, and the task that changes most."""
    rows = []
    for name in [name for name, arm in seeds[0].items() if arm["kind"] == "variant"]:
        both = [(arms[name], arms["joint"]) for arms in seeds]
        change = [
            str(Paired.of([value(one, tasks) - value(other, tasks) for one, other in both]))
            for value in (first_value, other_value)
        ]
        changes = {
            task: statistics.mean(one["test"][task] - other["test"][task] for one, other in both)
            for task in (*tasks.first, *tasks.others)
        }
        most = max(changes, key=lambda task: abs(changes[task]))
        rows.append([name, *change, f"{changes[most]:+.4f} ({most})"])
    return rows


def variant_heads() -> list[str]:
    """Return the heads of :func:`variant_rows`."""
    return ["variant", "first", "mean of others", "largest change of a task's mean"]


def _samples(seeds: Seeds, name: str) -> str:
    """Mean samples of an arm over the seeds, or of all arms of a kind together."""
    total = [sum(arm["samples"] for key, arm in arms.items() if name in (key, arm["kind"])) for arms in seeds]
    return f"{statistics.mean(total):,.0f}"
